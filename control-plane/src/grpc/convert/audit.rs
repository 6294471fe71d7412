use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};
use switchyard_proto::{v1 as wire, vocab::limits::ID_BYTES_MAX};

use super::{parse_timestamp, timestamp};
use crate::{
    app::AppError,
    model::{HistoryEntry, HistoryFilter, ObjectKey, Origin},
};

/// Bytes of the path of a secret's field.
const PATH_BYTES_MAX: usize = 256;

/// What a request asks for; what is empty asks for all.
pub(in crate::grpc) fn filter(
    resource: &str,
    actor: &str,
    since: Option<pbjson_types::Timestamp>,
    until: Option<pbjson_types::Timestamp>,
) -> Result<HistoryFilter, AppError> {
    let resource = match resource {
        "" => None,
        name => Some(self::resource(name)?),
    };
    if actor.len() > ID_BYTES_MAX {
        return Err(AppError::invalid("actor", format_args!("longer than any actor's name ({ID_BYTES_MAX} bytes)")));
    }
    let moment = |field, time: Option<pbjson_types::Timestamp>| {
        let parse =
            |time| parse_timestamp(&time).ok_or_else(|| AppError::invalid(field, "not a moment of the calendar"));
        time.map(parse).transpose()
    };
    Ok(HistoryFilter {
        before: None,
        resource,
        actor: Some(actor.to_owned()).filter(|actor| !actor.is_empty()),
        since: moment("since", since)?,
        until: moment("until", until)?,
    })
}

/// The resource that a request names.
pub(in crate::grpc) fn resource(name: &str) -> Result<ObjectKey, AppError> {
    ObjectKey::parse_name(name).map_err(|error| AppError::invalid("resource", error))
}

/// The path of a secret that a request names.
pub(in crate::grpc) fn path(path: &str) -> Result<&str, AppError> {
    match path.len() {
        0 => Err(AppError::invalid("path", "it is required: tls.client_certificate.private_key_pem")),
        1..=PATH_BYTES_MAX => Ok(path),
        _ => Err(AppError::invalid("path", format_args!("longer than {PATH_BYTES_MAX} bytes"))),
    }
}

/// An entry of the history as a message.
pub(in crate::grpc) fn message(entry: HistoryEntry) -> wire::Change {
    let HistoryEntry { place, resource, old, new, purged, actor, origin, address, method, at } = entry;
    let (kind, fields) = match (purged, &old, &new) {
        (Some(field), ..) => {
            let purged = wire::FieldChange { field, before: None, after: None };
            (wire::ChangeKind::SecretPurged, vec![purged])
        }
        (None, None, _) => (wire::ChangeKind::Created, differences(old, new)),
        (None, Some(_), Some(_)) => (wire::ChangeKind::Updated, differences(old, new)),
        (None, Some(_), None) => (wire::ChangeKind::Deleted, differences(old, new)),
    };
    let origin = match origin {
        Origin::Grpc => wire::Origin::Grpc,
        Origin::Seed => wire::Origin::Seed,
        Origin::System => wire::Origin::System,
        Origin::Fleet => wire::Origin::Fleet,
    };
    wire::Change {
        revision: place.revision.0,
        resource,
        kind: kind.into(),
        fields,
        actor,
        origin: origin.into(),
        address: address.map(|address| address.to_string()).unwrap_or_default(),
        method: method.unwrap_or_default(),
        change_time: Some(timestamp(at)),
    }
}

/// The fields that are not the same before and after, by name.
fn differences(old: Option<Map<String, Value>>, new: Option<Map<String, Value>>) -> Vec<wire::FieldChange> {
    let (mut old, mut new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let fields: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
    let difference = |field: String| {
        let (before, after) = (old.remove(&field), new.remove(&field));
        (before != after).then(|| wire::FieldChange { field, before: before.map(value), after: after.map(value) })
    };
    fields.into_iter().filter_map(difference).collect()
}

fn value(json: Value) -> pbjson_types::Value {
    use pbjson_types::value::Kind;
    let kind = match json {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(flag),
        // As JavaScript has numbers; none of the history's is larger than it can hold.
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(items) => {
            Kind::ListValue(pbjson_types::ListValue { values: items.into_iter().map(value).collect() })
        }
        Value::Object(fields) => Kind::StructValue(structure(fields)),
    };
    pbjson_types::Value { kind: Some(kind) }
}

/// Fields by name as a message.
pub(super) fn structure(fields: Map<String, Value>) -> pbjson_types::Struct {
    let fields: HashMap<_, _> = fields.into_iter().map(|(name, field)| (name, value(field))).collect();
    pbjson_types::Struct { fields }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(json: Value) -> Option<Map<String, Value>> {
        json.as_object().cloned()
    }

    #[test]
    fn an_update_shows_what_is_different_and_nothing_else() {
        let old = fields(json!({ "active_tag": "a", "previous_tag": null, "service": "shop" }));
        let new = fields(json!({ "active_tag": "b", "previous_tag": "a", "service": "shop" }));
        let shown = differences(old.clone(), new);
        let names: Vec<&str> = shown.iter().map(|change| change.field.as_str()).collect();
        assert_eq!(names, ["active_tag", "previous_tag"]);
        assert_eq!(shown[0].before, Some(value(json!("a"))));
        assert_eq!(shown[1].before, Some(value(Value::Null)));
        // What was deleted is shown whole.
        let deleted = differences(old, None);
        assert!(deleted.len() == 3 && deleted.iter().all(|change| change.after.is_none()));
    }

    #[test]
    fn what_is_asked_for_wrongly_names_its_field() {
        let refused = |resource, since| match filter(resource, "", since, None) {
            Err(AppError::Invalid(violations)) => violations[0].field.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused("shop.example", None), "resource");
        assert_eq!(refused("fleets/one", None), "resource");
        let never = pbjson_types::Timestamp { seconds: i64::MAX, nanos: 0 };
        assert_eq!(refused("", Some(never)), "since");
        assert!(filter("domains/*.shop.example", "local", None, None).unwrap().resource.is_some());
    }
}
