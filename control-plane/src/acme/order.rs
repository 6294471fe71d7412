use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use instant_acme::{
    Account as LibraryAccount, AuthorizationStatus, ChallengeStatus, ChallengeType, Error, Order, OrderStatus,
};
use tokio::time::{Instant, sleep};

use super::{
    error::{AcmeError, AcmeErrorKind},
    transport::Transport,
};
use crate::{
    model::{ChallengeKind, KeyAuthorizationDigest},
    pki,
};

/// Pauses between two looks at what a CA is working on: the first, and the longest.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(20);
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Looks in a row without an answer, after which the CA is left alone for a while.
const UNANSWERED_MAX: u32 = 3;
/// The least pause after one of them.
const UNANSWERED_PAUSE: Duration = Duration::from_secs(1);
/// Looks at the order for each at its authorizations.
const LOOKS_PER_AUTHORIZATION: u32 = 4;
/// How long a CA may take to validate a name, and again to sign. The order is taken up again after that, not made anew.
const DECISION_TIMEOUT: Duration = Duration::from_secs(120);

/// An order at a CA.
pub struct OpenOrder {
    order: Order,
    account: LibraryAccount,
    transport: Transport,
    preferred_chain: Option<String>,
}

/// Where an order stands (RFC 8555, section 7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its name is to prove itself.
    Pending,
    /// The certificate can be asked for.
    Ready,
    /// The CA signs.
    Processing,
    /// The certificate is there.
    Valid,
    /// It came to nothing.
    Invalid,
}

/// A name that is to prove itself.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The name, without `*.`.
    pub name: String,
    /// How it may.
    pub offers: Vec<Offer>,
    /// The CA is looking already.
    pub is_begun: bool,
}

/// One way for a name to prove itself.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The way.
    pub kind: ChallengeKind,
    /// What the CA chose.
    pub token: String,
    /// What proves that the account chose it as well (RFC 8555, section 8.1).
    pub key_authorization: String,
    /// The SHA-256 of that.
    pub digest: KeyAuthorizationDigest,
    /// That in base64url: what a TXT record says (RFC 8555, section 8.4).
    pub dns_value: String,
}

impl Offer {
    fn new(kind: ChallengeKind, token: &str, thumbprint: &str) -> Self {
        let key_authorization = format!("{token}.{thumbprint}");
        let digest = digest(&SHA256, key_authorization.as_bytes());
        Self {
            kind,
            token: token.to_owned(),
            key_authorization,
            digest: KeyAuthorizationDigest::from_bytes(digest.as_ref()).expect("a SHA-256 has 32 bytes"),
            dns_value: URL_SAFE_NO_PAD.encode(digest),
        }
    }
}

impl OpenOrder {
    pub(super) fn new(
        order: Order,
        account: LibraryAccount,
        transport: Transport,
        preferred_chain: Option<String>,
    ) -> Self {
        Self { order, account, transport, preferred_chain }
    }

    /// What the CA calls it.
    pub fn url(&self) -> &str {
        self.order.url()
    }

    /// Where it stood when it was looked at last.
    pub fn progress(&mut self) -> Progress {
        match self.order.state().status {
            OrderStatus::Pending => Progress::Pending,
            OrderStatus::Ready => Progress::Ready,
            OrderStatus::Processing => Progress::Processing,
            OrderStatus::Valid => Progress::Valid,
            OrderStatus::Invalid => Progress::Invalid,
        }
    }

