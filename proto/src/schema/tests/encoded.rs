use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage, Value};

use super::widget;
use crate::schema::{
    FieldOptions, Filter, InvalidSecrets, MalformedMessage, Output, Secrets, descriptor, dynamic_variants,
    is_well_known, resources, variants,
};

/// Every resource in all its variants, those that no code is written for included.
fn all() -> Vec<(MessageDescriptor, DynamicMessage)> {
    let messages = resources().map(|(_, message)| message).chain([widget::descriptor()]);
    messages
        .flat_map(|it| dynamic_variants(&it, &widget::material()).into_iter().map(move |value| (it.clone(), value)))
        .collect()
}

/// What a filter has to do, by reflection.
fn clear(message: &mut DynamicMessage, drops: &impl Fn(&FieldOptions) -> bool) {
    let fields: Vec<FieldDescriptor> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        if drops(&FieldOptions::of(&field)) {
            message.clear_field(&field);
            continue;
        }
        let of = |value: &mut Value| {
            if let Some(inner) = value.as_message_mut().filter(|inner| !is_well_known(&inner.descriptor())) {
                clear(inner, drops);
            }
        };
        match message.get_field_mut(&field) {
            Value::List(values) => values.iter_mut().for_each(of),
            Value::Map(values) => values.values_mut().for_each(of),
            value => of(value),
        }
    }
}

#[test]
fn a_filter_does_what_the_options_say() {
    type New = fn(&MessageDescriptor) -> Filter;
    type Drops = fn(&FieldOptions) -> bool;
    let filters: [(New, Drops); 3] = [
        (Filter::for_edges, |options| options.not_for_edges || options.output == Some(Output::Computed)),
        (Filter::stored, |options| options.output == Some(Output::Computed)),
        (Filter::without_secrets, |options| options.secret),
    ];
    for (descriptor, whole) in all() {
        for (filter, drops) in filters {
            let filtered = filter(&descriptor).apply(&whole.encode_to_vec()).unwrap();
            let mut expected = whole.clone();
            clear(&mut expected, &drops);
            assert_eq!(DynamicMessage::decode(descriptor.clone(), filtered.as_slice()).unwrap(), expected);
        }
    }
}

#[test]
fn edges_get_keys_and_nothing_of_what_is_not_theirs() {
    let [service, ..] = &variants::<crate::v1::Service>(&widget::material())[..] else { panic!("there is one") };
    let filter = Filter::for_edges(&descriptor::<crate::v1::Service>());
    let service = crate::v1::Service::decode(filter.apply(&service.encode_to_vec()).unwrap().as_slice()).unwrap();
    assert_eq!((service.revision, service.update_time), (0, None));
    let certificate = service.tls.unwrap().client_certificate.unwrap();
    assert_eq!((certificate.private_key_pem.as_str(), certificate.fingerprint_sha256.as_str()), ("a key", ""));

    let filter = Filter::for_edges(&descriptor::<crate::v1::Domain>());
    let [domain, ..] = &variants::<crate::v1::Domain>(&widget::material())[..] else { panic!("there is one") };
    let domain = crate::v1::Domain::decode(filter.apply(&domain.encode_to_vec()).unwrap().as_slice()).unwrap();
    assert!(domain.edge_selector.is_empty() && domain.previous_tag.is_empty());
    let acme = domain.tls.unwrap().acme.unwrap();
    assert!(acme.issuers.is_empty() && acme.on_demand.is_some());
}

#[test]
fn a_message_that_loses_all_its_fields_stays() {
    let domain = crate::v1::Domain {
        tls: Some(crate::v1::DomainTls { certificate_source: 1, ..Default::default() }),
        ..Default::default()
    };
    let filter = Filter::for_edges(&descriptor::<crate::v1::Domain>());
    let filtered = crate::v1::Domain::decode(filter.apply(&domain.encode_to_vec()).unwrap().as_slice()).unwrap();
    assert_eq!(filtered.tls, Some(crate::v1::DomainTls::default()));
}

#[test]
fn what_is_not_known_is_kept() {
    let descriptor = widget::descriptor();
    let filters = [Filter::stored(&descriptor), Filter::without_secrets(&descriptor), Filter::for_edges(&descriptor)];
    // Field 999 is a text; `remote`, which is read, has one in it as well.
    let unknown = [&[0xba, 0x3e, 2][..], b"hi"].concat();
    let message = [&[0x52, 5][..], &unknown, &unknown].concat();
    for filter in filters {
        assert_eq!(filter.apply(&message).unwrap(), message);
    }
    let secrets = Secrets::of(&descriptor);
    assert_eq!(secrets.split(&message).unwrap(), (message.clone(), Vec::new()));
    let joined = secrets.join(&message, [("remote.token", &b"x"[..])]).unwrap();
    assert_eq!(secrets.split(&joined).unwrap().0, message);
}

/// What was split is joined to the bytes that prost encodes.
fn round_trip<M: prost::Name + Default>(expected: usize) {
    let secrets = Secrets::of(&descriptor::<M>());
    let mut found = 0;
    for message in variants::<M>(&widget::material()) {
        let whole = message.encode_to_vec();
        let (rest, taken) = secrets.split(&whole).unwrap();
        assert_eq!(rest, Filter::without_secrets(&descriptor::<M>()).apply(&whole).unwrap());
        assert!(taken.iter().all(|it| !it.value.is_empty()), "{taken:?}");
        let taken: Vec<(&str, &[u8])> = taken.iter().map(|it| (it.path.as_str(), it.value.as_slice())).collect();
        assert_eq!(secrets.join(&rest, taken.iter().copied()).unwrap(), whole);
        assert_eq!(secrets.join(&rest, taken.iter().rev().copied()).unwrap(), whole);
        found += taken.len();
    }
    assert_eq!(found, expected);
}

