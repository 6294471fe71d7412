use anyhow::Result;

use super::{
    contender::Contender,
    load::{self, Load, Wrk},
    websocket,
};

/// What is done with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Case {
    Http1,
    Http1Tls,
    Http2,
    NewTls,
    Large,
    Websocket,
}

impl Case {
    pub(crate) const ALL: [Self; 6] =
        [Self::Http1, Self::Http1Tls, Self::Http2, Self::NewTls, Self::Large, Self::Websocket];

    /// As in `--case`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http1Tls => "http1-tls",
            Self::Http2 => "http2",
            Self::NewTls => "new-tls",
            Self::Large => "large",
            Self::Websocket => "websocket",
        }
    }

    /// As people read it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1, 64 kept connections, 1 KiB",
            Self::Http1Tls => "HTTP/1.1 over TLS, 64 kept connections, 1 KiB",
            Self::Http2 => "HTTP/2 over TLS, 8 connections with 8 requests at a time each, 1 KiB",
            Self::NewTls => "A new TLS connection for each request, 16 at a time, 1 KiB",
            Self::Large => "HTTP/1.1 over TLS, 8 kept connections, 1 MiB",
            Self::Websocket => "WebSocket, 32 connections, echo of 128 bytes",
        }
    }

    /// Loads a proxy for some seconds.
    pub(super) async fn load(self, contender: &Contender, seconds: u64) -> Result<Load> {
        let (http, https) = (contender.http.port(), contender.https.port());
        let small = |connections, close| Wrk { connections, close, seconds };
        match self {
            Self::Http1 => small(64, false).run(&format!("http://localhost:{http}/small")).await,
            Self::Http1Tls => small(64, false).run(&format!("https://localhost:{https}/small")).await,
            Self::Http2 => load::h2load(8, 8, seconds, &format!("https://localhost:{https}/small")).await,
            Self::NewTls => small(16, true).run(&format!("https://localhost:{https}/small")).await,
            Self::Large => small(8, false).run(&format!("https://localhost:{https}/large")).await,
            Self::Websocket => websocket::load(contender.http, 32, seconds).await,
        }
    }
}
