//! What is wrong with settings, in words for those who wrote them.

/// What is wrong with settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDnsSettings {
    /// The name server is not given by its address.
    #[error("'{0}' is not the address of a name server; write one like 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53")]
    Server(String),
    /// The key's name is not a name of DNS.
    #[error("'{0}' is not the name of a TSIG key; write it as in the name server's configuration")]
    KeyName(String),
    /// The key's algorithm is not one of those that are in use.
    #[error("'{0}' is not an algorithm of TSIG keys that is supported; use hmac-sha256, hmac-sha384 or hmac-sha512")]
    KeyAlgorithm(String),
    /// The key's secret is not base64, is empty, or is too long.
    #[error(
        "the secret of the TSIG key is not base64, or has no usual length; copy it from the name server's key file"
    )]
    KeySecret,
    /// A URL cannot be used.
    #[error("the URL of '{field}' {problem}; write one like https://dns.example.net/api")]
    Url {
        /// Which one.
        field: &'static str,
        /// Why.
        problem: &'static str,
    },
    /// A value that must be there is not.
    #[error("'{0}' is empty; give it, or leave it out where it is optional")]
    Empty(&'static str),
    /// A credential has characters that cannot be sent, or is too long.
    #[error("'{0}' has a line break or another control character, or is over 4096 bytes long; copy it again")]
    Credential(&'static str),
    /// One of two that go together is missing.
    #[error("'{0}' is missing, and '{1}' is given; give both or none")]
    Missing(&'static str, &'static str),
    /// A user name that basic authentication cannot say.
    #[error("'username' has a colon, which ends it in basic authentication (RFC 7617); use another user name")]
    Colon,
    /// The subdomain of acme-dns is not a label.
    #[error(
        "'{0}' is not a subdomain of acme-dns; copy 'subdomain', not 'fulldomain', from what its registration gave"
    )]
    Subdomain(String),
    /// A program that is not given by its file name.
    #[error(
        "'{0}' is not the file name of a program in the control plane's directory of hooks; write one like set-txt"
    )]
    Program(String),
}

impl InvalidDnsSettings {
    /// Which field is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::KeyName(_) => "key_name",
            Self::KeyAlgorithm(_) => "key_algorithm",
            Self::KeySecret => "key_secret",
            Self::Url { field, .. } | Self::Empty(field) | Self::Credential(field) | Self::Missing(field, _) => field,
            Self::Colon => "username",
            Self::Subdomain(_) => "subdomain",
            Self::Program(_) => "program",
        }
    }
}

/// What an error repeats of a text: not all of it when it is long.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}
