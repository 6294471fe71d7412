use std::time::{Instant, SystemTime};

use clap::Subcommand;
use pbjson_types::{Value, value::Kind};
use switchyard_proto::v1::{
    DeleteUnreadableRequest, GetUnreadableRequest, ListUnreadableResponse, Unreadable, UnreadableDocument,
};

use super::{Change, Session};
use crate::{
    args::{EtagArg, WriteArgs},
    failure::Failure,
    output::{Show, columns, moment, or_dash},
    selection::ListArgs,
    wait::Outcome,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List all rows that cannot be read, and why
    #[command(after_help = "Example:\n  switchyard unreadable list")]
    List(ListArgs),
    /// Show what a row says, as far as it can be decoded
    #[command(after_help = "Example:\n  switchyard unreadable show domains/shop.example")]
    Show {
        /// The kind and the id of the row: domains/shop.example
        #[arg(value_name = "KIND/ID")]
        name: String,
    },
    /// Delete a row: edges remove what they serve of it
    #[command(after_help = "Example:\n  switchyard unreadable delete domains/shop.example")]
    Delete {
        /// The kind and the id of the row: domains/shop.example
        #[arg(value_name = "KIND/ID")]
        name: String,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        write: WriteArgs,
    },
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => {
            let unreadable = args.select(session.client.all_unreadable().await?)?;
            let response = ListUnreadableResponse { unreadable, next_page_token: String::new() };
            session.output.list(&response, &response.unreadable)?;
            Ok(Outcome::Done)
        }
        Command::Show { name } => {
            let found = session.client.unreadable().get_unreadable(GetUnreadableRequest { name }).await?.into_inner();
            if session.output.is_for_people() {
                session.output.text(&columns(None, rows(&found, SystemTime::now())))?;
            } else {
                session.output.document(&found)?;
            }
            Ok(Outcome::Done)
        }
        Command::Delete { name, etag, write } => {
            let subject = name.clone();
            let request = DeleteUnreadableRequest { name, etag: etag.etag, validate_only: write.dry_run };
            let began = Instant::now();
            let deleted = session.client.unreadable().delete_unreadable(request).await;
            let response = deleted.map_err(|status| Failure::of_write(status, "switchyard unreadable list"))?;
            let message = response.into_inner();
            let revision = message.revision;
            session.finish(Change { message: &message, subject, done: "deleted", revision, began }, &write).await
        }
    }
}

/// A title and a text for each thing that is known of a row.
fn rows(unreadable: &Unreadable, now: SystemTime) -> Vec<Vec<String>> {
    let Unreadable { resource, revision, etag, reason, create_time, update_time, document } = unreadable;
    let row = |title: &str, text: String| vec![format!("{title}:"), text];
    let mut rows = vec![
        row("resource", resource.clone()),
        row("reason", reason.clone()),
        row("revision", revision.to_string()),
        row("etag", etag.clone()),
        row("create_time", moment(create_time.as_ref(), now)),
        row("update_time", moment(update_time.as_ref(), now)),
    ];
    let Some(document) = document else { return rows };
    let UnreadableDocument { bytes, format, fields, unknown_fields, undecoded_hexadecimal, undecoded_bytes } = document;
    rows.push(row("bytes", bytes.to_string()));
    rows.push(row("format", if *format == 0 { or_dash("") } else { format.to_string() }));
    let mut fields: Vec<_> = fields.iter().flat_map(|it| &it.fields).collect();
    fields.sort_by_key(|(path, _)| path.as_str());
    rows.extend(fields.into_iter().map(|(path, value)| row(path, text(value))));
    rows.extend(unknown_fields.iter().map(|path| row(path, "unknown field".to_owned())));
    if *undecoded_bytes > 0 {
        let shown = u64::try_from(undecoded_hexadecimal.len() / 2).unwrap_or(u64::MAX);
        let more = if shown < *undecoded_bytes { format!("… ({undecoded_bytes} bytes)") } else { String::new() };
        rows.push(row("undecoded", format!("{undecoded_hexadecimal}{more}")));
    }
    rows
}

fn text(value: &Value) -> String {
    match &value.kind {
        Some(Kind::StringValue(text)) => or_dash(text),
        _ => serde_json::to_string(value).unwrap_or_default(),
    }
}

impl Show for Unreadable {
    const PLURAL: &'static str = "unreadable";
    const COLUMNS: &'static [&'static str] = &["RESOURCE", "REVISION", "REASON"];
    const ENDS_IN_TEXT: bool = true;

    fn row(&self, _: SystemTime) -> Vec<String> {
        vec![self.resource.clone(), self.revision.to_string(), self.reason.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_row_is_shown_by_path() {
        let value = |kind| Value { kind: Some(kind) };
        let fields = [
            ("name".to_owned(), value(Kind::StringValue("domains/shop.example".to_owned()))),
            ("http_to_https".to_owned(), value(Kind::BoolValue(true))),
        ];
        let document = UnreadableDocument {
            bytes: 5_000,
            format: 2,
            fields: Some(pbjson_types::Struct { fields: fields.into() }),
            unknown_fields: vec!["tls.9999".to_owned()],
            undecoded_hexadecimal: "f87f".to_owned(),
            undecoded_bytes: 4_900,
        };
        let unreadable = Unreadable {
            resource: "domains/shop.example".to_owned(),
            reason: "it is newer".to_owned(),
            document: Some(document),
            ..Unreadable::default()
        };
        let rows = rows(&unreadable, SystemTime::UNIX_EPOCH);
        let text = |title: &str| rows.iter().find(|row| row[0] == title).map(|row| row[1].as_str());
        assert_eq!(text("reason:"), Some("it is newer"));
        assert_eq!(text("http_to_https:"), Some("true"));
        assert_eq!(text("tls.9999:"), Some("unknown field"));
        assert_eq!(text("undecoded:"), Some("f87f… (4900 bytes)"));
    }
}
