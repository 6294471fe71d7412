//! HTTPS to providers: who is trusted, and who is not.

use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs};
use switchyard_control_plane::{
    dns::{Dns, DnsError, HttpError, Outgoing},
    model::{DnsSettings, HookMode},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::{VALUE, bind::Bind, record};

#[tokio::test]
async fn a_provider_is_spoken_to_only_if_its_certificate_is_trusted() {
    let bind = Bind::start().await;
    bind.nsupdate(&format!("update add _acme-challenge.example.test 60 TXT {VALUE}")).await;
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            if stream
                .read(&mut buffer)
                .await
                .is_ok_and(|length| buffer[..length].starts_with(b"POST /present HTTP/1.1"))
            {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
        }
    });
    let settings =
        DnsSettings::http_request(&format!("https://localhost:{port}"), HookMode::Default, None, None).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let dns = Dns::new(Some(bind.address()), bind.port, Outgoing::with_roots(roots).unwrap(), None).unwrap();
    dns.present(&settings, &record("example.test", VALUE)).await.unwrap();
    let error = bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::HttpRequest(HttpError::Unreachable { .. })), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}
