use std::{error::Error, time::SystemTime};

use switchyard_process::handshake::Misconnection;
use switchyard_proto::vocab::EdgeId;
use tonic::{Code, Status};

/// What to do about a connection to a control plane that failed, where that can be told.
pub(super) fn connection(error: &(dyn Error + 'static)) -> Option<String> {
    let misconnection = Misconnection::of(error)?;
    misconnection.about_clock(SystemTime::now()).or_else(|| {
        let text = match misconnection {
            Misconnection::NotTls => {
                "that port does not speak TLS; --control-plane is the address of the fleet listener (port 7443 by default), and not \
                 that of the API"
            }
            _ => {
                "that is no control plane of this edge's fleet; check address and port of --control-plane, and that the token is \
                 of the same fleet"
            }
        };
        Some(text.to_owned())
    })
}

/// What to do when a control plane does not let an edge join.
pub(super) fn join(edge: &EdgeId, status: &Status) -> Option<String> {
    match status.code() {
        Code::AlreadyExists => Some(format!(
            "another edge is named {edge}: start this one with another --name; if that edge is gone for good, remove it with \
             `switchyard edge remove {edge}`"
        )),
        Code::Unauthenticated => Some(
            "the invitation is unknown, used, expired or revoked: create another with `switchyard edge invite`"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, InvalidMessage};

    use super::*;

    #[test]
    fn a_wrong_port_a_wrong_fleet_and_a_wrong_clock_are_named() {
        for (error, expected) in [
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), "fleet listener"),
            (rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), "this edge's fleet"),
            (rustls::Error::InvalidCertificate(CertificateError::NotValidYet), "clock"),
        ] {
            let advice = connection(&std::io::Error::other(error)).unwrap();
            assert!(advice.contains(expected), "{advice}");
        }
        assert_eq!(connection(&std::io::Error::other("refused")), None);
    }

    #[test]
    fn a_name_that_is_taken_comes_with_what_to_do() {
        let edge = EdgeId::parse("edge-1").unwrap();
        let advice = join(&edge, &Status::already_exists("edges/edge-1 exists already")).unwrap();
        assert!(advice.contains("--name") && advice.contains("switchyard edge remove edge-1"), "{advice}");
        assert_eq!(join(&edge, &Status::unavailable("")), None);
    }
}
