use http::HeaderValue;
use pingora_core::Error;
use pingora_proxy::Session;
use tracing::info;

use super::phases::Context;

/// One line for one request that has ended.
pub(super) fn write(session: &Session, error: Option<&Error>, context: &Context) {
    let request = session.req_header();
    let host = request.uri.authority().map(|authority| authority.as_str());
    let host = host.or_else(|| request.headers.get(http::header::HOST)?.to_str().ok());
    info!(
        target: "access",
        method = request.method.as_str(),
        host = host.unwrap_or_default(),
        path = %String::from_utf8_lossy(request.raw_path()),
        status = session.response_written().map_or(0, |response| response.status.as_u16()),
        duration_ms = context.began.elapsed().as_secs_f64() * 1000.0,
        bytes = session.body_bytes_sent(),
        backend = context.backend.as_ref().map(|pooled| pooled.backend.id.as_str()),
        tag = context.route.as_ref().map(|route| route.domain().settings.active_tag.as_str()),
        attempts = context.attempts_made(),
        request_id = context.request_id.as_ref().map(HeaderValue::to_str).and_then(Result::ok),
        client = context.client.as_ref().map(HeaderValue::to_str).and_then(Result::ok),
        error = error.map(tracing::field::display),
    );
}
