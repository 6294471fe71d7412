//! Keys that updates are signed with: TSIG ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945)).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::invalid::{InvalidDnsSettings, shown};

/// Bytes of a name of DNS (RFC 1035, section 2.3.4), and of one of its labels.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// The longest secret of a key. HMAC hashes longer ones than its block down anyway.
const SECRET_BYTES_MAX: usize = 1024;

/// A key that updates are signed with. Its `Debug` does not say its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TsigKey {
    name: String,
    algorithm: TsigAlgorithm,
    secret: Zeroizing<Vec<u8>>,
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
    /// Says which of them cannot be used.
    pub fn parse(name: &str, algorithm: TsigAlgorithm, secret: &str) -> Result<Self, InvalidDnsSettings> {
        let text = name.trim();
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
            return Err(InvalidDnsSettings::KeyName(shown(text)));
        }
        let secret = STANDARD.decode(secret.trim()).map(Zeroizing::new).map_err(|_| InvalidDnsSettings::KeySecret)?;
        if !(1..=SECRET_BYTES_MAX).contains(&secret.len()) {
            return Err(InvalidDnsSettings::KeySecret);
        }
        Ok(Self { name, algorithm, secret })
    }

    /// Its name as name servers are configured with it, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub fn algorithm(&self) -> TsigAlgorithm {
        self.algorithm
    }

    /// The secret in base64, for storage.
    pub fn expose_secret(&self) -> String {
        STANDARD.encode(&*self.secret)
    }

    /// The secret, to sign with.
    pub fn expose_secret_bytes(&self) -> &[u8] {
        &self.secret
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, algorithm, secret: _ } = self;
        formatter.debug_struct("TsigKey").field("name", name).field("algorithm", algorithm).finish_non_exhaustive()
    }
}

impl TsigAlgorithm {
    /// What a key signs with whose algorithm is not said.
    pub const DEFAULT: Self = Self::HmacSha256;

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
        let key = TsigKey::parse(
            "Switchyard.Example",
            TsigAlgorithm::parse("HMAC-SHA512.").unwrap(),
            " c2VjcmV0LXNlY3JldA== ",
        )
        .unwrap();
        assert_eq!(key.name(), "switchyard.example");
        assert_eq!(key.algorithm(), TsigAlgorithm::HmacSha512);
        assert_eq!(key.expose_secret(), "c2VjcmV0LXNlY3JldA==");
        let shown = format!("{key:?}");
        assert!(!shown.contains("secret") && !shown.contains("115"), "{shown}");
    }

    #[test]
    fn what_is_wrong_with_a_key_is_named() {
        let field = |name, secret| TsigKey::parse(name, TsigAlgorithm::DEFAULT, secret).unwrap_err().field();
        assert_eq!(field("", "c2VjcmV0"), "key_name");
        assert_eq!(field("a..b", "c2VjcmV0"), "key_name");
        assert_eq!(field("a", "no base64!"), "key_secret");
        assert_eq!(field("a", ""), "key_secret");
        assert_eq!(TsigAlgorithm::parse("hmac-md5").unwrap_err().field(), "key_algorithm");
    }
}
