use http::Uri;
use switchyard_proto::vocab::{HostPattern, limits::HOOK_URL_BYTES_MAX};

/// Each name below a wildcard gets a certificate of its own when it is first asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDemand {
    /// Who says whether.
    pub hook: HookUrl,
}

/// Where it is asked whether a name is to have a certificate: an `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookUrl(String);

impl HookUrl {
    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidHookUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidHookUrl::Form)?;
        let host = uri.host().unwrap_or_default();
        if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_empty() {
            return Err(InvalidHookUrl::Form);
        }
        // They would be shown to whoever may read the domain.
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(InvalidHookUrl::Credentials);
        }
        if text.len() > HOOK_URL_BYTES_MAX { Err(InvalidHookUrl::Length) } else { Ok(Self(text.to_owned())) }
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL that asks for a name.
    pub fn asking_for(&self, name: &HostPattern) -> String {
        // A host name has no character that is to be encoded (RFC 3986, section 2.3).
        let separator = if self.0.contains('?') { '&' } else { '?' };
        format!("{}{separator}domain={name}", self.0)
    }
}

/// A text that is not the URL of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHookUrl {
    /// It is no URL, or of another scheme.
    #[error("a URL of a hook is http://HOST/PATH or https://HOST/PATH")]
    Form,
    /// It has a user or a password.
    #[error("a URL of a hook has no user and no password")]
    Credentials,
    /// It is too long.
    #[error("a URL of a hook has at most {HOOK_URL_BYTES_MAX} bytes")]
    Length,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_asked_for_one_name() {
        let name = HostPattern::parse("shop.sites.example").unwrap();
        for (hook, asked) in [
            ("http://127.0.0.1:9000/ask", "http://127.0.0.1:9000/ask?domain=shop.sites.example"),
            ("https://hook.example", "https://hook.example?domain=shop.sites.example"),
            ("https://hook.example/?key=1", "https://hook.example/?key=1&domain=shop.sites.example"),
        ] {
            assert_eq!(HookUrl::parse(hook).unwrap().asking_for(&name), asked);
        }
    }

    #[test]
    fn what_is_no_url_of_a_hook_is_refused() {
        for bad in ["", "ask", "/ask", "ftp://hook.example/", "hook.example:80", "http://", "http://hook.example/a b"] {
            assert_eq!(HookUrl::parse(bad), Err(InvalidHookUrl::Form), "{bad:?}");
        }
        assert_eq!(HookUrl::parse("http://user:secret@hook.example/"), Err(InvalidHookUrl::Credentials));
        let long = format!("http://hook.example/{}", "a".repeat(HOOK_URL_BYTES_MAX));
        assert_eq!(HookUrl::parse(&long), Err(InvalidHookUrl::Length));
    }
}
