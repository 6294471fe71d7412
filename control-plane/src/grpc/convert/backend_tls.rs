use switchyard_proto::{v1 as wire, vocab::BackendHost};

use super::{Mask, Violations, timestamp};
use crate::{
    app::{
        backend_tls::{TlsFields, TlsUpdate},
        certificate::Upload,
    },
    model::{BackendTls, BackendTrust, CaBundle, ClientCertificate, fingerprint_sha256},
    pki,
};

const CA_BUNDLE: &str = "service.tls.ca_bundle_pem";
const SERVER_NAME: &str = "service.tls.server_name";
const ALTERNATIVE_NAME: &str = "service.tls.alternative_name";

/// The TLS toward backends as a message; its private key never is in one.
pub(super) fn message(tls: &BackendTls) -> wire::BackendTls {
    let BackendTls { trust, server_name, alternative_name, client_certificate } = tls;
    let (ca_bundle_pem, insecure_skip_verify) = match trust {
        BackendTrust::System => (String::new(), false),
        BackendTrust::Authorities(bundle) => (bundle.pem(), false),
        BackendTrust::Anybody => (String::new(), true),
    };
    let client_certificate =
        client_certificate.as_ref().map(|ClientCertificate { chain, private_key: _ }| wire::BackendClientCertificate {
            chain_pem: pki::certificates_pem(chain),
            private_key_pem: String::new(),
            fingerprint_sha256: chain.first().map(|leaf| fingerprint_sha256(leaf)).unwrap_or_default(),
            not_after_time: chain.first().and_then(|leaf| pki::not_after(leaf)).map(timestamp),
        });
    wire::BackendTls {
        ca_bundle_pem,
        server_name: server_name.as_ref().map(ToString::to_string).unwrap_or_default(),
        client_certificate,
        insecure_skip_verify,
        alternative_name: alternative_name.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// All of it, as it is given.
pub(super) fn new(tls: wire::BackendTls, violations: &mut Violations) -> TlsFields {
    fields(tls, |_, _| true, violations)
}

/// What an update says of it.
pub(super) fn update(tls: Option<wire::BackendTls>, mask: &Mask, violations: &mut Violations) -> Option<TlsUpdate> {
    let is_whole = mask.covers("tls", tls.is_some());
    match tls {
        None if is_whole => Some(TlsUpdate::Off),
        Some(tls) if is_whole => Some(TlsUpdate::On(new(tls, violations))),
        tls => {
            let mut is_named = false;
            let covers = |path: &str, is_set| {
                let covers = mask.covers(path, is_set);
                is_named |= covers;
                covers
            };
            let fields = fields(tls.unwrap_or_default(), covers, violations);
            is_named.then_some(TlsUpdate::On(fields))
        }
    }
}

fn fields(tls: wire::BackendTls, mut covers: impl FnMut(&str, bool) -> bool, violations: &mut Violations) -> TlsFields {
    let wire::BackendTls { ca_bundle_pem, server_name, client_certificate, insecure_skip_verify, alternative_name } =
        tls;
    let mut fields = TlsFields::default();
    if covers("tls.ca_bundle_pem", !ca_bundle_pem.is_empty()) {
        fields.authorities = match ca_bundle_pem.as_str() {
            "" => Some(None),
            pem => violations.check(CA_BUNDLE, CaBundle::parse(pem)).map(Some),
        };
    }
    let mut host = |field: &str, name: &str| match name {
        "" => Some(None),
        name => violations.check(field, BackendHost::parse(name)).map(Some),
    };
    if covers("tls.server_name", !server_name.is_empty()) {
        fields.server_name = host(SERVER_NAME, &server_name);
    }
    if covers("tls.alternative_name", !alternative_name.is_empty()) {
        fields.alternative_name = host(ALTERNATIVE_NAME, &alternative_name);
    }
    if covers("tls.client_certificate", client_certificate.is_some()) {
        fields.client_certificate =
            Some(client_certificate.map(|certificate| {
                let wire::BackendClientCertificate {
                    chain_pem,
                    private_key_pem,
                    fingerprint_sha256: _,
                    not_after_time: _,
                } = certificate;
                Upload { chain_pem, private_key_pem }
            }));
    }
    if covers("tls.insecure_skip_verify", insecure_skip_verify) {
        fields.insecure_skip_verify = Some(insecure_skip_verify);
    }
    fields
}
