use std::{sync::Arc, time::Duration};

use switchyard_process::chain;
use switchyard_proto::vocab::{HostPattern, IssuerId, ResourceKey};
use tracing::{info, warn};

use super::{Acme, renewal::plan};
use crate::{
    acme::{AcmeError, AcmeErrorKind, Offer, OpenOrder, Progress, Session},
    app::{AppError, issuance},
    dns::Record,
    model::{
        Certificate, CertificateSource, Challenge, ChallengeKind, DnsSettings, Domain, Exhausted, Issuance, Issuer,
        IssuerUse, Lease, Order, Phase, Rate, Renewal, Stored, Thumbprint, Timestamp, UseKind, provider_of,
    },
    on_demand::Approval,
    pki,
    reconcile::{driver::backoff, edges::Which},
};

/// When a CA is asked again that did not say when a certificate is to be replaced.
const ASK_AGAIN: Duration = Duration::from_secs(60 * 60);
/// How often in a row something is done again that a CA did not take for no fault of anybody's.
const AGAIN_MAX: u32 = 8;
/// The longest pause after a failure.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Before a domain is looked at again that is not known here yet.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(60);
/// How long the database may take to say whether a domain is there.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The work on one domain, from where it was left to the next moment that nothing is to be done.
pub(super) struct Attempt {
    acme: Acme,
    lease: Lease,
    issuance: Issuance,
}

/// Why a CA issued nothing.
enum Failure {
    /// The CA, or what it was told.
    Acme(AcmeError),
    /// The database, or another control plane: nothing is written about it.
    App(AppError),
    /// Somebody wrote the issuance meanwhile; his word counts.
    Overtaken,
}

impl From<AcmeError> for Failure {
    fn from(error: AcmeError) -> Self {
        Self::Acme(error)
    }
}

impl<E: Into<AppError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::App(error.into())
    }
}

impl Attempt {
    pub(super) fn new(acme: Acme, lease: Lease, issuance: Issuance) -> Self {
        Self { acme, lease, issuance }
    }

    pub(super) fn host(&self) -> HostPattern {
        self.issuance.host.clone()
    }

    /// Does everything that is to be done now.
    pub(super) async fn run(mut self) -> Result<(), AppError> {
        if self.issuance.phase == Phase::Retired {
            issuance::forget(&self.acme.app, &self.lease, &self.issuance).await?;
            info!("its domain has been gone for long; the certificate is removed");
            return Ok(());
        }
        let Some(domain) = self.domain().await else {
            return self.wait_until(self.now().plus(UNKNOWN_PAUSE)).await;
        };
        // What cannot be read cannot be replaced: an order would be in vain.
        let id = Certificate::acme_id(&self.issuance.host);
        if self.acme.app.feed.state().is_withheld(&ResourceKey::certificate(&id)) {
            return self.wait_until(self.now().plus(UNKNOWN_PAUSE)).await;
        }
        let certificate = self.certificate();
        if let Some(certificate) = &certificate
            && self.issuance.order.is_none()
            && let Err(failure) = self.revoke_replaced(certificate).await
        {
            return match failure {
                Failure::Overtaken => Ok(()),
                Failure::App(error) => Err(error),
                Failure::Acme(error) => self.failed(error).await,
            };
        }
        if let Some(certificate) = &certificate
            && self.issuance.order.is_none()
            && self.issuance.renewal.is_some()
        {
            let renewal = self.plan(certificate).await;
            if renewal.at > self.now() {
                return self.plan_for(renewal).await;
            }
        }
        match self.acme.approvals.again(&self.issuance, &domain, certificate.is_some()).await {
            Approval::Approved => {}
            Approval::Refused => {
                info!("the name is to have no certificate any more: what there is runs out");
                return issuance::expire(&self.acme.app, &self.lease, &self.issuance).await;
            }
            Approval::Unreachable(reason) => {
                return self.failed(AcmeError::new(AcmeErrorKind::Unavailable, reason)).await;
            }
        }
        match self.order(&domain, certificate.as_deref()).await {
            Ok(()) => Ok(()),
            Err(Failure::Overtaken) => Ok(()),
            Err(Failure::App(error)) => Err(error),
            Err(Failure::Acme(error)) => self.failed(error).await,
        }
    }

