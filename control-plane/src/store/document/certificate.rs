use std::sync::Arc;

use bytes::Bytes;
use switchyard_proto::{
    store::v1 as store,
    v1,
    vocab::{CertificateId, HostPattern, ResourceKey, ResourceKind},
};

use super::{Document, Invalid, parse_time, secrets_of, time, word};
use crate::model::{
    Certificate, CertificateChain, CertificateSource, Object, ObjectKey, ObjectKind, PrivateKey, Resource, Stored,
};

/// What the first certificate says is kept beside the chain: at a start, none of many has to be parsed.
impl Document for Certificate {
    const KIND: ObjectKind = ObjectKind::Served(ResourceKind::Certificate);
    type Id = CertificateId;
    type Message = store::Certificate;

    secrets_of!(store::Certificate);

    fn key_of(id: &CertificateId) -> ObjectKey {
        ResourceKey::certificate(id).into()
    }

    fn id(&self) -> &CertificateId {
        &self.id
    }

    fn message(&self) -> store::Certificate {
        let Self { id, source: from, chain, private_key } = self;
        let CertificateChain { certificates, dns_names, issuer, not_before, not_after } = chain;
        store::Certificate {
            name: id.to_resource_name(),
            source: source(*from).into(),
            chain: certificates.clone(),
            dns_names: dns_names.iter().map(ToString::to_string).collect(),
            issuer: issuer.clone(),
            fingerprint_sha256: chain.fingerprint_sha256(),
            not_before_time: Some(time(*not_before)),
            not_after_time: Some(time(*not_after)),
            private_key: Bytes::copy_from_slice(private_key.expose_pkcs8()),
        }
    }

    fn parse(message: store::Certificate) -> Result<Self, Invalid> {
        let store::Certificate {
            name,
            source,
            chain,
            dns_names,
            issuer,
            fingerprint_sha256: _,
            not_before_time,
            not_after_time,
            private_key,
        } = message;
        if chain.is_empty() || private_key.is_empty() {
            return Err("it has no chain or no private key".into());
        }
        Ok(Self {
            id: CertificateId::parse_resource_name(&name)?,
            source: parse_source(word("source", source)?)?,
            chain: CertificateChain {
                certificates: chain,
                dns_names: dns_names.iter().map(|name| HostPattern::parse(name)).collect::<Result<_, _>>()?,
                issuer,
                not_before: parse_time(not_before_time)?,
                not_after: parse_time(not_after_time)?,
            },
            private_key: PrivateKey::within(private_key),
        })
    }

    fn is_derived(&self) -> bool {
        self.source != CertificateSource::Uploaded
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Served(Resource::Certificate(stored))
    }
}

pub(super) fn source(source: CertificateSource) -> v1::CertificateSource {
    match source {
        CertificateSource::Uploaded => v1::CertificateSource::Uploaded,
        CertificateSource::Internal => v1::CertificateSource::Internal,
        CertificateSource::Acme => v1::CertificateSource::Acme,
    }
}

pub(super) fn parse_source(source: v1::CertificateSource) -> Result<CertificateSource, Invalid> {
    match source {
        v1::CertificateSource::Uploaded => Ok(CertificateSource::Uploaded),
        v1::CertificateSource::Internal => Ok(CertificateSource::Internal),
        v1::CertificateSource::Acme => Ok(CertificateSource::Acme),
        v1::CertificateSource::Unspecified => Err("its source is missing".into()),
    }
}
