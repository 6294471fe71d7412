use std::sync::Arc;

use rustls::server::ClientHello;
use switchyard_proto::{
    resource::TlsVersion,
    vocab::{HostPattern, normalize_host},
};

use crate::{peer_auth::ClientAuthentication, snapshot::LiveSnapshot, tls::ACME_TLS};

/// What becomes of a connection that began with a ClientHello.
#[derive(Debug)]
pub(super) enum Decision {
    /// It is terminated here.
    Terminate {
        /// In this version of TLS, or a newer one.
        minimum: TlsVersion,
    },
    /// It is terminated here, once the client has proven itself.
    Authenticate {
        /// Which name it is for, in lower case.
        server_name: Box<str>,
        /// How.
        clients: Arc<ClientAuthentication>,
        /// In this version of TLS, or a newer one.
        minimum: TlsVersion,
    },
    /// It is a CA, which is shown what was authorized (RFC 8737).
    Prove {
        /// For which name, in lower case.
        server_name: Box<str>,
        /// The SHA-256 of what was.
        digest: [u8; 32],
    },
    /// It waits while the control plane is asked for a certificate.
    AskFor {
        /// For which name, in lower case.
        server_name: Box<str>,
    },
    /// The client is told that its name is unknown, though it belongs to a domain, which has no certificate.
    NoCertificate {
        /// For which name, in lower case.
        server_name: Box<str>,
        /// Which.
        domain: HostPattern,
    },
    /// The client is told that its name is unknown.
    RefuseName,
}

/// A fatal `unrecognized_name` alert (RFC 6066, section 3), as a TLS record.
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Whether a client speaks the protocol of TLS-ALPN-01 and no other (RFC 8737, section 3).
fn asks_for_proof(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| protocols.next() == Some(ACME_TLS) && protocols.next().is_none())
}

/// The one place that decides over TLS connections.
pub(super) fn decide(hello: &ClientHello<'_>, live: &LiveSnapshot) -> Decision {
    let Some(server_name) = hello.server_name().and_then(normalize_host) else { return Decision::RefuseName };
    let snapshot = live.load();
    if asks_for_proof(hello) {
        let digest = snapshot.challenge(&server_name).and_then(|challenge| challenge.tls_alpn_01);
        return digest.map_or(Decision::RefuseName, |digest| Decision::Prove {
            server_name: server_name.into_owned().into(),
            digest,
        });
    }
    let domain = snapshot.domain(&server_name);
    if snapshot.certificate(&server_name).is_none() {
        let server_name = server_name.clone().into_owned().into();
        return match domain {
            Some(domain) if domain.is_on_demand() => Decision::AskFor { server_name },
            Some(domain) => Decision::NoCertificate { server_name, domain: domain.settings.host.clone() },
            None => Decision::RefuseName,
        };
    }
    let minimum = domain.map(|domain| domain.settings.minimum_tls_version).unwrap_or_default();
    match domain.and_then(|domain| domain.clients.as_ref()) {
        None => Decision::Terminate { minimum },
        Some(clients) => {
            Decision::Authenticate { clients: clients.clone(), server_name: server_name.into_owned().into(), minimum }
        }
    }
}
