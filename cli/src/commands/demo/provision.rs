use std::{path::Path, time::Duration};

use pbjson_types::FieldMask;
use switchyard_proto::v1::{
    Backend, CertificateSource, CreateBackendRequest, CreateDomainRequest, CreateInviteRequest, CreateServiceRequest,
    Domain, DomainTls, Edge, EdgeState, GetDomainRequest, GetInternalCaRequest, Invite, Service, UpdateBackendRequest,
};
use tonic::Code;

use super::{DemoFailure, Origin, Program};
use crate::{client::Client, failure::Failure};

/// The domain of the demo. Names below `localhost` are this machine's (RFC 6761, section 6.3), without any DNS.
pub(super) const DOMAIN: &str = "demo.localhost";
const SERVICE: &str = "services/demo";
/// How long the edge may take to serve what was set up.
const LIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is asked for meanwhile.
const LIVE_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What the demo's edge joins with.
pub(super) async fn join_token(client: &Client) -> Result<String, Failure> {
    let request = CreateInviteRequest { invite: Some(Invite::default()), validate_only: false };
    Ok(client.invites().create_invite(request).await?.into_inner().token)
}

/// Creates service, backends and domain. In a data directory that was kept they are there already: then the backends get
/// their new addresses, and the rest stays.
pub(super) async fn create(client: &Client, origins: &[Origin]) -> Result<Domain, Failure> {
    let service = Service { name: SERVICE.to_owned(), ..Service::default() };
    let request = CreateServiceRequest { service: Some(service), validate_only: false };
    match client.services().create_service(request).await {
        Err(status) if status.code() != Code::AlreadyExists => return Err(status.into()),
        _ => {}
    }
    for origin in origins {
        create_backend(client, origin).await?;
    }
    let domain = Domain {
        name: format!("domains/{DOMAIN}"),
        service: SERVICE.to_owned(),
        active_tag: "a".to_owned(),
        tls: Some(DomainTls {
            certificate_source: CertificateSource::Internal.into(),
            client_authentication: None,
            minimum_version: 0,
            acme: None,
        }),
        ..Domain::default()
    };
    let name = domain.name.clone();
    let request = CreateDomainRequest { domain: Some(domain), validate_only: false };
    match client.domains().create_domain(request).await {
        Ok(domain) => Ok(domain.into_inner()),
        Err(status) if status.code() == Code::AlreadyExists => {
            Ok(client.domains().get_domain(GetDomainRequest { name }).await?.into_inner())
        }
        Err(status) => Err(status.into()),
    }
}

async fn create_backend(client: &Client, origin: &Origin) -> Result<(), Failure> {
    let backend = Backend {
        name: format!("backends/{}", origin.name),
        service: SERVICE.to_owned(),
        address: origin.address.to_string(),
        tags: vec![origin.tag.to_owned()],
        ..Backend::default()
    };
    let request = CreateBackendRequest { backend: Some(backend.clone()), validate_only: false };
    match client.backends().create_backend(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::AlreadyExists => {
            let update_mask = Some(FieldMask { paths: vec!["address".to_owned()] });
            let backend = Some(backend);
            let request = UpdateBackendRequest { backend, update_mask, ..UpdateBackendRequest::default() };
            client.backends().update_backend(request).await?;
            Ok(())
        }
        Err(status) => Err(status.into()),
    }
}

/// Waits until the edge is connected and serves everything up to the newest revision.
pub(super) async fn live(client: &Client, domain: &Domain, edge: &mut Program) -> Result<(), Failure> {
    let mut seen = None;
    let waiting = async {
        let mut poll = tokio::time::interval(LIVE_POLL_INTERVAL);
        loop {
            poll.tick().await;
            let (edges, revision) = client.all_edges().await?;
            seen = edges.into_iter().find(|edge| edge.state() == EdgeState::Connected);
            let newest = revision.max(domain.revision);
            if seen.as_ref().is_some_and(|edge| edge.acknowledged_revision >= newest && edge.rejections_total == 0) {
                return Ok(());
            }
        }
    };
    let result = tokio::select! {
        result = tokio::time::timeout(LIVE_TIMEOUT, waiting) => result,
        failure = edge.ended() => return Err(failure.into()),
    };
    result.unwrap_or_else(|_| {
        Err(DemoFailure::NotLive { within: LIVE_TIMEOUT, reason: why_not(seen.as_ref()), log: edge.log_tail() }.into())
    })
}

/// Why the edge, as it was seen last, does not serve everything.
fn why_not(edge: Option<&Edge>) -> String {
    match edge.map(|edge| &edge.rejections[..]) {
        None => ": it has not connected to the control plane".to_owned(),
        Some([]) => ": it has not acknowledged it".to_owned(),
        Some([first, ..]) => format!(": it rejects {}: {}", first.resource, first.reason),
    }
}

/// Writes the certificate of the internal CA to a file, for clients to trust.
pub(super) async fn write_ca(client: &Client, path: &Path) -> Result<(), Failure> {
    let ca = client.certificates().get_internal_ca(GetInternalCaRequest {}).await?.into_inner();
    std::fs::write(path, ca.certificate_pem).map_err(|error| DemoFailure::File { path: path.to_owned(), error }.into())
}
