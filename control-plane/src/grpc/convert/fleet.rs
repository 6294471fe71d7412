//! What edges say and are told.

use std::net::IpAddr;

use switchyard_proto::{
    fleet::v1 as wire,
    schema::{InvalidSchema, KnownSchema},
    vocab::{
        Digest, EdgeId, HostPattern, InvalidResourceKey, InviteId, ResourceKey, Revision,
        limits::{REJECTION_REASON_BYTES_MAX, REJECTIONS_MAX},
    },
};

use super::Violations;
use crate::{
    app::{
        AppError,
        edge::{Application, EdgeCertificate},
    },
    feed::{BatchKind, Named, Part},
    fleet::{Ack, AckOutcome, Hello, Message, Persistence, Rejections},
    model::{RejectionRecord, SecretHash},
    on_demand::Verdict,
    pki::CertificateRequest,
};

/// Bytes of the version of an edge's program.
const VERSION_BYTES_MAX: usize = 64;
/// Capabilities that an edge may name, and bytes of each.
const CAPABILITIES_MAX: usize = 64;
const CAPABILITY_BYTES_MAX: usize = 64;

/// Why what an edge says cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::grpc) enum InvalidMessage {
    #[error("message: required")]
    Missing,
    #[error("hello.version: at most {VERSION_BYTES_MAX} printable characters")]
    Version,
    #[error("hello.capabilities: at most {CAPABILITIES_MAX}, each of at most {CAPABILITY_BYTES_MAX} bytes")]
    Capabilities,
    #[error("hello.digest: 16 bytes")]
    Digest,
    #[error("hello.schema: {0}")]
    Schema(#[from] InvalidSchema),
    #[error("ack.outcome: one that this version knows")]
    Outcome,
    #[error("rejections: at most {REJECTIONS_MAX}")]
    Rejections,
    #[error("rejections_total: at least as many as are named")]
    RejectionsTotal,
    #[error("rejections.key: required")]
    RejectionKey,
    #[error("rejections.key: {0}")]
    RejectionName(#[from] InvalidResourceKey),
    #[error("rejections.reason: at most {REJECTION_REASON_BYTES_MAX} bytes")]
    RejectionReason,
}

/// What an edge says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::grpc) enum Said {
    /// What it has.
    Message(Message),
    /// Whether a name is to have a certificate.
    Question(Question),
}

/// Whether a name is to have a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::grpc) struct Question {
    /// The edge's.
    pub(in crate::grpc) id: u64,
    /// `None`: what it asks for is no name.
    pub(in crate::grpc) name: Option<HostPattern>,
}

/// What an edge says.
pub(in crate::grpc) fn said(request: wire::SyncRequest) -> Result<Said, InvalidMessage> {
    let wire::SyncRequest { message } = request;
    Ok(match message.ok_or(InvalidMessage::Missing)? {
        wire::sync_request::Message::Hello(message) => Said::Message(Message::Hello(hello(message)?)),
        wire::sync_request::Message::Ack(message) => Said::Message(Message::Ack(ack(message)?)),
        wire::sync_request::Message::Question(wire::Question { id, server_name }) => {
            // A client has chosen it: that it is no name is no fault of the edge's.
            let name = HostPattern::parse(&server_name).ok().filter(|name| name.wildcard_suffix().is_none());
            Said::Question(Question { id, name })
        }
    })
}

/// The answer to a question.
pub(in crate::grpc) fn answer(id: u64, verdict: Verdict) -> wire::SyncResponse {
    let verdict = match verdict {
        Verdict::Coming => wire::Verdict::Coming,
        Verdict::Refused => wire::Verdict::Refused,
        Verdict::NotNow => wire::Verdict::NotNow,
    };
    let answer = wire::Answer { id, verdict: verdict.into() };
    wire::SyncResponse { message: Some(wire::sync_response::Message::Answer(answer)) }
}

fn hello(hello: wire::Hello) -> Result<Hello, InvalidMessage> {
    let wire::Hello {
        version,
        capabilities,
        revision,
        digest,
        rejections: rejected,
        rejections_total: total,
        withheld_total: withheld,
        schema,
    } = hello;
    if version.len() > VERSION_BYTES_MAX || version.chars().any(char::is_control) {
        return Err(InvalidMessage::Version);
    }
    // None is defined yet; what a newer edge names is no reason to refuse it.
    if capabilities.len() > CAPABILITIES_MAX || capabilities.iter().any(|name| name.len() > CAPABILITY_BYTES_MAX) {
        return Err(InvalidMessage::Capabilities);
    }
    let digest = match Digest::from_bytes(&digest) {
        Some(digest) => digest,
        None if revision == 0 && digest.is_empty() => Digest::default(),
        None => return Err(InvalidMessage::Digest),
    };
    let rejections = rejections(rejected, total)?;
    let schema = schema.map(KnownSchema::parse).transpose()?;
    Ok(Hello { version, revision: Revision(revision), digest, rejections, withheld, schema })
}