#[test]
fn secrets_are_split_and_joined_byte_for_byte() {
    round_trip::<crate::v1::Service>(2);
    round_trip::<crate::v1::DnsProvider>(4);
    round_trip::<crate::v1::Domain>(0);
    round_trip::<crate::v1::Issuer>(4);
    let service = &variants::<crate::v1::Service>(&widget::material())[0];
    let (_, taken) = Secrets::of(&descriptor::<crate::v1::Service>()).split(&service.encode_to_vec()).unwrap();
    assert_eq!(taken[0].path, "tls.client_certificate.private_key_pem");
    assert_eq!(taken[0].value, b"a key");
    assert!(!format!("{taken:?}").contains("107"), "{taken:?}");
}

/// As prost generates `Widget`: it encodes a oneof where its lowest number is, whichever arm is set.
#[derive(Clone, PartialEq, Message)]
struct Widget {
    #[prost(oneof = "Target", tags = "10, 15, 20")]
    target: Option<Target>,
    #[prost(uint32, optional, tag = "12")]
    rank: Option<u32>,
    #[prost(message, optional, tag = "9")]
    settings: Option<Settings>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Target {
    #[prost(message, tag = "20")]
    Local(Local),
    #[prost(string, tag = "15")]
    Literal(String),
    #[prost(message, tag = "10")]
    Remote(Local),
}

#[derive(Clone, PartialEq, Message)]
struct Local {
    #[prost(string, tag = "1")]
    first: String,
    #[prost(string, tag = "2")]
    second: String,
}

#[derive(Clone, PartialEq, Message)]
struct Settings {
    #[prost(message, optional, tag = "3")]
    deep: Option<Local>,
}

#[test]
fn joining_keeps_the_order_of_prost() {
    let secrets = Secrets::of(&widget::descriptor());
    let local = |first: &str| Local { first: first.into(), second: "second".into() };
    for target in [Target::Local(local("path")), Target::Literal("text".into()), Target::Remote(local("token"))] {
        let deep = Local { first: String::new(), second: "key".into() };
        let widget = Widget { target: Some(target), rank: Some(3), settings: Some(Settings { deep: Some(deep) }) };
        let whole = widget.encode_to_vec();
        let (rest, taken) = secrets.split(&whole).unwrap();
        assert_ne!(rest, whole);
        let taken = taken.iter().map(|it| (it.path.as_str(), it.value.as_slice()));
        assert_eq!(secrets.join(&rest, taken).unwrap(), whole);
    }
}

#[test]
fn a_secret_without_a_place_is_refused_by_name() {
    let secrets = Secrets::of(&widget::descriptor());
    let message = widget::widget(1).encode_to_vec();
    for path in ["remote.token", "local.path", "local", "", "nowhere", "local.pin.more", "settings.deep"] {
        let place = Err(InvalidSecrets::Place(path.to_owned()));
        assert_eq!(secrets.join(&message, [(path, &b"x"[..])]), place);
    }
    assert!(secrets.join(&message, [("local.pin", &b"x"[..])]).is_ok());
}

#[test]
fn what_is_malformed_is_refused() {
    let descriptor = widget::descriptor();
    let whole = widget::widget(0).encode_to_vec();
    let (filter, secrets) = (Filter::without_secrets(&descriptor), Secrets::of(&descriptor));
    assert_eq!(filter.apply(&whole[..whole.len() - 1]), Err(MalformedMessage::Truncated));
    assert_eq!(secrets.split(&whole[..whole.len() - 1]), Err(MalformedMessage::Truncated));
    // `settings` as a number, and one that ends within a field.
    assert_eq!(filter.apply(&[0x48, 1]), Err(MalformedMessage::Type));
    assert_eq!(filter.apply(&[0x4a, 1, 0x08]), Err(MalformedMessage::Truncated));
    assert_eq!(secrets.split(&[0x48, 1]), Err(MalformedMessage::Type));
    let joined = secrets.join(&[0x48, 1], [("settings.deep.key", &b"x"[..])]);
    assert_eq!(joined, Err(InvalidSecrets::Message(MalformedMessage::Type)));
}

proptest! {
    #[test]
    fn nothing_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let descriptor = widget::descriptor();
        for filter in [Filter::for_edges(&descriptor), Filter::stored(&descriptor), Filter::without_secrets(&descriptor)] {
            if let Ok(once) = filter.apply(&bytes) {
                prop_assert!(once.len() <= bytes.len());
            }
        }
        let secrets = Secrets::of(&descriptor);
        let _ = secrets.join(&bytes, [("settings.deep.key", &b"x"[..])]);
        let _ = secrets.split(&bytes);
    }

    #[test]
    fn a_message_that_was_damaged_is_refused_or_filtered_again_to_itself(
        (at, byte) in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let descriptor = widget::descriptor();
        let mut bytes = widget::widget(0).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let filter = Filter::without_secrets(&descriptor);
        if let Ok(once) = filter.apply(&bytes) {
            prop_assert_eq!(filter.apply(&once), Ok(once.clone()));
        }
    }
}
