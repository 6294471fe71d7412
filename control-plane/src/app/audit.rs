//! The history, for people who ask who changed what.

use switchyard_proto::vocab::Revision;

use super::{App, AppError, Page, PageRequest, page::foreign_token};
use crate::model::{HistoryEntry, HistoryFilter, HistoryPlace};

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

fn parse_place(token: &str) -> Option<HistoryPlace> {
    let (revision, position) = token.split_once('.')?;
    Some(HistoryPlace { revision: Revision(revision.parse().ok()?), position: position.parse().ok()? })
}
