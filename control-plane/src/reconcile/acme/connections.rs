use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use switchyard_proto::vocab::{IssuerId, Revision};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use crate::{
    acme::{AcmeError, Connection},
    model::{Issuer, Stored},
};

/// How long a directory is good for.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The CAs that were spoken with; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    known: Arc<Mutex<HashMap<IssuerId, Known>>>,
    /// Held by whoever makes an account: one is enough.
    pub(super) registration: Arc<AsyncMutex<()>>,
}

#[derive(Debug)]
struct Known {
    connection: Connection,
    revision: Revision,
    since: Instant,
}

impl Connections {
    /// The connection with a CA.
    pub(super) async fn open(&self, issuer: &Stored<Issuer>) -> Result<Connection, AcmeError> {
        let id = &issuer.value.id;
        {
            let known = self.known.lock().expect("nobody panics with it");
            let fresh = known.get(id).filter(|it| it.revision == issuer.revision && it.since.elapsed() < LIFETIME);
            if let Some(fresh) = fresh {
                return Ok(fresh.connection.clone());
            }
        }
        let connection = Connection::open(&issuer.value).await?;
        let known = Known { connection: connection.clone(), revision: issuer.revision, since: Instant::now() };
        self.known.lock().expect("nobody panics with it").insert(id.clone(), known);
        Ok(connection)
    }

    /// Forgets a CA that did not answer as it should.
    pub(super) fn forget(&self, id: &IssuerId) {
        self.known.lock().expect("nobody panics with it").remove(id);
    }
}
