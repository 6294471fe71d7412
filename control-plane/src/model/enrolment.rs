use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use switchyard_proto::vocab::{EdgeId, InviteId, Labels};

use super::{SecretHash, Timestamp};

/// An edge that belongs to the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Its id.
    pub id: EdgeId,
    /// The key that it proves itself by.
    pub key: EdgeKey,
    /// What it is labelled with.
    pub labels: Labels,
    /// The invitation that it joined with.
    pub invite: Option<InviteId>,
}

/// The public key of an edge: the SHA-256 of its SubjectPublicKeyInfo (RFC 5280, section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EdgeKey([u8; 32]);

impl EdgeKey {
    /// The key of this SubjectPublicKeyInfo, DER.
    pub fn of(spki: &[u8]) -> Self {
        Self(digest(&SHA256, spki).as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }

    /// The key as it was kept.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The key, to be kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// In hexadecimal digits.
impl fmt::Display for EdgeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EdgeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EdgeKey({self})")
    }
}

/// What lets edges join the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Its id.
    pub id: InviteId,
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What edges that join with it are labelled with.
    pub labels: Labels,
    /// How many may still join.
    pub uses: u32,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Invite {
    /// Whether somebody may join with it.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.uses > 0 && now < self.expires_at
    }
}
