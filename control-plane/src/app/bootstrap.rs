//! What every database begins with: the default service, the two authorities and the first token.

use std::{io, sync::Arc};

use switchyard_proto::vocab::{ServiceId, TokenId};
use zeroize::Zeroizing;

use super::{AppError, page_token, page_token::PageTokens};
use crate::{
    clock::Clock,
    model::{Access, Actor, PrivateKey, Secret, Service, Timestamp, Token},
    pki::{Authority, AuthorityKind, IssueError},
    store::{Store, StoreError, Transaction},
};

/// The id of the token that is made when there is none.
const FIRST_TOKEN_ID: &str = "admin";

/// The secret that page tokens are sealed with.
const PAGE_KEY_NAME: &str = "page-token-key";

/// What the program needs of it.
#[derive(Debug)]
pub struct Foundation {
    /// Signs the control plane's own certificate, and those of edges.
    pub fleet_ca: Authority,
    /// Signs certificates for domains.
    pub internal_ca: Authority,
    /// Seals page tokens.
    pub page_tokens: PageTokens,
}

/// Reads the foundation of a database, and lays what is missing of it. Two control planes may do so at the same time.
///
/// The secret of the first token is given to `keep_first`, which puts it where the people of this machine find it, before
/// the token exists.
///
/// # Errors
///
/// The database does not answer, what is in it makes no sense, or the secret cannot be kept.
pub async fn run(
    store: &Arc<dyn Store>,
    clock: &dyn Clock,
    keep_first: impl FnOnce(&Secret) -> io::Result<()>,
) -> Result<Foundation, BootstrapError> {
    let now = clock.now();
    let mut transaction = store.begin(&Actor::system(), now).await?;
    let fleet_ca = authority(&mut *transaction, AuthorityKind::Fleet, now).await?;
    let internal_ca = authority(&mut *transaction, AuthorityKind::Internal, now).await?;
    let page_key = page_key(&mut *transaction).await?;
    let default = ServiceId::default_service();
    let service = match transaction.get::<Service>(&default).await {
        // One that cannot be read is there nevertheless, and keeps nobody from the others.
        Ok(Some(_)) | Err(StoreError::Unreadable { .. }) => Found::Read(()),
        Err(error) => return Err(error.into()),
        Ok(None) => {
            transaction.put(None, Service::new(default)).await?;
            Found::Made(())
        }
    };
    let token = match transaction.count::<Token>().await? {
        1.. => Found::Read(()),
        0 => {
            let secret = Secret::generate().ok_or(IssueError::NoRandomness)?;
            let id = TokenId::parse(FIRST_TOKEN_ID).expect("it is an id");
            let token = Token { id, hash: secret.hash(), access: Access::EVERYTHING, expires_at: None };
            transaction.put(None, token).await?;
            keep_first(&secret).map_err(BootstrapError::Keep)?;
            Found::Made(())
        }
    };
    let made = [fleet_ca.is_made(), internal_ca.is_made(), page_key.is_made(), service.is_made(), token.is_made()];
    if made.contains(&true) {
        transaction.commit().await?;
    }
    let page_tokens = PageTokens::new(&page_key.into_inner());
    Ok(Foundation { fleet_ca: fleet_ca.into_inner(), internal_ca: internal_ca.into_inner(), page_tokens })
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

async fn page_key(
    transaction: &mut dyn Transaction,
) -> Result<Found<Zeroizing<[u8; page_token::KEY_BYTES]>>, AppError> {
    let kept = transaction.secret(PAGE_KEY_NAME).await?;
    if let Some(key) = kept.as_deref().and_then(|key| key.try_into().ok()) {
        return Ok(Found::Read(Zeroizing::new(key)));
    }
    let mut key = Zeroizing::new([0; page_token::KEY_BYTES]);
    aws_lc_rs::rand::fill(&mut *key).map_err(|_| IssueError::NoRandomness)?;
    transaction.put_secret(PAGE_KEY_NAME, &*key).await?;
    Ok(Found::Made(key))
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

/// Why a database could not be begun with.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The database or the authorities.
    #[error(transparent)]
    App(#[from] AppError),
    /// The secret of the first token could not be kept.
    #[error("keep the first token")]
    Keep(#[source] io::Error),
}

impl From<StoreError> for BootstrapError {
    fn from(error: StoreError) -> Self {
        Self::App(error.into())
    }
}

impl From<IssueError> for BootstrapError {
    fn from(error: IssueError) -> Self {
        Self::App(error.into())
    }
}
