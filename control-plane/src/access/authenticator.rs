use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    attempts::{FailedAttempts, TooManyFailures},
    permissions::{NotPermitted, Permission},
    rates::{RateExceeded, Rates},
    streams::{Holder, StreamPermit, Streams, TooManyStreams},
    token_uses::TokenUses,
};
use crate::{
    clock::Clock,
    feed::{Feed, State},
    model::{Actor, Network, Origin, SecretHash, Stored, Token},
};

/// How often it is looked whether a token has expired that has open streams.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);

/// Decides on each call of the API.
#[derive(Debug)]
pub struct Authenticator {
    feed: Feed,
    clock: Arc<dyn Clock>,
    uses: TokenUses,
    attempts: FailedAttempts,
    rates: Rates,
    streams: Streams,
}

/// A call, as far as access depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is called: see [`Permission::of`].
    pub method: &'a str,
    /// The secret that it shows, if it does.
    pub secret: Option<&'a str>,
    /// Where it comes from, if that is known.
    pub address: Option<IpAddr>,
    /// By which way in it came.
    pub origin: Origin,
}

/// A call that may be made.
#[derive(Debug)]
pub struct Grant {
    /// Whose it is; none if the method needs no token.
    pub actor: Option<Actor>,
    /// What its stream is counted by, if it is one.
    pub stream: Option<StreamPermit>,
}

impl Authenticator {
    /// Decides by the tokens of `feed`; lets each token make so many calls a second.
    pub fn new(feed: Feed, clock: Arc<dyn Clock>, uses: TokenUses, calls_per_second: NonZeroU32) -> Self {
        let (attempts, streams) = (FailedAttempts::default(), Streams::default());
        Self { feed, clock, uses, attempts, rates: Rates::new(calls_per_second), streams }
    }

    /// When tokens were used last.
    pub fn uses(&self) -> &TokenUses {
        &self.uses
    }

    /// Whether a call may be made. The answer to a wrong secret is delayed.
    ///
    /// # Errors
    ///
    /// It may not.
    pub async fn authorize(&self, call: Call<'_>) -> Result<Grant, Refusal> {
        let Call { method, secret, address, origin } = call;
        let permission = Permission::of(method).ok_or(Refusal::NoSuchMethod)?;
        if !permission.needs_token() {
            let holder = Holder::Network(address.map(Network::of));
            return Ok(Grant { actor: None, stream: self.stream(permission, holder)? });
        }
        let Some(secret) = secret else {
            let address = address.map(|address| address.to_string());
            info!(address, method, "refused: a call without a token");
            return Err(Refusal::NoToken);
        };
        let hash = SecretHash::of(secret);
        let Some(token) = self.token(&self.feed.state(), &hash) else {
            let attempt = self.attempts.begin(address)?;
            let address = address.map(|address| address.to_string());
            warn!(address, method, "refused: a call with a token that is unknown, revoked or expired");
            attempt.delay().await;
            return Err(Refusal::UnknownToken);
        };
        let Token { id, access, .. } = &token.value;
        self.uses.note(id, self.clock.now());
        self.rates.count(id)?;
        permission
            .check(access)
            .inspect_err(|_| info!(token = %id, method, "refused: its role or scope does not suffice"))?;
        let stream = self.stream(permission, Holder::Token(hash))?;
        // It may have been revoked before its stream was there to be ended.
        if stream.is_some() && self.token(&self.feed.state(), &hash).is_none() {
            return Err(Refusal::UnknownToken);
        }
        let (name, access) = (id.to_string(), access.clone());
        let actor = Actor { name, origin, access, address, method: Some(permission.name()) };
        Ok(Grant { actor: Some(actor), stream })
    }

    /// Ends the streams of tokens that are revoked or expire, until `ending` is cancelled.
    pub async fn run(self: Arc<Self>, ending: CancellationToken) {
        let mut states = self.feed.subscribe();
        loop {
            let state = states.borrow_and_update().clone();
            self.streams.end_unless(|hash| self.token(&state, hash).is_some());
            tokio::select! {
                () = ending.cancelled() => return,
                // The feed is held here, so it does not go away.
                _ = states.changed() => {}
                () = sleep(EXPIRY_INTERVAL) => {}
            }
        }
    }

    /// The token of a secret, if it is valid now.
    fn token(&self, state: &State, hash: &SecretHash) -> Option<Arc<Stored<Token>>> {
        state.token_of(hash).filter(|token| !token.value.is_expired(self.clock.now())).cloned()
    }

    fn stream(&self, permission: &Permission, holder: Holder) -> Result<Option<StreamPermit>, TooManyStreams> {
        permission.is_stream().then(|| self.streams.open(holder)).transpose()
    }
}

/// Why a call may not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing of this name can be called.
    #[error("there is no such method")]
    NoSuchMethod,
    /// It shows no token.
    #[error("a token is needed: show one with `authorization: Bearer TOKEN`; switchyard login keeps it")]
    NoToken,
    /// It shows one that is not valid.
    #[error("the token is unknown, revoked or expired: ask for another")]
    UnknownToken,
    /// It is one wrong token of too many.
    #[error(transparent)]
    TooManyFailures(#[from] TooManyFailures),
    /// The token calls too often.
    #[error(transparent)]
    RateExceeded(#[from] RateExceeded),
    /// The role or the scope of the token does not suffice.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// There is no room for its stream.
    #[error(transparent)]
    TooManyStreams(#[from] TooManyStreams),
}

impl Refusal {
    /// Whether the call showed a valid token.
    pub fn is_of_valid_token(&self) -> bool {
        match self {
            Self::NoSuchMethod | Self::NoToken | Self::UnknownToken | Self::TooManyFailures(_) => false,
            Self::RateExceeded(_) | Self::NotPermitted(_) | Self::TooManyStreams(_) => true,
        }
    }
}

#[cfg(test)]
mod tests;
