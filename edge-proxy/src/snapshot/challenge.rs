use switchyard_proto::vocab::{HostPattern, limits::CHALLENGE_TOKEN_BYTES_MAX};

/// What a CA is answered that asks for the names of one host pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The names.
    pub host: HostPattern,
    /// HTTP-01: the thumbprint of the account's key, which completes any token.
    pub http_01: Option<Box<str>>,
    /// TLS-ALPN-01: the SHA-256 of the key authorization that is asked for.
    pub tls_alpn_01: Option<[u8; 32]>,
}

impl Challenge {
    /// The answer for a token of HTTP-01 (RFC 8555, section 8.3).
    pub fn key_authorization(&self, token: Token<'_>) -> Option<String> {
        Some(format!("{}.{}", token.0, self.http_01.as_deref()?))
    }
}

/// A token of a CA: base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a>(&'a str);

impl<'a> Token<'a> {
    /// The token in the path that a CA asks for, if it is that and the token is well-formed.
    pub fn of_path(path: &'a [u8]) -> Option<Self> {
        let token = path.strip_prefix(b"/.well-known/acme-challenge/")?;
        let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_token = (1..=CHALLENGE_TOKEN_BYTES_MAX).contains(&token.len()) && token.iter().all(is_base64url);
        is_token.then(|| std::str::from_utf8(token).ok().map(Self))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_token_is_answered_and_nothing_else() {
        let challenge = Challenge {
            host: HostPattern::parse("shop.example").unwrap(),
            http_01: Some("thumb".into()),
            tls_alpn_01: None,
        };
        let answer = |path: &str| challenge.key_authorization(Token::of_path(path.as_bytes())?);
        assert_eq!(answer("/.well-known/acme-challenge/a_B-9").as_deref(), Some("a_B-9.thumb"));
        for path in ["", "a.b", "a/b", "a%20b", "<script>", "a?b", "ü"] {
            assert_eq!(answer(&format!("/.well-known/acme-challenge/{path}")), None, "{path}");
        }
        assert_eq!(answer(&format!("/.well-known/acme-challenge/{}", "a".repeat(257))), None);
        assert_eq!(answer("/.well-known/acme-challenge"), None);
        assert_eq!(answer("/"), None);
    }
}
