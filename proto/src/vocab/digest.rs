use std::fmt;

/// What stands for a set of encoded resources: the sum modulo 2^128 of their hashes.
///
/// It is kept as resources come and go, so its cost follows the change, not the set. It finds faults, not forgers: the
/// stream it travels on is authenticated.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(u128);

impl Digest {
    /// The hash of one encoded resource: the first 16 bytes of its SHA-256.
    pub fn of(encoded: &[u8]) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, encoded);
        let mut first = [0; 16];
        first.copy_from_slice(&hash.as_ref()[..16]);
        Self(u128::from_le_bytes(first))
    }

    /// The digest with one more element, or one more set.
    #[must_use]
    pub fn plus(self, other: Digest) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The digest without an element that was in it.
    #[must_use]
    pub fn minus(self, other: Digest) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// As it travels.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// As it travels; `None` unless it is 16 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_le_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let [a, b, c] = ["a", "b", "c"].map(|text| Digest::of(text.as_bytes()));
        let all = Digest::default().plus(a).plus(b).plus(c);
        assert_eq!(all, Digest::default().plus(c).plus(a).plus(b));
        assert_eq!(all.minus(b), a.plus(c));
        assert_ne!(all, a.plus(b));
        assert_eq!(Digest::from_bytes(&all.to_bytes()), Some(all));
        assert_eq!(Digest::from_bytes(&[0; 15]), None);
    }
}
