use std::{fmt, time::Duration};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use switchyard_proto::vocab::{
    TicketKeysId,
    limits::{
        TICKET_BYTES_MAX, TICKET_KEY_NAME_BYTES, TICKET_KEY_ROTATION, TICKET_KEY_SECRET_BYTES, TICKET_KEYS_MAX,
        TICKET_LIFETIME,
    },
};

/// How old a key may be that is issued with. In all this time no other one came, though one is due every [`TICKET_KEY_ROTATION`].
pub const ISSUING_AGE_MAX: Duration = Duration::from_secs(6 * TICKET_KEY_ROTATION.as_secs());
/// How old a key may be that is accepted: no good ticket is from one that is older.
const ACCEPTED_AGE_MAX: Duration = Duration::from_secs(ISSUING_AGE_MAX.as_secs() + TICKET_LIFETIME.as_secs());

/// What the edges with the labels of this one issue session tickets with, and accept. Ready for use.
pub struct TicketKeys {
    id: TicketKeysId,
    keys: Vec<TicketKey>,
    /// Which of them is issued with.
    current: Option<usize>,
}

/// A key of session tickets.
pub struct TicketKey {
    name: [u8; TICKET_KEY_NAME_BYTES],
    sealing: LessSafeKey,
    role: TicketKeyRole,
    /// Since 1970.
    created: Duration,
}

/// What a key of session tickets is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketKeyRole {
    /// Its tickets are accepted.
    Accepted,
    /// It is issued with, and its tickets are accepted.
    Current,
}

impl TicketKeys {
    /// Takes the keys of a class.
    ///
    /// # Errors
    ///
    /// There are none, too many, two of one name, or two that are issued with.
    pub fn new(id: TicketKeysId, keys: Vec<TicketKey>) -> Result<Self, InvalidTicketKeys> {
        if !(1..=TICKET_KEYS_MAX).contains(&keys.len()) {
            return Err(InvalidTicketKeys::Count);
        }
        if (1..keys.len()).any(|at| keys[..at].iter().any(|key| key.name == keys[at].name)) {
            return Err(InvalidTicketKeys::Names);
        }
        let is_current = |key: &TicketKey| key.role == TicketKeyRole::Current;
        if keys.iter().filter(|key| is_current(key)).count() > 1 {
            return Err(InvalidTicketKeys::Current);
        }
        let current = keys.iter().position(is_current);
        Ok(Self { id, keys, current })
    }

    /// What stands for the labels.
    pub fn id(&self) -> &TicketKeysId {
        &self.id
    }

    /// The key to issue with at `now`, since 1970; `None` if the control plane has said nothing for too long.
    pub fn issuing(&self, now: Duration) -> Option<&TicketKey> {
        self.keys.get(self.current?).filter(|key| key.is_younger_than(ISSUING_AGE_MAX, now))
    }

    /// The key that a ticket is from, if it is one of these.
    pub fn key_of(&self, ticket: &[u8], now: Duration) -> Option<&TicketKey> {
        let name = ticket.first_chunk::<TICKET_KEY_NAME_BYTES>()?;
        self.keys.iter().find(|key| key.name == *name && key.is_younger_than(ACCEPTED_AGE_MAX, now))
    }
}

impl TicketKey {
    /// A key that was made at `created`, since 1970.
    ///
    /// # Errors
    ///
    /// Name or secret have another length.
    pub fn new(name: &[u8], secret: &[u8], role: TicketKeyRole, created: Duration) -> Result<Self, InvalidTicketKeys> {
        let name = name.try_into().map_err(|_| InvalidTicketKeys::Name)?;
        let secret: &[u8; TICKET_KEY_SECRET_BYTES] = secret.try_into().map_err(|_| InvalidTicketKeys::Secret)?;
        let sealing = UnboundKey::new(&AES_256_GCM, secret).map_err(|_| InvalidTicketKeys::Secret)?;
        Ok(Self { name, sealing: LessSafeKey::new(sealing), role, created })
    }

