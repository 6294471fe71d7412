use switchyard_proto::vocab::{HostPattern, IssuerId};

use super::{PrivateKey, Timestamp};

/// How far a domain is with its certificate from a CA. Not part of the configuration: it takes no revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuance {
    /// The domain.
    pub host: HostPattern,
    /// The wildcard that says that this name below it has a certificate on demand; `None`: it is a domain's own.
    pub on_demand: Option<HostPattern>,
    /// Counts the writes: nobody writes over what he has not read.
    pub version: u64,
    /// What is done now.
    pub phase: Phase,
    /// Who issued the certificate that is served.
    pub issuer: Option<IssuerId>,
    /// A certificate that its issuer is to declare void once another is served, DER.
    pub revoke: Option<Vec<u8>>,
    /// The order that is open, if one is.
    pub order: Option<Order>,
    /// When something is to be done next.
    pub next_at: Timestamp,
    /// How often it failed since it went well.
    pub failures: u32,
    /// Why it failed the last time.
    pub failure: Option<String>,
    /// When the certificate is to be replaced; `None`: at once, or there is none.
    pub renewal: Option<Renewal>,
    /// When this was written.
    pub updated_at: Timestamp,
}

impl Issuance {
    /// One that is to begin at once.
    pub fn new(host: HostPattern, now: Timestamp) -> Self {
        Self {
            host,
            on_demand: None,
            version: 0,
            phase: Phase::Waiting,
            issuer: None,
            revoke: None,
            order: None,
            next_at: now,
            failures: 0,
            failure: None,
            renewal: None,
            updated_at: now,
        }
    }
}

/// What is done for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing before the next moment.
    Waiting,
    /// It is being ordered.
    Ordering,
    /// The edges are being told what to answer, or the zone of the name is.
    Preparing,
    /// The CA looks whether the name proves itself.
    Validating,
    /// The CA signs.
    Finalizing,
    /// Its domain is gone; the certificate is kept for a while.
    Retired,
}

impl Phase {
    const ALL: [Self; 6] =
        [Self::Waiting, Self::Ordering, Self::Preparing, Self::Validating, Self::Finalizing, Self::Retired];

    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ordering => "ordering",
            Self::Preparing => "preparing",
            Self::Validating => "validating",
            Self::Finalizing => "finalizing",
            Self::Retired => "retired",
        }
    }

    /// The phase that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }
}

/// An order at a CA (RFC 8555, section 7.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Where it was made.
    pub issuer: IssuerId,
    /// What the CA calls it.
    pub url: String,
    /// The key that the certificate is to be for.
    pub private_key: PrivateKey,
    /// When it was made.
    pub began_at: Timestamp,
}

/// When a certificate is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// At this moment.
    pub at: Timestamp,
    /// Chosen in this window, which the CA has suggested (RFC 9773); `None`: by the certificate's lifetime.
    pub window: Option<(Timestamp, Timestamp)>,
    /// When to ask the CA again; `None`: it has nothing to say.
    pub ask_at: Option<Timestamp>,
}

impl Renewal {
    /// When something is to be done about it.
    pub fn next_at(&self) -> Timestamp {
        self.ask_at.map_or(self.at, |ask_at| ask_at.min(self.at))
    }
}

/// The right to do what only one control plane may: see [`crate::store::Store::take_lease`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: &'static str,
    /// Which process has it.
    pub holder: String,
    /// How often it has changed hands.
    pub epoch: i64,
}
