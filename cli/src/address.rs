use std::fmt;

use tonic::codegen::http::{Uri, uri};

/// Where a control plane's API is: `https://host:port`, or without TLS on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(Uri);

impl Address {
    /// Where a control plane on this machine is.
    pub(crate) const DEFAULT: &str = "http://127.0.0.1:7080";

    /// Parses `http://host:port`, or `host:port` alone.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "an address of the form https://host:port is required";
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = text.parse().map_err(|error| format!("{FORM}: {error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(FORM.to_owned());
        }
        if uri.authority().is_none() || uri.path() != "/" || uri.query().is_some() {
            return Err(FORM.to_owned());
        }
        Ok(Self(uri))
    }

    /// That of a control plane on this machine.
    pub(crate) fn local() -> Self {
        Self(Uri::from_static(Self::DEFAULT))
    }

    /// The host.
    pub(crate) fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// Whether nobody else can be in between.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host().trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }

    /// Whether it is spoken to over TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.has_tls() { 443 } else { 80 })
    }

    /// As the transport takes it.
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        let uri = uri::Builder::new().scheme("http").authority(address.to_string()).path_and_query("/").build();
        Self(uri.expect("a socket address is an authority"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        assert_eq!(Address::parse("http://127.0.0.1:7080").unwrap().to_string(), Address::DEFAULT);
        assert_eq!(Address::parse("127.0.0.1:7080").unwrap(), Address::parse(Address::DEFAULT).unwrap());
        assert_eq!(Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 7080))).to_string(), Address::DEFAULT);
        assert_eq!(Address::parse("https://a:1").unwrap().host(), "a");
        assert!(Address::local().is_loopback() && !Address::parse("https://a:1").unwrap().is_loopback());
        assert!(Address::parse("http://[::1]:1").unwrap().is_loopback());
        for bad in ["", "http://", "ftp://a:1", "http://a:1/path", "http://a b"] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }
}
