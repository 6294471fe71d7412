use std::sync::Arc;

use bytes::Bytes;
use switchyard_proto::{store::v1 as store, v1, vocab::TokenId};

use super::{Document, Invalid, parse_time, secrets_of, time, word};
use crate::model::{Access, Object, ObjectKey, ObjectKind, Pattern, Patterns, Role, Scope, SecretHash, Stored, Token};

impl Document for Token {
    const KIND: ObjectKind = ObjectKind::Token;
    type Id = TokenId;
    type Message = store::Token;

    secrets_of!(store::Token);

    fn key_of(id: &TokenId) -> ObjectKey {
        ObjectKey::token(id)
    }

    fn id(&self) -> &TokenId {
        &self.id
    }

    fn message(&self) -> store::Token {
        let Self { id, hash, access: Access { role, scope }, expires_at } = self;
        let role = match role {
            Role::Viewer => v1::Role::Viewer,
            Role::Operator => v1::Role::Operator,
            Role::Admin => v1::Role::Admin,
        };
        let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
        let (domains, services) = scope.patterns();
        store::Token {
            name: id.to_resource_name(),
            secret_sha256: Bytes::copy_from_slice(hash.as_bytes()),
            role: role.into(),
            domains: texts(domains),
            services: texts(services),
            expire_time: expires_at.map(time),
        }
    }

    fn parse(message: store::Token) -> Result<Self, Invalid> {
        let store::Token { name, secret_sha256, role, domains, services, expire_time } = message;
        let role = match word("role", role)? {
            v1::Role::Viewer => Role::Viewer,
            v1::Role::Operator => Role::Operator,
            v1::Role::Admin => Role::Admin,
            v1::Role::Unspecified => return Err("its role is missing".into()),
        };
        Ok(Self {
            id: TokenId::parse_resource_name(&name)?,
            hash: SecretHash::from_bytes(&secret_sha256).ok_or("the hash of its secret is damaged")?,
            access: Access { role, scope: Scope::new(Patterns::parse(&domains)?, Patterns::parse(&services)?) },
            expires_at: expire_time.map(|at| parse_time(Some(at))).transpose()?,
        })
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Token(stored)
    }
}
