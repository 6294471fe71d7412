use std::sync::{Arc, Mutex, Weak};

use switchyard_proto::schema::KnownSchema;

/// What connected edges know that know less than this version: each schema once, however many edges have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Schemas(Arc<Mutex<Vec<Weak<KnownSchema>>>>);

impl Schemas {
    /// Shares the schema of an edge; `None` if it knows all that this version knows.
    pub(super) fn share(&self, schema: KnownSchema) -> Option<Arc<KnownSchema>> {
        if schema.covers(KnownSchema::own()) {
            return None;
        }
        let mut schemas = self.0.lock().expect("nobody panics with it");
        schemas.retain(|known| known.strong_count() > 0);
        if let Some(known) = schemas.iter().filter_map(Weak::upgrade).find(|known| **known == schema) {
            return Some(known);
        }
        let shared = Arc::new(schema);
        schemas.push(Arc::downgrade(&shared));
        Some(shared)
    }

    /// The schemas that an edge has.
    pub(super) fn all(&self) -> Vec<Arc<KnownSchema>> {
        self.0.lock().expect("nobody panics with it").iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_shared_as_long_as_an_edge_has_it() {
        let schemas = Schemas::default();
        assert_eq!(schemas.share(KnownSchema::own().clone()), None, "it lacks nothing");
        let one = schemas.share(KnownSchema::default()).unwrap();
        let other = schemas.share(KnownSchema::default()).unwrap();
        assert!(Arc::ptr_eq(&one, &other) && schemas.all().len() == 1);
        drop((one, other));
        assert!(schemas.all().is_empty());
    }
}
