use std::time::SystemTime;

use clap::Args;
use pbjson_types::{Value, value::Kind};
use switchyard_proto::v1::{Change, ChangeKind, FieldChange, ListChangesRequest, ListChangesResponse};

use super::Session;
use crate::{
    failure::Failure,
    output::{Show, age, or_dash, timestamp, word},
    wait::Outcome,
};

/// Characters of a value that are shown in a list.
const VALUE_LENGTH_MAX: usize = 60;

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only changes of this resource: domains/shop.example
    #[arg(value_name = "RESOURCE")]
    resource: Option<String>,
    /// Only changes that somebody of this name made
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only changes since then: 2h, or 2026-11-21T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// Only changes before then
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<SystemTime>,
    /// How many are shown, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
}

pub(super) async fn run(session: &Session, args: AuditArgs) -> Result<Outcome, Failure> {
    let AuditArgs { resource, actor, since, until, limit } = args;
    let filter = ListChangesRequest {
        page_size: 0,
        page_token: String::new(),
        resource: resource.unwrap_or_default(),
        actor: actor.unwrap_or_default(),
        since: since.map(timestamp),
        until: until.map(timestamp),
    };
    let changes = session.client.newest_changes(filter, limit).await?;
    let response = ListChangesResponse { changes, next_page_token: String::new() };
    session.output.list(&response, &response.changes)?;
    Ok(Outcome::Done)
}

fn time(text: &str) -> Result<SystemTime, String> {
    time_at(SystemTime::now(), text)
}

/// A moment as people write it: as a date and time, or as how long ago it was.
fn time_at(now: SystemTime, text: &str) -> Result<SystemTime, String> {
    let ago = humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago));
    ago.or_else(|| humantime::parse_rfc3339_weak(text).ok())
        .ok_or_else(|| "write how long ago (90m, 2days), or a moment in UTC (2026-11-21T08:00:00Z)".to_owned())
}

impl Show for Change {
    const PLURAL: &'static str = "changes";
    const COLUMNS: &'static [&'static str] = &["REVISION", "WHEN", "ACTOR", "FROM", "METHOD", "RESOURCE", "CHANGE"];
    const ENDS_IN_TEXT: bool = true;

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            self.revision.to_string(),
            age(self.change_time.as_ref(), now),
            self.actor.clone(),
            self.came_from(),
            or_dash(&self.method),
            self.resource.clone(),
            self.summary(),
        ]
    }
}

/// What people read of a change.
trait Summary {
    /// Where it came from.
    fn came_from(&self) -> String;
    /// What it did.
    fn summary(&self) -> String;
}

impl Summary for Change {
    fn came_from(&self) -> String {
        if self.address.is_empty() { word(self.origin().as_str_name(), "ORIGIN_") } else { self.address.clone() }
    }

    fn summary(&self) -> String {
        match self.kind() {
            ChangeKind::Updated => self.fields.iter().map(difference).collect::<Vec<_>>().join(", "),
            ChangeKind::SecretPurged => {
                let paths: Vec<&str> = self.fields.iter().map(|field| field.field.as_str()).collect();
                format!("purged what {} was before", paths.join(", "))
            }
            kind @ (ChangeKind::Unspecified | ChangeKind::Created | ChangeKind::Deleted) => {
                word(kind.as_str_name(), "CHANGE_KIND_")
            }
        }
    }
}

/// `active_tag: a → b`
fn difference(change: &FieldChange) -> String {
    let FieldChange { field, before, after } = change;
    format!("{field}: {} → {}", text(before.as_ref()), text(after.as_ref()))
}

fn text(value: Option<&Value>) -> String {
    let text = match value.and_then(|value| value.kind.as_ref()) {
        None | Some(Kind::NullValue(_)) => "-".to_owned(),
        Some(Kind::StringValue(text)) => text.clone(),
        Some(_) => serde_json::to_string(&value).unwrap_or_default(),
    };
    match text.char_indices().nth(VALUE_LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use pbjson_types::Timestamp;

    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago_it_was() {
        let now = UNIX_EPOCH + Duration::from_hours(3);
        assert_eq!(time_at(now, "2h").unwrap(), UNIX_EPOCH + Duration::from_hours(1));
        assert_eq!(
            timestamp(time_at(now, "2026-11-21T08:00:00Z").unwrap()),
            Timestamp { seconds: 1_795_248_000, nanos: 0 }
        );
        assert!(time_at(now, "yesterday").is_err());
    }

    #[test]
    fn an_update_is_told_field_by_field() {
        let value = |text: &str| Some(Value { kind: Some(Kind::StringValue(text.to_owned())) });
        let null = Some(Value { kind: Some(Kind::NullValue(0)) });
        let change = Change {
            kind: ChangeKind::Updated.into(),
            fields: vec![
                FieldChange { field: "active_tag".into(), before: value("a"), after: value("b") },
                FieldChange { field: "previous_tag".into(), before: null, after: value(&"é".repeat(100)) },
            ],
            ..Change::default()
        };
        assert_eq!(change.summary(), format!("active_tag: a → b, previous_tag: - → {}…", "é".repeat(60)));
        let created = Change { kind: ChangeKind::Created.into(), ..change };
        assert_eq!(created.summary(), "created");
    }
}
