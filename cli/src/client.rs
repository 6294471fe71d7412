//! The connection to the control plane.

use std::{fmt, time::Duration};

use switchyard_proto::{
    v1::{
        Backend, Certificate, Change, Domain, Edge, ListBackendsRequest, ListCertificatesRequest, ListChangesRequest,
        ListDomainsRequest, ListEdgesRequest, ListServicesRequest, Service, audit_service_client::AuditServiceClient,
        backend_service_client::BackendServiceClient, certificate_service_client::CertificateServiceClient,
        domain_service_client::DomainServiceClient, edge_service_client::EdgeServiceClient,
        service_service_client::ServiceServiceClient,
    },
    vocab::limits::PAGE_SIZE_MAX,
};
use tonic::{
    Status,
    codegen::http::{Uri, uri},
    transport::{Channel, Endpoint},
};

use crate::failure::{Failure, first_cause};

/// How long it may take to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the answer to a call may take to begin.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a silent connection is asked for a sign of life, and how long that may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one answer: a full page of the largest resources, and some.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Pages of one list: at the full page size, more than a fleet can have.
const PAGES_MAX: usize = 10_000;
/// Certificates are large, pages of them small: the default.
const CERTIFICATE_PAGE_SIZE: i32 = 0;
const PAGE_SIZE: i32 = PAGE_SIZE_MAX as i32;

/// Where a control plane's API is: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(Uri);

impl Address {
    /// Where a control plane on this machine is.
    pub(crate) const DEFAULT: &str = "http://127.0.0.1:7080";

    /// Parses `http://host:port`, or `host:port` alone.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "an address of the form http://host:port is required";
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = text.parse().map_err(|error| format!("{FORM}: {error}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err("the API is not offered over TLS: reach another machine's through SSH \
                            (ssh -L 7080:127.0.0.1:7080 HOST), then use http://127.0.0.1:7080"
                    .to_owned());
            }
            _ => return Err(FORM.to_owned()),
        }
        if uri.authority().is_none() || uri.path() != "/" || uri.query().is_some() {
            return Err(FORM.to_owned());
        }
        Ok(Self(uri))
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Self {
        let uri = uri::Builder::new().scheme("http").authority(address.to_string()).path_and_query("/").build();
        Self(uri.expect("a socket address is an authority"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

/// A connection to a control plane's API.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Channel,
}

impl Client {
    /// Connects, within a bounded time.
    pub(crate) async fn connect(address: &Address) -> Result<Self, Failure> {
        let channel = Endpoint::from(address.0.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .connect()
            .await
            .map_err(|error| Failure::Unreachable { address: address.clone(), reason: first_cause(&error) })?;
        Ok(Self { channel })
    }

    /// Calls about domains.
    pub(crate) fn domains(&self) -> DomainServiceClient<Channel> {
        DomainServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about services.
    pub(crate) fn services(&self) -> ServiceServiceClient<Channel> {
        ServiceServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about backends.
    pub(crate) fn backends(&self) -> BackendServiceClient<Channel> {
        BackendServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about certificates.
    pub(crate) fn certificates(&self) -> CertificateServiceClient<Channel> {
        CertificateServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about edges.
    pub(crate) fn edges(&self) -> EdgeServiceClient<Channel> {
        EdgeServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The newest changes that a request asks for, at most `limit`.
    pub(crate) async fn newest_changes(
        &self,
        mut request: ListChangesRequest,
        limit: usize,
    ) -> Result<Vec<Change>, Failure> {
        let mut audit = AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let mut changes = Vec::new();
        while changes.len() < limit {
            request.page_size = i32::try_from(limit - changes.len()).unwrap_or(i32::MAX).min(PAGE_SIZE);
            let page = audit.list_changes(request.clone()).await?.into_inner();
            changes.extend(page.changes);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        changes.truncate(limit);
        Ok(changes)
    }

    /// All domains, by name.
    pub(crate) async fn all_domains(&self) -> Result<Vec<Domain>, Failure> {
        pages(async |page_token| {
            let request = ListDomainsRequest { page_size: PAGE_SIZE, page_token };
            let page = self.domains().list_domains(request).await?.into_inner();
            Ok((page.domains, page.next_page_token))
        })
        .await
    }

    /// All services, by name.
    pub(crate) async fn all_services(&self) -> Result<Vec<Service>, Failure> {
        pages(async |page_token| {
            let request = ListServicesRequest { page_size: PAGE_SIZE, page_token };
            let page = self.services().list_services(request).await?.into_inner();
            Ok((page.services, page.next_page_token))
        })
        .await
    }

    /// All backends, by name.
    pub(crate) async fn all_backends(&self) -> Result<Vec<Backend>, Failure> {
        pages(async |page_token| {
            let request = ListBackendsRequest { page_size: PAGE_SIZE, page_token };
            let page = self.backends().list_backends(request).await?.into_inner();
            Ok((page.backends, page.next_page_token))
        })
        .await
    }

    /// All certificates, by name.
    pub(crate) async fn all_certificates(&self) -> Result<Vec<Certificate>, Failure> {
        pages(async |page_token| {
            let request = ListCertificatesRequest { page_size: CERTIFICATE_PAGE_SIZE, page_token };
            let page = self.certificates().list_certificates(request).await?.into_inner();
            Ok((page.certificates, page.next_page_token))
        })
        .await
    }

    /// All edges, by name, and the fleet's newest revision.
    pub(crate) async fn all_edges(&self) -> Result<(Vec<Edge>, u64), Failure> {
        let mut revision = 0;
        let edges = pages(async |page_token| {
            let request = ListEdgesRequest { page_size: PAGE_SIZE, page_token };
            let page = self.edges().list_edges(request).await?.into_inner();
            revision = page.revision;
            Ok((page.edges, page.next_page_token))
        })
        .await?;
        Ok((edges, revision))
    }
}

/// Everything that is on the pages that `fetch` returns for page tokens, each with the token of the next one.
async fn pages<T>(mut fetch: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Status>) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    let mut token = String::new();
    for _ in 0..PAGES_MAX {
        let (page, next) = fetch(token).await?;
        all.extend(page);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
    Err(Failure::Answer("a list does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        assert_eq!(Address::parse("http://127.0.0.1:7080").unwrap().to_string(), Address::DEFAULT);
        assert_eq!(Address::parse("127.0.0.1:7080").unwrap(), Address::parse(Address::DEFAULT).unwrap());
        assert_eq!(Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 7080))).to_string(), Address::DEFAULT);
        for bad in ["", "http://", "ftp://a:1", "http://a:1/path", "http://a b", "https://a:1"] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_list_holds_every_page() {
        let all = pages(async |token| match token.as_str() {
            "" => Ok((vec![1, 2], "next".to_owned())),
            _ => Ok((vec![3], String::new())),
        })
        .await;
        assert_eq!(all.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_given_up() {
        let all = pages(async |_| Ok((Vec::<u8>::new(), "again".to_owned()))).await;
        assert!(matches!(all, Err(Failure::Answer(_))));
    }
}
