use std::sync::Arc;

use pingora_core::{
    apps::{HttpPersistentSettings, HttpServerApp},
    protocols::{Shutdown, http::ServerSession},
    server::ShutdownWatch,
};
use pingora_proxy::HttpProxy;
use pingora_timeout::timeout;

use super::stream::EdgeStream;
use crate::{connection::KEEPALIVE, proxy::Proxy};

/// Serves the requests of an HTTP/1.1 connection, one after the other. Pingora gets the connection when a request begins:
/// what it needs for one (some 20 KiB) is not held by connections that wait.
pub(super) async fn serve(proxy: &Arc<HttpProxy<Proxy>>, mut stream: Box<EdgeStream>, draining: &ShutdownWatch) {
    let mut drained = draining.clone();
    let mut settings = None;
    let mut waits = true;
    loop {
        if waits {
            let begun = tokio::select! {
                biased;
                waited = timeout(KEEPALIVE, stream.readable()) => waited.is_ok(),
                // An error means that nobody is left who could say so.
                _ = drained.wait_for(|begun| *begun) => false,
            };
            if !begun {
                return stream.shutdown().await;
            }
        }
        let mut session = ServerSession::new_http1(stream);
        match settings {
            None => session.set_keepalive(Some(KEEPALIVE.as_secs())),
            Some(settings) => HttpPersistentSettings::apply_to_session(settings, &mut session),
        }
        let Some(reused) = proxy.process_new_http(session, draining).await else { return };
        let (next, next_settings) = reused.consume();
        // It is the stream that was given.
        let Ok(next) = next.into_any().downcast::<EdgeStream>() else { return };
        (stream, settings) = (next, next_settings);
        waits = stream.is_between_requests();
    }
}
