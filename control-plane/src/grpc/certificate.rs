use std::{pin::Pin, sync::Arc};

use futures::{Stream, stream};
use switchyard_proto::{
    v1::{
        Certificate, CreateCertificateRequest, DeleteCertificateRequest, DeleteCertificateResponse,
        GetCertificateRequest, GetInternalCaRequest, GetIssuanceRequest, InternalCa, Issuance, ListCertificatesRequest,
        ListCertificatesResponse, ListIssuancesRequest, ListIssuancesResponse, RenewCertificateRequest,
        RevokeCertificateRequest, UpdateCertificateRequest, WatchIssuanceRequest,
        certificate_service_server::CertificateService,
    },
    vocab::{CertificateId, HostPattern},
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, certificate as convert_certificate, issuance as convert_issuance},
    pages,
    status::status,
};
use crate::{
    app::{App, AppError, PageRequest, certificate, issuance, issuance_watch::IssuanceWatches},
    pki,
};

/// Certificates.
pub(super) struct Certificates {
    app: Arc<App>,
    watches: IssuanceWatches,
}

impl Certificates {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { watches: IssuanceWatches::new(app.clone()), app }
    }
}

/// The domain that a request names.
fn domain(name: &str) -> Result<HostPattern, AppError> {
    HostPattern::parse_resource_name(name).map_err(|error| AppError::invalid("domain", error))
}

#[tonic::async_trait]
impl CertificateService for Certificates {
    type WatchIssuanceStream = Pin<Box<dyn Stream<Item = Result<Issuance, Status>> + Send>>;

    async fn list_certificates(
        &self,
        request: Request<ListCertificatesRequest>,
    ) -> Result<Response<ListCertificatesResponse>, Status> {
        let actor = caller(&request)?;
        let ListCertificatesRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::parse(&self.app.page_tokens, page_size, &page_token)
            .and_then(|page| certificate::list(&self.app, &actor, &page))
            .map_err(|error| status(error, None))?;
        let now = self.app.clock.now();
        let (certificates, next_page_token) = pages::fitting(
            page,
            |stored| convert_certificate::message(stored, now),
            |certificate| certificate.id.as_str(),
        );
        Ok(Response::new(ListCertificatesResponse { certificates, next_page_token }))
    }

    async fn get_certificate(&self, request: Request<GetCertificateRequest>) -> Result<Response<Certificate>, Status> {
        let actor = caller(&request)?;
        let GetCertificateRequest { name } = request.into_inner();
        let stored = convert::name(&name, CertificateId::parse_resource_name)
            .and_then(|id| certificate::get(&self.app, &actor, &id))
            .map_err(|error| status(error, None))?;
        Ok(Response::new(convert_certificate::message(&stored, self.app.clock.now())))
    }

    async fn create_certificate(
        &self,
        request: Request<CreateCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        let actor = caller(&request)?;
        let CreateCertificateRequest { certificate, private_key_pem, validate_only } = request.into_inner();
        let created = async {
            let (id, upload, _) = convert_certificate::upload(certificate, private_key_pem)?;
            certificate::create(&self.app, &actor, id, &upload, convert::mode(validate_only)).await
        };
        let stored = created.await.map_err(|error| status(error, Some("certificate")))?;
        Ok(Response::new(convert_certificate::message(&stored, self.app.clock.now())))
    }

    async fn update_certificate(
        &self,
        request: Request<UpdateCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        let actor = caller(&request)?;
        let UpdateCertificateRequest { certificate, private_key_pem, validate_only, force } = request.into_inner();
        let updated = async {
            let (id, upload, etag) = convert_certificate::upload(certificate, private_key_pem)?;
            certificate::update(
                &self.app,
                &actor,
                &id,
                &upload,
                etag,
                convert::force(force),
                convert::mode(validate_only),
            )
            .await
        };
        let stored = updated.await.map_err(|error| status(error, Some("certificate")))?;
        Ok(Response::new(convert_certificate::message(&stored, self.app.clock.now())))
    }

