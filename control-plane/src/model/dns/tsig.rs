//! Keys that updates are signed with: TSIG ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945)).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hickory_proto::{
    dnssec::DnsSecError,
    rr::{Name, TSigner, rdata::tsig},
};

use super::invalid::{InvalidDnsSettings, shown};

/// How far the clocks of server and client may be apart, in seconds: what RFC 8945 recommends.
const FUDGE_SECONDS: u16 = 300;
/// The longest secret of a key. HMAC hashes longer ones than its block down anyway.
const SECRET_BYTES_MAX: usize = 1024;

/// A key that updates are signed with. Its `Debug` does not say its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TsigKey {
    name: Name,
    algorithm: TsigAlgorithm,
    secret: Vec<u8>,
}

/// How a key signs. What is older is no longer recommended (RFC 8945, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// `hmac-sha256`
    HmacSha256,
    /// `hmac-sha384`
    HmacSha384,
    /// `hmac-sha512`
    HmacSha512,
}

impl TsigKey {
    /// Takes a key as the name server's key file has it; the secret is base64.
    ///
    /// # Errors
    ///
    /// Says which of the three cannot be used.
    pub fn parse(name: &str, algorithm: &str, secret: &str) -> Result<Self, InvalidDnsSettings> {
        let text = name.trim();
        let mut name = Name::from_ascii(text).map_err(|_| InvalidDnsSettings::KeyName(shown(text)))?;
        if name.num_labels() == 0 {
            return Err(InvalidDnsSettings::KeyName(shown(text)));
        }
        name.set_fqdn(true);
        let algorithm = TsigAlgorithm::parse(algorithm)?;
        let secret = STANDARD.decode(secret.trim()).map_err(|_| InvalidDnsSettings::KeySecret)?;
        if !(1..=SECRET_BYTES_MAX).contains(&secret.len()) {
            return Err(InvalidDnsSettings::KeySecret);
        }
        Ok(Self { name: name.to_lowercase(), algorithm, secret })
    }

    /// Its name as name servers are configured with it, in lower case.
    pub fn name(&self) -> String {
        self.name.to_ascii().trim_end_matches('.').to_owned()
    }

    /// How it signs.
    pub fn algorithm(&self) -> TsigAlgorithm {
        self.algorithm
    }

    /// The secret in base64, for storage.
    pub fn expose_secret(&self) -> String {
        STANDARD.encode(&self.secret)
    }

    /// What signs messages with it.
    pub(crate) fn signer(&self) -> Result<TSigner, DnsSecError> {
        let algorithm = match self.algorithm {
            TsigAlgorithm::HmacSha256 => tsig::TsigAlgorithm::HmacSha256,
            TsigAlgorithm::HmacSha384 => tsig::TsigAlgorithm::HmacSha384,
            TsigAlgorithm::HmacSha512 => tsig::TsigAlgorithm::HmacSha512,
        };
        TSigner::new(self.secret.clone(), algorithm, self.name.clone(), FUDGE_SECONDS)
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, algorithm, secret: _ } = self;
        formatter.debug_struct("TsigKey").field("name", name).field("algorithm", algorithm).finish_non_exhaustive()
    }
}

impl TsigAlgorithm {
    /// Reads `hmac-sha256`, `hmac-sha384` or `hmac-sha512`, with or without a dot at its end.
    ///
    /// # Errors
    ///
    /// It is none of them.
    pub fn parse(text: &str) -> Result<Self, InvalidDnsSettings> {
        let name = text.trim().to_ascii_lowercase();
        match name.strip_suffix('.').unwrap_or(&name) {
            "hmac-sha256" => Ok(Self::HmacSha256),
            "hmac-sha384" => Ok(Self::HmacSha384),
            "hmac-sha512" => Ok(Self::HmacSha512),
            _ => Err(InvalidDnsSettings::KeyAlgorithm(shown(text))),
        }
    }

    /// What DNS calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_key_files_have_it_and_its_secret_is_not_shown() {
        let key = TsigKey::parse("Switchyard.Example", "HMAC-SHA512.", " c2VjcmV0LXNlY3JldA== ").unwrap();
        assert_eq!(key.name(), "switchyard.example");
        assert_eq!(key.algorithm(), TsigAlgorithm::HmacSha512);
        assert_eq!(key.expose_secret(), "c2VjcmV0LXNlY3JldA==");
        let shown = format!("{key:?}");
        assert!(!shown.contains("secret") && !shown.contains("115"), "{shown}");
    }

    #[test]
    fn what_is_wrong_with_a_key_is_named() {
        let field = |name, algorithm, secret| TsigKey::parse(name, algorithm, secret).unwrap_err().field();
        assert_eq!(field("", "hmac-sha256", "c2VjcmV0"), "tsig.name");
        assert_eq!(field("a..b", "hmac-sha256", "c2VjcmV0"), "tsig.name");
        assert_eq!(field("a", "hmac-md5", "c2VjcmV0"), "tsig.algorithm");
        assert_eq!(field("a", "hmac-sha256", "no base64!"), "tsig.secret");
        assert_eq!(field("a", "hmac-sha256", ""), "tsig.secret");
    }
}
