//! What every database begins with: the default service, the two authorities and the edges' join secret.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use switchyard_proto::vocab::ServiceId;

use super::AppError;
use crate::{
    clock::Clock,
    model::{Actor, PrivateKey, Service, Timestamp},
    pki::{Authority, AuthorityKind, IssueError},
    store::{Store, Transaction},
};

/// Bytes of the join secret.
const JOIN_SECRET_BYTES: usize = 32;
const JOIN_SECRET_NAME: &str = "join-secret";

/// What the program needs of it.
#[derive(Debug)]
pub struct Foundation {
    /// Signs the control plane's own certificate.
    pub fleet_ca: Authority,
    /// Signs certificates for domains.
    pub internal_ca: Authority,
    /// What edges show to be let in: base64url without padding.
    pub join_secret: String,
}

/// Reads the foundation of a database, and lays what is missing of it. Two control planes may do so at the same time.
///
/// # Errors
///
/// The database does not answer, or what is in it makes no sense.
pub async fn run(store: &Arc<dyn Store>, clock: &dyn Clock) -> Result<Foundation, AppError> {
    let now = clock.now();
    let mut transaction = store.begin(&Actor::system(), now).await?;
    let fleet_ca = authority(&mut *transaction, AuthorityKind::Fleet, now).await?;
    let internal_ca = authority(&mut *transaction, AuthorityKind::Internal, now).await?;
    let join_secret = join_secret(&mut *transaction).await?;
    let default = ServiceId::default_service();
    let service = match transaction.service(&default).await? {
        Some(_) => Found::Read(()),
        None => {
            transaction.put_service(None, Service::new(default)).await?;
            Found::Made(())
        }
    };
    let made = fleet_ca.is_made() || internal_ca.is_made() || join_secret.is_made() || service.is_made();
    if made {
        transaction.commit().await?;
    }
    Ok(Foundation {
        fleet_ca: fleet_ca.into_inner(),
        internal_ca: internal_ca.into_inner(),
        join_secret: join_secret.into_inner(),
    })
}

/// A part of the foundation, and whether it was there.
enum Found<T> {
    Read(T),
    Made(T),
}

impl<T> Found<T> {
    fn is_made(&self) -> bool {
        matches!(self, Self::Made(_))
    }

    fn into_inner(self) -> T {
        match self {
            Self::Read(value) | Self::Made(value) => value,
        }
    }
}

async fn authority(
    transaction: &mut dyn Transaction,
    kind: AuthorityKind,
    now: Timestamp,
) -> Result<Found<Authority>, AppError> {
    let certificate_name = format!("{}-ca-certificate", kind.as_str());
    let key_name = format!("{}-ca-private-key", kind.as_str());
    let certificate = transaction.secret(&certificate_name).await?;
    let key = transaction.secret(&key_name).await?;
    if let (Some(certificate), Some(key)) = (certificate, key) {
        return Ok(Found::Read(Authority::from_parts(certificate, PrivateKey::from_pkcs8(key))?));
    }
    let authority = Authority::generate(kind, now)?;
    transaction.put_secret(&certificate_name, authority.certificate()).await?;
    transaction.put_secret(&key_name, authority.private_key().expose_pkcs8()).await?;
    Ok(Found::Made(authority))
}

async fn join_secret(transaction: &mut dyn Transaction) -> Result<Found<String>, AppError> {
    if let Some(secret) = transaction.secret(JOIN_SECRET_NAME).await? {
        return Ok(Found::Read(URL_SAFE_NO_PAD.encode(secret)));
    }
    let mut secret = [0; JOIN_SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| IssueError::NoRandomness)?;
    transaction.put_secret(JOIN_SECRET_NAME, &secret).await?;
    Ok(Found::Made(URL_SAFE_NO_PAD.encode(secret)))
}
