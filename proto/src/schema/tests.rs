use std::collections::BTreeSet;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::*;

mod assign;
mod encoded;
mod json;
mod patch;
mod populated;
mod widget;

/// Every field of a message and of those in it, with its path and whether that crosses a list or a map.
fn walk(message: &MessageDescriptor, path: &str, in_many: bool, visit: &mut impl FnMut(&FieldDescriptor, &str, bool)) {
    assert!(path.split('.').count() < DEPTH_MAX, "{} holds itself", message.full_name());
    for field in message.fields() {
        let path = join(path, field.name());
        visit(&field, &path, in_many);
        if let Kind::Message(inner) = field.kind()
            && !is_well_known(&inner)
        {
            walk(&inner, &path, in_many || field.is_list() || field.is_map(), visit);
        }
    }
}

/// What is wrong with the options of the fields of resources.
fn faults(resources: impl Iterator<Item = (String, MessageDescriptor)>) -> Vec<String> {
    let mut faults = Vec::new();
    for (kind, message) in resources {
        let identifiers = message.fields().filter(|field| FieldOptions::of(field).is(Behavior::Identifier)).count();
        if identifiers != 1 {
            faults.push(format!("{kind}: {identifiers} identifiers"));
        }
        walk(&message, "", false, &mut |field, path, in_many| {
            let options = FieldOptions::of(field);
            let mut check = |is_wrong: bool, what: &str| {
                if is_wrong {
                    faults.push(format!("{kind}.{path}: {what}"));
                }
            };
            let siblings = field.parent_message();
            let is_beside = |path: &String| {
                let mut message = Some(siblings.clone());
                path.split('.').all(|name| {
                    let field = message.as_ref().and_then(|message| message.get_field_by_name(name));
                    message = field.as_ref().and_then(nested);
                    field.is_some()
                })
            };
            let is_text = matches!(field.kind(), Kind::String | Kind::Bytes) && !field.is_list();
            check(options.secret && (in_many || !is_text), "a secret is one text, outside of lists and maps");
            let is_given = options.is(Behavior::InputOnly) && !options.is_output();
            let is_made = options.output == Some(Output::State);
            check(options.secret && !(is_given || is_made), "a secret is input only, or state");
            check(!options.secret && !options.secret_for.is_empty(), "only secrets are for something");
            check(!options.secret_for.iter().all(is_beside), "a secret is for a field beside it");
            check(!options.excludes.iter().all(is_beside), "a field excludes one beside it");
            check(options.is(Behavior::OutputOnly) && options.output.is_none(), "an output is state or computed");
            let is_state = options.output == Some(Output::State);
            check(is_state && in_many, "state is outside of lists and maps, which are replaced as a whole");
            check(options.is(Behavior::Required) && options.not_for_edges, "what is required is for edges");
            check(options.is(Behavior::Required) && options.is_output(), "what is required is no output");
            check(options.is(Behavior::Identifier) && path.contains('.'), "an identifier is in the resource itself");
        });
    }
    faults
}

#[test]
fn the_options_of_resources_hold_together() {
    assert_eq!(faults(resources()), Vec::<String>::new());
}

#[test]
fn options_that_do_not_are_found() {
    let fault = widget::pool().get_message_by_name("test.v1.Fault").unwrap();
    let faults = faults([("faults".to_owned(), fault)].into_iter());
    assert_eq!(
        faults,
        [
            "faults: 0 identifiers",
            "faults.made: an output is state or computed",
            "faults.needed: what is required is for edges",
            "faults.many.key: a secret is one text, outside of lists and maps",
            "faults.by_name.value.key: a secret is one text, outside of lists and maps",
            "faults.remotes.token: a secret is one text, outside of lists and maps",
            "faults.remotes.zone: state is outside of lists and maps, which are replaced as a whole",
            "faults.open: only secrets are for something",
            "faults.open: a secret is for a field beside it",
        ]
    );
}

#[test]
fn every_message_with_a_name_is_a_resource() {
    let named = pool().all_messages().filter(|message| {
        message.package_name() == "switchyard.v1"
            && !message.name().ends_with("Request")
            && message.get_field_by_name("name").is_some()
    });
    let missing: Vec<_> = named.filter(|message| kind(message).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let kinds: BTreeSet<String> = resources().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.len(), resources().count(), "two messages of one kind");
    assert_eq!(
        resource("domains").map(|message| message.full_name().to_owned()).as_deref(),
        Some("switchyard.v1.Domain")
    );
    assert!(resource("domain").is_none());
}

#[test]
fn a_field_has_the_options_of_its_file() {
    let domain = descriptor::<crate::v1::Domain>();
    let of = |name: &str| FieldOptions::of(&domain.get_field_by_name(name).unwrap());
    assert!(of("name").is_fixed() && of("active_tag").is(Behavior::Required));
    assert_eq!((of("previous_tag").output, of("etag").output), (Some(Output::State), Some(Output::Computed)));
    assert!(of("previous_tag").not_for_edges && !of("tls").not_for_edges);
    let key = descriptor::<crate::v1::Rfc2136>().get_field_by_name("key_secret").unwrap();
    let key = FieldOptions::of(&key);
    assert!(key.secret && key.is(Behavior::InputOnly));
    assert_eq!(key.secret_for, ["server", "key_name"]);
}
