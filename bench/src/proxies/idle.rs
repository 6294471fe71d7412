use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::contender::Contender;

/// How many connections are held.
pub(super) const CONNECTIONS: usize = 1_000;
/// What a proxy does once in a while, it has done by then.
const SETTLING: Duration = Duration::from_millis(500);

/// What connections that do nothing cost.
pub(super) struct Idle {
    /// Resident before the first.
    pub(super) start_bytes: u64,
    /// Each, on average.
    pub(super) connection_bytes: f64,
}

pub(super) async fn measure(contender: &Contender) -> Result<Idle> {
    // What is made once is not counted for the connections.
    drop(connect(contender).await?);
    tokio::time::sleep(SETTLING).await;
    let before = contender.meter.memory_bytes()?;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(connect(contender).await?);
    }
    tokio::time::sleep(SETTLING).await;
    let after = contender.meter.memory_bytes()?;
    drop(held);
    Ok(Idle { start_bytes: before, connection_bytes: after.saturating_sub(before) as f64 / CONNECTIONS as f64 })
}

/// A connection that has had one answer.
async fn connect(contender: &Contender) -> Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::clone(&contender.client));
    let stream = TcpStream::connect(contender.https).await?;
    let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
    let request = format!("GET /small HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", contender.https.port());
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(&[b's'; 1024]) {
        ensure!(stream.read_buf(&mut answer).await? > 0, "{}", String::from_utf8_lossy(&answer));
    }
    Ok(stream)
}
