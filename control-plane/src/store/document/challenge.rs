use std::sync::Arc;

use bytes::Bytes;
use switchyard_proto::{
    store::v1 as store,
    vocab::{HostPattern, ResourceKey, ResourceKind},
};

use super::{Document, Invalid, optional, secrets_of};
use crate::model::{Challenge, KeyAuthorizationDigest, Object, ObjectKey, ObjectKind, Resource, Stored, Thumbprint};

impl Document for Challenge {
    const KIND: ObjectKind = ObjectKind::Served(ResourceKind::Challenge);
    type Id = HostPattern;
    type Message = store::Challenge;

    secrets_of!(store::Challenge);

    fn key_of(id: &HostPattern) -> ObjectKey {
        ResourceKey::challenge(id).into()
    }

    fn id(&self) -> &HostPattern {
        &self.host
    }

    fn message(&self) -> store::Challenge {
        let Self { host: _, http_01, tls_alpn_01 } = self;
        let digest = tls_alpn_01.as_ref().map(|digest| Bytes::copy_from_slice(digest.as_bytes()));
        store::Challenge {
            name: self.key().to_string(),
            http_01_thumbprint: http_01.as_ref().map(|it| it.as_str().to_owned()).unwrap_or_default(),
            tls_alpn_01_digest: digest.unwrap_or_default(),
        }
    }

    fn parse(message: store::Challenge) -> Result<Self, Invalid> {
        let store::Challenge { name, http_01_thumbprint, tls_alpn_01_digest } = message;
        let digest = |bytes: &Bytes| KeyAuthorizationDigest::from_bytes(bytes).ok_or("a digest has 32 bytes");
        let host = name.strip_prefix("challenges/").ok_or("its name is no challenge's")?;
        Ok(Self {
            host: HostPattern::parse(host)?,
            http_01: optional(&http_01_thumbprint, Thumbprint::parse)?,
            tls_alpn_01: Some(&tls_alpn_01_digest).filter(|it| !it.is_empty()).map(digest).transpose()?,
        })
    }

    fn is_derived(&self) -> bool {
        true
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Served(Resource::Challenge(stored))
    }
}
