//! The keys of session tickets that the edges with the same labels share.
//!
//! An edge that joins finds them. What follows is the reconciler's: each of its steps requires that its lease is still held, and is
//! decided by what the transaction reads.

use switchyard_proto::vocab::{Labels, Revision, TicketKeysId};
use tracing::info;

use super::{App, AppError, Change, Mode};
use crate::{
    model::{Actor, Due, FreshTicketKey, Lease, TicketKeys},
    pki::IssueError,
};

/// Makes sure that there are keys for edges with these labels, as part of the change by which one has them.
pub(super) async fn begin_in(change: &mut Change, labels: &Labels) -> Result<(), AppError> {
    if change.transaction.get::<TicketKeys>(&TicketKeysId::of(labels)).await?.is_none() {
        let keys = TicketKeys::new(labels.clone(), fresh()?, change.now);
        change.transaction.put(None, keys).await?;
    }
    Ok(())
}

/// Has the keys replaced that an edge had, as part of the change that removes it.
pub(super) async fn condemn_in(change: &mut Change, labels: &Labels) -> Result<(), AppError> {
    let Some(old) = change.transaction.get::<TicketKeys>(&TicketKeysId::of(labels)).await? else { return Ok(()) };
    if change.transaction.count_edges(labels).await? == 0 {
        return Ok(change.transaction.delete(&old).await?);
    }
    let condemned = old.value.condemned(fresh()?, change.now);
    change.transaction.put(Some(&old), condemned).await?;
    Ok(())
}

/// Does what is due for the keys of edges with these labels. `acknowledged`: the revision of the keys that these edges have, which counts
/// as long as nobody put others since. Whether something was due.
///
/// # Errors
///
/// The lease is gone, or the database does not answer.
pub async fn step(app: &App, lease: &Lease, labels: &Labels, acknowledged: Option<Revision>) -> Result<bool, AppError> {
    let mut change = app.begin(&Actor::system(), Mode::Commit).await?;
    change.transaction.require(lease).await?;
    let old = change.transaction.get::<TicketKeys>(&TicketKeysId::of(labels)).await?;
    let is_used = change.transaction.count_edges(labels).await? > 0;
    match old {
        None if is_used => begin_in(&mut change, labels).await?,
        None => return Ok(false),
        Some(old) if !is_used => change.transaction.delete(&old).await?,
        Some(old) => {
            let keys = &old.value;
            let new = match keys.due(change.now) {
                Due::Acknowledgement { .. } if acknowledged == Some(old.revision) => keys.promoted(change.now),
                Due::Nothing { .. } | Due::Acknowledgement { .. } => return Ok(false),
                Due::Begin => keys.begun(fresh()?, change.now),
                Due::Promote => keys.promoted(change.now),
                Due::Forget => keys.without_old(change.now),
            };
            change.transaction.put(Some(&old), new).await?;
        }
    }
    let revision = app.finish(change).await?;
    info!(%labels, revision = revision.0, "the keys of session tickets were rotated by a step");
    Ok(true)
}

fn fresh() -> Result<FreshTicketKey, AppError> {
    Ok(FreshTicketKey::generate().ok_or(IssueError::NoRandomness)?)
}
