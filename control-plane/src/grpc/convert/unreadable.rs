use switchyard_proto::{v1 as wire, vocab::InvalidResourceKey};

use super::{audit, etag, timestamp};
use crate::{
    model::ObjectKey,
    seal::hex,
    store::{RemainingDocument, Remains, Withheld},
};

/// Parses the name of what cannot be read. Neither its kind nor its id need be known.
pub(in crate::grpc) fn parse_name(name: &str) -> Result<ObjectKey, InvalidResourceKey> {
    let (kind, id) = name.split_once('/').unwrap_or((name, ""));
    ObjectKey::new(kind, id)
}

/// What cannot be read, as lists have it.
pub(in crate::grpc) fn listed(resource: String, withheld: Withheld) -> wire::Unreadable {
    let Withheld { kind: _, id: _, revision, reason } = withheld;
    wire::Unreadable {
        resource,
        revision: revision.0,
        etag: etag(revision),
        reason,
        create_time: None,
        update_time: None,
        document: None,
    }
}

/// What cannot be read, with all that can be said of it.
pub(in crate::grpc) fn message(resource: String, remains: Remains) -> wire::Unreadable {
    let Remains { revision, created_at, updated_at, reason, document } = remains;
    let RemainingDocument { bytes, format, fields, unknown_fields, undecoded, undecoded_bytes } = document;
    wire::Unreadable {
        resource,
        revision: revision.0,
        etag: etag(revision),
        reason,
        create_time: Some(timestamp(created_at)),
        update_time: Some(timestamp(updated_at)),
        document: Some(wire::UnreadableDocument {
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            format,
            fields: Some(audit::structure(fields)),
            unknown_fields,
            undecoded_hexadecimal: hex(&undecoded),
            undecoded_bytes: u64::try_from(undecoded_bytes).unwrap_or(u64::MAX),
        }),
    }
}
