//! The fields of requests, as the command that was given writes them: `domain.active_tag` is its `--tag`.
//!
//! What a flag sets is noted at the flag itself, so that no list of flags is kept anywhere else.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Arg, ArgMatches, Command, builder::ArgExt};

/// The paths of the fields that an argument sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sets(pub(crate) &'static [&'static str]);

impl ArgExt for Sets {}

/// The fields that a command has arguments for.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// How each path is written.
    arguments: BTreeMap<&'static str, String>,
    /// What it is about: `DOMAIN`.
    subject: Option<String>,
    /// Whether any field can be set by its path.
    has_set: bool,
    /// Those that are.
    set: BTreeSet<String>,
    /// Whether the message is written as a document.
    is_document: bool,
}

impl Fields {
    /// Those of the command that was given, and of what it is below.
    pub(crate) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let mut fields = Self::default();
        let (mut command, mut matches) = (command, matches);
        while let Some((name, inner)) = matches.subcommand() {
            let Some(below) = command.find_subcommand(name) else { break };
            below.get_arguments().for_each(|argument| fields.add(argument));
            fields.is_document = name == "edit";
            let set = inner.try_get_many::<String>("set").ok().flatten().into_iter().flatten();
            fields.set.extend(set.filter_map(|set| Some(set.split_once('=')?.0.to_owned())));
            (command, matches) = (below, inner);
        }
        fields
    }

    fn add(&mut self, argument: &Arg) {
        let Some(flag) = argument.get_long() else {
            let value = argument.get_value_names().and_then(|names| names.first());
            self.subject = self.subject.take().or_else(|| value.map(ToString::to_string));
            return;
        };
        self.has_set |= flag == "set";
        for path in argument.get::<Sets>().map_or(&[][..], |Sets(paths)| paths) {
            self.arguments.entry(path).or_insert_with(|| format!("--{flag}"));
        }
    }

    /// How the field at a path of a request is written, if it can be.
    pub(crate) fn argument(&self, path: &str) -> Option<String> {
        // Of `domain.tls.acme.issuers[0]` what follows the resource, without the index.
        let field = path.split_once('.').map_or(path, |(_, field)| field);
        let field = field.split_once('[').map_or(field, |(field, _)| field);
        match self.arguments.get(field) {
            _ if self.set.contains(field) => Some(format!("--set {field}")),
            Some(flag) => Some(flag.clone()),
            None if self.is_document => Some(in_document(field)),
            None if field == "name" => self.subject.clone(),
            None if self.has_set && path.contains('.') => Some(format!("--set {field}")),
            None => None,
        }
    }
}

/// A path as JSON and YAML write it: `tls.minimumVersion`.
fn in_document(path: &str) -> String {
    let mut is_start = false;
    path.chars()
        .filter_map(|c| match c {
            '_' => {
                is_start = true;
                None
            }
            c if std::mem::take(&mut is_start) => Some(c.to_ascii_uppercase()),
            c => Some(c),
        })
        .collect()
}
