use std::collections::BTreeSet;

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

use super::{walk, widget};
use crate::{
    schema::{FieldOptions, Populate, dynamic_variants, is_well_known, join, resource, resources, variants},
    vocab::{BackendId, CertificateId, DnsProviderId, EdgeId, HostPattern, InviteId, IssuerId, ServiceId, TokenId},
};

/// The paths of the fields that are set, through lists and maps.
fn set(message: &DynamicMessage, path: &str, paths: &mut BTreeSet<String>) {
    for (field, value) in message.fields() {
        let path = join(path, field.name());
        let mut of = |value: &Value| {
            if let Some(inner) = value.as_message() {
                set(inner, &path, paths);
            }
        };
        match value {
            Value::List(values) => {
                assert_eq!(values.len(), 2, "{path}");
                values.iter().for_each(of);
            }
            Value::Map(values) => {
                assert_eq!(values.len(), 2, "{path}");
                values.values().for_each(of);
            }
            value => of(value),
        }
        paths.insert(path);
    }
}

/// The other arms of oneofs, and fields that exclude others.
fn is_left_out(field: &FieldDescriptor) -> bool {
    let is_arm = field.containing_oneof().is_some_and(|oneof| oneof.fields().next().as_ref() != Some(field));
    is_arm || !FieldOptions::of(field).excludes.is_empty()
}

#[test]
fn every_field_of_a_populated_message_is_set() {
    let messages = resources().map(|(_, message)| message).chain([widget::descriptor()]);
    for message in messages {
        let (mut expected, mut all) = (BTreeSet::new(), BTreeSet::new());
        let mut left_out = Vec::new();
        walk(&message, "", false, &mut |field, path, _| {
            let is_in_entry = matches!(field.parent_message(), entry if entry.is_map_entry());
            if is_in_entry {
                return;
            }
            let path = path.replace(".value.", ".");
            if is_left_out(field) {
                left_out.push(path.clone());
            } else if !left_out.iter().any(|left_out| path.starts_with(&format!("{left_out}."))) {
                expected.insert(path.clone());
            }
            all.insert(path);
        });
        let mut first = BTreeSet::new();
        set(&Populate::new(&widget::material()).dynamic(&message), "", &mut first);
        let own = |path: &String| all.contains(path);
        assert_eq!(first.iter().filter(|path| own(path)).cloned().collect::<BTreeSet<_>>(), expected);

        let mut any = BTreeSet::new();
        for variant in dynamic_variants(&message, &widget::material()) {
            set(&variant, "", &mut any);
        }
        assert_eq!(any.iter().filter(|path| own(path)).cloned().collect::<BTreeSet<_>>(), all);
    }
}

#[test]
fn values_are_distinct_and_not_the_default() {
    fn values(message: &DynamicMessage, seen: &mut Vec<(String, String)>) {
        for (field, value) in message.fields() {
            assert!(!value.is_default_for_field(&field), "{}", field.full_name());
            let mut of = |value: &Value| match value {
                Value::Message(inner) if is_well_known(&inner.descriptor()) => {
                    seen.push((inner.descriptor().name().into(), format!("{inner:?}")));
                }
                Value::Message(inner) => values(inner, seen),
                Value::Bool(_) | Value::EnumNumber(_) => {}
                value => seen.push((format!("{:?}", field.kind()), format!("{value:?}"))),
            };
            match value {
                Value::List(values) => values.iter().for_each(of),
                Value::Map(values) => values.values().for_each(of),
                value => of(value),
            }
        }
    }
    for (kind, message) in resources() {
        for variant in dynamic_variants(&message, &widget::material()) {
            let mut seen = Vec::new();
            values(&variant, &mut seen);
            let distinct: BTreeSet<_> = seen.iter().collect();
            assert_eq!(distinct.len(), seen.len(), "{kind}: {seen:?}");
        }
    }
}

#[test]
fn arms_and_exclusions_make_variants() {
    let providers = variants::<crate::v1::DnsProvider>(&widget::material());
    assert_eq!(providers.len(), 5);
    assert!(matches!(providers[4].settings, Some(crate::v1::dns_provider::Settings::Exec(_))));
    let services = variants::<crate::v1::Service>(&widget::material());
    let insecure = |service: &crate::v1::Service| service.tls.as_ref().is_some_and(|tls| tls.insecure_skip_verify);
    assert_eq!(services.iter().map(insecure).collect::<Vec<_>>(), [false, true]);
    assert_eq!(services, variants::<crate::v1::Service>(&widget::material()), "the same each time");
    let tls = services[0].tls.clone().unwrap();
    assert_eq!(tls.ca_bundle_pem, "a CA");
    assert_eq!(tls.client_certificate.unwrap().private_key_pem, "a key");
    let domain = &variants::<crate::v1::Domain>(&widget::material())[0];
    assert_eq!(domain.edge_selector["region"], "eu");
    assert_eq!(crate::v1::Domain::decode(domain.encode_to_vec().as_slice()).as_ref(), Ok(domain));
}

#[test]
fn examples_are_names() {
    let name = |kind: &str| {
        let message = Populate::new(&widget::material()).dynamic(&resource(kind).unwrap());
        message.get_field_by_name("name").unwrap().as_str().unwrap().to_owned()
    };
    assert!(HostPattern::parse_resource_name(&name("domains")).is_ok());
    assert!(ServiceId::parse_resource_name(&name("services")).is_ok());
    assert!(BackendId::parse_resource_name(&name("backends")).is_ok());
    assert!(CertificateId::parse_resource_name(&name("certificates")).is_ok());
    assert!(EdgeId::parse_resource_name(&name("edges")).is_ok());
    assert!(InviteId::parse_resource_name(&name("invites")).is_ok());
    assert!(IssuerId::parse_resource_name(&name("issuers")).is_ok());
    assert!(DnsProviderId::parse_resource_name(&name("dnsProviders")).is_ok());
    assert!(TokenId::parse_resource_name(&name("tokens")).is_ok());
}

#[test]
fn enums_have_their_last_value_and_times_have_milliseconds() {
    let service = Populate::new(&widget::material()).message::<crate::v1::Service>();
    assert_eq!(service.protocol(), crate::v1::BackendProtocol::Http2);
    let connect = service.timeouts.unwrap().connect.unwrap();
    assert!(connect.seconds > 0 && connect.nanos > 0 && connect.nanos % 1_000_000 == 0, "{connect:?}");
    let widget = widget::widget(0);
    let kinds =
        widget.fields().map(|(field, _)| field.kind()).filter(|kind| matches!(kind, Kind::Bytes | Kind::Double));
    assert_eq!(kinds.count(), 2);
}
