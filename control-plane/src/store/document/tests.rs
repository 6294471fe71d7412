use std::fmt::Debug;

use switchyard_proto::vocab::{Labels, ServiceId};

use super::*;
use crate::{
    model::{
        Access, AcmeSettings, BackendProtocol, BackendState, BackendTls, BackendTrust, CertificateSource,
        ChallengeKind, ClientCertificateMode, DnsSettings, FreshTicketKey, HookMode, Place, RateLimits, Role, Scope,
        Timeouts, TlsVersion,
    },
    store::fixture::values,
};

/// Encodes and decodes an object: it is the same, and its message has none of its secrets.
fn check<T: Document + PartialEq + Debug>(value: &T) {
    let encoded = encode(value);
    for (_, secret) in encoded.secrets.iter() {
        assert!(!encoded.message.windows(secret.len()).any(|window| window == secret), "{value:?}");
    }
    let id = value.key().id;
    assert_eq!(decode::<T>(&id, encoded.message.into(), &encoded.secrets).as_ref(), Ok(value));
}

#[test]
fn every_word_of_a_service_and_its_backends_is_read_back() {
    let whole = values::service("shop");
    check(&Service::new(ServiceId::default_service()));
    for protocol in [BackendProtocol::Automatic, BackendProtocol::Http1, BackendProtocol::Http2] {
        check(&Service { protocol, timeouts: Timeouts::default(), ..whole.clone() });
    }
    let tls = whole.tls.clone().unwrap();
    for trust in [BackendTrust::System, BackendTrust::Anybody, tls.trust.clone()] {
        check(&Service { tls: Some(BackendTls { trust, ..BackendTls::default() }), ..whole.clone() });
    }
    for state in [BackendState::Active, BackendState::Draining, BackendState::Disabled] {
        check(&Backend { state, ..values::backend("shop-1", "shop") });
    }
}

#[test]
fn every_word_of_a_domain_is_read_back() {
    let whole = values::domain("*.shop.example", "shop", &["ca"]);
    let sources = [CertificateSource::Uploaded, CertificateSource::Internal, CertificateSource::Acme];
    for certificate_source in sources {
        check(&Domain { certificate_source, ..whole.clone() });
        check(&Certificate { source: certificate_source, ..values::certificate("shop.example") });
    }
    for minimum_tls_version in [TlsVersion::V12, TlsVersion::V13] {
        check(&Domain { minimum_tls_version, ..whole.clone() });
    }
    for mode in [ClientCertificateMode::Required, ClientCertificateMode::Optional] {
        let mut domain = whole.clone();
        domain.client_authentication.as_mut().unwrap().mode = mode;
        check(&domain);
    }
    for challenge in [None, Some(ChallengeKind::Http01), Some(ChallengeKind::TlsAlpn01), Some(ChallengeKind::Dns01)] {
        let acme = AcmeSettings::new(challenge, Vec::new(), None).unwrap();
        check(&Domain { acme, previous_tag: None, client_authentication: None, ..whole.clone() });
    }
    let challenge = values::challenge("shop.example");
    check(&Challenge { http_01: None, ..challenge.clone() });
    check(&Challenge { tls_alpn_01: None, ..challenge });
}

#[test]
fn every_word_of_the_other_kinds_is_read_back() {
    let issuer = values::issuer("ca");
    check(&Issuer {
        place: Place::OnlyWhereNamed,
        limits: RateLimits::default(),
        account: None,
        external_account: None,
        ..issuer.clone()
    });
    check(&Issuer { roots: None, email: None, profile: None, preferred_chain: None, ..issuer });
    for settings in [DnsSettings::rfc2136("192.0.2.1", None), DnsSettings::exec("set-txt", HookMode::Default)] {
        check(&values::dns_provider("home", settings.unwrap()));
    }
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        let access = Access { role, scope: Scope::Everything };
        check(&Token { access, expires_at: None, ..values::token("ci") });
    }
    let fresh = || FreshTicketKey::generate().unwrap();
    check(&values::ticket_keys());
    check(&TicketKeys::new(Labels::default(), fresh(), values::NOW).condemned(fresh(), values::NOW));
}

#[test]
fn the_same_object_has_the_same_bytes() {
    let invite = values::invite("k7");
    for _ in 0..8 {
        assert_eq!(encode(&invite).message, encode(&invite.clone()).message, "whatever the order of its labels");
    }
    let keys = values::ticket_keys();
    assert_eq!(encode(&keys).message, encode(&keys.clone()).message);
}

#[test]
fn what_has_no_place_in_a_message_is_refused() {
    let encoded = encode(&values::service("shop"));
    let mut more = encoded.secrets.clone();
    more.insert("tls.session_key", b"secret".to_vec());
    let error = decode::<Service>("shop", encoded.message.clone().into(), &more).unwrap_err();
    assert_eq!(error, Unreadable::UnknownSecret { path: "tls.session_key".into() });
    let error = decode::<Service>("other", encoded.message.clone().into(), &encoded.secrets).unwrap_err();
    assert_eq!(error.to_string(), "it is of the name services/shop");
    let error = decode::<Service>("shop", encoded.message.into(), &Secrets::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tls.client_certificate.private_key_pem: the certificate's PEM private key is required"
    );
    let shown = format!("{:?}", encoded.secrets);
    assert_eq!(shown, "{\"tls.client_certificate.private_key_pem\"}");
}
