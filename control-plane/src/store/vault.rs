//! Secrets of objects at rest, and the envelope that ties a document to them.
//!
//! A secret is sealed once, into a record that is never changed but to be purged: it is bound to its ref, its object and its field, so
//! that it opens nowhere else. Documents, in the history as well, name the refs.

use std::{fmt, sync::Arc};

use aws_lc_rs::{hmac, rand};
use bytes::Bytes;
use prost::Message;
use switchyard_proto::store::v1 as wire;

use super::document::{Encoded, Secrets, Unreadable};
use crate::{
    model::ObjectKey,
    seal::{SealError, Sealer, hex},
};

/// The form of the envelope that this version writes and reads.
const FORMAT: u32 = 1;
/// Random bytes of a ref.
const REF_BYTES: usize = 16;
/// Bytes of the key of fingerprints.
pub(super) const FINGERPRINT_KEY_BYTES: usize = 32;

/// Seals and opens the secrets of objects.
#[derive(Clone)]
pub(super) struct Vault {
    sealer: Arc<Sealer>,
    fingerprints: hmac::Key,
}

/// A secret as its record has it.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    /// What documents name it by.
    pub(super) reference: String,
    /// The field of the document.
    pub(super) path: String,
    /// `None`: it was purged.
    pub(super) blob: Option<Vec<u8>>,
}

impl Vault {
    /// `fingerprint_key`: random, and kept sealed in the database. A hash without a key would let whoever has a copy of the database
    /// guess short secrets; one under a key of the master key's would change with that, and a secret that was purged could be
    /// recognised no more.
    pub(super) fn new(sealer: Arc<Sealer>, fingerprint_key: &[u8]) -> Self {
        Self { sealer, fingerprints: hmac::Key::new(hmac::HMAC_SHA256, fingerprint_key) }
    }