fn ack(ack: wire::Ack) -> Result<Ack, InvalidMessage> {
    let wire::Ack { revision, outcome, rejections: rejected, not_persisted, rejections_total: total } = ack;
    let outcome = match wire::AckOutcome::try_from(outcome) {
        Ok(wire::AckOutcome::Applied) => AckOutcome::Applied,
        Ok(wire::AckOutcome::DigestMismatch) => AckOutcome::DigestMismatch,
        Err(_) | Ok(wire::AckOutcome::Unspecified) => return Err(InvalidMessage::Outcome),
    };
    let persistence = if not_persisted { Persistence::NotPersisted } else { Persistence::Persisted };
    Ok(Ack { revision: Revision(revision), outcome, rejections: rejections(rejected, total)?, persistence })
}

fn rejections(named: Vec<wire::Rejection>, total: u64) -> Result<Rejections, InvalidMessage> {
    if named.len() > REJECTIONS_MAX {
        return Err(InvalidMessage::Rejections);
    }
    if total < named.len() as u64 {
        return Err(InvalidMessage::RejectionsTotal);
    }
    let rejection = |rejection| {
        let wire::Rejection { key, revision, reason } = rejection;
        // The edge may know more kinds, or fewer: it is shown as it is.
        let key = ResourceKey::from_wire(&key.ok_or(InvalidMessage::RejectionKey)?)?;
        if reason.len() > REJECTION_REASON_BYTES_MAX {
            return Err(InvalidMessage::RejectionReason);
        }
        // It ends up on terminals.
        let reason = reason.replace(char::is_control, " ");
        Ok(RejectionRecord { key, revision: Revision(revision), reason })
    };
    Ok(Rejections { named: named.into_iter().map(rejection).collect::<Result<_, _>>()?, total })
}

/// A part of a batch.
pub(in crate::grpc) fn part(part: Part) -> wire::SyncResponse {
    let Part { revision, kind, resources, removed, withheld, last } = part;
    let kind = match kind {
        BatchKind::Delta => wire::BatchKind::Delta,
        BatchKind::Snapshot => wire::BatchKind::Snapshot,
    };
    let batch = wire::Batch {
        revision: revision.0,
        kind: kind.into(),
        last: last.is_some(),
        resources,
        removed: removed.iter().map(ResourceKey::to_wire).collect(),
        digest: last.map(|last| last.digest.to_bytes().to_vec().into()).unwrap_or_default(),
        withheld: withheld.iter().map(ResourceKey::to_wire).collect(),
        withheld_complete: last.is_some_and(|last| last.named == Named::All),
    };
    wire::SyncResponse { message: Some(wire::sync_response::Message::Batch(batch)) }
}

/// What an edge asks to join with.
pub(in crate::grpc) fn application(request: wire::EnrolRequest, address: IpAddr) -> Result<Application, AppError> {
    let wire::EnrolRequest { invite, secret, edge, certificate_request } = request;
    let mut violations = Violations::default();
    let invite = violations.check("invite", InviteId::parse(&invite));
    let edge = violations.check("edge", EdgeId::parse(&edge));
    let request = violations.check("certificate_request", CertificateRequest::parse(&certificate_request));
    let application = || {
        Some(Application { invite: invite?, secret: SecretHash::of(&secret), edge: edge?, request: request?, address })
    };
    let application = application();
    violations.finish(application)
}

/// Which edge asks for another certificate, and its key.
pub(in crate::grpc) fn renewal(request: wire::RenewRequest) -> Result<(EdgeId, CertificateRequest), AppError> {
    let wire::RenewRequest { edge, certificate_request } = request;
    let mut violations = Violations::default();
    let edge = violations.check("edge", EdgeId::parse(&edge));
    let request = violations.check("certificate_request", CertificateRequest::parse(&certificate_request));
    let renewal = || Some((edge?, request?));
    let renewal = renewal();
    violations.finish(renewal)
}

