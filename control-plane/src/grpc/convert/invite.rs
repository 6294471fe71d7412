use switchyard_proto::{v1 as wire, vocab::Labels};

use super::{Violations, edge::labels as labels_message, parse_timestamp, timestamp};
use crate::{
    app::{AppError, invite::NewInvite},
    model::{Invite, Stored},
};

/// An invitation as a message.
pub(in crate::grpc) fn message(stored: &Stored<Invite>) -> wire::Invite {
    let Stored { value, revision, created_at, updated_at: _ } = stored;
    let Invite { id, hash: _, labels, uses, expires_at } = value;
    wire::Invite {
        name: id.to_resource_name(),
        labels: labels_message(labels),
        uses: *uses,
        expire_time: Some(timestamp(*expires_at)),
        create_time: Some(timestamp(*created_at)),
        revision: revision.0,
    }
}

/// An invitation to be made. Fields that are for output only are ignored (AIP-203).
pub(in crate::grpc) fn new(invite: Option<wire::Invite>) -> Result<NewInvite, AppError> {
    let invite = invite.unwrap_or_default();
    let wire::Invite { name: _, labels, uses, expire_time, create_time: _, revision: _ } = invite;
    let mut violations = Violations::default();
    let labels = violations.check("invite.labels", Labels::new(labels));
    let expires_at = match expire_time.map(|time| parse_timestamp(&time)) {
        None => Some(None),
        Some(Some(end)) => Some(Some(end)),
        Some(None) => violations.check("invite.expire_time", Err("not a moment of the calendar")),
    };
    let new = || Some(NewInvite { labels: labels?, uses: uses.max(1), expires_at: expires_at? });
    let new = new();
    violations.finish(new)
}
