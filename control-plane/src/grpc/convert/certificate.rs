use switchyard_proto::{
    v1 as wire,
    vocab::{CertificateId, Revision},
};

use super::{Violations, etag, parse_etag, timestamp};
use crate::{
    app::{AppError, certificate::Upload},
    model::{Certificate, CertificateChain, Stored, Timestamp},
    pki,
};

/// A certificate as a message; its private key never is one.
pub(in crate::grpc) fn message(stored: &Stored<Certificate>, now: Timestamp) -> wire::Certificate {
    let Stored { value, revision, created_at, updated_at } = stored;
    let Certificate { id, source: from, chain, private_key: _ } = value;
    let CertificateChain { certificates: _, dns_names, issuer, not_before, not_after } = chain;
    wire::Certificate {
        name: id.to_resource_name(),
        source: from.to_message(),
        chain_pem: pki::certificates_pem(&chain.certificates),
        dns_names: dns_names.iter().map(ToString::to_string).collect(),
        issuer: issuer.clone(),
        fingerprint_sha256: chain.fingerprint_sha256(),
        not_before_time: Some(timestamp(*not_before)),
        not_after_time: Some(timestamp(*not_after)),
        revision: revision.0,
        etag: etag(*revision),
        create_time: Some(timestamp(*created_at)),
        update_time: Some(timestamp(*updated_at)),
        warning: warning(chain, now),
    }
}

fn warning(chain: &CertificateChain, now: Timestamp) -> String {
    if !chain.is_ending(now) {
        return String::new();
    }
    let days = (chain.not_after.0 - now.0).div_euclid(24 * 60 * 60 * 1_000);
    match days {
        ..0 => "it has ended, and was not replaced".to_owned(),
        0 => "it ends within a day, and was not replaced".to_owned(),
        1 => "it ends in 1 day, and was not replaced".to_owned(),
        days => format!("it ends in {days} days, and was not replaced"),
    }
}

/// An upload: which certificate, what is uploaded, and the etag it must have. Fields that are for output only are ignored
/// (AIP-203).
pub(in crate::grpc) fn upload(
    certificate: Option<wire::Certificate>,
    private_key_pem: String,
) -> Result<(CertificateId, Upload, Option<Revision>), AppError> {
    let certificate = certificate.ok_or_else(|| AppError::invalid("certificate", "a certificate is required"))?;
    let wire::Certificate {
        name,
        source: _,
        chain_pem,
        dns_names: _,
        issuer: _,
        fingerprint_sha256: _,
        not_before_time: _,
        not_after_time: _,
        revision: _,
        etag,
        create_time: _,
        update_time: _,
        warning: _,
    } = certificate;
    let mut violations = Violations::default();
    let id = violations.check("certificate.name", CertificateId::parse_resource_name(&name));
    violations
        .finish(id.map(|id| (id, Upload { chain_pem, private_key_pem: private_key_pem.into() }, parse_etag(&etag))))
}
