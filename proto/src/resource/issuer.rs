use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Uri;
use zeroize::Zeroizing;

use crate::{
    v1 as wire,
    vocab::{IssuerId, limits::THUMBPRINT_BYTES},
};

use super::{CaBundle, Defaults, InvalidResource, PrivateKey, Resource, invalid::Violations};

/// Bytes of the URL of a directory, or of an account or an order.
pub const ACME_URL_BYTES_MAX: usize = 2_048;
/// Bytes of an e-mail address (RFC 5321, section 4.5.3.1).
const EMAIL_BYTES_MAX: usize = 254;
/// Bytes of the name of a profile, of a chain, or of the id of an external account's key.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of an external account's key.
const EXTERNAL_KEY_BYTES_MAX: usize = 512;
/// The most that a limit can be.
const RATE_COUNT_MAX: u32 = 1_000_000;
/// The longest time that a limit is for.
const RATE_WINDOW_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// A CA that certificates are ordered from by ACME (RFC 8555), and the fleet's account there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its id.
    pub id: IssuerId,
    /// Where its directory is.
    pub directory: Directory,
    /// The CAs that its directory is trusted by; `None`: those of the system.
    pub roots: Option<CaBundle>,
    /// Where it may write to.
    pub email: Option<Email>,
    /// What the account is bound to (RFC 8555, section 7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// The kind of certificates that is asked for; `None`: the CA's usual.
    pub profile: Option<Name>,
    /// Of several chains the one that ends at an issuer of this common name.
    pub preferred_chain: Option<Name>,
    /// Its place among those that domains use which name none.
    pub place: Place,
    /// How much it allows.
    pub limits: RateLimits,
    /// The account, once there is one.
    pub account: Option<Account>,
}

/// The place of an issuer among those that are used by domains which name none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// After those there are: whoever stores it gives it a rank.
    Last,
    /// By this rank, the smallest first.
    Rank(u32),
    /// None: it is used only where it is named.
    OnlyWhereNamed,
}

impl Issuer {
    /// The CA that is known by this id, with the defaults, if one is.
    pub fn well_known(id: IssuerId) -> Option<Self> {
        let directory = Directory::well_known(&id)?;
        Some(Self {
            limits: RateLimits::published(&directory),
            id,
            directory,
            roots: None,
            email: None,
            external_account: None,
            profile: None,
            preferred_chain: None,
            place: Place::Last,
            account: None,
        })
    }

    /// Its rank, if it has one.
    pub fn rank(&self) -> Option<u32> {
        match self.place {
            Place::Rank(rank) => Some(rank),
            Place::Last | Place::OnlyWhereNamed => None,
        }
    }
}

impl Resource for Issuer {
    type Message = wire::Issuer;

    fn parse(message: wire::Issuer) -> Result<Self, InvalidResource> {
        let wire::Issuer {
            name,
            directory,
            root_ca_pem,
            email,
            external_account,
            profile,
            preferred_chain,
            rank,
            only_where_named,
            rate_limits,
            account,
            account_thumbprint,
            revision: _,
            etag: _,
            create_time: _,
            update_time: _,
            account_key,
        } = message;
        let mut violations = Violations::default();
        let id = violations.check("name", IssuerId::parse_resource_name(&name));
        let directory = match (directory.as_str(), &id) {
            ("", Some(id)) => violations.check("directory", Directory::well_known(id).ok_or(NoDirectory)),
            ("", None) => None,
            (url, _) => violations.check("directory", Directory::parse(url)),
        };
        let roots = violations.optional("root_ca_pem", &root_ca_pem, CaBundle::parse);
        let email = violations.optional("email", &email, Email::parse);
        let profile = violations.optional("profile", &profile, Name::parse);
        let preferred_chain = violations.optional("preferred_chain", &preferred_chain, Name::parse);
        let external_account = match external_account {
            None => Some(None),
            Some(message) => violations.nested("external_account", ExternalAccount::parse(message)).map(Some),
        };
        let place = match (rank, only_where_named) {
            (None, false) => Some(Place::Last),
            (Some(rank), false) => Some(Place::Rank(rank)),
            (None, true) => Some(Place::OnlyWhereNamed),
            (Some(_), true) => violations.check("rank", Err("it excludes only_where_named")),
        };
        let limits = match rate_limits {
            None => directory.as_ref().map(RateLimits::published),
            Some(message) => violations.nested("rate_limits", RateLimits::parse(message)),
        };
        let account = match (account.as_str(), account_thumbprint.as_str(), account_key.is_empty()) {
            ("", "", true) => Some(None),
            (url, thumbprint, false) if !url.is_empty() => {
                violations.check("account_thumbprint", Thumbprint::parse(thumbprint)).map(|thumbprint| {
                    Some(Account { url: url.to_owned(), key: PrivateKey::from_pkcs8(account_key), thumbprint })
                })
            }
            _ => violations.check("account", Err("an account has a URL, a key and its thumbprint")),
        };
        let issuer = || {
            Some(Self {
                id: id?,
                directory: directory?,
                roots: roots?,
                email: email?,
                external_account: external_account?,
                profile: profile?,
                preferred_chain: preferred_chain?,
                place: place?,
                limits: limits?,
                account: account?,
            })
        };
        let issuer = issuer();
        violations.finish(issuer)
    }

