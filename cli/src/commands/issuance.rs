//! How far domains are with the certificates that are ordered for them.

use std::time::{Duration, Instant, SystemTime};

use switchyard_proto::v1::{GetIssuanceRequest, Issuance, IssuanceState, WatchIssuanceRequest};
use tonic::{Code, Status};

use super::Session;
use crate::{
    failure::Failure,
    names,
    output::{Show, age, clean, moment, note, or_dash, took, word},
    report::headline,
    wait::{Outcome, Wait},
};

/// Before a watch that broke is begun again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How far a domain is.
pub(super) async fn get(session: &Session, domain: &str) -> Result<Issuance, Status> {
    let request = GetIssuanceRequest { domain: domain.to_owned() };
    Ok(session.client.certificates().get_issuance(request).await?.into_inner())
}

/// Follows an issuance from `before` on until there is a certificate that is newer, or it failed once more; says each step. Then
/// follows the certificate to the edges.
pub(super) async fn follow(session: &Session, before: &Issuance, wait: Wait) -> Result<Outcome, Failure> {
    let (domain, began) = (names::id(&before.domain).to_owned(), wait.began);
    let end = tokio::time::timeout(wait.left(), until_decided(session, before, began)).await;
    let issued = match end {
        Ok(issued) => issued?,
        Err(_) => {
            note(&format!("domain {domain}: no certificate yet after {} (see --timeout)", took(began.elapsed())));
            return Ok(Outcome::NotLive);
        }
    };
    if issued.state() == IssuanceState::Failing {
        note(&clean(&format!("domain {domain}: no certificate: {}", issued.failure)));
        note(&format!("  it is tried again {}", moment(issued.next_time.as_ref(), SystemTime::now())));
        return Ok(Outcome::NotLive);
    }
    let issuer = names::id(&issued.issuer);
    session.output.result(&format!("certificate issued by {issuer} after {}", took(began.elapsed())))?;
    wait.until_live(&session.client, &session.output, issued.certificate_revision).await
}

async fn until_decided(session: &Session, before: &Issuance, began: Instant) -> Result<Issuance, Failure> {
    let mut told = None;
    loop {
        let request = WatchIssuanceRequest { domain: before.domain.clone() };
        let mut stream = match session.client.certificates().watch_issuance(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => {
                again(status).await?;
                continue;
            }
        };
        loop {
            match stream.message().await {
                Ok(Some(now)) => {
                    let is_new = now.certificate_revision > before.certificate_revision;
                    let is_decided = match now.state() {
                        IssuanceState::Issued => is_new,
                        IssuanceState::Failing => now.failures > before.failures || (is_new && now.failures > 0),
                        _ => false,
                    };
                    if is_decided {
                        return Ok(now);
                    }
                    let step = (now.state(), now.order_issuer.clone());
                    if told.as_ref() != Some(&step) {
                        note(&clean(&format!("{} after {}", step_text(&now), took(began.elapsed()))));
                        told = Some(step);
                    }
                }
                Ok(None) => break,
                Err(status) => {
                    again(status).await?;
                    break;
                }
            }
        }
    }
}

/// Waits for the control plane to come back; nothing else gets better by itself.
async fn again(status: Status) -> Result<(), Failure> {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => {
            note(&clean(&format!("it cannot be followed now: {}", headline(&status))));
            tokio::time::sleep(RETRY_PAUSE).await;
            Ok(())
        }
        _ => Err(status.into()),
    }
}

fn step_text(issuance: &Issuance) -> String {
    let step = state_word(issuance);
    match issuance.order_issuer.as_str() {
        "" => step,
        issuer => format!("{step} at {}", names::id(issuer)),
    }
}

/// The state as words: `waiting for edges`.
pub(super) fn state_word(issuance: &Issuance) -> String {
    word(issuance.state().as_str_name(), "ISSUANCE_STATE_")
}

/// Everything about it, for the details of a domain.
pub(super) fn details(issuance: &Issuance, now: SystemTime) -> Vec<(&'static str, String)> {
    let mut details = vec![("certificate state", state_word(issuance))];
    if !issuance.failure.is_empty() {
        details.push(("why", issuance.failure.clone()));
        details.push(("failed", format!("{} times in a row", issuance.failures)));
        details.push(("next try", moment(issuance.next_time.as_ref(), now)));
    }
    if !issuance.certificate.is_empty() {
        details.push(("issued by", or_dash(names::id(&issuance.issuer))));
        details.push(("expires", moment(issuance.not_after_time.as_ref(), now)));
    }
    if issuance.renew_time.is_some() {
        let by = if issuance.window_start_time.is_some() { "as its CA suggests" } else { "at two thirds of its life" };
        details.push(("renewal", format!("{}, {by}", moment(issuance.renew_time.as_ref(), now))));
    }
    details
}

impl Show for Issuance {
    const PLURAL: &'static str = "issuances";
    const COLUMNS: &'static [&'static str] = &["DOMAIN", "STATE", "ISSUER", "EXPIRES", "RENEWAL", "WHY"];
    const ENDS_IN_TEXT: bool = true;

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.domain).to_owned(),
            state_word(self),
            or_dash(names::id(&self.issuer)),
            age(self.not_after_time.as_ref(), now),
            age(self.renew_time.as_ref(), now),
            or_dash(&self.failure),
        ]
    }
}
