//! The history, for people who ask who changed what.

use switchyard_proto::vocab::Revision;

use super::{App, AppError, Mode, Page, PageRequest, page::foreign_token};
use crate::model::{Actor, HistoryEntry, HistoryFilter, HistoryPlace, ObjectKey};

/// One page of what the history has, the newest first. It is read from the database.
///
/// # Errors
///
/// The page token is not one of this list, or the database does not answer.
pub async fn list(app: &App, request: &PageRequest, filter: HistoryFilter) -> Result<Page<HistoryEntry>, AppError> {
    let before = request.after().map(|token| parse_place(token).ok_or_else(foreign_token)).transpose()?;
    let filter = HistoryFilter { before, ..filter };
    let items = app.store.history(&filter, request.size() + 1).await?;
    Ok(Page::of_more(items, request, |entry| {
        let HistoryPlace { revision, position } = entry.place;
        format!("{revision}.{position}")
    }))
}

/// Deletes for good what a secret of a resource was before; how many values that were.
///
/// # Errors
///
/// There is none.
pub async fn purge_secret(
    app: &App,
    actor: &Actor,
    resource: &ObjectKey,
    path: &str,
    mode: Mode,
) -> Result<(u64, Revision), AppError> {
    let mut change = app.begin(actor, mode).await?;
    let purged = change.transaction.purge_secret(resource, path).await?;
    if purged == 0 {
        return Err(AppError::NotFound(format!(
            "earlier value of a secret {path:?} of {resource}: what it is now is purged once it was replaced or deleted"
        )));
    }
    Ok((purged, app.finish(change).await?))
}

fn parse_place(token: &str) -> Option<HistoryPlace> {
    let (revision, position) = token.split_once('.')?;
    Some(HistoryPlace { revision: Revision(revision.parse().ok()?), position: position.parse().ok()? })
}
