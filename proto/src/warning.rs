//! Warnings that go with the answer to a call: a change was made, and has a consequence that whoever made it should know.

/// The metadata of an answer that has them, once for each: UTF-8, percent-encoded (RFC 3986, section 2.1).
pub const WARNING_METADATA: &str = "switchyard-warning";
/// Warnings with one answer.
pub const WARNINGS_MAX: usize = 8;
/// Bytes of one warning, before it is encoded.
pub const WARNING_BYTES_MAX: usize = 400;

/// Encodes a warning, cut to [`WARNING_BYTES_MAX`].
pub fn encode_warning(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text[..text.floor_char_boundary(WARNING_BYTES_MAX)].bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Decodes a warning. What is not encoded as it should be stays as it is.
pub fn decode_warning(encoded: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_survives_the_way_in_printable_ascii() {
        for text in ["edge-1 does not know it", "100 % bücher\n", "%41", ""] {
            let encoded = encode_warning(text);
            assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{encoded}");
            assert_eq!(decode_warning(encoded.as_bytes()), text);
        }
        assert_eq!(decode_warning(b"50% %4 %zz %"), "50% %4 %zz %");
    }

    #[test]
    fn a_long_warning_is_cut_between_characters() {
        let encoded = encode_warning(&"ü".repeat(WARNING_BYTES_MAX));
        assert_eq!(decode_warning(encoded.as_bytes()), "ü".repeat(WARNING_BYTES_MAX / 2));
    }
}
