use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use instant_acme::{
    Account as LibraryAccount, CertificateIdentifier, Identifier, NewAccount, NewOrder, RevocationRequest,
};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use switchyard_proto::vocab::HostPattern;

use super::{
    connection::Connection,
    error::{AcmeError, AcmeErrorKind},
    order::OpenOrder,
    transport::Transport,
};
use crate::model::{Account, Issuer, PrivateKey, Thumbprint, Timestamp};

/// The fleet's account at a CA, ready to be used.
#[derive(Clone)]
pub struct Session {
    account: LibraryAccount,
    transport: Transport,
    preferred_chain: Option<String>,
}

/// When a CA wants a certificate to be replaced (RFC 9773).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalWindow {
    /// Not before.
    pub start: Timestamp,
    /// Not after.
    pub end: Timestamp,
    /// When to ask again.
    pub ask_again_after: Duration,
}

impl Session {
    /// Makes an account at a CA.
    ///
    /// # Errors
    ///
    /// The CA does not answer, or refuses.
    pub async fn register(connection: &Connection, issuer: &Issuer) -> Result<Account, AcmeError> {
        let transport = connection.transport.apart();
        let contact: Vec<String> = issuer.email.iter().map(|email| format!("mailto:{}", email.as_str())).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = issuer.external_account.as_ref().map(|external| {
            instant_acme::ExternalAccountKey::new(external.key_id.as_str().to_owned(), external.expose_key())
        });
        let created = LibraryAccount::builder_with_http(Box::new(transport.clone()))
            .create(&new, issuer.directory.as_str().to_owned(), external.as_ref())
            .await;
        let (account, credentials) = created.map_err(|error| of(&transport, &error))?;
        Ok(Account {
            url: account.id().to_owned(),
            key: PrivateKey::from_pkcs8(credentials.private_key().secret_pkcs8_der().to_vec()),
            thumbprint: Thumbprint::parse(account.key_thumbprint())
                .map_err(|error| AcmeError::new(AcmeErrorKind::Unavailable, error.to_string()))?,
        })
    }

    /// Takes up the account that there is.
    ///
    /// # Errors
    ///
    /// The account cannot be used.
    pub async fn resume(connection: &Connection, issuer: &Issuer, account: &Account) -> Result<Self, AcmeError> {
        // What is remembered of answers is this session's own.
        let transport = connection.transport.apart();
        // In the library's own form, with the directory in it: it is not fetched again for each session.
        let credentials = json!({
            "id": account.url,
            "key_pkcs8": URL_SAFE_NO_PAD.encode(account.key.expose_pkcs8()),
            "urls": connection.directory,
        });
        let credentials = serde_json::from_value(credentials).map_err(instant_acme::Error::from);
        let credentials = credentials.map_err(|error| of(&transport, &error))?;
        let resumed =
            LibraryAccount::builder_with_http(Box::new(transport.clone())).from_credentials(credentials).await;
        let account = resumed.map_err(|error| of(&transport, &error))?;
        let preferred_chain = issuer.preferred_chain.as_ref().map(|name| name.as_str().to_owned());
        Ok(Self { account, transport, preferred_chain })
    }

    /// Orders a certificate for a name; as the replacement of another if the CA takes that into account.
    ///
    /// # Errors
    ///
    /// The CA does not answer, or refuses.
    pub async fn order(
        &self,
        host: &HostPattern,
        profile: Option<&str>,
        replaces: Option<&[u8]>,
    ) -> Result<OpenOrder, AcmeError> {
        let identifiers = [Identifier::Dns(host.as_str().to_owned())];
        let new = || {
            let new = NewOrder::new(&identifiers);
            match profile {
                Some(profile) => new.profile(profile),
                None => new,
            }
        };
        let replaced = replaces.map(CertificateDer::from);
        if let Some(id) = replaced.as_ref().and_then(|der| CertificateIdentifier::try_from(der).ok()) {
            match self.account.new_order(&new().replaces(id)).await {
                Ok(order) => return Ok(self.open_order(order)),
                // It is not one for which this can be said, or was said already (RFC 9773, section 5).
                Err(instant_acme::Error::Unsupported(_)) => {}
                Err(instant_acme::Error::Api(problem)) if is_about_replacement(&problem) => {}
                Err(instant_acme::Error::Other(_)) if self.transport.last().status == Some(201) => {
                    // The CA has made an order without repeating what it replaces: the order is there all the same.
                    if let Some(url) = self.transport.last().location {
                        return self.open(url).await;
                    }
                }
                Err(error) => return Err(of(&self.transport, &error)),
            }
        }
        match self.account.new_order(&new()).await {
            Ok(order) => Ok(self.open_order(order)),
            Err(error) => Err(of(&self.transport, &error)),
        }
    }

    /// Takes up an order that was made before.
    ///
    /// # Errors
    ///
    /// The CA does not answer, or does not know it.
    pub async fn open(&self, url: String) -> Result<OpenOrder, AcmeError> {
        let order = self.account.order(url).await.map_err(|error| of(&self.transport, &error))?;
        Ok(self.open_order(order))
    }

    fn open_order(&self, order: instant_acme::Order) -> OpenOrder {
        OpenOrder::new(order, self.account.clone(), self.transport.clone(), self.preferred_chain.clone())
    }

    /// When the CA wants a certificate of its own to be replaced; `None` if it does not say.
    ///
    /// # Errors
    ///
    /// The CA does not answer.
    pub async fn renewal_window(&self, certificate: &[u8]) -> Result<Option<RenewalWindow>, AcmeError> {
        let der = CertificateDer::from(certificate);
        let Ok(id) = CertificateIdentifier::try_from(&der) else { return Ok(None) };
        match self.account.renewal_info(&id).await {
            Ok((info, ask_again_after)) => {
                let millis = |time: time::OffsetDateTime| {
                    Timestamp(i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
                };
                let window = info.suggested_window;
                let (start, end) = (millis(window.start), millis(window.end));
                // RFC 9773, section 4.2: an end before the start is no window.
                Ok((start <= end).then_some(RenewalWindow { start, end, ask_again_after }))
            }
            Err(instant_acme::Error::Unsupported(_) | instant_acme::Error::Str(_)) => Ok(None),
            Err(error) => Err(of(&self.transport, &error)),
        }
    }

    /// Has the CA declare a certificate void.
    ///
    /// # Errors
    ///
    /// The CA does not answer, or refuses.
    pub async fn revoke(&self, certificate: &[u8]) -> Result<(), AcmeError> {
        let certificate = CertificateDer::from(certificate);
        let request = RevocationRequest { certificate: &certificate, reason: None };
        self.account.revoke(&request).await.map_err(|error| of(&self.transport, &error))
    }
}

fn of(transport: &Transport, error: &instant_acme::Error) -> AcmeError {
    let last = transport.last();
    AcmeError::of(error, last.status, last.retry_after)
}

/// Whether an order was refused for what it says that it replaces (RFC 9773, section 5).
fn is_about_replacement(problem: &instant_acme::Problem) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let detail = problem.detail.as_deref().unwrap_or_default();
    kind.ends_with(":alreadyReplaced") || problem.status == Some(409) || detail.contains("replace")
}
