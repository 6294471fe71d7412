use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::host::{HostPattern, InvalidHostPattern};

/// Where a backend listens: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendAddress {
    host: BackendHost,
    port: u16,
}

/// The host of a backend's address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackendHost {
    /// An address, used as it is.
    Ip(IpAddr),
    /// An exact name, resolved by each edge.
    Name(HostPattern),
}

impl BackendAddress {
    /// Parses `10.0.0.5:3000`, `[2001:db8::5]:3000` or `shop.internal:3000`.
    pub fn parse(text: &str) -> Result<Self, InvalidBackendAddress> {
        if text.is_empty() {
            return Err(InvalidBackendAddress::Empty);
        }
        let (host, port) = text.rsplit_once(':').ok_or(InvalidBackendAddress::Port)?;
        // `u16::from_str` takes a leading plus sign.
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidBackendAddress::Port);
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(InvalidBackendAddress::Port)?;
        if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
            let address: SocketAddr = text.parse().map_err(|_| InvalidBackendAddress::Ip)?;
            return Ok(Self { host: BackendHost::Ip(address.ip()), port });
        }
        Ok(Self { host: BackendHost::parse(host)?, port })
    }

    /// The address or name.
    pub fn host(&self) -> &BackendHost {
        &self.host
    }

    /// The port; never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            BackendHost::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            BackendHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl BackendHost {
    /// Parses `10.0.0.5`, `2001:db8::5` or `shop.internal`.
    pub fn parse(text: &str) -> Result<Self, InvalidBackendAddress> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let name = HostPattern::parse(text).map_err(InvalidBackendAddress::Host)?;
        if name.wildcard_suffix().is_some() { Err(InvalidBackendAddress::Wildcard) } else { Ok(Self::Name(name)) }
    }
}

/// As in an address, without brackets.
impl fmt::Display for BackendHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Why a text is not a [`BackendAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackendAddress {
    /// Nothing was given.
    #[error("an address is required, as in 10.0.0.5:3000")]
    Empty,
    /// No port, or one that is not from 1 to 65535.
    #[error("an address ends with a port from 1 to 65535, as in 10.0.0.5:3000")]
    Port,
    /// An IPv6 address without brackets, or brackets around something else.
    #[error("an IPv6 address is written in brackets, as in [2001:db8::5]:3000")]
    Ip,
    /// The host is neither an IP address nor a name.
    #[error("the host of the address: {0}")]
    Host(InvalidHostPattern),
    /// `*.` where one name is needed.
    #[error("the host of an address cannot be a wildcard")]
    Wildcard,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_back_as_they_were() {
        for text in ["10.0.0.5:3000", "[2001:db8::5]:3000", "shop.internal:3000", "localhost:1"] {
            assert_eq!(BackendAddress::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, why) in [
            ("", InvalidBackendAddress::Empty),
            ("10.0.0.5", InvalidBackendAddress::Port),
            ("10.0.0.5:", InvalidBackendAddress::Port),
            ("10.0.0.5:0", InvalidBackendAddress::Port),
            ("10.0.0.5:65536", InvalidBackendAddress::Port),
            ("10.0.0.5:+80", InvalidBackendAddress::Port),
            ("2001:db8::5:3000", InvalidBackendAddress::Ip),
            ("[shop]:3000", InvalidBackendAddress::Ip),
            ("*.shop.internal:3000", InvalidBackendAddress::Wildcard),
            ("http://10.0.0.5:3000", InvalidBackendAddress::Host(InvalidHostPattern::Characters)),
            ("10.0.0.256:80", InvalidBackendAddress::Host(InvalidHostPattern::Address)),
            (":80", InvalidBackendAddress::Host(InvalidHostPattern::Empty)),
        ] {
            assert_eq!(BackendAddress::parse(text), Err(why), "{text:?}");
        }
    }
}
