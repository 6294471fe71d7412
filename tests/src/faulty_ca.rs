//! A certificate authority that answers nonsense.

use std::{
    convert::Infallible,
    future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Result, bail};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{
    Request, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
    response::Builder,
};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::{authority::Authority, eventually::within};

/// One piece of an endless body, and the time between two: enough to go over any limit soon, and too little to fill the
/// memory of whoever has none.
const PIECE: Bytes = Bytes::from_static(&[b' '; 16 * 1024]);
const PIECE_INTERVAL: Duration = Duration::from_millis(10);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 200 with a web page.
    Html,
    /// 429 with a problem document, and when to come back.
    RateLimited {
        /// What `Retry-After` says, as it stands there: seconds or a date.
        retry_after: String,
    },
    /// 503 without a problem document, as a proxy in front of a CA answers.
    Unavailable,
    /// A problem document of this status and type, as in `rejectedIdentifier`.
    Problem {
        /// Its status.
        status: StatusCode,
        /// What comes after `urn:ietf:params:acme:error:`.
        kind: &'static str,
    },
    /// The connection ends without an answer.
    Drop,
    /// No answer, and the connection stays.
    Silence,
    /// 200 and a body without an end.
    Endless,
    /// A redirect to somewhere that redirects again.
    Redirects,
}

/// Where it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Everywhere,
    /// The directory and the nonces are as they should be.
    AfterNonces,
}

/// An HTTPS server with a directory, which does wrong as it is told. It ends when this is dropped.
pub struct NonsenseCa {
    address: SocketAddr,
    root_pem: String,
    state: Arc<State>,
    _server: JoinSet<()>,
}

struct State {
    address: SocketAddr,
    fault: Mutex<(Where, Fault)>,
    hits: watch::Sender<usize>,
}

impl NonsenseCa {
    /// Starts it; it answers 503 until it is told something else.
    pub async fn start() -> Result<Self> {
        let authority = Authority::generate()?;
        let mut config = authority.issue(&["localhost", "127.0.0.1"])?.server_config(None)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let fault = Mutex::new((Where::Everywhere, Fault::Unavailable));
        let state = Arc::new(State { address, fault, hits: watch::Sender::new(0) });
        let mut server = JoinSet::new();
        server.spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), state.clone()));
        Ok(Self { address, root_pem: authority.pem(), state, _server: server })
    }

    /// The URL of its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/directory", self.address)
    }

    /// The root behind its HTTPS certificate, which is for localhost and 127.0.0.1.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Answers every request like that from now on, the one for the directory too.
    pub fn set(&self, fault: Fault) {
        self.put(Where::Everywhere, fault);
    }

    /// Has a directory and nonces as they should be from now on, and answers every other request like that.
    pub fn set_after_nonces(&self, fault: Fault) {
        self.put(Where::AfterNonces, fault);
    }

    /// How many requests there have been.
    pub fn hits(&self) -> usize {
        *self.state.hits.borrow()
    }

    /// Awaits that there have been so many requests, counted from the start.
    pub async fn hit(&self, times: usize) -> Result<()> {
        let mut hits = self.state.hits.subscribe();
        within(&format!("the CA is asked {times} times"), hits.wait_for(|count| *count >= times)).await??;
        Ok(())
    }

    fn put(&self, place: Where, fault: Fault) {
        *self.state.fault.lock().expect("nothing panics while it is held") = (place, fault);
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                connections.spawn(serve(stream, tls.clone(), state.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, state: Arc<State>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(move |request| answer(state.clone(), request));
    // Whoever asks goes away as it likes.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An answer, or an error: hyper then ends the connection.
async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>> {
    let mut hits = 0;
    state.hits.send_modify(|count| {
        *count += 1;
        hits = *count;
    });
    let (place, fault) = state.fault.lock().expect("nothing panics while it is held").clone();
    let mut answer = match (place, request.uri().path()) {
        (Where::AfterNonces, "/directory") => Response::new(json_body(&directory(state.address))),
        (Where::AfterNonces, "/new-nonce") => Response::new(Empty::new().boxed_unsync()),
        _ => wrong(fault, hits).await?,
    };
    if place == Where::AfterNonces {
        answer.headers_mut().insert("replay-nonce", format!("nonce-{hits}").parse()?);
    }
    Ok(answer)
}

async fn wrong(fault: Fault, hits: usize) -> Result<Response<Body>> {
    let answer = Response::builder();
    let answer = match fault {
        Fault::Html => {
            let page = "<!doctype html><title>Welcome</title><p>It works!";
            answer.header(CONTENT_TYPE, "text/html").body(Full::from(page).boxed_unsync())?
        }
        Fault::RateLimited { retry_after } => {
            let answer = answer.status(StatusCode::TOO_MANY_REQUESTS).header(RETRY_AFTER, retry_after);
            problem(answer, StatusCode::TOO_MANY_REQUESTS, "rateLimited")?
        }
        Fault::Unavailable => answer.status(StatusCode::SERVICE_UNAVAILABLE).body(Empty::new().boxed_unsync())?,
        Fault::Problem { status, kind } => problem(answer.status(status), status, kind)?,
        Fault::Drop => bail!("the connection ends"),
        Fault::Silence => future::pending().await,
        Fault::Endless => {
            let pieces = stream::repeat(PIECE).then(async |piece| {
                sleep(PIECE_INTERVAL).await;
                Ok(Frame::data(piece))
            });
            answer.header(CONTENT_TYPE, "application/json").body(StreamBody::new(pieces).boxed_unsync())?
        }
        Fault::Redirects => {
            let answer = answer.status(StatusCode::FOUND).header(LOCATION, format!("/directory?again={hits}"));
            answer.body(Empty::new().boxed_unsync())?
        }
    };
    Ok(answer)
}

fn problem(answer: Builder, status: StatusCode, kind: &str) -> Result<Response<Body>> {
    let document = json!({
        "type": format!("urn:ietf:params:acme:error:{kind}"),
        "status": status.as_u16(),
        "detail": format!("this CA answers {kind}"),
    });
    Ok(answer.header(CONTENT_TYPE, "application/problem+json").body(json_body(&document))?)
}

fn directory(address: SocketAddr) -> Value {
    let url = |path: &str| format!("https://{address}/{path}");
    json!({
        "newNonce": url("new-nonce"),
        "newAccount": url("new-account"),
        "newOrder": url("new-order"),
        "revokeCert": url("revoke-cert"),
        "keyChange": url("key-change"),
        "renewalInfo": url("renewal-info"),
    })
}

fn json_body(value: &Value) -> Body {
    Full::from(value.to_string()).boxed_unsync()
}