    pub(super) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Tells a secret of a field from all others of that field.
    pub(super) fn fingerprint(&self, key: &ObjectKey, path: &str, secret: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.fingerprints);
        for part in [key.kind.collection().as_bytes(), key.id.as_bytes(), path.as_bytes(), secret] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }

    /// Seals a secret into a new record.
    pub(super) fn seal(&self, key: &ObjectKey, path: &str, secret: &[u8]) -> Result<Sealed, SealError> {
        let mut random = [0; REF_BYTES];
        rand::fill(&mut random).map_err(|_| SealError)?;
        let reference = hex(&random);
        let blob = self.sealer.seal(&identity(&subject(&reference, key.kind.collection(), &key.id, path)), secret)?;
        Ok(Sealed { reference, path: path.to_owned(), blob: Some(blob) })
    }

    /// The message of a document, and its secrets, of which `sealed` are the records.
    pub(super) fn open(
        &self,
        kind: &str,
        id: &str,
        document: Bytes,
        sealed: &[Sealed],
    ) -> Result<(Bytes, Secrets), Unreadable> {
        let wire::Document { format: _, message, secrets: refs } = envelope(document)?;
        let mut secrets = Secrets::default();
        for (path, reference) in refs {
            let record = sealed.iter().find(|it| it.reference == reference && it.path == path);
            let Some(record) = record else { return Err(Unreadable::MissingSecret { path }) };
            let Some(blob) = &record.blob else { return Err(Unreadable::PurgedSecret { path }) };
            match self.sealer.open(&identity(&subject(&reference, kind, id, &path)), blob) {
                Ok(secret) => secrets.insert(path, secret),
                Err(_) => return Err(Unreadable::SealedSecret { path }),
            }
        }
        Ok((message, secrets))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

/// The document of an object with these secrets, each by its ref.
pub(super) fn document(encoded: &Encoded, refs: impl Iterator<Item = (String, String)>) -> Vec<u8> {
    wire::Document { format: FORMAT, message: Bytes::copy_from_slice(&encoded.message), secrets: refs.collect() }
        .encode_to_vec()
}

/// Takes a document apart.
pub(super) fn envelope(document: Bytes) -> Result<wire::Document, Unreadable> {
    let length = document.len();
    let envelope = wire::Document::decode(document).map_err(|error| Unreadable::Damaged(error.to_string()))?;
    match envelope.format {
        // It says nothing of a format, so it is no envelope.
        0 => Err(Unreadable::Damaged("it is no document".to_owned())),
        FORMAT if envelope.encoded_len() == length => Ok(envelope),
        FORMAT => Err(Unreadable::UnknownFields),
        newer => Err(Unreadable::Format(newer)),
    }
}

/// What a record of a secret is about: its ref, its object and its field.
pub(super) fn subject(reference: &str, kind: &str, id: &str, path: &str) -> String {
    format!("{reference}/{kind}/{id}/{path}")
}

/// What a record of a secret is sealed for.
pub(super) fn identity(subject: &str) -> String {
    format!("sealed/{subject}")
}

#[cfg(test)]
mod tests {
    use switchyard_proto::vocab::{ResourceKey, ServiceId};

    use super::*;
    use crate::seal::MasterKey;

    const PATH: &str = "tls.client_certificate.private_key_pem";

    fn key(id: &str) -> ObjectKey {
        ResourceKey::service(&ServiceId::parse(id).unwrap()).into()
    }

    fn vault() -> Vault {
        Vault::new(Arc::new(Sealer::new(&MasterKey::generate().unwrap())), &[7; FINGERPRINT_KEY_BYTES])
    }

    fn named(sealed: &Sealed) -> Bytes {
        let encoded = Encoded { message: vec![1, 2], secrets: Secrets::default() };
        document(&encoded, [(sealed.path.clone(), sealed.reference.clone())].into_iter()).into()
    }

    #[test]
    fn a_secret_opens_for_its_object_and_field_only() {
        let vault = vault();
        let sealed = vault.seal(&key("shop"), PATH, b"secret").unwrap();
        let (message, secrets) = vault.open("services", "shop", named(&sealed), std::slice::from_ref(&sealed)).unwrap();
        assert_eq!(message, vec![1, 2]);
        assert_eq!(secrets.iter().collect::<Vec<_>>(), [(PATH, &b"secret"[..])]);
        let elsewhere = Unreadable::SealedSecret { path: PATH.into() };
        let other = vault.open("services", "other", named(&sealed), std::slice::from_ref(&sealed));
        assert_eq!(other.unwrap_err(), elsewhere);
        let renamed = Sealed { path: "other".into(), ..sealed.clone() };
        let other = vault.open("services", "shop", named(&renamed), std::slice::from_ref(&renamed));
        assert_eq!(other.unwrap_err(), Unreadable::SealedSecret { path: "other".into() });
        let again = Sealed { reference: "0".repeat(32), ..sealed };
        let other = vault.open("services", "shop", named(&again), std::slice::from_ref(&again));
        assert_eq!(other.unwrap_err(), elsewhere);
    }

    #[test]
    fn a_secret_that_is_missing_or_purged_is_named() {
        let vault = vault();
        let sealed = vault.seal(&key("shop"), PATH, b"secret").unwrap();
        let missing = vault.open("services", "shop", named(&sealed), &[]).unwrap_err();
        assert_eq!(missing, Unreadable::MissingSecret { path: PATH.into() });
        let purged = Sealed { blob: None, ..sealed.clone() };
        let purged = vault.open("services", "shop", named(&sealed), &[purged]).unwrap_err();
        assert_eq!(purged.to_string(), format!("its secret {PATH} was purged"));
    }

    #[test]
    fn the_same_secret_of_the_same_field_has_the_same_fingerprint() {
        let (one, shop) = (vault(), key("shop"));
        let print = one.fingerprint(&shop, PATH, b"secret");
        assert_eq!(vault().fingerprint(&shop, PATH, b"secret"), print, "whatever the master key is");
        assert_ne!(one.fingerprint(&shop, PATH, b"other"), print);
        assert_ne!(one.fingerprint(&shop, "other", b"secret"), print);
        assert_ne!(one.fingerprint(&key("other"), PATH, b"secret"), print);
        let elsewhere = Vault::new(one.sealer.clone(), &[8; FINGERPRINT_KEY_BYTES]);
        assert_ne!(elsewhere.fingerprint(&shop, PATH, b"secret"), print);
    }

    #[test]
    fn an_envelope_that_is_not_understood_is_left_alone() {
        let plain = wire::Document { format: FORMAT, message: vec![1].into(), secrets: Default::default() };
        let newer = wire::Document { format: FORMAT + 1, ..plain.clone() };
        assert_eq!(envelope(newer.encode_to_vec().into()), Err(Unreadable::Format(FORMAT + 1)));
        let mut extended = plain.encode_to_vec();
        extended.extend([0xf8, 0x7f, 1]);
        assert_eq!(envelope(extended.into()), Err(Unreadable::UnknownFields));
        assert!(matches!(envelope(Bytes::from_static(b"no message")), Err(Unreadable::Damaged(_))));
        assert!(matches!(envelope(Bytes::new()), Err(Unreadable::Damaged(_))));
        assert_eq!(envelope(plain.encode_to_vec().into()), Ok(plain));
    }
}
