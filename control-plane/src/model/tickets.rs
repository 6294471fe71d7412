use std::{fmt, time::Duration};

use switchyard_proto::vocab::{
    Labels, TicketKeysId,
    limits::{TICKET_KEY_NAME_BYTES, TICKET_KEY_ROTATION, TICKET_KEY_SECRET_BYTES, TICKET_KEYS_MAX, TICKET_LIFETIME},
};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::Timestamp;

/// How long is waited for edges to have the next key. One that comes later cannot resume what others begin until it has it.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// What the edges with the same labels issue session tickets with, and accept.
///
/// At any moment of a [step](Due) some edges have what is before it and others what is after it, and a ticket of any is accepted by all:
/// what is issued with was accepted before, and stays accepted after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketKeys {
    id: TicketKeysId,
    labels: Labels,
    keys: Vec<TicketKey>,
}

/// A key of session tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketKey {
    /// What its tickets begin with.
    pub name: TicketKeyName,
    /// What they are sealed with.
    pub secret: TicketSecret,
    /// What it is used for.
    pub role: TicketKeyRole,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it has its role.
    pub since: Timestamp,
}

/// What a key of session tickets is used for. Tickets of every key are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TicketKeyRole {
    /// It is issued with once the edges have it.
    Next,
    /// It is issued with.
    Current,
    /// It is issued with until the edges have the next one, and then gone: somebody has it who is no edge any more.
    Condemned,
    /// It was issued with.
    Previous,
}

/// A name and a secret that are new.
#[derive(Clone, Debug)]
pub struct FreshTicketKey {
    name: TicketKeyName,
    secret: TicketSecret,
}

/// What is to be done next with the keys of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this moment.
    Nothing {
        /// When.
        until: Timestamp,
    },
    /// The next key is to become the one that is issued with once all edges that were seen recently have it, or at this moment.
    Acknowledgement {
        /// When.
        until: Timestamp,
    },
    /// A next key is to be made, and given to the edges.
    Begin,
    /// The next key is to become the one that is issued with.
    Promote,
    /// Keys are to go that no valid ticket is from.
    Forget,
}

impl TicketKeys {
    /// A first key, which is issued with at once: nobody has a ticket of another.
    pub fn new(labels: Labels, fresh: FreshTicketKey, now: Timestamp) -> Self {
        let keys = vec![fresh.key(TicketKeyRole::Current, now)];
        Self { id: TicketKeysId::of(&labels), labels, keys }
    }

    /// Keys as they were kept.
    ///
    /// # Errors
    ///
    /// There are none, too many, two of one name, or two that are issued with.
    pub fn from_parts(labels: Labels, keys: Vec<TicketKey>) -> Result<Self, InvalidTicketKeys> {
        if !(1..=TICKET_KEYS_MAX).contains(&keys.len()) {
            return Err(InvalidTicketKeys::Count);
        }
        if (1..keys.len()).any(|at| keys[..at].iter().any(|key| key.name == keys[at].name)) {
            return Err(InvalidTicketKeys::Names);
        }
        if keys.iter().filter(|key| key.role.is_issuing()).count() > 1 {
            return Err(InvalidTicketKeys::Current);
        }
        Ok(Self { id: TicketKeysId::of(&labels), labels, keys })
    }

    /// What stands for the labels.
    pub fn id(&self) -> &TicketKeysId {
        &self.id
    }

    /// The labels of the edges that share them.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The keys, in no order that matters.
    pub fn keys(&self) -> &[TicketKey] {
        &self.keys
    }

    /// What is to be done at `now`.
    pub fn due(&self, now: Timestamp) -> Due {
        if let Some(next) = self.of_role(TicketKeyRole::Next) {
            let until = remaining(next.since, ACKNOWLEDGEMENT_TIMEOUT, now);
            return until.map_or(Due::Promote, |until| Due::Acknowledgement { until });
        }
        let issuing = self.of_role(TicketKeyRole::Current);
        let Some(rotation) = issuing.and_then(|current| remaining(current.since, TICKET_KEY_ROTATION, now)) else {
            return Due::Begin;
        };
        let previous = self.keys.iter().filter(|key| key.role == TicketKeyRole::Previous);
        let ends: Option<Vec<Timestamp>> = previous.map(|key| remaining(key.since, TICKET_LIFETIME, now)).collect();
        ends.map_or(Due::Forget, |ends| Due::Nothing { until: ends.into_iter().fold(rotation, Timestamp::min) })
    }

    /// With a next key.
    #[must_use]
    pub fn begun(&self, fresh: FreshTicketKey, now: Timestamp) -> Self {
        let mut begun = self.without_old(now);
        begun.keys.retain(|key| key.role != TicketKeyRole::Next);
        begun.keys.push(fresh.key(TicketKeyRole::Next, now));
        begun.bounded()
    }

