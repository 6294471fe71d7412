use std::fmt;

use aws_lc_rs::{constant_time, digest};

/// What edges show to be let in. Kept and compared as its SHA-256, so that a comparison tells nothing of it.
#[derive(Clone)]
pub struct JoinSecret(digest::Digest);

impl JoinSecret {
    /// Takes the secret as edges send it.
    pub fn new(text: &str) -> Self {
        Self(hash(text))
    }

    /// Whether `text` is the secret.
    pub fn is(&self, text: &str) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_ref(), hash(text).as_ref()).is_ok()
    }
}

fn hash(text: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, text.as_bytes())
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_is_the_secret() {
        let secret = JoinSecret::new("secret");
        assert!(secret.is("secret"));
        for other in ["", "Secret", "secret ", "secre"] {
            assert!(!secret.is(other), "{other:?}");
        }
        assert_eq!(format!("{secret:?}"), "JoinSecret(redacted)");
    }
}
