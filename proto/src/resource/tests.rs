//! What holds for every kind alike, tried on values in which every field is set.

use std::fmt::Debug;

use prost::Message;
use prost_reflect::{DynamicMessage, Kind, ReflectMessage as _, Value};
use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::schema::{Filter, Material, descriptor, variants};

fn material() -> Material {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    Material { ca_pem: certificate.pem(), chain_pem: certificate.pem(), private_key_pem: key.serialize_pem() }
}

/// The fields that are stored, by name: what is computed says nothing of the value.
fn stored<M: Message + prost::Name>(message: &M) -> DynamicMessage {
    let filtered = Filter::stored(&descriptor::<M>()).apply(&message.encode_to_vec()).unwrap();
    DynamicMessage::decode(descriptor::<M>(), filtered.as_slice()).unwrap()
}

/// Every field comes back as it was: none is lost, and none is taken for another.
fn round_trip<R: Resource + Debug>() {
    for message in variants::<R::Message>(&material()) {
        let resource = R::parse(message.clone()).unwrap_or_else(|invalid| panic!("{invalid}"));
        assert_eq!(R::parse(resource.message(Defaults::Omitted)).as_ref(), Ok(&resource));
        let written = resource.message(Defaults::Written);
        assert_eq!(differences(&stored(&message), &stored(&written), ""), Vec::<String>::new());
        assert_eq!(R::parse(written).as_ref(), Ok(&resource));
    }
}

/// The paths of what was set and is not there any more, or with another value.
fn differences(before: &DynamicMessage, after: &DynamicMessage, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (field, value) in before.fields() {
        let path = format!("{path}{}", field.name());
        match (value, &*after.get_field(&field)) {
            (Value::Message(before), Value::Message(after)) if after.descriptor().package_name() == "switchyard.v1" => {
                found.extend(differences(before, after, &format!("{path}.")));
            }
            (before, after) if before == after => {}
            (before, after) => found.push(format!("{path}: {before:?} became {after:?}")),
        }
    }
    found
}

#[test]
fn every_field_of_every_kind_survives_being_parsed_and_written() {
    round_trip::<Backend>();
    round_trip::<DnsProvider>();
    round_trip::<Domain>();
    round_trip::<Issuer>();
    round_trip::<Service>();
}

#[test]
fn a_number_of_a_newer_version_is_told_from_every_enumeration_by_its_path() {
    fn enums(message: &DynamicMessage, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        for field in message.descriptor().fields() {
            let path = format!("{path}{}", field.name());
            match field.kind() {
                Kind::Enum(_) => found.push(path),
                Kind::Message(inner) if inner.package_name() == "switchyard.v1" && !field.is_list() => {
                    found.extend(enums(&DynamicMessage::new(inner), &format!("{path}.")));
                }
                _ => {}
            }
        }
        found
    }
    fn check<R: Resource + Debug>() -> usize {
        let empty = DynamicMessage::new(descriptor::<R::Message>());
        let paths = enums(&empty, "");
        for path in &paths {
            let mut message = stored(&variants::<R::Message>(&material())[0]);
            set(&mut message, path, Value::EnumNumber(9_999));
            let message = R::Message::decode(message.encode_to_vec().as_slice()).unwrap();
            let invalid = R::parse(message).unwrap_err();
            assert!(invalid.is_unknown(), "{path}: {invalid}");
            assert_eq!(invalid.violations()[0].path, *path);
        }
        paths.len()
    }
    fn set(message: &mut DynamicMessage, path: &str, value: Value) {
        match path.split_once('.') {
            None => message.set_field_by_name(path, value),
            Some((first, rest)) => {
                let inner = message.get_field_by_name_mut(first).and_then(Value::as_message_mut).unwrap();
                set(inner, rest, value);
            }
        }
    }
    assert_eq!(check::<Backend>() + check::<Domain>() + check::<Service>(), 7);
}