    /// The name that is still to prove itself, if it is.
    ///
    /// # Errors
    ///
    /// The CA does not answer.
    pub async fn pending(&mut self) -> Result<Option<Pending>, AcmeError> {
        let Self { order, transport, account, .. } = self;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization.map_err(|error| of(transport, &error))?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                _ => return Err(AcmeError::new(AcmeErrorKind::Invalid, "the CA has given up on the name")),
            }
            let name = match authorization.identifier().identifier {
                instant_acme::Identifier::Dns(name) => name.clone(),
                _ => {
                    return Err(AcmeError::new(
                        AcmeErrorKind::Unavailable,
                        "the CA asks for another name than was ordered",
                    ));
                }
            };
            let is_begun = authorization.challenges.iter().any(|it| it.status == ChallengeStatus::Processing);
            let offers = ChallengeKind::ALL.iter().copied().filter_map(|kind| {
                let challenge = authorization.challenges.iter().find(|it| it.r#type == library_kind(kind))?;
                Some(Offer::new(kind, &challenge.token, account.key_thumbprint()))
            });
            let offers = offers.collect();
            return Ok(Some(Pending { name, offers, is_begun }));
        }
        Ok(None)
    }

    /// Tells the CA that it may look.
    ///
    /// # Errors
    ///
    /// The CA does not answer, or does not offer this way.
    pub async fn begin(&mut self, kind: ChallengeKind) -> Result<(), AcmeError> {
        let Self { order, transport, .. } = self;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| of(transport, &error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            if let Some(mut challenge) = authorization.challenge(library_kind(kind)) {
                challenge.set_ready().await.map_err(|error| of(transport, &error))?;
            }
        }
        Ok(())
    }

    /// Waits until the CA has made up its mind about the name: [`Progress::Pending`] no more.
    ///
    /// # Errors
    ///
    /// The name did not prove itself, or the CA does not answer, or not in time.
    pub async fn validated(&mut self) -> Result<Progress, AcmeError> {
        match self.past(&[Progress::Pending]).await? {
            Progress::Invalid | Progress::Pending => Err(self.why_invalid().await),
            progress => Ok(progress),
        }
    }

    /// Asks for the certificate, with a request for the key.
    ///
    /// # Errors
    ///
    /// The CA does not answer, or refuses.
    pub async fn finalize(&mut self, request: &[u8]) -> Result<(), AcmeError> {
        let Self { order, transport, .. } = self;
        order.finalize_csr(request).await.map_err(|error| of(transport, &error))
    }

    /// Waits for the certificate: its chain as PEM, the preferred one of several.
    ///
    /// # Errors
    ///
    /// The CA does not answer, or not in time, or has refused after all.
    pub async fn certificate(&mut self) -> Result<String, AcmeError> {
        match self.past(&[Progress::Ready, Progress::Processing]).await? {
            Progress::Valid => {}
            _ => return Err(self.why_invalid().await),
        }
        let chain = self.order.certificate().await.map_err(|error| of(&self.transport, &error))?;
        let chain =
            chain.ok_or_else(|| AcmeError::new(AcmeErrorKind::Unavailable, "the CA does not give the certificate"))?;
        let Some(preferred) = self.preferred_chain.clone() else { return Ok(chain) };
        if pki::ends_at(&chain, &preferred) {
            return Ok(chain);
        }
        for url in self.transport.last().alternates {
            let other = self.alternate(url).await?;
            if pki::ends_at(&other, &preferred) {
                return Ok(other);
            }
        }
        // The usual one serves better than none.
        Ok(chain)
    }

    /// Fetches another chain. The library has no call for that, but one that fetches whatever it is told, and understands only orders.
    async fn alternate(&self, url: String) -> Result<String, AcmeError> {
        match self.account.order(url).await {
            Ok(_) => Ok(String::new()),
            Err(Error::Json(_)) => Ok(String::from_utf8_lossy(&self.transport.last().body).into_owned()),
            Err(error) => Err(of(&self.transport, &error)),
        }
    }

    /// Looks again and again until the order is in none of these states, or cannot leave [`Progress::Pending`] any more.
    async fn past(&mut self, states: &[Progress]) -> Result<Progress, AcmeError> {
        let deadline = Instant::now() + DECISION_TIMEOUT;
        let mut pause = LOOK_PAUSE_MIN;
        let (mut looks, mut unanswered) = (0_u32, 0);
        loop {
            match self.order.refresh().await.map_err(|error| of(&self.transport, &error)) {
                Ok(_) => unanswered = 0,
                // Looking again does no harm.
                Err(error) if error.kind == AcmeErrorKind::SendAgain => {}
                Err(error) if error.kind == AcmeErrorKind::Unavailable && unanswered + 1 < UNANSWERED_MAX => {
                    unanswered += 1;
                    pause = pause.max(UNANSWERED_PAUSE);
                }
                Err(error) => return Err(error),
            }
            let progress = self.progress();
            if !states.contains(&progress) {
                return Ok(progress);
            }
            looks += 1;
            if progress == Progress::Pending
                && looks.is_multiple_of(LOOKS_PER_AUTHORIZATION)
                && self.has_failed().await?
            {
                return Ok(progress);
            }
            let wanted = self.transport.last().retry_after.unwrap_or_default();
            let next = pause.max(wanted.min(LOOK_PAUSE_MAX));
            if Instant::now() + next > deadline {
                return Err(AcmeError::new(AcmeErrorKind::Unavailable, "the CA has not decided in time"));
            }
            sleep(next).await;
            pause = (pause * 3 / 2).min(LOOK_PAUSE_MAX);
        }
    }

    /// Whether a name did not prove itself. Some CAs do not tell that of the order.
    async fn has_failed(&mut self) -> Result<bool, AcmeError> {
        let Self { order, transport, .. } = self;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| of(transport, &error))?;
            let state = authorization.refresh().await.map_err(|error| of(transport, &error))?;
            if !matches!(state.status, AuthorizationStatus::Pending | AuthorizationStatus::Valid) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the CA says about a name that did not prove itself.
    async fn why_invalid(&mut self) -> AcmeError {
        let Self { order, transport, .. } = self;
        let mut found = order.state().error.as_ref().map(|problem| AcmeError::of_problem(problem, None));
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if authorization.refresh().await.is_err() {
                break;
            }
            for challenge in &authorization.challenges {
                if let Some(problem) = &challenge.error {
                    found = Some(AcmeError::of_problem(problem, None));
                }
            }
        }
        let reason = found.map_or_else(|| "the CA gives no reason".to_owned(), |error| error.reason);
        AcmeError { retry_after: transport.last().retry_after, ..AcmeError::new(AcmeErrorKind::Invalid, reason) }
    }
}

fn of(transport: &Transport, error: &Error) -> AcmeError {
    let last = transport.last();
    AcmeError::of(error, last.status, last.retry_after)
}

fn library_kind(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    }
}
