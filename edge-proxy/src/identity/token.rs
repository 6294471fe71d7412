use std::{fmt, str::FromStr};

use aws_lc_rs::digest;

/// Bytes of a token: the secret, a dot, and 64 digits.
const TOKEN_BYTES_MAX: usize = 1_024;
/// Bytes of a SHA-256.
const FINGERPRINT_BYTES: usize = 32;

/// What an edge joins the fleet with: a secret, and the fingerprint of the CA by which the control plane proves itself.
#[derive(Clone)]
pub struct JoinToken {
    secret: String,
    fingerprint: Fingerprint,
}

impl JoinToken {
    /// What is shown to the control plane.
    pub fn expose_secret(&self) -> &str {
        &self.secret
    }

    /// Who may see it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl FromStr for JoinToken {
    type Err = InvalidJoinToken;

    /// Parses `SECRET.FINGERPRINT`: base64url without padding, and hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, InvalidJoinToken> {
        let text = text.trim();
        if text.len() > TOKEN_BYTES_MAX {
            return Err(InvalidJoinToken);
        }
        let (secret, fingerprint) = text.split_once('.').ok_or(InvalidJoinToken)?;
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if secret.is_empty() || !secret.bytes().all(is_base64url) {
            return Err(InvalidJoinToken);
        }
        Ok(Self { secret: secret.to_owned(), fingerprint: fingerprint.parse()? })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(redacted)")
    }
}

/// The SHA-256 of a certificate's DER form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// Whether it is this certificate's.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        digest::digest(&digest::SHA256, certificate).as_ref() == self.0
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidJoinToken;

    fn from_str(text: &str) -> Result<Self, InvalidJoinToken> {
        if text.len() != 2 * FINGERPRINT_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidJoinToken);
        }
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        for (index, byte) in fingerprint.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| InvalidJoinToken)?;
        }
        Ok(Self(fingerprint))
    }
}

/// A text that is not a [`JoinToken`]. It is not repeated: it may hold the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a join token: copy the whole line from the file join-token in the control plane's data directory")]
pub struct InvalidJoinToken;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_secret_and_a_fingerprint_and_is_never_shown() {
        let certificate = b"certificate";
        let hash: String =
            digest::digest(&digest::SHA256, certificate).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let token: JoinToken = format!("a-Secret_1.{hash}\n").parse().unwrap();
        assert_eq!(token.expose_secret(), "a-Secret_1");
        assert!(token.fingerprint().is_of(certificate) && !token.fingerprint().is_of(b"other"));
        assert_eq!(format!("{token:?}"), "JoinToken(redacted)");
        for bad in
            ["", "secret", ".", &format!(".{hash}"), &format!("a b.{hash}"), &format!("a.{}", &hash[1..]), "a.zz"]
        {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad:?}");
        }
    }
}
