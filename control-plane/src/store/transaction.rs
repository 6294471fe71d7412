//! A change of the configuration: documents of every kind by the same few methods, over an object-safe layer of records.

use async_trait::async_trait;
use switchyard_proto::vocab::{EdgeId, HostPattern, Labels, Revision, ServiceId};

use super::{
    Remains, StoreError, Unreadable,
    document::{Document, Encoded, Record, encode},
};
use crate::model::{Backend, EdgeKey, Enrolment, Issuance, Lease, ObjectKey, ObjectKind, Service, Stored, Timestamp};

/// One change of the configuration. Nothing of it is there before [`Transaction::commit`]; dropped, it never was.
///
/// What it reads of objects, and writes, are [`Document`]s: see the methods of `dyn Transaction`.
#[async_trait]
pub trait Transaction: Objects {
    /// The revision it makes.
    fn revision(&self) -> Revision;

    /// Makes it durable, and wakes the followers. When this fails with [`StoreError::Unavailable`], it is not known
    /// whether it was made.
    ///
    /// # Errors
    ///
    /// The database does not answer, or something would refer to what is not there ([`StoreError::DanglingReference`]).
    async fn commit(self: Box<Self>) -> Result<Revision, StoreError>;

    /// Whether nothing was ever declared but the default service.
    async fn is_pristine(&mut self) -> Result<bool, StoreError>;

    /// How far a domain is with its certificate.
    async fn issuance(&mut self, host: &HostPattern) -> Result<Option<Issuance>, StoreError>;
    /// Writes that, whatever was there.
    async fn put_issuance(&mut self, issuance: &Issuance) -> Result<(), StoreError>;
    /// Forgets that.
    async fn delete_issuance(&mut self, host: &HostPattern) -> Result<(), StoreError>;
    /// How many names have their certificates from a domain on demand.
    async fn count_on_demand(&mut self, domain: &HostPattern) -> Result<usize, StoreError>;
    /// Retires the names that have their certificates from a domain on demand, and forgets those that have none yet.
    async fn retire_on_demand(
        &mut self,
        domain: &HostPattern,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Goes on with the names that were retired with a domain.
    async fn revive_on_demand(&mut self, domain: &HostPattern, now: Timestamp) -> Result<(), StoreError>;
    /// Makes sure that nobody else has the lease before this has ended.
    async fn require(&mut self, lease: &Lease) -> Result<(), StoreError>;

    /// Remembers the key of an edge that is removed. The oldest of [`REMOVED_KEYS_MAX`](super::REMOVED_KEYS_MAX) are forgotten.
    async fn remove_edge_key(&mut self, key: &EdgeKey, edge: &EdgeId, now: Timestamp) -> Result<(), StoreError>;
    /// Whether an edge with this key was removed.
    async fn is_edge_key_removed(&mut self, key: &EdgeKey) -> Result<bool, StoreError>;

    /// Deletes for good what a secret of an object was before, by the path of its field; how many those were. The one that it is now
    /// stays: replace it first. The history still says which they were, and what of it needs one of them is refused from then on.
    async fn purge_secret(&mut self, object: &ObjectKey, path: &str) -> Result<u64, StoreError>;

    /// A secret of the system, by name.
    async fn secret(&mut self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Creates or replaces a secret of the system.
    async fn put_secret(&mut self, name: &str, secret: &[u8]) -> Result<(), StoreError>;
}

/// The records of objects, whatever they are.
#[async_trait]
pub trait Objects: Send {
    /// When the change is made.
    fn now(&self) -> Timestamp;

    /// The record of an object.
    async fn read(&mut self, key: &ObjectKey) -> Result<Option<Record>, StoreError>;

    /// The record of an object as it was at a revision.
    async fn read_at(&mut self, key: &ObjectKey, revision: Revision) -> Result<Option<Record>, StoreError>;

    /// The records of a kind, by id, those that can be opened; only those that refer to an object, if one is given.
    async fn read_all(
        &mut self,
        kind: &ObjectKind,
        referring_to: Option<&ObjectKey>,
    ) -> Result<Vec<Record>, StoreError>;

    /// What is there under a key, if it cannot be read.
    async fn remains(&mut self, key: &ObjectKey) -> Result<Option<Remains>, StoreError>;

    /// Writes a record, and the change.
    async fn write(&mut self, write: Write) -> Result<(), StoreError>;

    /// Deletes a record and what is remembered about its object, and writes the change.
    async fn remove(&mut self, key: &ObjectKey, is_derived: bool) -> Result<(), StoreError>;

    /// How many objects of a kind there are, whether they can be read or not; only those that refer to an object, if one is given.
    async fn count_all(&mut self, kind: &ObjectKind, referring_to: Option<&ObjectKey>) -> Result<usize, StoreError>;

    /// One of the objects that refer to an object: a domain, if there is one.
    async fn user(&mut self, key: &ObjectKey) -> Result<Option<ObjectKey>, StoreError>;
}

/// A record to be written.
#[derive(Clone, Debug)]
pub struct Write {
    /// Which object.
    pub key: ObjectKey,
    /// It replaces one that was read.
    pub replaces: bool,
    /// What is written.
    pub encoded: Encoded,
    /// There are secrets now, or were before.
    pub has_secrets: bool,
    /// What it refers to, unless that is what it was.
    pub references: Option<Vec<ObjectKey>>,
    /// See [`Document::is_derived`].
    pub is_derived: bool,
}

impl<'t> dyn Transaction + 't {
    /// An object.
    ///
    /// # Errors
    ///
    /// The database does not answer, or the object cannot be read.
    pub async fn get<T: Document>(&mut self, id: &T::Id) -> Result<Option<Stored<T>>, StoreError> {
        let key = T::key_of(id);
        self.read(&key).await?.map(|record| stored(&key, record)).transpose()
    }

    /// An object as it was at a revision, with its secrets.
    ///
    /// # Errors
    ///
    /// The database does not answer, the history does not reach back so far, the object cannot be read, or a secret of it was purged.
    pub async fn get_at<T: Document>(&mut self, id: &T::Id, revision: Revision) -> Result<Option<T>, StoreError> {
        let key = T::key_of(id);
        Ok(self.read_at(&key, revision).await?.map(|record| stored(&key, record)).transpose()?.map(|it| it.value))
    }

    /// All objects of a kind, by id. Those that cannot be read are not among them.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn list<T: Document>(&mut self) -> Result<Vec<Stored<T>>, StoreError> {
        let records = self.read_all(&T::KIND, None).await?;
        Ok(records.into_iter().filter_map(|record| record.stored().ok()).collect())
    }

    /// How many objects of a kind there are, whether they can be read or not.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn count<T: Document>(&mut self) -> Result<usize, StoreError> {
        self.count_all(&T::KIND, None).await
    }

