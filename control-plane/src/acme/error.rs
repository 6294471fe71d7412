use std::time::Duration;

use instant_acme::{Error as LibraryError, Problem};

/// Bytes of what is kept of a CA's explanation.
const REASON_BYTES_MAX: usize = 1_000;
/// What the types of ACME's problems begin with (RFC 8555, section 6.7).
const ERROR_PREFIX: &str = "urn:ietf:params:acme:error:";

/// Why a CA did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AcmeError {
    /// What it means.
    pub kind: AcmeErrorKind,
    /// What people read: what is wrong, and what to do.
    pub reason: String,
    /// How long the CA wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// What an error of a CA means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeErrorKind {
    /// It does not answer, or nothing that can be understood. Another CA may.
    Unavailable,
    /// There were too many requests. Another CA may have room.
    RateLimited,
    /// It is not even asked: it has said how much it allows.
    OverBudget,
    /// It will not issue, whatever is tried again: something has to be changed. Another CA may.
    Refused,
    /// The name did not prove itself.
    Invalid,
    /// It knows nothing of the order.
    OrderGone,
    /// It knows nothing of the account.
    AccountGone,
    /// What was sent is to be sent again.
    SendAgain,
}

impl AcmeError {
    /// An error of this kind.
    pub fn new(kind: AcmeErrorKind, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        Self { kind, reason, retry_after: None }
    }

    /// What the library's error means; `status` is that of the last answer, and `retry_after` what it asked for.
    pub(super) fn of(error: &LibraryError, status: Option<u16>, retry_after: Option<Duration>) -> Self {
        let error = match error {
            LibraryError::Api(problem) => Self::of_problem(problem, status),
            // An answer without a problem document: it never came as far as ACME.
            _ if matches!(status, Some(429)) => {
                Self::new(AcmeErrorKind::RateLimited, "the CA answers: too many requests (429)")
            }
            // An answer without a body.
            LibraryError::Json(_) if matches!(status, Some(404)) => {
                Self::new(AcmeErrorKind::OrderGone, "the CA does not know the order (404)")
            }
            LibraryError::Json(_) => {
                let status = status.map_or_else(String::new, |status| format!(" (status {status})"));
                Self::new(
                    AcmeErrorKind::Unavailable,
                    format!("the CA answers what is not ACME{status}: check the URL of its directory"),
                )
            }
            LibraryError::Other(source) => {
                let (mut text, mut cause) = (source.to_string(), source.source());
                while let Some(source) = cause {
                    text = format!("{text}: {source}");
                    cause = source.source();
                }
                let is_untrusted = text.contains("invalid peer certificate");
                let advice =
                    if is_untrusted { ": give the issuer the CA that is behind it (--root-ca-file)" } else { "" };
                Self::new(AcmeErrorKind::Unavailable, format!("the CA cannot be reached: {text}{advice}"))
            }
            LibraryError::Timeout(_) => Self::new(AcmeErrorKind::Unavailable, "the CA did not decide in time"),
            LibraryError::Crypto | LibraryError::KeyRejected => {
                Self::new(AcmeErrorKind::AccountGone, "the key of the account cannot be used")
            }
            error => Self::new(AcmeErrorKind::Unavailable, format!("the CA's answer makes no sense: {error}")),
        };
        Self { retry_after, ..error }
    }

    /// What a problem document means (RFC 8555, section 6.7).
    pub(super) fn of_problem(problem: &Problem, status: Option<u16>) -> Self {
        let status = problem.status.or(status);
        let name = problem.r#type.as_deref().and_then(|kind| kind.strip_prefix(ERROR_PREFIX)).unwrap_or_default();
        let kind = match (name, status) {
            ("badNonce", _) => AcmeErrorKind::SendAgain,
            ("rateLimited", _) | (_, Some(429)) => AcmeErrorKind::RateLimited,
            ("accountDoesNotExist", _) => AcmeErrorKind::AccountGone,
            ("serverInternal", _) | (_, Some(500..)) => AcmeErrorKind::Unavailable,
            ("connection" | "dns" | "incorrectResponse" | "tls", _) => AcmeErrorKind::Invalid,
            (_, Some(404)) => AcmeErrorKind::OrderGone,
            _ => AcmeErrorKind::Refused,
        };
        let mut text = problem.detail.clone().unwrap_or_else(|| "it gives no reason".to_owned());
        for subproblem in &problem.subproblems {
            text = format!("{text}; {subproblem}");
        }
        let advice = match name {
            "externalAccountRequired" => ": give the issuer an external account (--external-account-key-id)",
            "caa" => ": the domain's CAA records allow other CAs only",
            "rejectedIdentifier" => ": this CA does not sign the name",
            _ => "",
        };
        let name = if name.is_empty() { String::new() } else { format!(" ({name})") };
        Self::new(kind, format!("the CA says: {text}{name}{advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(name: &str, status: u16) -> Problem {
        let kind = Some(format!("{ERROR_PREFIX}{name}"));
        Problem { r#type: kind, detail: Some("because".to_owned()), status: Some(status), subproblems: vec![] }
    }

    #[test]
    fn what_a_ca_says_is_told_apart() {
        for (name, status, kind) in [
            ("badNonce", 400, AcmeErrorKind::SendAgain),
            ("rateLimited", 429, AcmeErrorKind::RateLimited),
            ("rejectedIdentifier", 400, AcmeErrorKind::Refused),
            ("serverInternal", 500, AcmeErrorKind::Unavailable),
            ("unknown", 503, AcmeErrorKind::Unavailable),
            ("connection", 400, AcmeErrorKind::Invalid),
            ("accountDoesNotExist", 400, AcmeErrorKind::AccountGone),
            ("malformed", 404, AcmeErrorKind::OrderGone),
        ] {
            let error = AcmeError::of_problem(&problem(name, status), None);
            assert_eq!(error.kind, kind, "{name}");
            assert!(error.reason.starts_with("the CA says: because"), "{error}");
        }
    }

    #[test]
    fn an_endless_explanation_is_cut() {
        assert!(AcmeError::new(AcmeErrorKind::Refused, "ü".repeat(10_000)).reason.len() <= REASON_BYTES_MAX);
    }
}
