use std::sync::Arc;

use switchyard_proto::{
    v1::{
        Certificate, CreateCertificateRequest, DeleteCertificateRequest, DeleteCertificateResponse,
        GetCertificateRequest, GetInternalCaRequest, InternalCa, ListCertificatesRequest, ListCertificatesResponse,
        UpdateCertificateRequest, certificate_service_server::CertificateService,
    },
    vocab::CertificateId,
};
use tonic::{Request, Response, Status};

use super::{
    caller,
    convert::{self, certificate as convert_certificate},
    pages,
    status::status,
};
use crate::{
    app::{App, PageRequest, certificate},
    pki,
};

/// Certificates.
pub(super) struct Certificates(pub(super) Arc<App>);

#[tonic::async_trait]
impl CertificateService for Certificates {
    async fn list_certificates(
        &self,
        request: Request<ListCertificatesRequest>,
    ) -> Result<Response<ListCertificatesResponse>, Status> {
        let actor = caller(&request)?;
        let ListCertificatesRequest { page_size, page_token } = request.into_inner();
        let page = PageRequest::parse(page_size, &page_token)
            .and_then(|page| certificate::list(&self.0, &actor, &page))
            .map_err(|error| status(error, None))?;
        let (certificates, next_page_token) =
            pages::fitting(page, convert_certificate::message, |certificate| certificate.id.as_str());
        Ok(Response::new(ListCertificatesResponse { certificates, next_page_token }))
    }

    async fn get_certificate(&self, request: Request<GetCertificateRequest>) -> Result<Response<Certificate>, Status> {
        let actor = caller(&request)?;
        let GetCertificateRequest { name } = request.into_inner();
        let stored = convert::name(&name, CertificateId::parse_resource_name)
            .and_then(|id| certificate::get(&self.0, &actor, &id))
            .map_err(|error| status(error, None))?;
        Ok(Response::new(convert_certificate::message(&stored)))
    }

    async fn create_certificate(
        &self,
        request: Request<CreateCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        let actor = caller(&request)?;
        let CreateCertificateRequest { certificate, private_key_pem, validate_only } = request.into_inner();
        let created = async {
            let (id, upload, _) = convert_certificate::upload(certificate, private_key_pem)?;
            certificate::create(&self.0, &actor, id, &upload, convert::mode(validate_only)).await
        };
        let stored = created.await.map_err(|error| status(error, Some("certificate")))?;
        Ok(Response::new(convert_certificate::message(&stored)))
    }

    async fn update_certificate(
        &self,
        request: Request<UpdateCertificateRequest>,
    ) -> Result<Response<Certificate>, Status> {
        let actor = caller(&request)?;
        let UpdateCertificateRequest { certificate, private_key_pem, validate_only } = request.into_inner();
        let updated = async {
            let (id, upload, etag) = convert_certificate::upload(certificate, private_key_pem)?;
            certificate::update(&self.0, &actor, &id, &upload, etag, convert::mode(validate_only)).await
        };
        let stored = updated.await.map_err(|error| status(error, Some("certificate")))?;
        Ok(Response::new(convert_certificate::message(&stored)))
    }

    async fn delete_certificate(
        &self,
        request: Request<DeleteCertificateRequest>,
    ) -> Result<Response<DeleteCertificateResponse>, Status> {
        let actor = caller(&request)?;
        let DeleteCertificateRequest { name, etag, validate_only } = request.into_inner();
        let deleted = async {
            let id = convert::name(&name, CertificateId::parse_resource_name)?;
            certificate::delete(&self.0, &actor, &id, convert::parse_etag(&etag), convert::mode(validate_only)).await
        };
        let revision = deleted.await.map_err(|error| status(error, None))?;
        Ok(Response::new(DeleteCertificateResponse { revision: revision.0 }))
    }

    async fn get_internal_ca(&self, request: Request<GetInternalCaRequest>) -> Result<Response<InternalCa>, Status> {
        let GetInternalCaRequest {} = request.into_inner();
        let certificate_pem = pki::certificate_pem(certificate::internal_ca(&self.0));
        Ok(Response::new(InternalCa { certificate_pem }))
    }
}