    fn message(&self, defaults: Defaults) -> wire::Issuer {
        let Self { id, directory, roots, email, external_account, profile, preferred_chain, place, limits, account } =
            self;
        let name = |name: &Option<Name>| name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default();
        let known = Directory::well_known(id);
        let directory = defaults.keep(Some(directory), &known.as_ref()).flatten();
        wire::Issuer {
            name: id.to_resource_name(),
            directory: directory.map(|directory| directory.as_str().to_owned()).unwrap_or_default(),
            root_ca_pem: roots.as_ref().map(CaBundle::pem).unwrap_or_default(),
            email: email.as_ref().map(|email| email.as_str().to_owned()).unwrap_or_default(),
            external_account: external_account.as_ref().map(ExternalAccount::message),
            profile: name(profile),
            preferred_chain: name(preferred_chain),
            rank: self.rank(),
            only_where_named: *place == Place::OnlyWhereNamed,
            // What a CA has published may change with the version: so what held when it was written is always written.
            rate_limits: Some(limits.message()),
            account: account.as_ref().map(|account| account.url.clone()).unwrap_or_default(),
            account_thumbprint: account.as_ref().map(|it| it.thumbprint.as_str().to_owned()).unwrap_or_default(),
            revision: 0,
            etag: String::new(),
            create_time: None,
            update_time: None,
            account_key: account.as_ref().map(|account| account.key.expose_pkcs8().to_vec()).unwrap_or_default(),
        }
    }
}

/// A directory is left out, and none is known for the issuer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("required, except for letsencrypt and letsencrypt-staging")]
struct NoDirectory;

/// The fleet's account at a CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What the CA calls it.
    pub url: String,
    /// The key that it proves itself by.
    pub key: PrivateKey,
    /// The thumbprint of that key.
    pub thumbprint: Thumbprint,
}

/// An account that somebody has with a CA, outside of ACME.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// What the CA calls its key.
    pub key_id: Name,
    /// The key: HMAC with SHA-256.
    key: Zeroizing<Vec<u8>>,
}

impl ExternalAccount {
    /// Takes a key.
    pub fn new(key_id: Name, key: Vec<u8>) -> Result<Self, InvalidIssuer> {
        if key.is_empty() || key.len() > EXTERNAL_KEY_BYTES_MAX {
            return Err(InvalidIssuer::ExternalKey);
        }
        Ok(Self { key_id, key: Zeroizing::new(key) })
    }

    /// The key, to be sealed or signed with.
    pub fn expose_key(&self) -> &[u8] {
        &self.key
    }

    fn parse(message: wire::ExternalAccount) -> Result<Self, InvalidResource> {
        let wire::ExternalAccount { key_id, key } = message;
        let mut violations = Violations::default();
        let key_id = violations.check("key_id", Name::parse(&key_id));
        // Some CAs show it with padding.
        let key = URL_SAFE_NO_PAD.decode(key.trim().trim_end_matches('='));
        let key = violations.check("key", key.map_err(|_| InvalidIssuer::ExternalKey));
        let account = match (key_id, key) {
            (Some(key_id), Some(key)) => violations.check("key", Self::new(key_id, key)),
            _ => None,
        };
        violations.finish(account)
    }