    async fn delete_certificate(
        &self,
        request: Request<DeleteCertificateRequest>,
    ) -> Result<Response<DeleteCertificateResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteCertificateRequest { name, etag, validate_only, force } = request.into_inner();
        let deleted = async {
            let id = convert::name(&name, CertificateId::parse_resource_name)?;
            certificate::delete(
                &self.app,
                &actor,
                &id,
                convert::parse_etag(&etag),
                convert::force(force),
                convert::mode(validate_only),
            )
            .await
        };
        let revision = deleted.await.map_err(|error| status(error, None))?;
        Ok(Response::new(DeleteCertificateResponse { revision: revision.0 }))
    }

    async fn get_issuance(&self, request: Request<GetIssuanceRequest>) -> Result<Response<Issuance>, Status> {
        let actor = caller(&request)?;
        let GetIssuanceRequest { domain: name } = request.into_inner();
        let found = async { issuance::get(&self.app, &actor, &domain(&name)?).await };
        let standing = found.await.map_err(|error| status(error, None))?;
        Ok(Response::new(convert_issuance::message(&standing)))
    }

    async fn watch_issuance(
        &self,
        request: Request<WatchIssuanceRequest>,
    ) -> Result<Response<Self::WatchIssuanceStream>, Status> {
        let actor = caller(&request)?;
        let WatchIssuanceRequest { domain: name } = request.into_inner();
        let begun = async { self.watches.watch(actor, domain(&name)?).await };
        let (now, watch) = begun.await.map_err(|error| status(error, None))?;
        let first = convert_issuance::message(&now);
        let later = stream::unfold((Some(watch), first.clone()), |(watch, mut last)| async move {
            let mut watch = watch?;
            loop {
                match watch.next().await.map(|standing| convert_issuance::message(&standing)) {
                    Ok(now) if now == last => {}
                    Ok(now) => {
                        last.clone_from(&now);
                        return Some((Ok(now), (Some(watch), last)));
                    }
                    // The stream ends with it: whoever watches finds out why.
                    Err(error) => return Some((Err(status(error, None)), (None, last))),
                }
            }
        });
        let all = futures::StreamExt::chain(stream::iter([Ok(first)]), later);
        Ok(Response::new(Box::pin(all)))
    }

    async fn revoke_certificate(
        &self,
        request: Request<RevokeCertificateRequest>,
    ) -> Result<Response<Issuance>, Status> {
        let actor = caller(&request)?;
        let RevokeCertificateRequest { domain: name } = request.into_inner();
        let revoked = async { issuance::revoke(&self.app, &actor, &domain(&name)?).await };
        let standing = revoked.await.map_err(|error| status(error, None))?;
        Ok(Response::new(convert_issuance::message(&standing)))
    }

    async fn list_issuances(
        &self,
        request: Request<ListIssuancesRequest>,
    ) -> Result<Response<ListIssuancesResponse>, Status> {
        let actor = caller(&request)?;
        let ListIssuancesRequest { page_size, page_token } = request.into_inner();
        let found = async {
            let page = PageRequest::parse(&self.app.page_tokens, page_size, &page_token)?;
            issuance::list(&self.app, &actor, &page).await
        };
        let page = found.await.map_err(|error| status(error, None))?;
        let issuances = page.items.iter().map(convert_issuance::message).collect();
        Ok(Response::new(ListIssuancesResponse { issuances, next_page_token: page.next_page_token }))
    }

    async fn renew_certificate(&self, request: Request<RenewCertificateRequest>) -> Result<Response<Issuance>, Status> {
        let actor = caller(&request)?;
        let RenewCertificateRequest { domain: name } = request.into_inner();
        let renewed = async { issuance::renew(&self.app, &actor, &domain(&name)?).await };
        let standing = renewed.await.map_err(|error| status(error, None))?;
        Ok(Response::new(convert_issuance::message(&standing)))
    }

    async fn get_internal_ca(&self, request: Request<GetInternalCaRequest>) -> Result<Response<InternalCa>, Status> {
        let GetInternalCaRequest {} = request.into_inner();
        let certificate_pem = pki::certificate_pem(certificate::internal_ca(&self.app));
        Ok(Response::new(InternalCa { certificate_pem }))
    }
}
