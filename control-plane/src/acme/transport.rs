use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use http::{
    Request, Response,
    header::{HeaderMap, LINK, LOCATION, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

use crate::model::CaBundle;

/// How long it may take to connect to a CA.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a CA may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one answer: the longest is a chain.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The longest that a CA is left alone because it asks for it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The CAs by which a directory is trusted: these, or else those of the system.
pub(super) fn roots(bundle: Option<&CaBundle>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    match bundle {
        Some(bundle) => {
            roots.add_parsable_certificates(
                bundle.certificates().iter().map(|der| CertificateDer::from(der.as_slice())),
            );
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    roots
}

/// Sends requests to one CA, and remembers of its last answer what the library does not tell.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: reqwest::Client,
    last: Arc<Mutex<Last>>,
}

/// The last answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Last {
    /// Its status.
    pub(super) status: Option<u16>,
    /// How long the CA wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// What it made.
    pub(super) location: Option<String>,
    /// The other chains of a certificate (RFC 8555, section 7.4.2).
    pub(super) alternates: Vec<String>,
    /// What it said.
    pub(super) body: Bytes,
}

impl Transport {
    /// To a CA that is trusted by these roots.
    pub(super) fn new(roots: RootCertStore) -> Result<Self, reqwest::Error> {
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()?;
        Ok(Self { client, last: Arc::default() })
    }

    /// The same connections, for exchanges whose answers are told apart from these.
    pub(super) fn apart(&self) -> Self {
        Self { client: self.client.clone(), last: Arc::default() }
    }

    /// What the last answer said.
    pub(super) fn last(&self) -> Last {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().expect("nobody panics with it")
    }

    /// Fetches what needs no account.
    pub(super) async fn get(&self, url: &str) -> Result<Bytes, Error> {
        let request = Request::get(url).body(BodyWrapper::default())?;
        let mut answer = self.clone().send(request).await?;
        answer.body.into_bytes().await.map_err(Error::Other)
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        *self.lock() = Last::default();
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|never| Error::Other(Box::new(never)))?.to_bytes();
        let request = self.client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
        let mut answer = request.send().await.map_err(|error| Error::Other(Box::new(error.without_url())))?;
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| Error::Other(Box::new(error.without_url())))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Error::Other(format!("its answer has more than {ANSWER_BYTES_MAX} bytes").into()));
            }
            body.extend_from_slice(&chunk);
        }
        let body = body.freeze();
        *self.lock() = Last {
            status: Some(answer.status().as_u16()),
            retry_after: retry_after(answer.headers()),
            location: answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned),
            alternates: alternates(answer.headers()),
            body: body.clone(),
        };
        if answer.status().is_redirection() {
            // The library takes it for a success.
            let status = answer.status().as_u16();
            return Err(Error::Other(format!("it answers with a redirect (status {status})").into()));
        }
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(BytesResponse::from(response))
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// The URLs of `Link: <…>;rel="alternate"` (RFC 8288).
fn alternates(headers: &HeaderMap) -> Vec<String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    links
        .filter_map(|link| {
            let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let is_alternate = parameters.split(';').any(|parameter| {
                parameter.trim().strip_prefix("rel=").is_some_and(|rel| rel.trim_matches('"') == "alternate")
            });
            is_alternate.then(|| url.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn other_chains_are_found_in_links() {
        let links = [
            "<https://ca.example/dir>;rel=\"index\"",
            "<https://ca.example/1>;rel=\"alternate\", <https://ca.example/2>; rel=alternate",
        ];
        assert_eq!(alternates(&headers(LINK, &links)), ["https://ca.example/1", "https://ca.example/2"]);
    }

    #[test]
    fn a_pause_is_seconds_or_a_date_and_bounded() {
        assert_eq!(retry_after(&headers(RETRY_AFTER, &["7"])), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&headers(RETRY_AFTER, &["99999999999"])), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after(&headers(RETRY_AFTER, &["Fri, 31 Dec 1999 23:59:59 GMT"])), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers(RETRY_AFTER, &["soon"])), None);
    }
}