    /// Gets the certificate from the first CA that issues it.
    async fn order(&mut self, domain: &Domain, certificate: Option<&Stored<Certificate>>) -> Result<(), Failure> {
        let mut reasons: Vec<(IssuerId, AcmeError)> = Vec::new();
        for issuer in self.issuers(domain) {
            let mut again = 0;
            let error = loop {
                match self.order_from(&issuer, domain, certificate).await {
                    Err(Failure::Acme(error)) if self.may_go_on(&issuer, &error).await? && again < AGAIN_MAX => {
                        again += 1
                    }
                    Err(Failure::Acme(error)) => break error,
                    ended => return ended,
                }
            };
            warn!(issuer = %issuer.value.id, reason = chain(&error), "no certificate was issued");
            if error.kind == AcmeErrorKind::Invalid {
                let it = self.used(&issuer.value.id, UseKind::Failure);
                self.acme.app.store.note_use(&self.lease, &it).await?;
            }
            if error.kind == AcmeErrorKind::Unavailable {
                self.acme.connections.forget(&issuer.value.id);
            }
            // What the name cannot prove to one, it cannot to another.
            let is_last = error.kind == AcmeErrorKind::Invalid;
            reasons.push((issuer.value.id.clone(), error));
            if is_last {
                break;
            }
        }
        let retry_after = reasons.iter().filter_map(|(_, error)| error.retry_after).min();
        // If one was asked, it is what that one said.
        let asked = reasons.iter().rfind(|(_, error)| error.kind != AcmeErrorKind::OverBudget);
        let kind = asked.or(reasons.last()).map_or(AcmeErrorKind::Refused, |(_, error)| error.kind);
        let reason = match reasons.as_slice() {
            [] => {
                "no issuer may be asked: give one a rank (switchyard issuer update), and if the name is private, a root of its own"
                    .to_owned()
            }
            reasons => reasons.iter().map(|(id, error)| format!("{id}: {error}")).collect::<Vec<_>>().join("; "),
        };
        Err(AcmeError { retry_after, ..AcmeError::new(kind, reason) }.into())
    }

