//! What was asked of CAs, and what they allow.

use std::time::Duration;

use switchyard_proto::vocab::{HostPattern, IssuerId};

use super::{Rate, RateLimits, Timestamp};

/// Something that the rate limits of an issuer count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUse {
    /// Whose limits.
    pub issuer: IssuerId,
    /// What was asked.
    pub kind: UseKind,
    /// For which name.
    pub host: HostPattern,
    /// When.
    pub at: Timestamp,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseKind {
    /// An order was made.
    Order,
    /// A certificate was issued that is not the replacement of another, as the CA sees it.
    Certificate,
    /// A name did not prove itself.
    Failure,
}

impl UseKind {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Certificate => "certificate",
            Self::Failure => "failure",
        }
    }
}

/// One of the limits of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What it counts.
    pub kind: UseKind,
    /// For what it counts apart.
    pub per: Per,
    /// How many.
    pub rate: Rate,
}

/// For what a limit counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// The whole account.
    Account,
    /// Each registered domain: what is below a public suffix (publicsuffix.org).
    RegisteredDomain,
    /// Each name.
    Name,
}

impl Limit {
    /// The limits that are known.
    pub fn all(limits: &RateLimits) -> impl Iterator<Item = Self> {
        let RateLimits { orders, certificates_per_registered_domain, certificates_per_exact_names, failures_per_name } =
            *limits;
        let limit = |kind, per, rate: Option<Rate>| rate.map(|rate| Self { kind, per, rate });
        [
            limit(UseKind::Order, Per::Account, orders),
            limit(UseKind::Certificate, Per::RegisteredDomain, certificates_per_registered_domain),
            limit(UseKind::Certificate, Per::Name, certificates_per_exact_names),
            limit(UseKind::Failure, Per::Name, failures_per_name),
        ]
        .into_iter()
        .flatten()
    }

    /// What it counts, as people say it.
    pub fn text(&self) -> &'static str {
        match (self.kind, self.per) {
            (UseKind::Order, _) => "orders",
            (UseKind::Certificate, Per::RegisteredDomain) => "certificates per registered domain",
            (UseKind::Certificate, _) => "certificates per exact names",
            (UseKind::Failure, _) => "failed validations per name",
        }
    }

    /// For what it counts `host`.
    pub fn subject(&self, host: &HostPattern) -> String {
        match self.per {
            Per::Account => String::new(),
            Per::RegisteredDomain => registered_domain(host).to_owned(),
            Per::Name => host.to_string(),
        }
    }

    /// How long what was asked longest ago still counts.
    pub fn window(&self) -> Duration {
        self.rate.window
    }
}

/// The part of a name that somebody has registered: of `www.shop.co.uk`, `shop.co.uk`; a name below no known suffix is its own.
pub fn registered_domain(host: &HostPattern) -> &str {
    let name = host.wildcard_suffix().unwrap_or(host.as_str());
    psl::domain_str(name).unwrap_or(name)
}

/// How much of a limit is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// For what it is counted apart: nothing, a registered domain or a name.
    pub subject: String,
    /// How often.
    pub count: u32,
    /// When it was the first time that still counts.
    pub first_at: Timestamp,
}

/// A limit that leaves no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Which one.
    pub limit: Limit,
    /// For what it was counted.
    pub subject: String,
    /// When there is room again.
    pub until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Directory;

    #[test]
    fn what_is_registered_is_below_a_public_suffix() {
        for (host, registered) in [
            ("www.shop.co.uk", "shop.co.uk"),
            ("*.shop.example", "shop.example"),
            ("shop.github.io", "shop.github.io"),
            ("a.b.c.test", "c.test"),
        ] {
            assert_eq!(registered_domain(&HostPattern::parse(host).unwrap()), registered);
        }
    }

    #[test]
    fn the_limits_that_are_known_are_counted() {
        let known = Directory::parse(Directory::LETS_ENCRYPT).unwrap();
        let texts: Vec<&str> = Limit::all(&RateLimits::published(&known)).map(|limit| limit.text()).collect();
        assert_eq!(texts.len(), 4);
        assert_eq!(Limit::all(&RateLimits::default()).count(), 0);
    }
}
