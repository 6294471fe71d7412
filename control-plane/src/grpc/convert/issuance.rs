use switchyard_proto::{v1 as wire, vocab::Revision};

use super::timestamp;
use crate::{
    app::issuance::Standing,
    model::{Issuance, Phase, Renewal},
};

/// How far a domain is, as a message.
pub(in crate::grpc) fn message(standing: &Standing) -> wire::Issuance {
    let Standing { issuance, certificate } = standing;
    let Issuance {
        host,
        on_demand: _,
        version: _,
        phase,
        issuer,
        order,
        next_at,
        failures,
        failure,
        renewal,
        revoke: _,
        updated_at: _,
    } = issuance;
    let state = match (phase, certificate.is_some()) {
        (Phase::Waiting | Phase::Retired, _) if *failures > 0 => wire::IssuanceState::Failing,
        (Phase::Waiting | Phase::Retired, false) => wire::IssuanceState::Pending,
        (Phase::Waiting | Phase::Retired, true) if renewal.is_none() => wire::IssuanceState::Renewing,
        (Phase::Waiting | Phase::Retired, true) => wire::IssuanceState::Issued,
        (_, true) => wire::IssuanceState::Renewing,
        (Phase::Ordering, false) => wire::IssuanceState::Ordering,
        (Phase::Preparing, false) => wire::IssuanceState::WaitingForEdges,
        (Phase::Validating | Phase::Finalizing, false) => wire::IssuanceState::Validating,
    };
    let window = renewal.and_then(|Renewal { at: _, window, ask_at: _ }| window);
    wire::Issuance {
        domain: host.to_resource_name(),
        state: state.into(),
        failure: failure.clone().unwrap_or_default(),
        failures: *failures,
        next_time: Some(timestamp(*next_at)),
        renew_time: renewal.map(|renewal| timestamp(renewal.at)),
        window_start_time: window.map(|(start, _)| timestamp(start)),
        window_end_time: window.map(|(_, end)| timestamp(end)),
        order_issuer: order.as_ref().map(|order| order.issuer.to_resource_name()).unwrap_or_default(),
        issuer: issuer.as_ref().map(|id| id.to_resource_name()).unwrap_or_default(),
        certificate: certificate.as_ref().map(|it| it.value.id.to_resource_name()).unwrap_or_default(),
        not_after_time: certificate.as_ref().map(|it| timestamp(it.value.chain.not_after)),
        certificate_revision: certificate.as_ref().map_or(Revision::ZERO, |it| it.revision).0,
    }
}
