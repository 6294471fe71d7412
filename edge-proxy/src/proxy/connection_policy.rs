use switchyard_proto::resource::ClientCertificateMode;

use crate::{
    connection::{Connection, Transport},
    snapshot::Domain,
};

/// Whether a request may use the connection that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionPolicy {
    /// It may.
    Open,
    /// It may not, but another one over TLS.
    OverTls,
    /// Not this one.
    Refused,
}

/// A domain that asks its clients to prove themselves, and a connection on which one did so, belong together, or to nobody.
pub(super) fn connection_policy(domain: &Domain, connection: &Connection, host: &str, plain: bool) -> ConnectionPolicy {
    if connection.transport == Transport::Tls && connection.tls_version < domain.settings.minimum_tls_version {
        return ConnectionPolicy::Refused;
    }
    match (domain.clients.as_deref(), connection.authenticated.as_deref()) {
        (None, None) => ConnectionPolicy::Open,
        (Some(clients), Some(authenticated)) if clients.admits(authenticated, host) => ConnectionPolicy::Open,
        (Some(clients), None) if connection.transport == Transport::Plain => match clients.mode() {
            ClientCertificateMode::Optional => ConnectionPolicy::Open,
            ClientCertificateMode::Required if plain => ConnectionPolicy::OverTls,
            // Whoever terminated TLS did not say to us who the client is.
            ClientCertificateMode::Required => ConnectionPolicy::Refused,
        },
        (Some(_), _) | (None, Some(_)) => ConnectionPolicy::Refused,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use switchyard_proto::{
        resource::{self, CaBundle, TlsVersion},
        vocab::{HostPattern, ServiceId, Tag},
    };

    use super::*;
    use crate::{connection::TrustedNetworks, peer_auth::ClientAuthentication};

    const HOST: &str = "shop.example";

    fn clients(mode: ClientCertificateMode) -> Arc<ClientAuthentication> {
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        let authorities = CaBundle::of_der(vec![authority]).unwrap();
        let settings = resource::ClientAuthentication { authorities, mode };
        Arc::new(ClientAuthentication::new(&HostPattern::parse(HOST).unwrap(), &settings).unwrap())
    }

    fn domain(clients: Option<&Arc<ClientAuthentication>>) -> Domain {
        let host = HostPattern::parse(HOST).unwrap();
        let settings = resource::Domain::new(host, ServiceId::default_service(), Tag::parse("a").unwrap());
        Domain { settings, clients: clients.cloned() }
    }

    fn connection(transport: Transport, opened_for: Option<(&Arc<ClientAuthentication>, &str)>) -> Connection {
        let mut connection = Connection::new([192, 0, 2, 1].into(), &TrustedNetworks::default(), transport);
        connection.authenticated = opened_for.map(|(clients, name)| Box::new(clients.authenticated(name, None)));
        connection
    }

    #[test]
    fn what_asks_for_certificates_and_what_was_opened_for_them_belong_together() {
        let (strict, other) = (clients(ClientCertificateMode::Required), clients(ClientCertificateMode::Required));
        let over_tls = |opened_for| connection(Transport::Tls, opened_for);
        assert_eq!(connection_policy(&domain(None), &over_tls(None), HOST, false), ConnectionPolicy::Open);
        assert_eq!(
            connection_policy(&domain(Some(&strict)), &over_tls(Some((&strict, HOST))), HOST, false),
            ConnectionPolicy::Open
        );
        for (asked, opened_for) in [
            (Some(&strict), None),
            (None, Some((&strict, HOST))),
            (Some(&strict), Some((&other, HOST))),
            (Some(&strict), Some((&strict, "other.example"))),
        ] {
            assert_eq!(
                connection_policy(&domain(asked), &over_tls(opened_for), HOST, false),
                ConnectionPolicy::Refused
            );
        }
    }

    #[test]
    fn what_requires_certificates_is_not_served_in_the_clear() {
        let plain = connection(Transport::Plain, None);
        let (strict, lax) = (clients(ClientCertificateMode::Required), clients(ClientCertificateMode::Optional));
        assert_eq!(connection_policy(&domain(Some(&strict)), &plain, HOST, true), ConnectionPolicy::OverTls);
        // A trusted proxy says that it was over TLS: sending the client there again would be a circle.
        assert_eq!(connection_policy(&domain(Some(&strict)), &plain, HOST, false), ConnectionPolicy::Refused);
        assert_eq!(connection_policy(&domain(Some(&lax)), &plain, HOST, true), ConnectionPolicy::Open);
    }

    #[test]
    fn a_domain_is_not_reached_by_an_older_tls_than_it_asks_for() {
        let mut modern = domain(None);
        modern.settings.minimum_tls_version = TlsVersion::V13;
        let mut by = connection(Transport::Tls, None);
        assert_eq!(connection_policy(&modern, &by, HOST, false), ConnectionPolicy::Refused);
        by.tls_version = TlsVersion::V13;
        assert_eq!(connection_policy(&modern, &by, HOST, false), ConnectionPolicy::Open);
        assert_eq!(connection_policy(&modern, &connection(Transport::Plain, None), HOST, true), ConnectionPolicy::Open);
    }
}
