use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode, Version};
use pingora_core::{Error, ErrorSource, ErrorType, Result, modules::http::HttpModules, upstreams::peer::HttpPeer};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use switchyard_proto::vocab::normalize_host;

use super::{
    Proxy, access_log,
    answer::Answer,
    authority::{authority, check_syntax},
    forwarding,
    redirect::https_location,
    settings::AccessLog,
    upstream::{Exchange, peer},
};
use crate::{
    balance::{Attempt, Attempts, InFlight},
    listen::{Connection, Transport},
    snapshot::{PlainHttp, PooledBackend, Route},
};

/// A client's HTTP/1.1 connection without a request is closed after this time, in seconds.
const KEEPALIVE_SECONDS: u64 = 60;
/// What Pingora calls a connection that is kept forever.
const KEEPALIVE_FOREVER: u64 = 0;
/// A client that takes nothing for this time is gone.
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
    attempts: Option<Attempts>,
    /// To be tried again: its connection was an old one, which may have been closed before the request came.
    again: Option<Attempt>,
    last: Option<Attempt>,
    in_flight: Option<InFlight>,
    /// Why the last attempt failed.
    failure: StatusCode,
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
            attempts: None,
            again: None,
            last: None,
            in_flight: None,
            failure: StatusCode::BAD_GATEWAY,
        }
    }

    /// None: Pingora's compression is not wanted.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    /// Answers what needs no backend.
    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        limit(session);
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
        if context.exchange == Exchange::WebSocket {
            session.set_read_timeout(None);
        }
        let Some(answer) = decision else { return Ok(false) };
        answer.send(session, request_id(context)).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let target = context.route.as_ref().and_then(Route::target);
        let (Some(target), Some(attempts)) = (target, context.attempts.as_mut()) else {
            return Error::e_explain(ErrorType::InternalError, "no backends are known for the request");
        };
        let attempt = match context.again.take() {
            Some(again) => attempts.repeat().then_some(again),
            None => attempts.next(&target.pool),
        };
        let Some(attempt) = attempt else {
            return Error::e_explain(ErrorType::HTTPStatus(context.failure.as_u16()), "no backend is left to be tried");
        };
        let peer = peer(&attempt, &target.service, context.exchange);
        context.in_flight = Some(InFlight::begin(attempt.backend.handle.clone()));
        context.backend = Some(attempt.backend.clone());
        context.last = Some(attempt);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let client = session.req_header();
        let authority =
            authority(client).map_err(|refused| Error::because(ErrorType::InvalidHTTPHeader, "", refused))?;
        if request.version != Version::HTTP_2 && client.uri.scheme().is_some() {
            // Backends expect the origin form of the target (RFC 9112, section 3.2.1).
            if let Some(path) = client.uri.path_and_query() {
                request.insert_header(http::header::HOST, authority)?;
                request.set_uri(path.clone().into());
            }
        }
        forwarding::to_backend(
            request,
            client.version,
            authority,
            connection(session)?,
            request_id(context),
            &self.randomness,
        )
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        if !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS {
            // From here on nothing is tried again: a long answer holds no more than it needs.
            if let Some(route) = context.route.as_mut() {
                route.release_target();
            }
            context.last = None;
        }
        forwarding::to_client(response, request_id(context))
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
        error.set_retry(true);
        error
    }

    /// Something may have been sent: it is sent again only if it may be acted on twice and is there as a whole.
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
        self.attempt_failed(context, &error);
        let repeatable = is_idempotent(&session.req_header().method)
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
            (_, ErrorSource::Upstream) => Some(failure(error)),
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
        if session.req_header().version != Version::HTTP_2
            && let Ok(connection) = connection(session)
        {
            connection.request_complete();
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
    /// Finds the route of a request, or what it is answered instead.
    fn decide(&self, session: &Session, connection: &Connection, context: &mut Context) -> Option<Answer> {
        let request = session.req_header();
        let raw_http1 = session.as_downstream().as_http1().map(|http1| http1.get_headers_raw_bytes());
        let authority = check_syntax(request, raw_http1.as_deref()).and_then(|()| authority(request));
        let authority = match authority {
            Ok(authority) => authority,
            Err(refused) => return Some(Answer::BadRequest(refused)),
        };
        let Some(host) = normalize_host(authority) else { return Some(Answer::UnknownHost) };
        let route = self.live.load().route(&host);
        let Some(route) = route else { return Some(Answer::UnknownHost) };
        let plain = forwarding::scheme(request, connection) == Transport::Plain;
        if plain && route.domain().plain_http == PlainHttp::RedirectToHttps {
            let path = request.uri.path_and_query().map_or(request.raw_path(), |path| path.as_str().as_bytes());
            if let Some(location) = https_location(&host, self.settings.https_port, path) {
                return Some(Answer::Redirect(location));
            }
        }
        let attempts = route.target().map(|target| self.rotation.begin(target.pool_index));
        context.route = Some(route);
        if attempts.is_none() {
            return Some(Answer::NoBackend);
        }
        context.attempts = attempts;
        None
    }

    fn attempt_failed(&self, context: &mut Context, error: &Error) {
        self.metrics.attempt_failed();
        context.in_flight = None;
        context.failure = failure(error);
    }
}

/// What Pingora leaves without a limit.
fn limit(session: &mut Session) {
    if session.is_process_shutting_down() {
        session.set_keepalive(None);
    } else if session.get_keepalive() == Some(KEEPALIVE_FOREVER) {
        session.set_keepalive(Some(KEEPALIVE_SECONDS));
    }
    session.set_write_timeout(Some(CLIENT_WRITE_TIMEOUT));
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

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS | Method::TRACE)
}

fn is_timeout(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout)
}

fn failure(error: &Error) -> StatusCode {
    if is_timeout(error) { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY }
}
