use std::collections::BTreeMap;

use pbjson_types::FieldMask;
use switchyard_proto::{
    v1 as wire,
    vocab::{EdgeId, Labels, Revision},
};

use super::{Violations, timestamp};
use crate::{
    app::AppError,
    fleet::{Edge, Online, Persistence, Progress, Rejections, Standing},
    model::{Enrolment, RejectionRecord, Stored, Timestamp},
};

/// An edge as a message, with these of its rejections. One that has a stream is in contact now: keep-alive would have ended it otherwise.
pub(in crate::grpc) fn message(
    id: &EdgeId,
    edge: &Edge,
    shown: &[RejectionRecord],
    enrolment: Option<&Stored<Enrolment>>,
    now: Timestamp,
) -> wire::Edge {
    let Edge {
        version,
        acknowledged_revision,
        acknowledged_at,
        last_contact_at,
        rejections,
        persistence,
        online,
        absence: _,
    } = edge;
    let state = if online.is_some() { wire::EdgeState::Connected } else { wire::EdgeState::Offline };
    let (peer_address, deltas_sent, snapshots_sent) = match online {
        Some(Online { peer, deltas_sent, snapshots_sent, .. }) => (peer.to_string(), *deltas_sent, *snapshots_sent),
        None => (String::new(), 0, 0),
    };
    wire::Edge {
        name: id.to_resource_name(),
        version: version.clone(),
        state: state.into(),
        acknowledged_revision: acknowledged_revision.0,
        acknowledge_time: acknowledged_at.map(timestamp),
        rejections: shown.iter().map(rejection).collect(),
        rejections_total: rejections.total,
        last_contact_time: if online.is_some() { Some(now) } else { *last_contact_at }.map(timestamp),
        peer_address,
        not_persisted: *persistence == Persistence::NotPersisted,
        deltas_sent,
        snapshots_sent,
        labels: enrolment.map(|stored| labels(&stored.value.labels)).unwrap_or_default(),
        enrol_time: enrolment.map(|stored| timestamp(stored.created_at)),
        revision: enrolment.map_or(0, |stored| stored.revision.0),
    }
}

/// Which edge is to have which labels.
pub(in crate::grpc) fn update(edge: Option<wire::Edge>, mask: Option<FieldMask>) -> Result<(EdgeId, Labels), AppError> {
    let edge = edge.ok_or_else(|| AppError::invalid("edge", "an edge is required"))?;
    let FieldMask { paths } = mask.unwrap_or_default();
    // There is only one thing that can be meant.
    if !paths.iter().all(|path| path == "labels") && paths != ["*"] {
        return Err(AppError::invalid("update_mask", "labels is the only field of an edge that can be changed"));
    }
    let mut violations = Violations::default();
    let id = violations.check("edge.name", EdgeId::parse_resource_name(&edge.name));
    let labels = violations.check("edge.labels", Labels::new(edge.labels));
    violations.finish(id.zip(labels))
}

/// Labels as a message.
pub(in crate::grpc) fn labels(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// How far an edge is, as a message.
pub(in crate::grpc) fn progress(id: &EdgeId, standing: Standing) -> wire::EdgeProgress {
    let Standing { progress, required } = standing;
    let (state, Rejections { named, total }) = match progress {
        Progress::Pending => (wire::ProgressState::Pending, Rejections::default()),
        Progress::Live => (wire::ProgressState::Live, Rejections::default()),
        Progress::Rejected(rejections) => (wire::ProgressState::Rejected, rejections),
        Progress::Offline => (wire::ProgressState::Offline, Rejections::default()),
        Progress::Gone => (wire::ProgressState::Gone, Rejections::default()),
    };
    wire::EdgeProgress {
        edge: id.to_resource_name(),
        state: state.into(),
        rejections: named.iter().map(rejection).collect(),
        rejections_total: total,
        required,
    }
}

fn rejection(rejection: &RejectionRecord) -> wire::Rejection {
    let RejectionRecord { key, revision: Revision(revision), reason } = rejection;
    wire::Rejection { resource: key.to_string(), revision: *revision, reason: reason.clone() }
}
