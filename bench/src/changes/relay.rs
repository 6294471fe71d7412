use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Carries TCP connections to a server, and counts bytes.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    carried: Arc<AtomicU64>,
}

impl Relay {
    /// A relay to a server; it lives as long as the program.
    pub(super) async fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let carried = Arc::<AtomicU64>::default();
        let count = carried.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let count = count.clone();
                // One side that ends ends the other.
                tokio::spawn(async move { drop(carry(client, server, &count).await) });
            }
        });
        Ok(Self { address, carried })
    }

    /// The bytes carried so far, both ways.
    pub(super) fn carried_bytes(&self) -> u64 {
        self.carried.load(Relaxed)
    }
}

async fn carry(client: TcpStream, server: SocketAddr, count: &AtomicU64) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::try_join!(copy(from_client, to_server, count), copy(from_server, to_client, count))?;
    Ok(())
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        count.fetch_add(read as u64, Relaxed);
        to.write_all(&buffer[..read]).await?;
    }
}
