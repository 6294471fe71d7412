//! The connection to the control plane.

use std::time::Duration;

use switchyard_proto::{
    Bearer,
    v1::{
        Backend, Certificate, Change, DnsProvider, Domain, Edge, Invite, Issuance, Issuer, ListBackendsRequest,
        ListCertificatesRequest, ListChangesRequest, ListDnsProvidersRequest, ListDomainsRequest, ListEdgesRequest,
        ListInvitesRequest, ListIssuancesRequest, ListIssuersRequest, ListServicesRequest, ListTokensRequest,
        ListUnreadableRequest, Service, Token, Unreadable, audit_service_client::AuditServiceClient,
        backend_service_client::BackendServiceClient, certificate_service_client::CertificateServiceClient,
        dns_provider_service_client::DnsProviderServiceClient, domain_service_client::DomainServiceClient,
        edge_service_client::EdgeServiceClient, invite_service_client::InviteServiceClient,
        issuer_service_client::IssuerServiceClient, service_service_client::ServiceServiceClient,
        task_service_client::TaskServiceClient, token_service_client::TokenServiceClient,
        unreadable_service_client::UnreadableServiceClient,
    },
    vocab::limits::PAGE_SIZE_MAX,
};
use tonic::{
    Status,
    service::interceptor::InterceptedService,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    diagnosis,
    failure::{Failure, first_cause},
    login::Login,
    warnings::Noted,
};

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

/// A connection to a control plane's API.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Authorized,
}

/// A channel that shows a token with each call.
pub(crate) type Authorized = InterceptedService<Noted<Channel>, Bearer>;

impl Client {
    /// Connects, within a bounded time.
    pub(crate) async fn connect(login: &Login) -> Result<Self, Failure> {
        let Login { address, address_origin, token, ca_pem, .. } = login;
        let bearer = match token {
            None => Bearer::none(),
            Some(_) if !address.has_tls() && !address.is_loopback() => {
                return Err(Failure::Usage(format!(
                    "{address}: without TLS the token could be read on the way; use https, or an SSH tunnel \
                     (ssh -L 7080:127.0.0.1:7080 {})",
                    address.host()
                )));
            }
            Some(token) => {
                Bearer::new(&token.secret).map_err(|error| Failure::Usage(format!("{}: {error}", token.found)))?
            }
        };
        let mut endpoint = Endpoint::from(address.uri().clone());
        if address.has_tls() {
            let tls = match ca_pem {
                Some(pem) => ClientTlsConfig::new().ca_certificate(tonic::transport::Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| Failure::Usage(format!("the CA cannot be used: {}", first_cause(&error))))?;
        }
        let connected = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .connect()
            .await;
        let channel = match connected {
            Ok(channel) => channel,
            Err(error) => {
                return Err(Failure::Unreachable {
                    address: Box::new(address.clone()),
                    origin: address_origin.clone(),
                    reason: first_cause(&error),
                    advice: diagnosis::of(address, &error).await,
                });
            }
        };
        Ok(Self { channel: InterceptedService::new(Noted(channel), bearer) })
    }

    /// Calls about domains.
    pub(crate) fn domains(&self) -> DomainServiceClient<Authorized> {
        DomainServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about services.
    pub(crate) fn services(&self) -> ServiceServiceClient<Authorized> {
        ServiceServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about backends.
    pub(crate) fn backends(&self) -> BackendServiceClient<Authorized> {
        BackendServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about certificates.
    pub(crate) fn certificates(&self) -> CertificateServiceClient<Authorized> {
        CertificateServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about edges.
    pub(crate) fn edges(&self) -> EdgeServiceClient<Authorized> {
        EdgeServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about invitations.
    pub(crate) fn invites(&self) -> InviteServiceClient<Authorized> {
        InviteServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about issuers.
    pub(crate) fn issuers(&self) -> IssuerServiceClient<Authorized> {
        IssuerServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about DNS providers.
    pub(crate) fn dns_providers(&self) -> DnsProviderServiceClient<Authorized> {
        DnsProviderServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about tokens.
    pub(crate) fn tokens(&self) -> TokenServiceClient<Authorized> {
        TokenServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The history.
    pub(crate) fn audit(&self) -> AuditServiceClient<Authorized> {
        AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about the control plane's background tasks.
    pub(crate) fn tasks(&self) -> TaskServiceClient<Authorized> {
        TaskServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Calls about what the control plane cannot read.
    pub(crate) fn unreadable(&self) -> UnreadableServiceClient<Authorized> {
        UnreadableServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The newest changes that a request asks for, at most `limit`.
    pub(crate) async fn newest_changes(
        &self,
        mut request: ListChangesRequest,
        limit: usize,
    ) -> Result<Vec<Change>, Failure> {
        let mut audit = self.audit();
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

    /// All invitations, by name.
    pub(crate) async fn all_invites(&self) -> Result<Vec<Invite>, Failure> {
        pages(async |page_token| {
            let request = ListInvitesRequest { page_size: PAGE_SIZE, page_token };
            let page = self.invites().list_invites(request).await?.into_inner();
            Ok((page.invites, page.next_page_token))
        })
        .await
    }

    /// How far all domains are with the certificates that are ordered for them, by domain.
    pub(crate) async fn all_issuances(&self) -> Result<Vec<Issuance>, Failure> {
        pages(async |page_token| {
            let request = ListIssuancesRequest { page_size: PAGE_SIZE, page_token };
            let page = self.certificates().list_issuances(request).await?.into_inner();
            Ok((page.issuances, page.next_page_token))
        })
        .await
    }

    /// All issuers, by name.
    pub(crate) async fn all_issuers(&self) -> Result<Vec<Issuer>, Failure> {
        pages(async |page_token| {
            let request = ListIssuersRequest { page_size: PAGE_SIZE, page_token };
            let page = self.issuers().list_issuers(request).await?.into_inner();
            Ok((page.issuers, page.next_page_token))
        })
        .await
    }

    /// All DNS providers, by name.
    pub(crate) async fn all_dns_providers(&self) -> Result<Vec<DnsProvider>, Failure> {
        pages(async |page_token| {
            let request = ListDnsProvidersRequest { page_size: PAGE_SIZE, page_token };
            let page = self.dns_providers().list_dns_providers(request).await?.into_inner();
            Ok((page.dns_providers, page.next_page_token))
        })
        .await
    }

    /// All tokens, by name.
    pub(crate) async fn all_tokens(&self) -> Result<Vec<Token>, Failure> {
        pages(async |page_token| {
            let request = ListTokensRequest { page_size: PAGE_SIZE, page_token };
            let page = self.tokens().list_tokens(request).await?.into_inner();
            Ok((page.tokens, page.next_page_token))
        })
        .await
    }

    /// All that the control plane cannot read, by name.
    pub(crate) async fn all_unreadable(&self) -> Result<Vec<Unreadable>, Failure> {
        pages(async |page_token| {
            let request = ListUnreadableRequest { page_size: PAGE_SIZE, page_token };
            let page = self.unreadable().list_unreadable(request).await?.into_inner();
            Ok((page.unreadable, page.next_page_token))
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