    /// Whether the same CA is worth another try at once, and what has to be forgotten for it.
    async fn may_go_on(&mut self, issuer: &Stored<Issuer>, error: &AcmeError) -> Result<bool, Failure> {
        match error.kind {
            AcmeErrorKind::SendAgain => Ok(true),
            AcmeErrorKind::OrderGone if self.issuance.order.is_some() => {
                info!(issuer = %issuer.value.id, reason = chain(&error), "the CA does not know the order any more");
                self.write(Issuance { order: None, ..self.issuance.clone() }).await?;
                Ok(true)
            }
            AcmeErrorKind::AccountGone => {
                let Some(account) = &self.current(&issuer.value.id).and_then(|now| now.value.account.clone()) else {
                    return Ok(true);
                };
                info!(issuer = %issuer.value.id, reason = chain(&error), "the CA does not know the account any more");
                issuance::unregister(&self.acme.app, &self.lease, &issuer.value.id, &account.url).await?;
                self.write(Issuance { order: None, ..self.issuance.clone() }).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Gets the certificate from one CA.
    async fn order_from(
        &mut self,
        issuer: &Stored<Issuer>,
        domain: &Domain,
        certificate: Option<&Stored<Certificate>>,
    ) -> Result<(), Failure> {
        let (session, thumbprint) = self.session(issuer).await?;
        let mut order = self.open_order(&session, issuer, certificate).await?;
        let mut prepared = None;
        while let Some(pending) = order.pending().await? {
            let offer = self.choose(domain, &pending.offers)?;
            prepared = Some(offer.kind);
            let validated = match offer.kind {
                ChallengeKind::Http01 | ChallengeKind::TlsAlpn01 => {
                    self.answer(&offer, &thumbprint, &domain.host).await?;
                    self.validate(&mut order, &offer, pending.is_begun).await?
                }
                ChallengeKind::Dns01 => {
                    let (settings, record) = self.record(&pending.name, &offer)?;
                    let validated = match self.present(&settings, &record).await {
                        Ok(()) => self.validate(&mut order, &offer, pending.is_begun).await,
                        Err(failure) => Err(failure),
                    };
                    // Also of one that failed something may be there.
                    if let Err(error) = self.acme.dns.remove(&settings, &record).await {
                        warn!(reason = chain(&error), "the record of the challenge stays");
                    }
                    validated?
                }
            };
            if validated != Progress::Pending {
                break;
            }
        }
        let Some(Order { private_key, .. }) = self.issuance.order.clone() else { return Err(Failure::Overtaken) };
        self.enter(Phase::Finalizing).await?;
        match order.progress() {
            Progress::Pending | Progress::Ready => {
                let request = pki::order_request(&private_key, &self.issuance.host).map_err(AppError::from)?;
                order.finalize(&request).await?;
            }
            Progress::Processing | Progress::Valid => {}
            Progress::Invalid => return Err(order.validated().await.err().map_or(Failure::Overtaken, Failure::Acme)),
        }
        let pem = order.certificate().await?;
        let now = self.now();
        let chain = pki::issued(&pem, &private_key, &self.issuance.host, now).map_err(|error| {
            AcmeError::new(AcmeErrorKind::Refused, format!("what the CA has issued cannot be served: {error}"))
        });
        let chain = match chain {
            Ok(chain) => chain,
            Err(error) => {
                // The order is at its end; another one may go better.
                self.write(Issuance { order: None, ..self.issuance.clone() }).await?;
                return Err(error.into());
            }
        };
        let renewal = issuance::renewal(chain.not_before, chain.not_after, self.acme.random.fraction());
        info!(issuer = %issuer.value.id, challenge = prepared.map(ChallengeKind::as_str), "the certificate was issued");
        let certificate = Certificate {
            id: Certificate::acme_id(&self.issuance.host),
            source: CertificateSource::Acme,
            chain,
            private_key,
        };
        if !self.is_exempt(&issuer.value.id) {
            let it = self.used(&issuer.value.id, UseKind::Certificate);
            self.acme.app.store.note_use(&self.lease, &it).await?;
        }
        let done = issuance::complete(&self.acme.app, &self.lease, &self.issuance, certificate, renewal).await?;
        // The CA may want it to be replaced at another moment than is usual.
        if done.is_some()
            && let Some(issuance) = self.acme.app.store.issuance(&self.issuance.host).await?
            && let Some(certificate) = self.certificate()
        {
            self.issuance = issuance;
            let renewal = self.plan(&certificate).await;
            self.plan_for(renewal).await?;
            match self.revoke_replaced(&certificate).await {
                // The certificate is there: another issuer would not help.
                Err(Failure::Acme(error)) => self.failed(error).await?,
                ended => ended?,
            }
        }
        Ok(())
    }

    /// The account at a CA, which is made if there is none.
    async fn session(&mut self, issuer: &Stored<Issuer>) -> Result<(Session, Thumbprint), Failure> {
        let connection = self.acme.connections.open(issuer).await?;
        if self.current(&issuer.value.id).is_some_and(|now| now.value.account.is_none()) {
            let registration = self.acme.connections.registration.clone();
            let _one = registration.lock().await;
            if let Some(now) = self.current(&issuer.value.id).filter(|now| now.value.account.is_none()) {
                let account = Session::register(&connection, &now.value).await?;
                info!(issuer = %issuer.value.id, account = account.url, "an account was made");
                issuance::register(&self.acme.app, &self.lease, &issuer.value.id, account).await?;
            }
        }
        let account = self.current(&issuer.value.id).and_then(|now| now.value.account.clone());
        let account = account.ok_or(Failure::Overtaken)?;
        let session = Session::resume(&connection, &issuer.value, &account).await?;
        Ok((session, account.thumbprint))
    }

    /// Takes up the order that is open at this CA, or makes one.
    async fn open_order(
        &mut self,
        session: &Session,
        issuer: &Stored<Issuer>,
        certificate: Option<&Stored<Certificate>>,
    ) -> Result<OpenOrder, Failure> {
        let id = &issuer.value.id;
        if let Some(order) = self.issuance.order.as_ref().filter(|order| order.issuer == *id) {
            let mut open = session.open(order.url.clone()).await?;
            if open.progress() != Progress::Invalid {
                return Ok(open);
            }
            self.write(Issuance { order: None, ..self.issuance.clone() }).await?;
        }
        self.enter(Phase::Ordering).await?;
        let private_key = pki::new_key().map_err(AppError::from)?;
        self.spend(issuer).await?;
        let replaces = certificate.filter(|_| self.issuance.issuer.as_ref() == Some(id));
        let replaces = replaces.map(|it| &it.value.chain.certificates[0][..]);
        let profile = issuer.value.profile.as_ref().map(|profile| profile.as_str());
        let open = session.order(&self.issuance.host, profile, replaces).await?;
        let order = Order { issuer: id.clone(), url: open.url().to_owned(), private_key, began_at: self.now() };
        self.write(Issuance { order: Some(order), ..self.issuance.clone() }).await?;
        Ok(open)
    }

    /// Asks what the CA allows whether there is room for an order.
    async fn spend(&self, issuer: &Stored<Issuer>) -> Result<(), Failure> {
        if self.is_exempt(&issuer.value.id) {
            return Ok(());
        }
        let it = self.used(&issuer.value.id, UseKind::Order);
        let Some(full) = self.acme.app.store.spend(&self.lease, &it, &issuer.value.limits).await? else {
            return Ok(());
        };
        let Exhausted { limit, subject, until } = full;
        let Rate { count, window } = limit.rate;
        let subject = if subject.is_empty() { String::new() } else { format!(" ({subject})") };
        let window = humantime::format_duration(window);
        let reason = format!("it allows {count} {}{subject} in {window}, and they are used up", limit.text());
        let pause = Duration::from_millis(u64::try_from(until.0 - self.now().0).unwrap_or(0));
        Err(AcmeError { retry_after: Some(pause), ..AcmeError::new(AcmeErrorKind::OverBudget, reason) }.into())
    }

    /// Whether this CA does not count it: what it has suggested itself to replace (RFC 9773, section 5).
    fn is_exempt(&self, issuer: &IssuerId) -> bool {
        self.issuance.issuer.as_ref() == Some(issuer)
            && self.issuance.renewal.is_some_and(|renewal| renewal.window.is_some())
    }

    fn used(&self, issuer: &IssuerId, kind: UseKind) -> IssuerUse {
        IssuerUse { issuer: issuer.clone(), kind, host: self.issuance.host.clone(), at: self.now() }
    }

    /// The way by which the name is to prove itself: as the domain says, or else those that fit by turns.
    fn choose(&self, domain: &Domain, offers: &[Offer]) -> Result<Offer, AcmeError> {
        let is_wildcard = self.issuance.host.wildcard_suffix().is_some();
        let wanted: &[ChallengeKind] = match &domain.acme.challenge {
            Some(kind) => std::slice::from_ref(kind),
            None if is_wildcard => &[ChallengeKind::Dns01],
            None if self.issuance.on_demand.is_some() => &[ChallengeKind::Http01],
            None => &[ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
        };
        let fitting: Vec<&Offer> =
            wanted.iter().filter_map(|kind| offers.iter().find(|offer| offer.kind == *kind)).collect();
        match fitting.len() {
            0 => {
                let wanted: Vec<&str> = wanted.iter().map(|kind| kind.as_str()).collect();
                let reason = format!("the CA does not offer {} for this name", wanted.join(" or "));
                Err(AcmeError::new(AcmeErrorKind::Refused, reason))
            }
            count => Ok(fitting[self.issuance.failures as usize % count].clone()),
        }
    }

    /// Has the CA look, and waits for what it finds.
    async fn validate(&mut self, order: &mut OpenOrder, offer: &Offer, is_begun: bool) -> Result<Progress, Failure> {
        self.enter(Phase::Validating).await?;
        if !is_begun {
            order.begin(offer.kind).await?;
        }
        Ok(order.validated().await?)
    }

    /// The record that proves the name, and how it is set.
    fn record<'a>(&self, name: &'a str, offer: &'a Offer) -> Result<(DnsSettings, Record<'a>), AcmeError> {
        let state = self.acme.app.feed.state();
        let all = state.dns_providers().values().map(|stored| &stored.value);
        let provider = provider_of(&self.issuance.host, all).ok_or_else(|| {
            let reason = "no DNS provider has the zone of the name: make one (switchyard dns-provider create)";
            AcmeError::new(AcmeErrorKind::Invalid, reason)
        })?;
        let record = Record {
            domain: name,
            token: &offer.token,
            key_authorization: &offer.key_authorization,
            value: &offer.dns_value,
        };
        Ok((provider.settings.clone(), record))
    }

    /// Sets the record, and waits until the zone's servers show it.
    async fn present(&mut self, settings: &DnsSettings, record: &Record<'_>) -> Result<(), Failure> {
        self.enter(Phase::Preparing).await?;
        let presented = self.acme.dns.present(settings, record).await;
        Ok(presented.map_err(|error| AcmeError::new(AcmeErrorKind::Invalid, chain(&error)))?)
    }

    /// Makes sure that whichever edge the CA asks knows what to answer.
    async fn answer(&mut self, offer: &Offer, thumbprint: &Thumbprint, host: &HostPattern) -> Result<(), Failure> {
        let (tls_alpn_01, which) = match offer.kind {
            ChallengeKind::TlsAlpn01 => (Some(offer.digest), Which::All),
            ChallengeKind::Http01 | ChallengeKind::Dns01 => (None, Which::ConnectedHere),
        };
        self.enter(Phase::Preparing).await?;
        let challenge = Challenge { host: host.clone(), http_01: Some(thumbprint.clone()), tls_alpn_01 };
        let revision = issuance::answer(&self.acme.app, &self.lease, challenge).await?;
        self.acme.edges.have(host, revision, which).await;
        Ok(())
    }

    /// Notes why it came to nothing, and when it is tried again.
    async fn failed(&mut self, error: AcmeError) -> Result<(), AppError> {
        let now = self.now();
        let mut failures = self.issuance.failures;
        let mut pause = error.retry_after.unwrap_or_default();
        // Nothing has failed that was not tried.
        if error.kind != AcmeErrorKind::OverBudget {
            failures = failures.saturating_add(1);
            pause = pause.max(backoff(self.acme.retry_pause, RETRY_PAUSE_MAX, failures, self.acme.random.fraction()));
        }
        // What a CA is still to decide on is taken up again; what it has decided is over.
        let is_undecided = matches!(error.kind, AcmeErrorKind::Unavailable | AcmeErrorKind::RateLimited);
        let order = self.issuance.order.clone().filter(|_| is_undecided);
        let failed = Issuance {
            phase: Phase::Waiting,
            order,
            next_at: now.plus(pause),
            failures,
            failure: Some(error.reason.clone()),
            ..self.issuance.clone()
        };
        warn!(reason = error.reason, failures, pause_seconds = pause.as_secs(), "no certificate; it is tried again");
        match self.write(failed).await {
            Ok(()) | Err(Failure::Overtaken | Failure::Acme(_)) => {}
            Err(Failure::App(error)) => return Err(error),
        }
        // The CA may still look at what it was told of.
        if self.issuance.order.is_some() {
            return Ok(());
        }
        let state = self.acme.app.feed.state();
        let asked = state.challenge(&self.issuance.host).filter(|known| known.value.tls_alpn_01.is_some());
        if let Some(asked) = asked {
            let answered = Challenge { tls_alpn_01: None, ..asked.value.clone() };
            issuance::answer(&self.acme.app, &self.lease, answered).await?;
        }
        Ok(())
    }

    /// Has the CA declare void what it was asked for, if another certificate is served by now.
    async fn revoke_replaced(&mut self, served: &Stored<Certificate>) -> Result<(), Failure> {
        let Some(der) = self.issuance.revoke.clone().filter(|der| *der != served.value.chain.certificates[0]) else {
            return Ok(());
        };
        if let Some(issuer) = self.issuance.issuer.as_ref().and_then(|id| self.current(id)) {
            let (session, _) = self.session(&issuer).await?;
            match session.revoke(&der).await {
                Ok(()) => info!(issuer = %issuer.value.id, "the certificate before was revoked"),
                // It was already, or is somebody else's: asking again changes nothing.
                Err(error) if error.kind == AcmeErrorKind::Refused => {
                    warn!(issuer = %issuer.value.id, reason = chain(&error), "the certificate before cannot be revoked");
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.write(Issuance { revoke: None, ..self.issuance.clone() }).await
    }

    /// When the certificate is to be replaced, as its CA says now.
    async fn plan(&self, certificate: &Stored<Certificate>) -> Renewal {
        let planned = self.issuance.renewal;
        let (chain, since, now) = (&certificate.value.chain, certificate.updated_at, self.now());
        let by_word = |window| plan(chain, since, planned, window, now, self.acme.random.fraction());
        let Some(issuer) = self.issuance.issuer.as_ref().and_then(|id| self.current(id)) else { return by_word(None) };
        match self.renewal_window(&issuer, certificate).await {
            Ok(window) => by_word(window),
            Err(error) => {
                info!(issuer = %issuer.value.id, reason = switchyard_process::chain(&error), "the CA does not say when the certificate is to be replaced");
                let planned = planned.unwrap_or_else(|| by_word(None));
                Renewal { ask_at: Some(now.plus(ASK_AGAIN)), ..planned }
            }
        }
    }

    async fn renewal_window(
        &self,
        issuer: &Stored<Issuer>,
        certificate: &Stored<Certificate>,
    ) -> Result<Option<crate::acme::RenewalWindow>, AcmeError> {
        let Some(account) = &issuer.value.account else { return Ok(None) };
        let connection = self.acme.connections.open(issuer).await?;
        let session = Session::resume(&connection, &issuer.value, account).await?;
        session.renewal_window(&certificate.value.chain.certificates[0]).await
    }

    async fn plan_for(&mut self, renewal: Renewal) -> Result<(), AppError> {
        let next_at = renewal.next_at();
        self.write_or_leave(Issuance {
            phase: Phase::Waiting,
            next_at,
            renewal: Some(renewal),
            ..self.issuance.clone()
        })
        .await
    }

    async fn wait_until(&mut self, next_at: Timestamp) -> Result<(), AppError> {
        self.write_or_leave(Issuance { phase: Phase::Waiting, next_at, ..self.issuance.clone() }).await
    }

    async fn enter(&mut self, phase: Phase) -> Result<(), Failure> {
        if self.issuance.phase == phase {
            return Ok(());
        }
        self.write(Issuance { phase, ..self.issuance.clone() }).await
    }

    /// Writes a step, unless somebody else wrote another.
    async fn write(&mut self, issuance: Issuance) -> Result<(), Failure> {
        let issuance = Issuance { updated_at: self.now(), ..issuance };
        let written = self.acme.app.store.record_issuance(&self.lease, &issuance).await?;
        self.issuance = written.ok_or(Failure::Overtaken)?;
        Ok(())
    }

    async fn write_or_leave(&mut self, issuance: Issuance) -> Result<(), AppError> {
        match self.write(issuance).await {
            Err(Failure::App(error)) => Err(error),
            Ok(()) | Err(Failure::Overtaken | Failure::Acme(_)) => Ok(()),
        }
    }

    /// The CAs to be asked, in order: first the one that has an open order.
    fn issuers(&self, domain: &Domain) -> Vec<Arc<Stored<Issuer>>> {
        let state = self.acme.app.feed.state();
        let all: Vec<&Issuer> = state.issuers().values().map(|stored| &stored.value).collect();
        let mut ids: Vec<&IssuerId> = issuance::in_order(&all, domain).iter().map(|issuer| &issuer.id).collect();
        if let Some(order) = &self.issuance.order {
            ids.sort_by_key(|id| **id != order.issuer);
        }
        ids.into_iter().filter_map(|id| state.issuers().get(id).cloned()).collect()
    }

    fn current(&self, id: &IssuerId) -> Option<Arc<Stored<Issuer>>> {
        self.acme.app.feed.state().issuers().get(id).cloned()
    }

    fn certificate(&self) -> Option<Arc<Stored<Certificate>>> {
        let id = Certificate::acme_id(&self.issuance.host);
        self.acme.app.feed.state().certificates().get(&id).cloned()
    }

    /// The domain, if it is there and a CA is to take care of its certificate; of a name on demand, the one that covers it.
    async fn domain(&self) -> Option<Domain> {
        let found = |state: &crate::feed::State| {
            let Issuance { host, on_demand, .. } = &self.issuance;
            let domain = &state.domains().get(on_demand.as_ref().unwrap_or(host))?.value;
            let is_ordered = domain.certificate_source == CertificateSource::Acme;
            (is_ordered && domain.on_demand().is_some() == on_demand.is_some()).then(|| domain.clone())
        };
        if let Some(domain) = found(&self.acme.app.feed.state()) {
            return Some(domain);
        }
        // What is in the database may not be in memory yet.
        found(&*self.acme.app.feed.read(READ_TIMEOUT).await.ok()?)
    }

    fn now(&self) -> Timestamp {
        self.acme.app.clock.now()
    }
}
