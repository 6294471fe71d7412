//! Connections to control planes.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use switchyard_proto::vocab::CONTROL_PLANE_NAME;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

/// How long it may take to connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked for a sign of life, and how long that may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a control plane.
pub(super) async fn channel(uri: &Uri, tls: Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
    // The connector brings its own TLS; tonic must not look for another.
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default().to_owned();
    let tls = TlsConnector::from(tls);
    Endpoint::from_shared(format!("http://{authority}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(tower::service_fn(move |uri: Uri| connect(tls.clone(), uri)))
        .await
}

type Connecting = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<TlsStream<TcpStream>>>> + Send>>;

/// Connects, and lets the control plane prove itself.
fn connect(tls: TlsConnector, uri: Uri) -> Connecting {
    Box::pin(async move {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let connecting = async {
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(CONTROL_PLANE_NAME).map_err(std::io::Error::other)?;
            tls.connect(name, tcp).await
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
        Ok(TokioIo::new(stream))
    })
}

/// Between half of a pause and all of it, so that edges that lost a control plane together do not return together.
pub(super) fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness all edges wait as long as they may.
    match aws_lc_rs::rand::fill(&mut random) {
        Ok(()) => pause / 2 + pause.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX) / 2.0),
        Err(_) => pause,
    }
}
