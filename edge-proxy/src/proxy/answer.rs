//! What the edge answers itself.

use bytes::Bytes;
use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS},
};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::authority::BadRequest;

/// An answer without a backend.
#[derive(Debug)]
pub(super) enum Answer {
    /// 400.
    BadRequest(BadRequest),
    /// 200: what proves to a CA that the host is ours (RFC 8555, section 8.3).
    Challenge(String),
    /// 308, to the same place over TLS.
    Redirect(HeaderValue),
    /// 404: nobody has configured the host.
    UnknownHost,
    /// 421: its connection was opened for another name, or proves something else than is asked for.
    Misdirected,
    /// 503: the domain has no backend.
    NoBackend,
    /// 503: the domain is served over TLS alone, and has no certificate yet.
    NoCertificate,
    /// What became of a request that could not be completed.
    Failed(StatusCode),
}

impl Answer {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Challenge(_) => StatusCode::OK,
            Self::Redirect(_) => StatusCode::PERMANENT_REDIRECT,
            Self::UnknownHost => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoBackend | Self::NoCertificate => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(status) => *status,
        }
    }

    /// One sentence for the person in front of the client.
    fn text(&self) -> String {
        match self {
            Self::BadRequest(reason) => format!("The request cannot be served: {reason}."),
            Self::Challenge(key_authorization) => key_authorization.clone(),
            Self::Redirect(_) => "This is served over HTTPS.".to_owned(),
            Self::UnknownHost => "No site is served here under this name.".to_owned(),
            Self::Misdirected => {
                "The site is not served over this connection: connect to it by its own name.".to_owned()
            }
            Self::NoBackend => "The site has no server that is ready now.".to_owned(),
            Self::NoCertificate => "The site is served over HTTPS only, and has no certificate yet.".to_owned(),
            Self::Failed(StatusCode::GATEWAY_TIMEOUT) => "The site's server did not answer in time.".to_owned(),
            Self::Failed(StatusCode::SERVICE_UNAVAILABLE) => {
                "No secure connection to the site's server could be made.".to_owned()
            }
            Self::Failed(StatusCode::BAD_GATEWAY) => "The site's server could not be reached.".to_owned(),
            Self::Failed(_) => "The request could not be completed.".to_owned(),
        }
    }

    /// Sends it, if nothing was sent before.
    pub(super) async fn send(&self, session: &mut Session, request_id: &HeaderValue) -> Result<()> {
        if session
            .response_written()
            .is_some_and(|header| !header.status.is_informational() || header.status == StatusCode::SWITCHING_PROTOCOLS)
        {
            return Ok(());
        }
        let accept = session.req_header().headers.get(ACCEPT).map_or(&b"*/*"[..], HeaderValue::as_bytes);
        let format = Format::accepted(accept);
        let (content_type, body) = match self {
            // Nothing but what was asked for: whoever can make the host answer with text of his choice must not be able to use it.
            Self::Challenge(key_authorization) => ("text/plain", key_authorization.clone()),
            _ => {
                let id = request_id.to_str().unwrap_or_default();
                (format.content_type(), format.body(self.status(), &self.text(), id))
            }
        };
        let mut header = ResponseHeader::build(self.status(), Some(6))?;
        header.insert_header(CONTENT_TYPE, HeaderValue::from_static(content_type))?;
        header.insert_header(CONTENT_LENGTH, body.len())?;
        header.insert_header("x-request-id", request_id.clone())?;
        if matches!(self, Self::Challenge(_)) {
            header.insert_header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))?;
        }
        match self {
            Self::Redirect(location) => header.insert_header(LOCATION, location.clone())?,
            _ => header.insert_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))?,
        }
        let body = if session.req_header().method == Method::HEAD { Bytes::new() } else { Bytes::from(body) };
        session.write_response_header(Box::new(header), false).await?;
        session.write_response_body(Some(body), true).await
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Html,
    Json,
}

impl Format {
    /// The one that an `Accept` header prefers (RFC 9110, section 12.5.1); plain text for who takes anything.
    fn accepted(accept: &[u8]) -> Self {
        let mut best = (Self::Text, 0.0);
        for range in String::from_utf8_lossy(accept).split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "text/html" | "application/xhtml+xml" => Self::Html,
                "application/json" | "application/problem+json" => Self::Json,
                "text/plain" | "text/*" | "*/*" => Self::Text,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0_f32);
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    fn body(self, status: StatusCode, text: &str, request_id: &str) -> String {
        let code = status.as_u16();
        let reason = status.canonical_reason().unwrap_or_default();
        match self {
            Self::Text => format!("{code} {reason}\n{text}\nRequest {request_id}\n"),
            // The text holds no character that HTML or JSON gives a meaning.
            Self::Html => format!(
                "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{code} {reason}</title>\n\
                 <h1>{reason}</h1>\n<p>{text}</p>\n<p><small>Request {request_id}</small></p>\n</html>\n"
            ),
            Self::Json => format!(
                "{{\"status\":{code},\"error\":\"{reason}\",\"message\":\"{text}\",\"request_id\":\"{request_id}\"}}\n"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_what_is_accepted() {
        let cases: [(&str, Format); 7] = [
            ("*/*", Format::Text),
            ("", Format::Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Html),
            ("application/json", Format::Json),
            ("application/json, text/plain, */*", Format::Json),
            ("text/html;q=0.2, application/json;q=0.7", Format::Json),
            ("image/png", Format::Text),
        ];
        for (accept, format) in cases {
            assert_eq!(Format::accepted(accept.as_bytes()), format, "{accept}");
        }
    }

    #[test]
    fn a_json_body_is_json() {
        let body = Format::Json.body(StatusCode::NOT_FOUND, &Answer::UnknownHost.text(), "abc");
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&value["status"], &value["request_id"]), (&404.into(), &"abc".into()));
    }
}
