//! Rows as the database has them, and what they mean. A row of what is no object that means nothing is
//! [`StoreError::Inconsistent`]: somebody else wrote it.

mod issuance;

use std::{fmt::Display, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use switchyard_proto::vocab::{EdgeId, Revision, TokenId};

use super::{StoreError, history, vault::Sealed};
use crate::model::{EdgeRecord, HistoryEntry, HistoryPlace, ObjectKey, Origin, RejectionRecord, Timestamp};

pub(super) use self::issuance::{IssuanceRow, OrderColumns, order_key_identity};

/// Makes errors about one row.
struct Row<'a> {
    table: &'static str,
    id: &'a str,
}

impl Row<'_> {
    fn inconsistent(&self, reason: impl Display) -> StoreError {
        StoreError::Inconsistent { table: self.table, id: self.id.to_owned(), reason: reason.to_string() }
    }

    /// The value, unless it was refused.
    fn check<T, E: Display>(&self, value: Result<T, E>) -> Result<T, StoreError> {
        value.map_err(|error| self.inconsistent(error))
    }

    /// What a word stands for.
    fn word<T>(&self, word: &str, meaning: Option<T>) -> Result<T, StoreError> {
        meaning.ok_or_else(|| self.inconsistent(format_args!("unknown word {word:?}")))
    }

    fn revision(&self, revision: i64) -> Result<Revision, StoreError> {
        self.check(u64::try_from(revision).map(Revision))
    }
}

/// An object and one of the secrets that it has now, or no secret.
#[derive(FromRow)]
pub(super) struct ObjectRow {
    pub(super) id: String,
    pub(super) document: Vec<u8>,
    pub(super) revision: i64,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    #[sqlx(rename = "ref")]
    reference: Option<String>,
    path: Option<String>,
    blob: Option<Vec<u8>>,
}

impl ObjectRow {
    /// The secret, which is taken out.
    pub(super) fn take_sealed(&mut self) -> Option<Sealed> {
        Some(Sealed { reference: self.reference.take()?, path: self.path.take()?, blob: self.blob.take() })
    }
}

/// A document of the history.
#[derive(FromRow)]
pub(super) struct ChangeRow {
    pub(super) document: Option<Vec<u8>>,
    pub(super) revision: i64,
    pub(super) changed_at: i64,
}

/// A secret that an object has.
#[derive(FromRow)]
pub(super) struct SealedRow {
    #[sqlx(rename = "ref")]
    pub(super) reference: String,
    pub(super) path: String,
    pub(super) fingerprint: Vec<u8>,
    pub(super) is_purged: bool,
}

#[derive(FromRow)]
pub(super) struct TokenUseRow {
    id: String,
    last_used_at: i64,
}

impl TokenUseRow {
    pub(super) fn token_use(self) -> Result<(TokenId, Timestamp), StoreError> {
        let row = Row { table: "token_use", id: &self.id };
        Ok((row.check(TokenId::parse(&self.id))?, Timestamp(self.last_used_at)))
    }
}

#[derive(FromRow)]
pub(super) struct KeyRow {
    kind: String,
    id: String,
    revision: i64,
}

impl KeyRow {
    /// The key, which may be of a kind that this version does not know. `None`: no version writes such a row.
    pub(super) fn key(self) -> Option<(ObjectKey, Revision)> {
        Some((ObjectKey::new(&self.kind, &self.id).ok()?, Revision(u64::try_from(self.revision).ok()?)))
    }
}

#[derive(FromRow)]
pub(super) struct HistoryRow {
    revision: i64,
    seq: i64,
    kind: String,
    id: String,
    old_document: Option<Vec<u8>>,
    document: Option<Vec<u8>>,
    purged: Option<String>,
    actor: String,
    origin: String,
    address: Option<String>,
    method: Option<String>,
    changed_at: i64,
}

impl HistoryRow {
    pub(super) fn entry(self) -> Result<HistoryEntry, StoreError> {
        let place = format!("{}.{}", self.revision, self.seq);
        let row = Row { table: "change", id: &place };
        Ok(HistoryEntry {
            place: HistoryPlace {
                revision: row.revision(self.revision)?,
                position: row.check(u32::try_from(self.seq))?,
            },
            resource: format!("{}/{}", self.kind, self.id),
            old: self.old_document.map(|document| history::fields(&self.kind, document)),
            new: self.document.map(|document| history::fields(&self.kind, document)),
            purged: self.purged,
            actor: self.actor,
            origin: row.word(&self.origin, Origin::from_word(&self.origin))?,
            address: self.address.map(|address| row.check(address.parse())).transpose()?,
            method: self.method,
            at: Timestamp(self.changed_at),
        })
    }
}

#[derive(FromRow)]
pub(super) struct EdgeRow {
    id: String,
    version: String,
    acknowledged_revision: i64,
    acknowledged_at: Option<i64>,
    last_contact_at: i64,
    rejections: String,
    rejections_total: i64,
}

#[derive(Serialize, Deserialize)]
struct RejectionColumn {
    kind: String,
    id: String,
    revision: i64,
    reason: String,
}

impl EdgeRow {
    pub(super) fn edge(self) -> Result<EdgeRecord, StoreError> {
        let row = Row { table: "edge", id: &self.id };
        let rejections: Vec<RejectionColumn> = row.check(serde_json::from_str(&self.rejections))?;
        let rejection = |RejectionColumn { kind, id, revision, reason }| {
            let (key, revision) = KeyRow { kind, id, revision }.key()?;
            Some(RejectionRecord { key: key.served()?, revision, reason })
        };
        let rejections = rejections.into_iter().filter_map(rejection).collect();
        Ok(EdgeRecord {
            id: row.check(EdgeId::parse(&self.id))?,
            version: self.version,
            acknowledged_revision: row.revision(self.acknowledged_revision)?,
            acknowledged_at: self.acknowledged_at.map(Timestamp),
            last_contact_at: Timestamp(self.last_contact_at),
            rejections,
            rejections_total: row.check(u64::try_from(self.rejections_total))?,
        })
    }
}

/// The rejections of an edge as its row has them.
pub(super) fn rejections_column(rejections: &[RejectionRecord]) -> String {
    let columns: Vec<_> = rejections
        .iter()
        .map(|RejectionRecord { key, revision, reason }| RejectionColumn {
            kind: key.kind.collection().to_owned(),
            id: key.id.to_string(),
            revision: revision_column(*revision),
            reason: reason.clone(),
        })
        .collect();
    serde_json::to_string(&columns).expect("strings and numbers have a JSON form")
}

/// A revision as the database has it. It counts changes one by one and does not reach the end of `i64`.
pub(super) fn revision_column(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// What a secret of the system is sealed for.
pub(super) fn secret_identity(name: &str) -> String {
    format!("secret/{name}")
}

/// A duration as the database has it.
pub(super) fn millis_column(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
