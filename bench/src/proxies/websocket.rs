use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures::{SinkExt, StreamExt, future::try_join_all};
use hdrhistogram::Histogram;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::load::Load;

/// Messages that are sent one after the other on each of several connections, and come back.
pub(super) async fn load(listener: SocketAddr, connections: usize, seconds: u64) -> Result<Load> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let each = try_join_all((0..connections).map(|_| echo(listener, end))).await?;
    let mut all = Histogram::<u64>::new(3)?;
    for histogram in each {
        all.add(histogram)?;
    }
    Ok(Load {
        requests: all.len(),
        errors: 0,
        p50: Duration::from_micros(all.value_at_quantile(0.5)),
        p99: Duration::from_micros(all.value_at_quantile(0.99)),
    })
}

async fn echo(listener: SocketAddr, end: Instant) -> Result<Histogram<u64>> {
    let stream = TcpStream::connect(listener).await?;
    stream.set_nodelay(true)?;
    let request = format!("ws://localhost:{}/echo", listener.port()).into_client_request()?;
    let (mut socket, _) = client_async(request, stream).await?;
    let message = Message::binary(vec![b'x'; 128]);
    let mut took = Histogram::new(3)?;
    while Instant::now() < end {
        let begun = Instant::now();
        socket.send(message.clone()).await?;
        let answer = socket.next().await.transpose()?;
        ensure!(answer.as_ref() == Some(&message), "the message came back as {answer:?}");
        took.record(begun.elapsed().as_micros().try_into()?)?;
    }
    socket.close(None).await?;
    Ok(took)
}