    /// With the next key as the one that is issued with.
    #[must_use]
    pub fn promoted(&self, now: Timestamp) -> Self {
        let mut promoted = self.without_old(now);
        if promoted.of_role(TicketKeyRole::Next).is_none() {
            return promoted;
        }
        promoted.keys.retain(|key| key.role != TicketKeyRole::Condemned);
        for key in &mut promoted.keys {
            match key.role {
                TicketKeyRole::Next => (key.role, key.since) = (TicketKeyRole::Current, now),
                TicketKeyRole::Current => (key.role, key.since) = (TicketKeyRole::Previous, now),
                TicketKeyRole::Previous | TicketKeyRole::Condemned => {}
            }
        }
        promoted
    }

    /// Without the keys that no valid ticket is from.
    #[must_use]
    pub fn without_old(&self, now: Timestamp) -> Self {
        let is_old = |key: &TicketKey| {
            key.role == TicketKeyRole::Previous && remaining(key.since, TICKET_LIFETIME, now).is_none()
        };
        Self { keys: self.keys.iter().filter(|key| !is_old(key)).cloned().collect(), ..self.clone() }
    }

    /// With a next key that somebody does not have who has all of these, and with none of these once the edges have it.
    #[must_use]
    pub fn condemned(&self, fresh: FreshTicketKey, now: Timestamp) -> Self {
        let issuing = self.keys.iter().filter(|key| key.role.is_issuing());
        let mut keys: Vec<TicketKey> =
            issuing.map(|key| TicketKey { role: TicketKeyRole::Condemned, since: now, ..key.clone() }).collect();
        keys.push(fresh.key(TicketKeyRole::Next, now));
        Self { keys, ..self.clone() }
    }

    fn of_role(&self, role: TicketKeyRole) -> Option<&TicketKey> {
        self.keys.iter().find(|key| key.role == role)
    }

    /// Without the oldest of what was issued with, if there are too many.
    fn bounded(mut self) -> Self {
        while self.keys.len() > TICKET_KEYS_MAX {
            let previous = self.keys.iter().enumerate().filter(|(_, key)| key.role == TicketKeyRole::Previous);
            let Some((oldest, _)) = previous.min_by_key(|(_, key)| key.since) else { break };
            self.keys.remove(oldest);
        }
        self
    }
}

/// The end of what began at `since` and takes so long; `None` if that is over. A clock that was set back by more does not prolong it.
fn remaining(since: Timestamp, duration: Duration, now: Timestamp) -> Option<Timestamp> {
    let end = since.plus(duration);
    (now < end && since < now.plus(duration)).then_some(end)
}

impl FreshTicketKey {
    /// Makes one; `None` if the system has no randomness to give.
    pub fn generate() -> Option<Self> {
        let mut name = [0; TICKET_KEY_NAME_BYTES];
        let mut secret = Zeroizing::new([0; TICKET_KEY_SECRET_BYTES]);
        aws_lc_rs::rand::fill(&mut name).ok()?;
        aws_lc_rs::rand::fill(&mut *secret).ok()?;
        Some(Self { name: TicketKeyName(name), secret: TicketSecret(secret) })
    }

    fn key(self, role: TicketKeyRole, now: Timestamp) -> TicketKey {
        let Self { name, secret } = self;
        TicketKey { name, secret, role, created_at: now, since: now }
    }
}

impl TicketKeyRole {
    fn is_issuing(self) -> bool {
        matches!(self, Self::Current | Self::Condemned)
    }
}

/// The name of a key of session tickets: by jitter, and no secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TicketKeyName([u8; TICKET_KEY_NAME_BYTES]);

impl TicketKeyName {
    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// In hexadecimal digits.
impl fmt::Display for TicketKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TicketKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeyName({self})")
    }
}

/// The secret of a key of session tickets. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketSecret(Zeroizing<[u8; TICKET_KEY_SECRET_BYTES]>);

impl ZeroizeOnDrop for TicketSecret {}

impl TicketSecret {
    /// The secret, to be sealed or sent to an edge.
    pub fn expose(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(redacted)")
    }
}

/// A name and a secret as they were kept; `None` unless they have the right lengths.
pub fn ticket_key_parts(name: &[u8], secret: &[u8]) -> Option<(TicketKeyName, TicketSecret)> {
    Some((TicketKeyName(name.try_into().ok()?), TicketSecret(Zeroizing::new(secret.try_into().ok()?))))
}

/// Why keys are not those of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTicketKeys {
    /// None, or too many.
    #[error("there are 1 to {TICKET_KEYS_MAX} ticket keys")]
    Count,
    /// Two have one name.
    #[error("two ticket keys have the same name")]
    Names,
    /// Two are issued with.
    #[error("two ticket keys are issued with")]
    Current,
}

#[cfg(test)]
mod tests;
