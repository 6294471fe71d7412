//! HTTP to providers.
//!
//! What always holds: every request ends within its time, no redirect is followed, no more than a bounded part of an answer is
//! read, and no error repeats a secret. Whom to trust is what the system trusts.

use std::{error::Error as _, sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use serde_json::Value;
use tracing::warn;

/// How long a connection may take, TLS included.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long all of a request may take.
const REQUEST_WAIT: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// What an error repeats of an answer.
const EXCERPT_CHARS_MAX: usize = 300;
/// Who says so, to providers that look.
const USER_AGENT: &str = concat!("switchyard/", env!("CARGO_PKG_VERSION"));

/// The HTTP client that all providers share. A clone is the same client.
#[derive(Clone, Debug)]
pub struct Outgoing(Client);

/// What a provider said.
#[derive(Debug)]
pub(super) struct HttpAnswer {
    url: Url,
    status: StatusCode,
    body: Vec<u8>,
    /// Whether the body goes on after what was read.
    cut: bool,
}

impl Outgoing {
    /// A client that trusts what the system trusts.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new() -> Result<Self, OutgoingError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            // Not a reason to end: the provider may be reached without TLS, or none be in use.
            let errors = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>();
            warn!(
                error = errors.join("; "),
                "the system trusts no CA: install ca-certificates, or nothing is reached by HTTPS"
            );
        }
        Self::with_roots(roots)
    }

    /// A client that trusts `roots` and nobody else.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn with_roots(roots: RootCertStore) -> Result<Self, OutgoingError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| OutgoingError(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_WAIT)
            .timeout(REQUEST_WAIT)
            .redirect(redirect::Policy::none())
            .user_agent(USER_AGENT)
            .build()
            .map(Self)
            .map_err(|error| OutgoingError(causes(&error)))
    }

    /// What requests are built with.
    pub(super) fn client(&self) -> &Client {
        &self.0
    }
}

/// Sends a request and reads what is said to it, whatever the status.
pub(super) async fn send(url: Url, request: RequestBuilder) -> Result<HttpAnswer, HttpError> {
    let unreachable = |error: reqwest::Error| HttpError::Unreachable { url: url.to_string(), problem: causes(&error) };
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let (mut body, mut cut) = (Vec::new(), false);
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        let room = BODY_BYTES_MAX - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            cut = true;
            break;
        }
        body.extend_from_slice(&chunk);
    }
    Ok(HttpAnswer { url, status, body, cut })
}

impl HttpAnswer {
    /// An error unless the status says success. `secrets` are not repeated.
    pub(super) fn success(&self, secrets: &[&str]) -> Result<(), HttpError> {
        let (url, status, answer) = (self.url.to_string(), self.status, self.excerpt(secrets));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(HttpError::Credentials { url, status, answer }),
            _ if status.is_success() => Ok(()),
            _ => Err(HttpError::Status { url, status, answer }),
        }
    }

    /// The body as JSON.
    pub(super) fn json(&self, secrets: &[&str]) -> Result<Value, HttpError> {
        if self.cut {
            return Err(HttpError::TooLong { url: self.url.to_string() });
        }
        serde_json::from_slice(&self.body).map_err(|_| self.unexpected(secrets))
    }

    /// The error that the body is not what it should be.
    pub(super) fn unexpected(&self, secrets: &[&str]) -> HttpError {
        HttpError::Unexpected { url: self.url.to_string(), answer: self.excerpt(secrets) }
    }

    fn excerpt(&self, secrets: &[&str]) -> String {
        let excerpt = excerpt(&self.body, EXCERPT_CHARS_MAX, secrets);
        if excerpt.is_empty() { "nothing".to_owned() } else { excerpt }
    }
}

/// The beginning of a text that others wrote: bounded, on one line, without secrets.
pub(super) fn excerpt(text: &[u8], chars_max: usize, secrets: &[&str]) -> String {
    let mut text = String::from_utf8_lossy(text).into_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[redacted]");
    }
    let text: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let text = text.trim();
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// An error and its causes on one line. The URL is said elsewhere.
fn causes(error: &reqwest::Error) -> String {
    let mut text = match error {
        _ if error.is_timeout() => "it takes too long".to_owned(),
        _ if error.is_connect() => "no connection".to_owned(),
        _ => "the exchange broke off".to_owned(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
#[error("TLS for requests to DNS providers cannot be set up: {0}; this is a fault of the program, please report it")]
pub struct OutgoingError(String);

/// Why a request to a provider failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// There is no answer, or not all of it.
    #[error("{url} cannot be reached: {problem}; check the URL, and what is between here and there")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        problem: String,
    },
    /// 401 or 403.
    #[error("{url} refuses the credentials ({status}): {answer}; check them, and what they may do")]
    Credentials {
        /// What was asked.
        url: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the answer.
        answer: String,
    },
    /// Another status than success. Redirects are not followed: credentials go where they were meant for, and nowhere else.
    #[error("{url} answers {status}: {answer}; check the URL, and the provider's log")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the answer.
        answer: String,
    },
    /// The answer is longer than any that is expected.
    #[error("the answer of {url} is over 64 KiB long; check the URL")]
    TooLong {
        /// What was asked.
        url: String,
    },
    /// The answer is not what the provider's API says.
    #[error("the answer of {url} is not what is expected there: {answer}; check the URL")]
    Unexpected {
        /// What was asked.
        url: String,
        /// The beginning of the answer.
        answer: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_bounded_on_one_line_and_without_secrets() {
        assert_eq!(excerpt(b" a\r\nb\x1b[1m ", 10, &[]), "a  b [1m");
        assert_eq!(excerpt("ööö".as_bytes(), 2, &[]), "öö…");
        assert_eq!(excerpt(b"token=hunter2!", 300, &["hunter2", ""]), "token=[redacted]!");
        assert_eq!(excerpt(&[0xff; 3], 300, &[]), "\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn there_is_a_client_even_where_the_system_trusts_nobody() {
        assert!(Outgoing::with_roots(RootCertStore::empty()).is_ok());
        assert!(Outgoing::new().is_ok());
    }
}
