use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use switchyard_proto::vocab::TokenId;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{Access, Role, Scope, Timestamp};

/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// What secrets begin with, for those who search for forgotten ones.
const SECRET_PREFIX: &str = "sy_";

/// What lets somebody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id; also the name of whoever shows it.
    pub id: TokenId,
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What it allows.
    pub access: Access,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// Whether it is past its end.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether it lets its holder do everything for ever.
    pub fn is_full(&self) -> bool {
        self.access.role == Role::Admin && self.access.scope == Scope::Everything && self.expires_at.is_none()
    }
}

/// The secret of a token: shown once, and kept by nobody here.
pub struct Secret(Zeroizing<String>);

impl ZeroizeOnDrop for Secret {}

impl Secret {
    /// Makes a new one; `None` if the system has no randomness to give.
    pub fn generate() -> Option<Self> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        aws_lc_rs::rand::fill(&mut *bytes).ok()?;
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        Some(Self(Zeroizing::new(format!("{SECRET_PREFIX}{}", *text))))
    }

    /// The text that is shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// The SHA-256 of a secret. Looking one up tells nothing of others: who would find a hash must have its secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash of a text that may be a secret.
    pub fn of(text: &str) -> Self {
        Self(digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }

    /// The hash as it was kept.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash, to be kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash_and_never_shown() {
        let secret = Secret::generate().unwrap();
        assert_eq!(secret.expose().len(), 46);
        assert_eq!(SecretHash::of(secret.expose()), secret.hash());
        assert_ne!(Secret::generate().unwrap().hash(), secret.hash());
        assert_eq!(SecretHash::from_bytes(secret.hash().as_bytes()), Some(secret.hash()));
        assert_eq!(SecretHash::from_bytes(b"short"), None);
        assert_eq!(format!("{secret:?} {:?}", secret.hash()), "Secret(redacted) SecretHash(redacted)");
    }
}
