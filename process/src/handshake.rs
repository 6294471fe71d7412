//! What a failed connection tells about a wrong address or a wrong clock.

use std::{error::Error, io, time::SystemTime};

use rustls::CertificateError;

/// Why a TLS handshake failed, where operators can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misconnection {
    /// The other side does not speak TLS.
    NotTls,
    /// Its certificate is of a CA that is not trusted.
    UnknownAuthority,
    /// By the clock of this machine, its certificate is not valid yet.
    NotYetValid,
    /// By the clock of this machine, its certificate has expired.
    Expired,
}

impl Misconnection {
    /// What an error is caused by.
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext, UnknownIssuer};
        match tls_error(error)? {
            rustls::Error::InvalidMessage(_) => Some(Self::NotTls),
            rustls::Error::InvalidCertificate(UnknownIssuer) => Some(Self::UnknownAuthority),
            rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => Some(Self::NotYetValid),
            rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => Some(Self::Expired),
            _ => None,
        }
    }

    /// What to do about the clock, if that is what it is.
    pub fn about_clock(self, now: SystemTime) -> Option<String> {
        let now = humantime::format_rfc3339_seconds(now);
        match self {
            Self::NotYetValid => {
                Some(format!("its certificate is not valid yet: set the clock of this machine, which is at {now}"))
            }
            Self::Expired => Some(format!(
                "its certificate has expired: set the clock of this machine, which is at {now}, or renew the certificate"
            )),
            Self::NotTls | Self::UnknownAuthority => None,
        }
    }
}

/// The error of TLS that is the cause of another one.
pub fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    // The source of an I/O error is that of the error in it.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => tls_error(inner),
        None => tls_error(error.source()?),
    }
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connect")]
    struct Connect(#[source] io::Error);

    #[test]
    fn the_cause_is_found_behind_other_errors() {
        for (error, expected) in [
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), Misconnection::NotTls),
            (rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), Misconnection::UnknownAuthority),
            (rustls::Error::InvalidCertificate(CertificateError::NotValidYet), Misconnection::NotYetValid),
            (rustls::Error::InvalidCertificate(CertificateError::Expired), Misconnection::Expired),
        ] {
            let error = Connect(io::Error::other(io::Error::other(error)));
            assert_eq!(Misconnection::of(&error), Some(expected));
        }
        assert_eq!(Misconnection::of(&Connect(io::Error::other("refused"))), None);
        let clock = Misconnection::NotYetValid.about_clock(SystemTime::UNIX_EPOCH).unwrap();
        assert!(clock.contains("1970-01-01T00:00:00Z"), "{clock}");
    }
}
