//! Everything that people and scripts read: results on the standard output, all else on the standard error.
//!
//! A closed standard output (`| head`) is no failure: nobody reads, but the exit code still counts. Text from elsewhere
//! cannot steer the terminal: control characters are shown escaped.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;

use crate::{failure::Failure, listing, report::Report, table};

pub(crate) use crate::table::columns;
pub(crate) use crate::text::{age, clean, moment, or_dash, timestamp, took, word};

/// A resource as people see it in a list.
pub(crate) trait Show: Serialize {
    /// The field of a response that lists several.
    const PLURAL: &'static str;

    /// The titles of its columns in a list.
    const COLUMNS: &'static [&'static str];

    /// Whether its last column says why: such a text is never cut.
    const ENDS_IN_TEXT: bool = false;

    /// Its cells in a list, one for each column.
    fn row(&self, now: SystemTime) -> Vec<String>;
}

/// How results are printed on the standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

/// Prints results in the format asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// Prints in `format`.
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether results are for people, and not a document for programs.
    pub(crate) fn is_for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// Prints a list: for people its elements as a table, else the whole response.
    pub(crate) fn list<T: Show>(&self, response: &impl Serialize, items: &[T]) -> Result<(), Failure> {
        if self.is_for_people() {
            self.table(items)
        } else if items.is_empty() {
            // Empty fields are left out of messages, and then `jq '.domains[]'` fails.
            self.document(&json!({ T::PLURAL: [] }))
        } else {
            self.document(response)
        }
    }

    /// Prints one resource: for people all of its fields, else the message.
    pub(crate) fn item(&self, item: &(impl Serialize + prost::Name)) -> Result<(), Failure> {
        self.item_with(item, |_| Vec::new())
    }

    /// As [`Output::item`]; people are told more of it.
    pub(crate) fn item_with(
        &self,
        item: &(impl Serialize + prost::Name),
        more: impl FnOnce(SystemTime) -> Vec<(&'static str, String)>,
    ) -> Result<(), Failure> {
        if !self.is_for_people() {
            return self.document(item);
        }
        let now = SystemTime::now();
        let more = more(now).into_iter().map(|(title, text)| (title.to_owned(), text));
        let rows = listing::of(item, now).into_iter().chain(more);
        let rows = rows.map(|(title, text)| vec![format!("{title}:"), text]).collect();
        self.text(&columns(None, rows))
    }

    /// Prints resources as a table, or says that there are none.
    pub(crate) fn table<T: Show>(&self, items: &[T]) -> Result<(), Failure> {
        if items.is_empty() {
            return self.text("none");
        }
        let now = SystemTime::now();
        let rows = items.iter().map(|item| item.row(now)).collect();
        self.text(&table::fitted(T::COLUMNS, rows, T::ENDS_IN_TEXT))
    }

    /// Prints a message as a document for programs.
    pub(crate) fn document(&self, message: &impl Serialize) -> Result<(), Failure> {
        let text = match self.format {
            Format::Yaml => serde_saphyr::to_string(message).map_err(|error| Failure::Format(error.to_string()))?,
            Format::Json | Format::Table => {
                serde_json::to_string_pretty(message).map_err(|error| Failure::Format(error.to_string()))?
            }
        };
        self.text(text.trim_end())
    }

    /// Prints lines for people about a result: on the standard output, unless that holds a document.
    pub(crate) fn result(&self, text: &str) -> Result<(), Failure> {
        if self.is_for_people() {
            self.text(text)
        } else {
            note(text);
            Ok(())
        }
    }

    /// Prints text and a line feed on the standard output.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
            _ => Ok(()),
        }
    }
}

/// Says something beside the result, on the standard error. If that is closed, nobody wants to know.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says why the command failed: for programs as one JSON object, which is YAML as well.
pub(crate) fn failure(report: &Report, format: Format) {
    match format {
        Format::Table => {
            let mut lines = report.lines();
            lines[0].insert_str(0, "switchyard: ");
            lines.iter().for_each(|line| note(&clean(line)));
        }
        Format::Json | Format::Yaml => note(&json!(report).to_string()),
    }
}
