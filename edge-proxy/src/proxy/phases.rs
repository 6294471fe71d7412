use std::{
    os::fd::RawFd,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Version, header::TRANSFER_ENCODING};
use memchr::memmem;
use pingora_core::{
    Error, ErrorSource, ErrorType, Result, RetryType, modules::http::HttpModules, protocols::Digest,
    upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use switchyard_process::chain;
use tracing::{info, warn};

use super::{
    Proxy, access_log,
    answer::Answer,
    authority::checked_authority,
    forwarding,
    patience::Patience,
    settings::AccessLog,
    upstream::{Exchange, peer},
};
use crate::{
    balance::{Attempt, Attempts, InFlight, PooledBackend},
    connection::{Connection, KEEPALIVE},
    snapshot::Route,
};

/// What Pingora calls a connection that is kept forever.
const KEEPALIVE_FOREVER: u64 = 0;
/// How long a client may take nothing of its answer before it is gone.
const CLIENT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What is known of one request.
pub(crate) struct Context {
    pub(super) began: Instant,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) client: Option<HeaderValue>,
    pub(super) route: Option<Route>,
    /// The one that has it, or had it last.
    pub(super) backend: Option<Arc<PooledBackend>>,
    exchange: Exchange,
    /// How long the header was, of a request over HTTP/1.1.
    pub(super) header_bytes: Option<u64>,
    pub(super) attempts: Option<Attempts>,
    /// To be tried again when no other is left: its connection was an old one, which may have been closed before the
    /// request came.
    again: Option<Attempt>,
    /// To be tried next: it did not prove itself by the one name, and may by the other.
    by_alternative_name: Option<Attempt>,
    last: Option<Attempt>,
    in_flight: Option<InFlight>,
    patience: Patience,
    /// Why the last attempt failed.
    failure: Option<Failure>,
}

/// Why an attempt failed.
struct Failure {
    status: StatusCode,
    reason: String,
}

