//! Invitations: what edges join with.

use std::{sync::Arc, time::Duration};

use switchyard_proto::vocab::{
    InviteId, Labels, Revision,
    limits::{EDGES_MAX, INVITES_MAX},
};

use super::{App, AppError, Mode, Page, PageRequest, page};
use crate::{
    model::{Actor, Invite, Secret, Stored, Timestamp, fingerprint_sha256, rules},
    pki::IssueError,
    seal::hex,
};

/// How long an invitation lives when nothing else is said.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// How long an invitation may live.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long one that has expired is still listed.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Random bytes of an id.
const ID_BYTES: usize = 6;

/// An invitation to be made.
#[derive(Clone, Debug)]
pub struct NewInvite {
    /// What edges that join with it are labelled with.
    pub labels: Labels,
    /// How many may join.
    pub uses: u32,
    /// When it ends, if that was said.
    pub expires_at: Option<Timestamp>,
}

/// One page of all invitations, by name.
///
/// # Errors
///
/// The page token is not one of this list.
pub fn list(app: &App, request: &PageRequest) -> Result<Page<Arc<Stored<Invite>>>, AppError> {
    page::of_map(
        app.feed.state().invites(),
        request,
        |id| InviteId::parse(id).ok(),
        |invite| invite.id.as_str(),
        |_| true,
    )
}

/// Makes an invitation; with it, what the edge is given: its id, its secret and the fingerprint of the fleet's CA.
///
/// # Errors
///
/// It would live too long or let in too many, or there are too many.
pub async fn create(
    app: &App,
    actor: &Actor,
    new: NewInvite,
    mode: Mode,
) -> Result<(Stored<Invite>, String), AppError> {
    let NewInvite { labels, uses, expires_at } = new;
    let mut change = app.begin(actor, mode).await?;
    let expires_at = expires_at.unwrap_or(change.now.plus(LIFETIME_DEFAULT));
    if expires_at <= change.now || expires_at > change.now.plus(LIFETIME_MAX) {
        return Err(AppError::invalid("invite.expire_time", "it is past already, or more than 30 days from now"));
    }
    if uses == 0 || usize::try_from(uses).map_or(true, |uses| uses > EDGES_MAX) {
        return Err(AppError::invalid("invite.uses", format_args!("1 to {EDGES_MAX}")));
    }
    let state = app.feed.state();
    let over = state.invites().values().filter(|it| it.value.expires_at.plus(KEPT) <= change.now);
    let mut left = state.invites().len();
    for old in over {
        if let Some(old) = change.transaction.get::<Invite>(&old.value.id).await? {
            change.transaction.delete(&old).await?;
            left -= 1;
        }
    }
    rules::can_add("invitations", left, INVITES_MAX)?;
    let mut id = [0; ID_BYTES];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| IssueError::NoRandomness)?;
    let id = InviteId::parse(&hex(&id)).expect("hexadecimal digits are an id");
    let secret = Secret::generate().ok_or(IssueError::NoRandomness)?;
    let fingerprint = fingerprint_sha256(app.fleet_ca.certificate());
    let token = format!("{id}.{}.{fingerprint}", secret.expose());
    let invite = Invite { id, hash: secret.hash(), labels, uses, expires_at };
    let stored = change.transaction.put(None, invite).await?;
    app.finish(change).await?;
    Ok((stored, token))
}

/// Revokes an invitation.
///
/// # Errors
///
/// There is none of this name.
pub async fn delete(app: &App, actor: &Actor, id: &InviteId, mode: Mode) -> Result<Revision, AppError> {
    let mut change = app.begin(actor, mode).await?;
    let old = change.transaction.get::<Invite>(id).await?.ok_or_else(|| AppError::NotFound(id.to_resource_name()))?;
    change.transaction.delete(&old).await?;
    app.finish(change).await
}
