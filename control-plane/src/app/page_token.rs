//! Page tokens that say nothing to whoever has them: the place that a page ends at may be out of their scope.
//!
//! Form: nonce (12 bytes), place and its padding, tag (16); base64url. AES-256-GCM, with a nonce that is made of the place
//! (as in RFC 8452, of HMAC-SHA256): the same place always has the same token, at every control plane.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Bytes of the key that all others are made of.
pub(super) const KEY_BYTES: usize = 32;
/// Places are as long as a multiple of this, as far as their tokens show.
const PADDED_BYTES: usize = 64;
/// Bytes of a token: far more than any has.
const TOKEN_BYTES_MAX: usize = 1_024;

/// Seals places, and opens them again; clones share the keys.
#[derive(Clone)]
pub struct PageTokens(Arc<Keys>);

struct Keys {
    encryption: LessSafeKey,
    nonces: hmac::Key,
}

impl PageTokens {
    /// With this key, which all control planes of a database share.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let encryption = UnboundKey::new(&AES_256_GCM, hmac::sign(&root, b"encryption").as_ref());
        let encryption = LessSafeKey::new(encryption.expect("a SHA-256 is as long as the key"));
        let nonces = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"nonces").as_ref());
        Self(Arc::new(Keys { encryption, nonces }))
    }

    /// The token of a place.
    pub(super) fn seal(&self, place: &str) -> String {
        let mut text = place.as_bytes().to_vec();
        // At least one byte, so that the end is found again: no place has a byte of 0.
        text.resize((text.len() / PADDED_BYTES + 1) * PADDED_BYTES, 0);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&hmac::sign(&self.0.nonces, &text).as_ref()[..NONCE_LEN]);
        let sealed =
            self.0.encryption.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text);
        sealed.expect("a place is far shorter than what AES-GCM seals");
        URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat())
    }

    /// The place of a token; none if it was not made here.
    pub(super) fn open(&self, token: &str) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(token).ok().filter(|_| token.len() <= TOKEN_BYTES_MAX)?;
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let mut text = text.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.0.encryption.open_in_place(nonce, Aad::empty(), &mut text).ok()?;
        let length = text.iter().position(|byte| *byte == 0)?;
        String::from_utf8(text[..length].to_vec()).ok()
    }
}

impl fmt::Debug for PageTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageTokens(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_nothing_of_its_place_not_even_its_length() {
        let tokens = PageTokens::new(&[7; KEY_BYTES]);
        let token = tokens.seal("shop.example");
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"shop"));
        assert_eq!(token.len(), tokens.seal("a").len());
        assert_eq!(token, PageTokens::new(&[7; KEY_BYTES]).seal("shop.example"), "another control plane");
    }

    #[test]
    fn only_what_was_sealed_opens() {
        let tokens = PageTokens::new(&[7; KEY_BYTES]);
        for place in ["", "a", &"a".repeat(PADDED_BYTES - 1), &"a".repeat(PADDED_BYTES), &"a".repeat(300)] {
            assert_eq!(tokens.open(&tokens.seal(place)).as_deref(), Some(place));
        }
        let token = tokens.seal("shop.example");
        for bad in ["", "c2hvcC5leGFtcGxl", &token[1..], &PageTokens::new(&[8; KEY_BYTES]).seal("shop.example")] {
            assert_eq!(tokens.open(bad), None, "{bad}");
        }
        assert_eq!(tokens.open(&"a".repeat(10_000)), None);
    }
}
