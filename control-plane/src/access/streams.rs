use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::model::{Network, SecretHash};

/// Streams that are open at a time, of all tokens.
const STREAMS_MAX: usize = 4_096;
/// Streams of one token.
const STREAMS_PER_TOKEN_MAX: usize = 1_024;
/// Streams of one network that need no token.
const STREAMS_PER_NETWORK_MAX: usize = 64;

/// The streams that are open; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_holder: HashMap<Holder, Entry>,
}

/// What streams are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// The token that opened them, by its secret: another of the same name is another.
    Token(SecretHash),
    /// The network that they come from, as they need no token.
    Network(Option<Network>),
}

/// The streams of one holder: never none.
#[derive(Debug, Default)]
struct Entry {
    open: usize,
    ended: CancellationToken,
}

impl Streams {
    /// Takes one up, until what is returned is dropped.
    pub(super) fn open(&self, holder: Holder) -> Result<StreamPermit, TooManyStreams> {
        let max = match holder {
            Holder::Token(_) => STREAMS_PER_TOKEN_MAX,
            Holder::Network(_) => STREAMS_PER_NETWORK_MAX,
        };
        let mut open = self.0.lock().expect("no panic while it is locked");
        if open.total >= STREAMS_MAX {
            return Err(TooManyStreams::Total);
        }
        if open.by_holder.get(&holder).is_some_and(|entry| entry.open >= max) {
            return Err(TooManyStreams::Holder { max });
        }
        open.total += 1;
        let entry = open.by_holder.entry(holder).or_default();
        entry.open += 1;
        Ok(StreamPermit { streams: self.clone(), holder, ended: entry.ended.clone() })
    }

    /// Ends the streams of tokens that are not valid any more.
    pub(super) fn end_unless(&self, is_valid: impl Fn(&SecretHash) -> bool) {
        for (holder, entry) in &self.0.lock().expect("no panic while it is locked").by_holder {
            if let Holder::Token(hash) = holder
                && !is_valid(hash)
            {
                entry.ended.cancel();
            }
        }
    }
}

/// A stream that may be open until this is dropped.
#[derive(Debug)]
pub struct StreamPermit {
    streams: Streams,
    holder: Holder,
    ended: CancellationToken,
}

impl StreamPermit {
    /// Completes when the token that opened the stream was revoked or has expired.
    pub fn ended(&self) -> WaitForCancellationFutureOwned {
        self.ended.clone().cancelled_owned()
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().expect("no panic while it is locked");
        open.total -= 1;
        if let Some(entry) = open.by_holder.get_mut(&self.holder) {
            entry.open -= 1;
            if entry.open == 0 {
                open.by_holder.remove(&self.holder);
            }
        }
    }
}

/// There is no room for another stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyStreams {
    /// Of the same token, or from the same network if none is needed.
    #[error("{max} streams of this token or address are open: end one, and try again")]
    Holder {
        /// How many there may be.
        max: usize,
    },
    /// Of all together.
    #[error("{STREAMS_MAX} streams are open: try again later")]
    Total,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(secret: &str) -> Holder {
        Holder::Token(SecretHash::of(secret))
    }

    #[test]
    fn a_token_has_a_share_of_the_streams_and_leaves_the_rest() {
        let streams = Streams::default();
        let mut open: Vec<_> = (0..STREAMS_PER_TOKEN_MAX).map(|_| streams.open(token("one")).unwrap()).collect();
        assert_eq!(streams.open(token("one")).unwrap_err(), TooManyStreams::Holder { max: STREAMS_PER_TOKEN_MAX });
        assert!(streams.open(token("other")).is_ok());
        for number in 1.. {
            match streams.open(token(&(number / STREAMS_PER_TOKEN_MAX).to_string())) {
                Ok(permit) => open.push(permit),
                Err(error) => {
                    assert_eq!((error, open.len()), (TooManyStreams::Total, STREAMS_MAX));
                    break;
                }
            }
        }
        drop(open);
        assert!(streams.open(token("one")).is_ok());
        assert!(streams.0.lock().unwrap().by_holder.is_empty(), "nothing is left of them");
    }

    #[tokio::test]
    async fn the_streams_of_a_token_end_with_it_and_others_do_not() {
        let streams = Streams::default();
        let [one, other] = ["one", "other"].map(|secret| streams.open(token(secret)).unwrap());
        let anonymous = streams.open(Holder::Network(None)).unwrap();
        streams.end_unless(|hash| *hash == SecretHash::of("other"));
        one.ended().await;
        assert!(!other.ended.is_cancelled() && !anonymous.ended.is_cancelled());
    }
}
