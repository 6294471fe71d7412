use switchyard_proto::{v1 as wire, vocab::TokenId};

use super::{Violations, etag, parse_timestamp, timestamp};
use crate::{
    app::AppError,
    model::{Access, Pattern, Patterns, Role, Scope, Stored, Timestamp, Token},
};

/// A token as a message.
pub(in crate::grpc) fn message(stored: &Stored<Token>, last_used_at: Option<Timestamp>) -> wire::Token {
    let Stored { value, revision, created_at, updated_at: _ } = stored;
    let Token { id, hash: _, access, expires_at } = value;
    let role = match access.role {
        Role::Viewer => wire::Role::Viewer,
        Role::Operator => wire::Role::Operator,
        Role::Admin => wire::Role::Admin,
    };
    let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
    let (domains, services) = access.scope.patterns();
    wire::Token {
        name: id.to_resource_name(),
        role: role.into(),
        domains: texts(domains),
        services: texts(services),
        expire_time: expires_at.map(timestamp),
        create_time: Some(timestamp(*created_at)),
        last_use_time: last_used_at.map(timestamp),
        etag: etag(*revision),
        revision: revision.0,
    }
}

/// A token to be made: its id, what it allows and when it ends. Fields that are for output only are ignored (AIP-203).
pub(in crate::grpc) fn new(token: Option<wire::Token>) -> Result<(TokenId, Access, Option<Timestamp>), AppError> {
    let token = token.ok_or_else(|| AppError::invalid("token", "a token is required"))?;
    let role = token.role();
    let wire::Token {
        name,
        role: _,
        domains,
        services,
        expire_time,
        create_time: _,
        last_use_time: _,
        etag: _,
        revision: _,
    } = token;
    let mut violations = Violations::default();
    let id = violations.check("token.name", TokenId::parse_resource_name(&name));
    let role = match role {
        wire::Role::Viewer => Some(Role::Viewer),
        wire::Role::Operator => Some(Role::Operator),
        wire::Role::Admin => Some(Role::Admin),
        wire::Role::Unspecified => violations.check("token.role", Err("viewer, operator or admin is required")),
    };
    let domains = violations.check("token.domains", Patterns::parse(&domains));
    let services = violations.check("token.services", Patterns::parse(&services));
    let expires_at = match expire_time.map(|time| parse_timestamp(&time)) {
        None => Some(None),
        Some(Some(end)) => Some(Some(end)),
        Some(None) => violations.check("token.expire_time", Err("not a moment of the calendar")),
    };
    let token = || Some((id?, Access { role: role?, scope: Scope::new(domains?, services?) }, expires_at?));
    let token = token();
    violations.finish(token)
}
