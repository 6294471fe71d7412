use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::HeaderValue;

/// Characters of a request's id that is taken over.
const TAKEN_LENGTH_MAX: usize = 128;

/// Where the random numbers of requests come from: a counter, hashed under two secret random keys. That is enough to
/// be unique and not to be guessed, and far cheaper than the system's generator.
#[derive(Debug)]
pub(super) struct Randomness {
    keys: [RandomState; 2],
    counter: AtomicU64,
}

impl Randomness {
    pub(super) fn new(keys: [RandomState; 2]) -> Self {
        Self { keys, counter: AtomicU64::new(0) }
    }

    /// The next 128 bits.
    fn next(&self) -> [u8; 16] {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let half = |key: &RandomState| {
            let mut hasher = key.build_hasher();
            hasher.write_u64(count);
            hasher.finish().to_be_bytes()
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half(&self.keys[0]));
        bytes[8..].copy_from_slice(&half(&self.keys[1]));
        bytes
    }

    /// A new request id: 32 hexadecimal digits.
    pub(super) fn request_id(&self) -> HeaderValue {
        let mut text = Vec::with_capacity(32);
        push_hex(&mut text, &self.next());
        header_value(text)
    }

    /// A new `traceparent` that begins a trace (W3C Trace Context, section 3.2): sampled, so that those behind decide.
    /// The trace has the id of the request that begins it, if that can be one.
    pub(super) fn traceparent(&self, request_id: &HeaderValue) -> HeaderValue {
        let mut text = Vec::with_capacity(TRACEPARENT_LENGTH);
        text.extend_from_slice(b"00-");
        match request_id.as_bytes() {
            id if id.len() == 32 && is_nonzero_hex(id) => text.extend_from_slice(id),
            _ => push_hex(&mut text, &self.next()),
        }
        text.push(b'-');
        push_hex(&mut text, &self.next()[..8]);
        text.extend_from_slice(b"-01");
        header_value(text)
    }
}

/// `version-trace-parent-flags` of version 00.
const TRACEPARENT_LENGTH: usize = 55;

/// Whether a `traceparent` can be continued (W3C Trace Context, section 3.2.2).
pub(super) fn is_traceparent(value: &[u8]) -> bool {
    let Some((first, rest)) = value.split_at_checked(TRACEPARENT_LENGTH) else { return false };
    // Later versions may append fields.
    let (version, well_ended) = (&first[..2], rest.is_empty() || (rest[0] == b'-' && &first[..2] != b"00"));
    let dashes = first[2] == b'-' && first[35] == b'-' && first[52] == b'-';
    let (trace, parent, flags) = (&first[3..35], &first[36..52], &first[53..55]);
    well_ended
        && dashes
        && version != b"ff"
        && [version, flags].into_iter().all(is_hex)
        && [trace, parent].into_iter().all(is_nonzero_hex)
}

fn is_hex(text: &[u8]) -> bool {
    text.iter().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

fn is_nonzero_hex(text: &[u8]) -> bool {
    is_hex(text) && text.iter().any(|b| *b != b'0')
}

/// Whether an id from somebody who is trusted can be taken over.
pub(super) fn is_request_id(value: &[u8]) -> bool {
    (1..=TAKEN_LENGTH_MAX).contains(&value.len())
        && value.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=' | b'+' | b'/'))
}

fn push_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn header_value(text: Vec<u8>) -> HeaderValue {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text)).expect("digits and dashes are visible ASCII");
    // It never comes again: in the table of HTTP/2's compression it would only drive out what does (RFC 7541, section 7.1.3).
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn randomness() -> Randomness {
        Randomness::new([RandomState::new(), RandomState::new()])
    }

    #[test]
    fn ids_do_not_repeat() {
        let randomness = randomness();
        let ids: HashSet<_> = (0..10_000).map(|_| randomness.request_id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 32 && is_request_id(id.as_bytes())));
    }

    #[test]
    fn what_begins_a_trace_can_be_continued() {
        let randomness = randomness();
        let id = randomness.request_id();
        let begun = randomness.traceparent(&id);
        assert!(is_traceparent(begun.as_bytes()) && &begun.as_bytes()[3..35] == id.as_bytes());
        for unusable in ["short", "00000000000000000000000000000000", "4BF92F3577B34DA6A3CE929D0E0E4736"] {
            assert!(is_traceparent(randomness.traceparent(&HeaderValue::from_static(unusable)).as_bytes()));
        }
        assert!(is_traceparent(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"));
        assert!(is_traceparent(b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more"));
        for broken in [
            &b""[..],
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-00",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-00",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-00",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736+00f067aa0ba902b7-00",
        ] {
            assert!(!is_traceparent(broken), "{}", String::from_utf8_lossy(broken));
        }
    }
}