    /// A ticket that says this, and that whoever has the key can read: its name (16 bytes), a random nonce (12), the text and its tag (16),
    /// with the name bound to it. `None`: it is too long, or the system has no randomness to give.
    ///
    /// A nonce of 12 random bytes is good for 2^32 tickets (NIST SP 800-38D, section 8.3), of all edges together in the twelve hours that
    /// they issue with it: 99,000 a second.
    pub fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let Self { name, sealing, role: _, created: _ } = self;
        let length = name.len() + NONCE_LEN + plain.len() + sealing.algorithm().tag_len();
        if length > TICKET_BYTES_MAX {
            return None;
        }
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(length);
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let text = &mut ticket[name.len() + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = sealing.seal_in_place_separate_tag(nonce, Aad::from(name), text).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// What a ticket says, if it was made with this key.
    pub fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<TICKET_KEY_NAME_BYTES>()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.sealing.open_in_place(nonce, Aad::from(name), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }

    /// A key from the future is new: the clocks differ.
    fn is_younger_than(&self, age_max: Duration, now: Duration) -> bool {
        now.saturating_sub(self.created) < age_max
    }
}

/// Without the secrets.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("id", &self.id).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// Without the secret.
impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Why keys of session tickets cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTicketKeys {
    /// None, or too many.
    #[error("1 to {TICKET_KEYS_MAX} are required")]
    Count,
    /// A name of another length.
    #[error("a name has {TICKET_KEY_NAME_BYTES} bytes")]
    Name,
    /// A secret of another length.
    #[error("a secret has {TICKET_KEY_SECRET_BYTES} bytes")]
    Secret,
    /// Two have one name.
    #[error("two have the same name")]
    Names,
    /// Two are issued with.
    #[error("two are current")]
    Current,
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::Labels;

    use super::*;

    const CREATED: Duration = Duration::from_secs(1_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn key(name: u8, secret: u8, role: TicketKeyRole) -> TicketKey {
        TicketKey::new(&[name; 16], &[secret; 32], role, CREATED).unwrap()
    }

    fn keys(keys: Vec<TicketKey>) -> Result<TicketKeys, InvalidTicketKeys> {
        TicketKeys::new(TicketKeysId::of(&Labels::default()), keys)
    }

    #[test]
    fn a_ticket_is_read_with_its_key_and_no_other() {
        let (one, other) = (key(1, 1, TicketKeyRole::Current), key(2, 2, TicketKeyRole::Accepted));
        let ticket = one.seal(b"a session").unwrap();
        assert_eq!(one.open(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_ne!(one.seal(b"a session").unwrap(), ticket, "each has a nonce of its own");
        assert_eq!(other.open(&ticket), None);
        assert_eq!(
            key(2, 1, TicketKeyRole::Accepted).open(&[&[2; 16], &ticket[16..]].concat()),
            None,
            "its name is bound"
        );
        for length in 0..ticket.len() {
            assert_eq!(one.open(&ticket[..length]), None, "{length}");
        }
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(one.open(&changed), None, "{at}");
        }
        assert_eq!(one.seal(&[0; TICKET_BYTES_MAX]), None);
        assert_eq!(one.open(&[1; TICKET_BYTES_MAX + 1]), None);
        assert!(!format!("{:?}", keys(vec![one])).contains(", 1, 1"));
    }

    #[test]
    fn only_the_current_key_is_issued_with_and_only_while_there_is_news() {
        let keys = keys(vec![key(1, 1, TicketKeyRole::Accepted), key(2, 2, TicketKeyRole::Current)]).unwrap();
        assert_eq!(keys.issuing(CREATED).unwrap().name, [2; 16]);
        let old = keys.keys[0].seal(b"old").unwrap();
        assert!(keys.key_of(&old, CREATED).is_some() && keys.key_of(&[3; 60], CREATED).is_none());
        assert!(keys.key_of(&[1; 15], CREATED).is_none());
        assert!(keys.issuing(CREATED - SECOND).is_some(), "by a clock that is late");
        assert!(keys.issuing(CREATED + ISSUING_AGE_MAX - SECOND).is_some());
        assert!(keys.issuing(CREATED + ISSUING_AGE_MAX).is_none());
        assert!(keys.key_of(&old, CREATED + ISSUING_AGE_MAX).is_some());
        assert!(keys.key_of(&old, CREATED + ACCEPTED_AGE_MAX).is_none());
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused() {
        use TicketKeyRole::{Accepted, Current};
        assert_eq!(keys(vec![]).unwrap_err(), InvalidTicketKeys::Count);
        let many = (0..=TICKET_KEYS_MAX).map(|name| key(u8::try_from(name).unwrap(), 1, Accepted)).collect();
        assert_eq!(keys(many).unwrap_err(), InvalidTicketKeys::Count);
        assert_eq!(keys(vec![key(1, 1, Accepted), key(1, 2, Current)]).unwrap_err(), InvalidTicketKeys::Names);
        assert_eq!(keys(vec![key(1, 1, Current), key(2, 2, Current)]).unwrap_err(), InvalidTicketKeys::Current);
        let of = |name: &[u8], secret: &[u8]| TicketKey::new(name, secret, Current, CREATED).unwrap_err();
        assert_eq!(of(&[1; 15], &[1; 32]), InvalidTicketKeys::Name);
        assert_eq!(of(&[1; 16], &[1; 16]), InvalidTicketKeys::Secret);
        assert!(keys(vec![key(1, 1, Accepted)]).unwrap().issuing(CREATED).is_none());
    }
}
