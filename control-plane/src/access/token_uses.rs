use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use switchyard_process::chain;
use switchyard_proto::vocab::TokenId;
use tracing::debug;

use crate::{
    model::Timestamp,
    store::{Store, StoreError},
};

/// How exactly it is remembered when a token was used last.
const USE_RESOLUTION: Duration = Duration::from_secs(60);

/// When tokens were used last, as this process knows.
#[derive(Debug)]
pub struct TokenUses {
    store: Arc<dyn Store>,
    last: Mutex<HashMap<TokenId, Timestamp>>,
}

impl TokenUses {
    /// Begins with what was remembered.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn load(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let last = Mutex::new(store.token_uses().await?.into_iter().collect());
        Ok(Self { store, last })
    }

    /// When a token was used last, as far as is known here.
    pub fn last(&self, id: &TokenId) -> Option<Timestamp> {
        self.last.lock().expect("no panic while it is locked").get(id).copied()
    }

    /// Notes that a token is used, and has that remembered: coarsely, and without any call waiting for it.
    pub(super) fn note(&self, id: &TokenId, now: Timestamp) {
        {
            let mut uses = self.last.lock().expect("no panic while it is locked");
            if uses.get(id).is_some_and(|last| now < last.plus(USE_RESOLUTION)) {
                return;
            }
            uses.insert(id.clone(), now);
        }
        let (store, id) = (self.store.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(error) = store.record_token_use(&id, now).await {
                debug!(token = %id, error = chain(&error), "its use is not remembered");
            }
        });
    }
}