impl Context {
    pub(super) fn attempts_made(&self) -> u32 {
        self.attempts.as_ref().map_or(0, Attempts::made)
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            began: Instant::now(),
            request_id: None,
            client: None,
            route: None,
            backend: None,
            exchange: Exchange::Plain,
            header_bytes: None,
            attempts: None,
            again: None,
            by_alternative_name: None,
            last: None,
            in_flight: None,
            patience: Patience::default(),
            failure: None,
        }
    }

    /// None: Pingora's compression is not wanted.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    /// Answers what needs no backend.
    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        prepare(session);
        let decision = {
            let connection = connection(session)?;
            connection.header_complete();
            let request = session.req_header();
            let id = forwarding::request_id(request, connection.trust, &self.randomness);
            context.request_id = Some(id);
            context.client = Some(connection.client_text.clone());
            context.exchange = Exchange::of(request);
            self.decide(session, connection, context)
        };
        let Some(answer) = decision else { return Ok(false) };
        if matches!(answer, Answer::BadRequest(_)) {
            // Where the next request begins is as doubtful as this one.
            session.set_keepalive(None);
        }
        answer.send(session, request_id(context)).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let target = context.route.as_ref().and_then(Route::target);
        let (Some(target), Some(attempts)) = (target, context.attempts.as_mut()) else {
            return Error::e_explain(ErrorType::InternalError, "no backends are known for the request");
        };
        // Another backend first: one that fails on every kept connection must not use up the attempts.
        let attempt = match context.by_alternative_name.take().filter(|_| attempts.repeat()) {
            None => attempts.next(&target.pool),
            by_alternative_name => by_alternative_name,
        };
        let attempt = attempt.or_else(|| context.again.take().filter(|_| attempts.repeat()));
        let Some(attempt) = attempt else {
            return Err(nothing_left(context.failure.take()));
        };
        let peer = peer(&attempt, &target.service, context.exchange);
        context.patience = Patience::of(&target.service.settings, context.exchange);
        context.in_flight = Some(InFlight::begin(attempt.backend.handle.clone()));
        context.backend = Some(attempt.backend.clone());
        context.last = Some(attempt);
        Ok(Box::new(peer))
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        context.patience.connected(digest);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<()> {
        if end_of_stream {
            context.patience.request_sent();
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        context.patience.piece_came();
        Ok(None)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        if let Some(last) = &context.last {
            last.backend.proved(last.name);
            if last.backend.handle.reached() {
                info!(backend = %last.backend.backend.id, address = %last.address, "a backend is up again");
            }
        }
        let client = session.req_header();
        if request.version != Version::HTTP_2 {
            // Backends expect the origin form of the target (RFC 9112, section 3.2.1), and Pingora keeps the absolute
            // form beside the path until a path is set.
            request.set_uri(request.uri.clone());
        }
        forwarding::to_backend(
            request,
            client.version,
            checked_authority(client),
            connection(session)?,
            request_id(context),
            &self.randomness,
        )
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let is_upgraded = response.status == StatusCode::SWITCHING_PROTOCOLS;
        if is_upgraded && context.exchange == Exchange::WebSocket {
            session.set_read_timeout(None);
        }
        if !response.status.is_informational() || is_upgraded {
            context.patience.answered(is_upgraded);
            // From here on nothing is tried again: a long answer holds no more than it needs.
            if let Some(route) = context.route.as_mut() {
                route.release_target();
            }
            context.last = None;
        }
        forwarding::to_client(response, request_id(context))
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Context,
    ) -> Result<()> {
        if matches!(session.req_header().version, Version::HTTP_09 | Version::HTTP_10) {
            // Pingora chunks whatever has no length. These clients read to the end of the connection.
            response.remove_header(&TRANSFER_ENCODING);
        }
        Ok(())
    }

    /// Nothing was sent: the next one is tried.
    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.attempt_failed(context, &error);
        if let Some(last) = context.last.take() {
            context.by_alternative_name =
                is_unproven(&error).then(|| last.clone()).and_then(|last| other_name(last, context));
            if context.by_alternative_name.is_none() {
                report_down(&last, &error);
            }
        }
        error.set_retry(true);
        error
    }

    /// Something may have been sent: it is sent again only if it may be acted on twice, or was refused, and is
    /// there as a whole.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        if *error.esource() == ErrorSource::Downstream {
            error.set_retry(false);
            return error;
        }
        if context.patience.is_over() {
            error = Error::because(ErrorType::ReadTimedout, "the answer did not come in time", error).into_up();
        }
        self.attempt_failed(context, &error);
        let may_be_sent_twice = is_idempotent(&session.req_header().method) || is_refused(&error);
        let repeatable = may_be_sent_twice
            && context.exchange != Exchange::WebSocket
            && !session.as_downstream().retry_buffer_truncated()
            && session.response_written().is_none();
        // A backend that is slow is not helped by a second one.
        error.set_retry(repeatable && !is_timeout(&error) && context.last.is_some());
        if error.retry() && reused {
            context.again = context.last.take();
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy {
        let status = match (error.etype(), error.esource()) {
            (ErrorType::HTTPStatus(status), _) => StatusCode::from_u16(*status).ok(),
            (_, ErrorSource::Upstream) => Some(status_of(error)),
            // The client is gone.
            (ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed, ErrorSource::Downstream) => {
                None
            }
            (ErrorType::WriteTimedout, ErrorSource::Downstream) => None,
            (ErrorType::ReadTimedout, ErrorSource::Downstream) => Some(StatusCode::REQUEST_TIMEOUT),
            (_, ErrorSource::Downstream) => Some(StatusCode::BAD_REQUEST),
            (_, ErrorSource::Internal | ErrorSource::Unset) => Some(StatusCode::INTERNAL_SERVER_ERROR),
        };
        // What is left of the request may still come: the connection is not used again.
        session.set_keepalive(None);
        if let Some(status) = status {
            let id = context.request_id.clone().unwrap_or_else(|| self.randomness.request_id());
            // If this fails, the client is gone too.
            let _ = Answer::Failed(status).send(session, &id).await;
        }
        FailToProxy { error_code: status.map_or(0, |status| status.as_u16()), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        context.in_flight = None;
        context.patience.end();
        if session.req_header().version != Version::HTTP_2
            && let Ok(connection) = connection(session)
        {
            connection.request_complete(request_bytes(session, context));
        }
        self.metrics.request_ended(session.response_written().map(|response| response.status.as_u16()));
        if self.settings.access_log == AccessLog::On {
            access_log::write(session, error, context);
        }
    }

    /// The access log says it.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    /// The counter of failed attempts says it.
    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

impl Proxy {
    fn attempt_failed(&self, context: &mut Context, error: &Error) {
        self.metrics.attempt_failed();
        context.in_flight = None;
        context.failure = Some(Failure { status: status_of(error), reason: error.to_string() });
    }
}

/// Sets what Pingora leaves open.
fn prepare(session: &mut Session) {
    if session.is_process_shutting_down() {
        session.set_keepalive(None);
    } else if session.get_keepalive() == Some(KEEPALIVE_FOREVER) {
        session.set_keepalive(Some(KEEPALIVE.as_secs()));
    }
    session.set_write_timeout(Some(CLIENT_WRITE_TIMEOUT));
    // Without it the connection is closed on a client that sent its next request ahead (RFC 9112, section 9.3.2).
    session.set_pipelining_enabled(true);
}

/// How long a request was on its HTTP/1.1 connection, if that can be told: not when its body came in chunks, nor when
/// Pingora may have encoded its target and so changed its length.
fn request_bytes(session: &Session, context: &Context) -> Option<u64> {
    let request = session.req_header();
    let is_known =
        !request.headers.contains_key(TRANSFER_ENCODING) && memmem::find(request.raw_path(), b"%20").is_none();
    let body_bytes = session.as_downstream().body_bytes_read() as u64;
    context.header_bytes.filter(|_| is_known).map(|header_bytes| header_bytes + body_bytes)
}

fn connection(session: &Session) -> Result<&Connection> {
    let connection = session.digest().and_then(Connection::of);
    connection.ok_or_else(|| Error::explain(ErrorType::InternalError, "a connection that nobody accepted"))
}

/// The id of a request that [`ProxyHttp::request_filter`] has seen.
fn request_id(context: &Context) -> &HeaderValue {
    static NONE: HeaderValue = HeaderValue::from_static("-");
    context.request_id.as_ref().unwrap_or(&NONE)
}

/// The error of a request that nobody is left to answer: that of the last attempt, if there was one.
fn nothing_left(failure: Option<Failure>) -> Box<Error> {
    match failure {
        Some(Failure { status, reason }) => Error::explain(ErrorType::HTTPStatus(status.as_u16()), reason),
        None => Error::explain(
            ErrorType::HTTPStatus(StatusCode::BAD_GATEWAY.as_u16()),
            "the names of the backends have no addresses yet",
        ),
    }
}

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE)
}