    /// Creates an object (`old` is `None`), or replaces the one that was read.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn put<T: Document>(&mut self, old: Option<&Stored<T>>, new: T) -> Result<Stored<T>, StoreError> {
        let encoded = encode(&new);
        let references = new.references();
        let is_as_before = old.is_some_and(|old| old.value.references() == references);
        self.write(Write {
            key: new.key(),
            replaces: old.is_some(),
            has_secrets: !encoded.secrets.is_empty() || old.is_some_and(|old| !encode(&old.value).secrets.is_empty()),
            encoded,
            references: (!is_as_before).then_some(references),
            is_derived: new.is_derived(),
        })
        .await?;
        let now = self.now();
        Ok(Stored {
            value: new,
            revision: self.revision(),
            created_at: old.map_or(now, |old| old.created_at),
            updated_at: now,
        })
    }

    /// Deletes the object that was read, and what is remembered about it.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn delete<T: Document>(&mut self, old: &Stored<T>) -> Result<(), StoreError> {
        self.remove(&old.value.key(), old.value.is_derived()).await
    }

    /// One of the objects that refer to an object: a domain, if there is one.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn user_of<T: Document>(&mut self, id: &T::Id) -> Result<Option<ObjectKey>, StoreError> {
        self.user(&T::key_of(id)).await
    }

    /// The backends of a service, by id. Those that cannot be read are not among them.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn backends_of(&mut self, service: &ServiceId) -> Result<Vec<Stored<Backend>>, StoreError> {
        let service = Service::key_of(service);
        let records = self.read_all(&Backend::KIND, Some(&service)).await?;
        Ok(records.into_iter().filter_map(|record| record.stored().ok()).collect())
    }

    /// How many edges have exactly these labels. Those that cannot be read, and so are let in nowhere, do not count.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn count_edges(&mut self, labels: &Labels) -> Result<usize, StoreError> {
        let edges = self.list::<Enrolment>().await?;
        Ok(edges.iter().filter(|edge| edge.value.labels == *labels).count())
    }

    /// How many backends a service has, whether they can be read or not.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn count_backends_of(&mut self, service: &ServiceId) -> Result<usize, StoreError> {
        let service = Service::key_of(service);
        self.count_all(&Backend::KIND, Some(&service)).await
    }
}

fn stored<T: Document>(key: &ObjectKey, record: Record) -> Result<Stored<T>, StoreError> {
    record.stored().map_err(|reason: Unreadable| StoreError::Unreadable { name: key.to_string(), reason })
}
