use std::{fmt, time::Duration};

use http::Uri;
use switchyard_proto::vocab::{HostPattern, IssuerId, limits::THUMBPRINT_BYTES};

use super::{CaBundle, PrivateKey, rules};

/// Bytes of the URL of a directory, or of an account or an order.
pub const ACME_URL_BYTES_MAX: usize = 2_048;
/// Bytes of an e-mail address (RFC 5321, section 4.5.3.1).
const EMAIL_BYTES_MAX: usize = 254;
/// Bytes of the name of a profile, of a chain, or of the id of an external account's key.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of an external account's key.
const EXTERNAL_KEY_BYTES_MAX: usize = 512;

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
    /// Its place among those that domains use which name none, the smallest first; `None`: it is used only where it is named.
    pub rank: Option<u32>,
    /// How much it allows.
    pub limits: RateLimits,
    /// The account, once there is one.
    pub account: Option<Account>,
}

impl Issuer {
    /// Whether it may be asked for a certificate of a name. One whose directory is trusted by roots of its own is private, and may sign
    /// any; public ones sign no private names.
    pub fn may_sign(&self, host: &HostPattern) -> bool {
        self.roots.is_some() || rules::why_private(host).is_none()
    }
}

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
    key: Vec<u8>,
}

impl ExternalAccount {
    /// Takes a key.
    pub fn new(key_id: Name, key: Vec<u8>) -> Result<Self, InvalidIssuer> {
        if key.is_empty() || key.len() > EXTERNAL_KEY_BYTES_MAX {
            return Err(InvalidIssuer::ExternalKey);
        }
        Ok(Self { key_id, key })
    }

    /// The key, to be sealed or signed with.
    pub fn expose_key(&self) -> &[u8] {
        &self.key
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
    fn secrets_are_never_shown() {
        let account = ExternalAccount::new(Name::parse("kid-1").unwrap(), b"secret".to_vec()).unwrap();
        assert!(!format!("{account:?}").contains("secret") && format!("{account:?}").contains("kid-1"));
        assert!(ExternalAccount::new(Name::parse("kid-1").unwrap(), vec![]).is_err());
    }
}
