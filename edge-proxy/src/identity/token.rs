use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use switchyard_proto::vocab::InviteId;
use zeroize::Zeroizing;

/// Bytes of an invitation: an id, a secret, 64 digits, and dots between.
const TOKEN_BYTES_MAX: usize = 1_024;
/// Bytes of a SHA-256.
const FINGERPRINT_BYTES: usize = 32;

/// What an edge joins the fleet with: an invitation with its secret, and the fingerprint of the CA by which the control plane proves
/// itself.
#[derive(Clone)]
pub struct JoinToken {
    invite: InviteId,
    secret: Zeroizing<String>,
    fingerprint: Fingerprint,
}

impl JoinToken {
    /// The invitation.
    pub fn invite(&self) -> &InviteId {
        &self.invite
    }

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

    /// Parses `INVITE.SECRET.FINGERPRINT`: an id, base64url without padding, and hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, InvalidJoinToken> {
        let text = text.trim();
        if text.len() > TOKEN_BYTES_MAX {
            return Err(InvalidJoinToken);
        }
        let (invite, rest) = text.split_once('.').ok_or(InvalidJoinToken)?;
        let (secret, fingerprint) = rest.split_once('.').ok_or(InvalidJoinToken)?;
        let invite = InviteId::parse(invite).map_err(|_| InvalidJoinToken)?;
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if secret.is_empty() || !secret.bytes().all(is_base64url) {
            return Err(InvalidJoinToken);
        }
        Ok(Self { invite, secret: Zeroizing::new(secret.to_owned()), fingerprint: fingerprint.parse()? })
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

/// In hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
#[error("not a join token: copy the whole line that `switchyard edge invite` printed")]
pub struct InvalidJoinToken;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_secret_and_a_fingerprint_and_is_never_shown() {
        let certificate = b"certificate";
        let hash: String =
            digest::digest(&digest::SHA256, certificate).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let token: JoinToken = format!("k7.a-Secret_1.{hash}\n").parse().unwrap();
        assert_eq!((token.invite().as_str(), token.expose_secret()), ("k7", "a-Secret_1"));
        assert_eq!(token.fingerprint().to_string(), hash);
        assert!(token.fingerprint().is_of(certificate) && !token.fingerprint().is_of(b"other"));
        assert_eq!(format!("{token:?}"), "JoinToken(redacted)");
        for bad in [
            "",
            "secret",
            "..",
            &format!("a.{hash}"),
            &format!(".a.{hash}"),
            &format!("a..{hash}"),
            &format!("a.a b.{hash}"),
            &format!("a.a.{}", &hash[1..]),
            "a.a.zz",
        ] {
            assert!(bad.parse::<JoinToken>().is_err(), "{bad:?}");
        }
    }
}
