//! Edges: how they come to belong to the fleet, and how they cease to.

use std::{net::IpAddr, sync::Arc, time::Duration};

use switchyard_proto::vocab::{CertificateId, EdgeId, InviteId, Labels, Revision, limits::EDGES_MAX};
use tracing::info;

use super::{App, AppError, Mode, scope, tickets};
use crate::{
    feed::State,
    model::{Access, Actor, Enrolment, Invite, Origin, RejectionRecord, SecretHash, Stored, rules},
    pki::CertificateRequest,
};

/// How long the database may take to say whether there is something that is not known here.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What an edge asks to join with.
#[derive(Debug)]
pub struct Application {
    /// The invitation.
    pub invite: InviteId,
    /// The hash of its secret, as the edge has it.
    pub secret: SecretHash,
    /// What the edge is to be called.
    pub edge: EdgeId,
    /// Its key.
    pub request: CertificateRequest,
    /// Where it calls from.
    pub address: IpAddr,
}

/// A certificate for an edge.
#[derive(Clone, Debug)]
pub struct EdgeCertificate {
    /// DER: the certificate, then the CA that signed it.
    pub chain: Vec<Vec<u8>>,
    /// How long from now until it is to be renewed.
    pub renew_after: Duration,
}

/// Whether the invitation that an edge asks with is known here, and open. The database may know it before.
pub fn is_invited(app: &App, application: &Application) -> bool {
    let Application { invite, secret, .. } = application;
    let is_open = |invite: &Invite| invite.hash == *secret && invite.is_open(app.clock.now());
    app.feed.state().invites().get(invite).is_some_and(|stored| is_open(&stored.value))
}

/// Takes an edge into the fleet. An edge that is in it already, with the same key, is given another certificate: the answer to its
/// first call was lost.
///
/// # Errors
///
/// It was not invited, an edge with its key was removed, another edge has its name, or there are too many.
pub async fn enrol(app: &App, application: Application) -> Result<EdgeCertificate, AppError> {
    let Application { invite: id, secret, edge, request, address } = application;
    let opens = |invite: &Invite| invite.hash == secret;
    let known = |state: &State| state.invites().get(&id).is_some_and(|stored| opens(&stored.value));
    // Whoever knows no secret gets nowhere near the database's lock.
    if !known(&app.feed.state()) && !read(app).await.is_some_and(|state| known(&state)) {
        return Err(AppError::NotInvited);
    }
    let actor = Actor {
        name: id.to_resource_name(),
        origin: Origin::Fleet,
        access: Access::EVERYTHING,
        address: Some(address),
        method: Some("Enrol"),
    };
    let mut change = app.begin(&actor, Mode::Commit).await?;
    if change.transaction.is_edge_key_removed(&request.key()).await? {
        return Err(AppError::EdgeRemoved(edge.to_resource_name()));
    }
    let there = change.transaction.get::<Enrolment>(&edge).await?;
    if there.as_ref().is_some_and(|there| there.value.key == request.key()) {
        return issue(app, &edge, &request);
    }
    let invite = change.transaction.get::<Invite>(&id).await?.filter(|stored| opens(&stored.value));
    let invite = invite.filter(|stored| stored.value.is_open(change.now)).ok_or(AppError::NotInvited)?;
    if there.is_some() {
        return Err(AppError::AlreadyExists(edge.to_resource_name()));
    }
    rules::can_add("edges", app.feed.state().edges().len(), EDGES_MAX)?;
    // Before the commit: nobody joins whom no certificate can be given.
    let certificate = issue(app, &edge, &request)?;
    let used = Invite { uses: invite.value.uses - 1, ..invite.value.clone() };
    let enrolment =
        Enrolment { id: edge.clone(), key: request.key(), labels: used.labels.clone(), invite: Some(id.clone()) };
    change.transaction.put(Some(&invite), used).await?;
    tickets::begin_in(&mut change, &enrolment.labels).await?;
    change.transaction.put(None, enrolment).await?;
    app.finish(change).await?;
    info!(%edge, invite = %id, %address, "an edge has joined");
    Ok(certificate)
}

/// Gives an edge another certificate for the key that it proves itself by.
///
/// # Errors
///
/// No edge of this name and key belongs to the fleet.
pub async fn renew(app: &App, edge: &EdgeId, request: &CertificateRequest) -> Result<EdgeCertificate, AppError> {
    let belongs = |state: &State| state.has_edge(edge, request.key());
    if !belongs(&app.feed.state()) && !read(app).await.is_some_and(|state| belongs(&state)) {
        return Err(AppError::NotEnrolled(edge.to_resource_name()));
    }
    issue(app, edge, request)
}

/// Gives an edge other labels, and so other things to serve.
///
/// # Errors
///
/// There is none of this name.
pub async fn relabel(
    app: &App,
    actor: &Actor,
    id: &EdgeId,
    labels: Labels,
    mode: Mode,
) -> Result<Stored<Enrolment>, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old =
        change.transaction.get::<Enrolment>(id).await?.ok_or_else(|| AppError::NotFound(id.to_resource_name()))?;
    let new = Enrolment { labels, ..old.value.clone() };
    if new == old.value {
        return Ok(old);
    }
    tickets::begin_in(&mut change, &new.labels).await?;
    let stored = change.transaction.put(Some(&old), new).await?;
    app.finish(change).await?;
    Ok(stored)
}

/// Removes an edge from the fleet: its key is never accepted again, the invitation that it joined with is closed, and the ticket keys
/// that it had are replaced. With the revision, the certificates whose keys it had.
///
/// # Errors
///
/// There is none of this name.
pub async fn delete(
    app: &App,
    actor: &Actor,
    id: &EdgeId,
    mode: Mode,
) -> Result<(Revision, Vec<CertificateId>), AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old =
        change.transaction.get::<Enrolment>(id).await?.ok_or_else(|| AppError::NotFound(id.to_resource_name()))?;
    change.transaction.delete(&old).await?;
    change.transaction.remove_edge_key(&old.value.key, id, change.now).await?;
    if let Some(invite) = &old.value.invite
        && let Some(invite) = change.transaction.get::<Invite>(invite).await?
    {
        change.transaction.delete(&invite).await?;
    }
    tickets::condemn_in(&mut change, &old.value.labels).await?;
    let certificates = app.feed.state().certificates_of(&old.value.labels);
    Ok((app.finish(change).await?, certificates))
}

/// Those of an edge's rejections that the actor may know of.
pub fn visible_rejections(app: &App, actor: &Actor, all: &[RejectionRecord]) -> Vec<RejectionRecord> {
    scope::rejections(&actor.access.scope, &app.feed.state(), all)
}

/// What the database has, which may be more than is known here. None if it does not answer.
async fn read(app: &App) -> Option<Arc<State>> {
    app.feed.read(READ_TIMEOUT).await.ok()
}

fn issue(app: &App, edge: &EdgeId, request: &CertificateRequest) -> Result<EdgeCertificate, AppError> {
    let lifetime = app.edge_certificate_lifetime;
    let certificate = app.fleet_ca.issue_edge(edge, request, app.clock.now(), lifetime)?;
    Ok(EdgeCertificate { chain: vec![certificate, app.fleet_ca.certificate().to_vec()], renew_after: lifetime / 3 * 2 })
}