/// Whether the backend says that it did not act on the request: it refused the stream, or ends its connection and has
/// not taken the stream (RFC 9113, sections 6.8 and 8.7). Of the errors of HTTP/2 Pingora marks these alone.
fn is_refused(error: &Error) -> bool {
    matches!((error.etype(), &error.retry), (ErrorType::H2Error, RetryType::Decided(true)))
}

fn is_timeout(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout)
}

/// Whether no TLS came about with a backend.
fn is_unproven(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError)
}

/// The same backend by its other name, if it has one that was not tried.
fn other_name(last: Attempt, context: &Context) -> Option<Attempt> {
    let tls = context.route.as_ref()?.target()?.service.tls.as_ref()?;
    let is_left = tls.has_alternative_name() && !last.both_names;
    is_left.then(|| Attempt { name: last.name.other(), both_names: true, ..last })
}

/// Logs that a backend cannot be connected to.
fn report_down(Attempt { backend, address, .. }: &Attempt, error: &Error) {
    if backend.handle.unreachable(Instant::now()) {
        let (id, service) = (&backend.backend.id, &backend.backend.service);
        warn!(event = "backend_down", backend = %id, %service, %address, error = chain(error), "a backend is down");
    }
}

/// What a client is told when a backend failed.
fn status_of(error: &Error) -> StatusCode {
    match error.etype() {
        _ if is_timeout(error) => StatusCode::GATEWAY_TIMEOUT,
        _ if is_unproven(error) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_GATEWAY,
    }
}
