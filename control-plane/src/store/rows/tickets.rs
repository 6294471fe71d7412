//! The rows of the keys of session tickets.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use switchyard_proto::vocab::limits::{TICKET_KEY_NAME_BYTES, TICKET_KEY_SECRET_BYTES};

use super::Row;
use crate::{
    model::{Stored, TicketKey, TicketKeyRole, TicketKeys, Timestamp, ticket_key_parts},
    seal::Sealer,
    store::StoreError,
};

#[derive(FromRow)]
pub(in crate::store) struct TicketKeysRow {
    id: String,
    labels: String,
    keys: String,
    sealed_secrets: Vec<u8>,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

/// What of a key may be read. Its name and its secret are sealed, so that they belong together.
#[derive(Serialize, Deserialize)]
struct TicketKeyColumn {
    role: String,
    created_at: i64,
    since: i64,
}

impl TicketKeysRow {
    pub(in crate::store) fn ticket_keys(self, sealer: &Sealer) -> Result<Stored<TicketKeys>, StoreError> {
        let row = Row { table: "ticket_keys", id: &self.id };
        let columns: Vec<TicketKeyColumn> = row.check(serde_json::from_str(&self.keys))?;
        let sealed = sealer.open(&ticket_secrets_identity(&self.id), &self.sealed_secrets)?;
        let (parts, rest) = sealed.as_chunks::<{ TICKET_KEY_NAME_BYTES + TICKET_KEY_SECRET_BYTES }>();
        if parts.len() != columns.len() || !rest.is_empty() {
            return Err(row.inconsistent("there is not one secret for each key"));
        }
        let key = |(TicketKeyColumn { role, created_at, since }, part): (TicketKeyColumn, &[u8])| {
            let (name, secret) = part.split_at(TICKET_KEY_NAME_BYTES);
            let (name, secret) = ticket_key_parts(name, secret).ok_or_else(|| row.inconsistent("a damaged key"))?;
            Ok(TicketKey {
                name,
                secret,
                role: row.word(&role, TicketKeyRole::from_word(&role))?,
                created_at: Timestamp(created_at),
                since: Timestamp(since),
            })
        };
        let keys = columns.into_iter().zip(parts.iter().map(|part| &part[..])).map(key);
        let keys = keys.collect::<Result<_, StoreError>>()?;
        let keys = row.check(TicketKeys::from_parts(row.labels(&self.labels)?, keys))?;
        if keys.id().as_str() != self.id {
            return Err(row.inconsistent("its id is that of other labels"));
        }
        row.stored(keys, self.revision, self.created_at, self.updated_at)
    }
}

/// What the secrets of ticket keys are sealed for.
pub(in crate::store) fn ticket_secrets_identity(id: &str) -> String {
    format!("ticket-keys/{id}/secrets")
}

/// The keys as their row has them: what may be read, and what is to be sealed.
pub(in crate::store) fn ticket_keys_columns(keys: &[TicketKey]) -> (String, Vec<u8>) {
    let mut columns = Vec::new();
    let mut secrets = Vec::new();
    for TicketKey { name, secret, role, created_at, since } in keys {
        columns.push(TicketKeyColumn { role: role.as_str().to_owned(), created_at: created_at.0, since: since.0 });
        secrets.extend_from_slice(name.as_bytes());
        secrets.extend_from_slice(secret.expose());
    }
    (serde_json::to_string(&columns).expect("strings and numbers have a JSON form"), secrets)
}