    fn message(&self) -> wire::ExternalAccount {
        let Self { key_id, key } = self;
        wire::ExternalAccount { key_id: key_id.as_str().to_owned(), key: URL_SAFE_NO_PAD.encode(&**key) }
    }
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Where the directory of a CA is: an `https` URL (RFC 8555, section 7.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory(String);

impl Directory {
    /// Let's Encrypt.
    pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
    /// Let's Encrypt, for trying: nobody trusts its certificates, and its limits are wide.
    pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidIssuer> {
        let uri: Uri = text.parse().map_err(|_| InvalidIssuer::Directory)?;
        let is_usable = uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty());
        if is_usable && text.len() <= ACME_URL_BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIssuer::Directory)
        }
    }

    /// The directory of the CA that is known by this id.
    pub fn well_known(id: &IssuerId) -> Option<Self> {
        match id.as_str() {
            "letsencrypt" => Some(Self(Self::LETS_ENCRYPT.to_owned())),
            "letsencrypt-staging" => Some(Self(Self::LETS_ENCRYPT_STAGING.to_owned())),
            _ => None,
        }
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An e-mail address, as far as that can be told without writing to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Parses an address: `admin@shop.example`.
    pub fn parse(text: &str) -> Result<Self, InvalidIssuer> {
        let is_plain =
            text.len() <= EMAIL_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        match text.rsplit_once('@') {
            Some((local, host)) if is_plain && !local.is_empty() && host.contains('.') => Ok(Self(text.to_owned())),
            _ => Err(InvalidIssuer::Email),
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a CA calls something: printable, and not too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, InvalidIssuer> {
        let is_name = !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
        if is_name { Ok(Self(text.to_owned())) } else { Err(InvalidIssuer::Name) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The thumbprint of an account's key (RFC 7638): base64url of a SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbprint(String);

impl Thumbprint {
    /// Parses a thumbprint.
    pub fn parse(text: &str) -> Result<Self, InvalidIssuer> {
        let is_base64url = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if text.len() == THUMBPRINT_BYTES && is_base64url {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidIssuer::Thumbprint)
        }
    }

    /// The thumbprint.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How much a CA allows, as it has published; what it says nothing of is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Orders of one account.
    pub orders: Option<Rate>,
    /// Certificates for names below one registered domain (`example.co.uk`).
    pub certificates_per_registered_domain: Option<Rate>,
    /// Certificates for exactly the same names.
    pub certificates_per_exact_names: Option<Rate>,
    /// Failed validations of one name.
    pub failures_per_name: Option<Rate>,
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long: a window that moves with time.
    pub window: Duration,
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl RateLimits {
    /// What the CA of this directory has published; nothing of one that is not known here.
    pub fn published(directory: &Directory) -> Self {
        let rate = |count, window| Some(Rate { count, window });
        match directory.as_str() {
            // https://letsencrypt.org/docs/rate-limits/
            Directory::LETS_ENCRYPT => Self {
                orders: rate(300, 3 * HOUR),
                certificates_per_registered_domain: rate(50, WEEK),
                certificates_per_exact_names: rate(5, WEEK),
                failures_per_name: rate(5, HOUR),
            },
            // https://letsencrypt.org/docs/staging-environment/
            Directory::LETS_ENCRYPT_STAGING => Self {
                orders: rate(1_500, 3 * HOUR),
                certificates_per_registered_domain: rate(30_000, WEEK),
                certificates_per_exact_names: rate(30_000, WEEK),
                failures_per_name: rate(200, HOUR),
            },
            _ => Self::default(),
        }
    }

    fn parse(message: wire::RateLimits) -> Result<Self, InvalidResource> {
        let wire::RateLimits {
            orders,
            certificates_per_registered_domain,
            certificates_per_exact_names,
            failures_per_name,
        } = message;
        let mut violations = Violations::default();
        let mut rate = |path: &str, message: Option<wire::Rate>| match message {
            None => Some(None),
            Some(message) => violations.check(path, Rate::parse(message)).map(Some),
        };
        let rates = (
            rate("orders", orders),
            rate("certificates_per_registered_domain", certificates_per_registered_domain),
            rate("certificates_per_exact_names", certificates_per_exact_names),
            rate("failures_per_name", failures_per_name),
        );
        let limits = || {
            Some(Self {
                orders: rates.0?,
                certificates_per_registered_domain: rates.1?,
                certificates_per_exact_names: rates.2?,
                failures_per_name: rates.3?,
            })
        };
        let limits = limits();
        violations.finish(limits)
    }

    fn message(&self) -> wire::RateLimits {
        let Self { orders, certificates_per_registered_domain, certificates_per_exact_names, failures_per_name } = self;
        let rate = |rate: &Option<Rate>| rate.as_ref().map(Rate::message);
        wire::RateLimits {
            orders: rate(orders),
            certificates_per_registered_domain: rate(certificates_per_registered_domain),
            certificates_per_exact_names: rate(certificates_per_exact_names),
            failures_per_name: rate(failures_per_name),
        }
    }
}

impl Rate {
    fn parse(message: wire::Rate) -> Result<Self, InvalidIssuer> {
        let wire::Rate { count, window } = message;
        let window = window.and_then(|window| Duration::try_from(window).ok()).unwrap_or_default();
        let is_bounded =
            (1..=RATE_COUNT_MAX).contains(&count) && (Duration::from_secs(1)..=RATE_WINDOW_MAX).contains(&window);
        if is_bounded { Ok(Self { count, window }) } else { Err(InvalidIssuer::Rate) }
    }

    /// The rate as a message.
    pub fn message(&self) -> wire::Rate {
        let Self { count, window } = self;
        wire::Rate { count: *count, window: Some((*window).into()) }
    }
}

/// Why something is not a part of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuer {
    /// Not an `https` URL.
    #[error(
        "the URL of an ACME directory is required: https://ca.example/directory, at most {ACME_URL_BYTES_MAX} bytes"
    )]
    Directory,
    /// Not an e-mail address.
    #[error("an e-mail address is required: admin@shop.example")]
    Email,
    /// Not a name.
    #[error("1 to {NAME_BYTES_MAX} printable bytes are required")]
    Name,
    /// Not a thumbprint.
    #[error("not the thumbprint of a key")]
    Thumbprint,
    /// Not a key.
    #[error("the key of an external account has 1 to {EXTERNAL_KEY_BYTES_MAX} bytes, in base64url")]
    ExternalKey,
    /// Not a rate.
    #[error("a rate is 1 to {RATE_COUNT_MAX} in 1 second to 31 days")]
    Rate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_an_https_url() {
        for bad in ["", "ca.example", "http://ca.example/directory", "https://", "ftp://ca.example/"] {
            assert_eq!(Directory::parse(bad), Err(InvalidIssuer::Directory), "{bad}");
        }
        assert!(Directory::parse("https://127.0.0.1:14000/dir").is_ok());
        assert!(Directory::parse(&format!("https://ca.example/{}", "a".repeat(ACME_URL_BYTES_MAX))).is_err());
        let known = Directory::well_known(&IssuerId::parse("letsencrypt").unwrap()).unwrap();
        assert_eq!(RateLimits::published(&known).orders.unwrap().count, 300);
        assert_eq!(RateLimits::published(&Directory::parse("https://ca.example/").unwrap()), RateLimits::default());
    }

    #[test]
    fn an_email_address_has_a_mailbox_and_a_domain() {
        assert!(Email::parse("admin+acme@shop.example").is_ok());
        for bad in ["", "admin", "@shop.example", "admin@shop", "a b@shop.example", "a@b.example,c@d.example"] {
            assert_eq!(Email::parse(bad), Err(InvalidIssuer::Email), "{bad}");
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        let bad = wire::Issuer {
            name: "issuers/Bad".to_owned(),
            directory: "http://ca.example".to_owned(),
            email: "nobody".to_owned(),
            root_ca_pem: "none".to_owned(),
            rank: Some(1),
            only_where_named: true,
            external_account: Some(wire::ExternalAccount { key_id: "kid".to_owned(), key: "!".to_owned() }),
            rate_limits: Some(wire::RateLimits { orders: Some(wire::Rate::default()), ..Default::default() }),
            ..wire::Issuer::default()
        };
        let invalid = Issuer::parse(bad).unwrap_err();
        let paths: Vec<&str> = invalid.violations().iter().map(|violation| violation.path.as_str()).collect();
        for path in ["name", "directory", "email", "root_ca_pem", "rank", "external_account.key", "rate_limits.orders"]
        {
            assert!(paths.contains(&path), "{path} in {paths:?}");
        }
    }

    #[test]
    fn a_known_name_has_a_directory_and_an_account_survives_the_way_into_a_message() {
        let message = wire::Issuer { name: "issuers/letsencrypt".to_owned(), ..wire::Issuer::default() };
        let mut issuer = Issuer::parse(message).unwrap();
        assert_eq!((issuer.place, issuer.directory.as_str()), (Place::Last, Directory::LETS_ENCRYPT));
        assert_eq!(issuer.limits.orders.unwrap().count, 300);
        issuer.account = Some(Account {
            url: "https://ca.example/account/1".to_owned(),
            key: PrivateKey::from_pkcs8(vec![1, 2, 3]),
            thumbprint: Thumbprint::parse(&"t".repeat(THUMBPRINT_BYTES)).unwrap(),
        });
        for defaults in [Defaults::Omitted, Defaults::Written] {
            assert_eq!(Issuer::parse(issuer.message(defaults)).unwrap(), issuer);
        }
        assert_eq!(issuer.message(Defaults::Omitted).directory, "");
        let unknown = wire::Issuer { name: "issuers/other".to_owned(), ..wire::Issuer::default() };
        assert_eq!(Issuer::parse(unknown).unwrap_err().violations()[0].path, "directory");
    }

    #[test]
    fn secrets_are_never_shown() {
        let account = ExternalAccount::new(Name::parse("kid-1").unwrap(), b"secret".to_vec()).unwrap();
        assert!(!format!("{account:?}").contains("secret") && format!("{account:?}").contains("kid-1"));
        assert!(ExternalAccount::new(Name::parse("kid-1").unwrap(), vec![]).is_err());
    }
}
