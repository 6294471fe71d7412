use std::sync::Arc;

use prost::Message;
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
    status::status,
};
use crate::{
    app::{App, AppError, Page, PageRequest, certificate},
    model::Actor,
    pki,
};

/// Bytes of certificates on one page: clients take messages of 4 MiB as a rule.
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

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
        let response = list(&self.0, &actor, page_size, &page_token).map_err(|error| status(error, None))?;
        Ok(Response::new(response))
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

/// A page that fits into a message: shorter than asked for where chains are long.
fn list(app: &App, actor: &Actor, page_size: i32, page_token: &str) -> Result<ListCertificatesResponse, AppError> {
    let page = certificate::list(app, actor, &PageRequest::parse(page_size, page_token)?)?;
    let mut certificates = Vec::with_capacity(page.items.len());
    let mut bytes = 0;
    for stored in &page.items {
        let message = convert_certificate::message(stored);
        bytes += message.encoded_len();
        // One is far smaller than a page, so at least one fits.
        if bytes > PAGE_BYTES_MAX && !certificates.is_empty() {
            let size = i32::try_from(certificates.len()).expect("a page has far fewer elements");
            let request = PageRequest::parse(size, page_token)?;
            let Page { next_page_token, .. } =
                Page::cut(page.items.iter(), &request, |stored| stored.value.id.as_str());
            return Ok(ListCertificatesResponse { certificates, next_page_token });
        }
        certificates.push(message);
    }
    Ok(ListCertificatesResponse { certificates, next_page_token: page.next_page_token })
}
