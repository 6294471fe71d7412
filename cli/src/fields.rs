//! The fields of requests, as the command that was given writes them: `domain.active_tag` is its `--tag`.
//!
//! What a flag sets is noted at the flag itself, so that no list of flags is kept anywhere else.

use std::collections::BTreeMap;

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
}

impl Fields {
    /// Those of the command that was given, and of what it is below.
    pub(crate) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let mut fields = Self::default();
        let (mut command, mut matches) = (command, matches);
        while let Some((name, inner)) = matches.subcommand() {
            let Some(below) = command.find_subcommand(name) else { break };
            below.get_arguments().for_each(|argument| fields.add(argument));
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
            Some(flag) => Some(flag.clone()),
            None if field == "name" => self.subject.clone(),
            None if self.has_set && path.contains('.') => Some(format!("--set {field}")),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::{
        schema,
        v1::{Backend, Certificate, DnsProvider, Domain, Invite, Issuer, Service, Token},
    };

    use super::*;
    use crate::commands::command;

    fn fields(args: &[&str]) -> Fields {
        let command = command();
        let matches = command.clone().try_get_matches_from([&["switchyard"], args].concat()).unwrap();
        Fields::of(&command, &matches)
    }

    #[test]
    fn a_field_is_written_as_the_command_takes_it() {
        let domain = fields(&["domain", "update", "shop.example", "--tag", "a"]);
        let written = |path: &str| domain.argument(path).unwrap_or_default();
        assert_eq!(written("domain.name"), "DOMAIN");
        assert_eq!(written("domain.active_tag"), "--tag");
        assert_eq!(written("domain.tls.acme.issuers[1]"), "--issuer");
        assert_eq!(written("domain.tls.acme.on_demand.hook_url"), "--on-demand-hook");
        assert_eq!(written("domain.tls.something_new"), "--set tls.something_new");
        assert_eq!(written("domain.etag"), "--etag");
        assert_eq!(written("update_mask"), "");
        let switch = fields(&["switch", "shop.example", "--to", "b"]);
        assert_eq!((switch.argument("tag"), switch.argument("name")), (Some("--to".into()), Some("DOMAIN".into())));
        let args = ["dns-provider", "create", "home", "--zone", "a", "rfc2136", "--server", "192.0.2.1"];
        assert_eq!(fields(&args).argument("dns_provider.rfc2136.server").as_deref(), Some("--server"));
        let issuer = fields(&["issuer", "update", "le", "--rank", "1"]);
        assert_eq!(issuer.argument("issuer.directory").as_deref(), Some("--set directory"));
        assert_eq!(fields(&["domain", "list"]).argument("page_size"), None);
    }

    /// Each flag that names a path names one that exists, of one of the messages or requests of its command.
    #[test]
    fn every_path_of_a_flag_exists() {
        let of = |noun: &str| {
            Some(match noun {
                "domain" => schema::descriptor::<Domain>(),
                "service" => schema::descriptor::<Service>(),
                "backend" => schema::descriptor::<Backend>(),
                "certificate" => schema::descriptor::<Certificate>(),
                "issuer" => schema::descriptor::<Issuer>(),
                "dns-provider" => schema::descriptor::<DnsProvider>(),
                "edge" => schema::descriptor::<Invite>(),
                "token" => schema::descriptor::<Token>(),
                _ => return None,
            })
        };
        // Of requests.
        let others = ["etag", "private_key_pem"];
        let mut count = 0;
        for noun in command().get_subcommands() {
            let Some(message) = of(noun.get_name()) else { continue };
            let paths = schema::paths(&message);
            let mut commands: Vec<_> = noun.get_subcommands().collect();
            while let Some(verb) = commands.pop() {
                commands.extend(verb.get_subcommands());
                for path in verb.get_arguments().filter_map(|it| it.get::<Sets>()).flat_map(|Sets(paths)| *paths) {
                    let is_known = paths.iter().any(|it| it == path) || others.contains(path);
                    assert!(is_known, "{} {}: {path}", noun.get_name(), verb.get_name());
                    count += 1;
                }
            }
        }
        assert!(count > 80, "{count}");
    }
}
