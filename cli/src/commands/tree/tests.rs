use switchyard_proto::{
    schema,
    v1::{Backend, Certificate, DnsProvider, Domain, Invite, Issuer, Service, Token},
};

use super::*;
use crate::fields::{Fields, Sets};

#[test]
fn the_commands_are_well_formed() {
    command().debug_assert();
}

/// Calls `check` with each command that has none below it, and the words that it is called by.
fn leaves(command: &clap::Command, path: &[&str], check: &mut impl FnMut(&clap::Command, &[&str])) {
    for below in command.get_subcommands() {
        let path = [path, &[below.get_name()]].concat();
        // What follows a provider's name is part of the command.
        if below.has_subcommands() && below.get_positionals().count() == 0 {
            leaves(below, &path, check);
        } else {
            check(below, &path);
        }
    }
}

#[test]
fn each_help_has_an_example_that_can_be_run() {
    let mut count = 0;
    leaves(&command(), &[], &mut |leaf, path| {
        let called = ["switchyard", &path.join(" ")].join(" ");
        let after = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples = after.strip_prefix("Example:\n").or_else(|| after.strip_prefix("Examples:\n"));
        let examples = examples.unwrap_or_else(|| panic!("{called} has no example")).replace("\\\n", "");
        for example in examples.lines() {
            let example = example.trim().trim_start_matches("EDITOR=nano ");
            assert!(example.starts_with(&called), "{called}: {example}");
            let words = example.split_whitespace().take_while(|word| !word.starts_with('>'));
            let words: Vec<_> = words.map(|word| word.trim_matches('\'')).collect();
            let parsed = command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            count += 1;
        }
    });
    assert!(count > 50, "{count}");
}

#[test]
fn verbs_of_other_programs_are_understood() {
    let name = |args: &[&str]| {
        let matches = command().try_get_matches_from([&["switchyard"], args].concat()).unwrap();
        let (_, noun) = matches.subcommand().unwrap();
        noun.subcommand_name().unwrap().to_owned()
    };
    let nouns = command();
    let nouns: Vec<_> = nouns.get_subcommands().filter(|noun| noun.has_subcommands()).collect();
    for (alias, verb) in [("ls", "list"), ("rm", "delete"), ("show", "get")] {
        for noun in nouns.iter().filter(|noun| noun.find_subcommand(verb).is_some_and(|it| it.get_name() == verb)) {
            let rest: &[&str] = if verb == "list" { &[] } else { &["x"] };
            assert_eq!(name(&[&[noun.get_name(), alias], rest].concat()), verb, "{}", noun.get_name());
        }
    }
    assert_eq!(name(&["edge", "rm", "edge-1"]), "remove");
    assert_eq!(name(&["token", "delete", "ci"]), "revoke");
    assert_eq!(name(&["unreadable", "get", "domains/x"]), "show");
}

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
    let domain = fields(&["domain", "update", "shop.example", "--set", "active_tag="]);
    assert_eq!(domain.argument("domain.active_tag").as_deref(), Some("--set active_tag"));
    let edit = fields(&["domain", "edit", "shop.example"]);
    assert_eq!(edit.argument("domain.tls.minimum_version").as_deref(), Some("tls.minimumVersion"));
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