/// A certificate for an edge as a message.
pub(in crate::grpc) fn certificate(certificate: EdgeCertificate) -> wire::EdgeCertificate {
    let EdgeCertificate { chain, renew_after } = certificate;
    wire::EdgeCertificate {
        chain: chain.into_iter().map(Into::into).collect(),
        renew_after_ms: u64::try_from(renew_after.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire_hello() -> wire::Hello {
        wire::Hello {
            version: "1.0".into(),
            capabilities: vec![],
            revision: 7,
            digest: vec![1; 16].into(),
            rejections: vec![wire::Rejection {
                key: Some(wire::ResourceKey { kind: "domains".into(), id: "shop.example".into() }),
                revision: 6,
                reason: "no\u{1b}[31mgood".into(),
            }],
            rejections_total: 300,
            withheld_total: 2,
            schema: Some(KnownSchema::own().to_wire()),
        }
    }

    #[test]
    fn hello_is_understood() {
        let hello = hello(wire_hello()).unwrap();
        assert_eq!(hello.revision, Revision(7));
        let Rejections { named, total } = hello.rejections;
        assert_eq!((named[0].key.to_string().as_str(), total), ("domains/shop.example", 300));
        assert_eq!(named[0].reason, "no [31mgood");
        assert_eq!(hello.withheld, 2);
        assert_eq!(hello.schema.as_ref(), Some(KnownSchema::own()));
    }

    #[test]
    fn a_rejection_of_what_is_not_known_here_is_understood() {
        let key = Some(wire::ResourceKey { kind: "gadgets".into(), id: "Any Thing".into() });
        let rejections = vec![wire::Rejection { key, revision: 6, reason: String::new() }];
        let hello = hello(wire::Hello { rejections, ..wire_hello() }).unwrap();
        assert_eq!(hello.rejections.named[0].key.to_string(), "gadgets/Any Thing");
    }

    #[test]
    fn an_edge_that_has_nothing_has_no_digest() {
        let empty = wire::Hello { revision: 0, digest: vec![].into(), rejections: vec![], ..wire_hello() };
        assert_eq!(hello(empty).unwrap().digest, Digest::default());
    }

    #[test]
    fn a_question_for_what_is_no_name_is_understood() {
        for (server_name, name) in [("Shop.Example", Some("shop.example")), ("*.shop.example", None), ("a..b", None)] {
            let question = wire::Question { id: 7, server_name: server_name.into() };
            let request = wire::SyncRequest { message: Some(wire::sync_request::Message::Question(question)) };
            let name = name.map(|name| HostPattern::parse(name).unwrap());
            assert_eq!(said(request), Ok(Said::Question(Question { id: 7, name })));
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_the_name_of_its_field() {
        let rejection = wire_hello().rejections[0].clone();
        for (bad, why) in [
            (wire::Hello { version: "v".repeat(65), ..wire_hello() }, InvalidMessage::Version),
            (wire::Hello { version: "v\n".into(), ..wire_hello() }, InvalidMessage::Version),
            (wire::Hello { capabilities: vec!["c".into(); 65], ..wire_hello() }, InvalidMessage::Capabilities),
            (wire::Hello { digest: vec![1; 15].into(), ..wire_hello() }, InvalidMessage::Digest),
            (wire::Hello { rejections: vec![rejection.clone(); 101], ..wire_hello() }, InvalidMessage::Rejections),
            (
                wire::Hello {
                    schema: Some(wire::Schema { kinds: vec![String::new()], ..wire::Schema::default() }),
                    ..wire_hello()
                },
                InvalidMessage::Schema(InvalidSchema),
            ),
            (wire::Hello { rejections_total: 0, ..wire_hello() }, InvalidMessage::RejectionsTotal),
            (
                wire::Hello {
                    rejections: vec![wire::Rejection {
                        key: Some(wire::ResourceKey { kind: "a b".into(), id: "a".into() }),
                        ..rejection.clone()
                    }],
                    ..wire_hello()
                },
                InvalidMessage::RejectionName(InvalidResourceKey::Kind),
            ),
            (
                wire::Hello { rejections: vec![wire::Rejection { key: None, ..rejection.clone() }], ..wire_hello() },
                InvalidMessage::RejectionKey,
            ),
            (
                wire::Hello {
                    rejections: vec![wire::Rejection { reason: "r".repeat(501), ..rejection }],
                    ..wire_hello()
                },
                InvalidMessage::RejectionReason,
            ),
        ] {
            assert_eq!(hello(bad), Err(why));
        }
        assert_eq!(said(wire::SyncRequest { message: None }), Err(InvalidMessage::Missing));
        let unspecified = wire::Ack { outcome: 9, ..wire::Ack::default() };
        assert_eq!(ack(unspecified), Err(InvalidMessage::Outcome));
    }
}
