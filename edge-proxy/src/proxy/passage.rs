use crate::{
    listen::{Connection, Transport},
    verify::{ClientAuthentication, ClientCertificateMode},
};

/// Whether a request may use the connection that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    /// It may.
    Open,
    /// It may not, but another one over TLS.
    OverTls,
    /// Not this one.
    Refused,
}

/// A domain that asks its clients to prove themselves, and a connection on which one did so, belong together, or to nobody.
pub(super) fn passage(
    clients: Option<&ClientAuthentication>,
    connection: &Connection,
    host: &str,
    plain: bool,
) -> Passage {
    match (clients, connection.authenticated.as_deref()) {
        (None, None) => Passage::Open,
        (Some(clients), Some(authenticated)) if clients.admits(authenticated, host) => Passage::Open,
        (Some(clients), None) if connection.transport == Transport::Plain => match clients.mode() {
            ClientCertificateMode::Optional => Passage::Open,
            ClientCertificateMode::Required if plain => Passage::OverTls,
            // Whoever terminated TLS did not say to us who the client is.
            ClientCertificateMode::Required => Passage::Refused,
        },
        (Some(_), _) | (None, Some(_)) => Passage::Refused,
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::HostPattern;

    use super::*;
    use crate::listen::TrustedNetworks;

    const HOST: &str = "shop.example";

    fn clients(mode: ClientCertificateMode) -> ClientAuthentication {
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        ClientAuthentication::new(&HostPattern::parse(HOST).unwrap(), mode, &[authority]).unwrap()
    }

    fn connection(transport: Transport, opened_for: Option<(&ClientAuthentication, &str)>) -> Connection {
        let mut connection = Connection::new([192, 0, 2, 1].into(), &TrustedNetworks::default(), transport);
        connection.authenticated = opened_for.map(|(clients, name)| Box::new(clients.authenticated(name, None)));
        connection
    }

    #[test]
    fn what_asks_for_certificates_and_what_was_opened_for_them_belong_together() {
        let (strict, other) = (clients(ClientCertificateMode::Required), clients(ClientCertificateMode::Required));
        let over_tls = |opened_for| connection(Transport::Tls, opened_for);
        assert_eq!(passage(None, &over_tls(None), HOST, false), Passage::Open);
        assert_eq!(passage(Some(&strict), &over_tls(Some((&strict, HOST))), HOST, false), Passage::Open);
        for (asked, opened_for) in [
            (Some(&strict), None),
            (None, Some((&strict, HOST))),
            (Some(&strict), Some((&other, HOST))),
            (Some(&strict), Some((&strict, "other.example"))),
        ] {
            assert_eq!(passage(asked, &over_tls(opened_for), HOST, false), Passage::Refused);
        }
    }

    #[test]
    fn what_requires_certificates_is_not_served_in_the_clear() {
        let plain = connection(Transport::Plain, None);
        let (strict, lax) = (clients(ClientCertificateMode::Required), clients(ClientCertificateMode::Optional));
        assert_eq!(passage(Some(&strict), &plain, HOST, true), Passage::OverTls);
        // A trusted proxy says that it was over TLS: sending the client there again would be a circle.
        assert_eq!(passage(Some(&strict), &plain, HOST, false), Passage::Refused);
        assert_eq!(passage(Some(&lax), &plain, HOST, true), Passage::Open);
    }
}
