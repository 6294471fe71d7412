use pbjson_types::FieldMask;
use switchyard_proto::{
    resource::{Defaults, Resource as _},
    v1 as wire,
    vocab::{IssuerId, Revision},
};

use super::{Mask, Violations, etag, parse_etag, timestamp};
use crate::{
    app::{
        AppError,
        issuer::{Budget, IssuerUpdate},
    },
    model::{CaBundle, Issuer, Name, Place, Stored, Used},
};

/// The paths of an update mask.
const PATHS: [&str; 6] = ["root_ca_pem", "profile", "preferred_chain", "rank", "only_where_named", "rate_limits"];

/// An issuer as a message; its keys never are one.
pub(in crate::grpc) fn message(stored: &Stored<Issuer>) -> wire::Issuer {
    let Stored { value, revision, created_at, updated_at } = stored;
    let message = value.message(Defaults::Written);
    wire::Issuer {
        revision: revision.0,
        etag: etag(*revision),
        create_time: Some(timestamp(*created_at)),
        update_time: Some(timestamp(*updated_at)),
        external_account: message.external_account.map(|it| wire::ExternalAccount { key: String::new(), ..it }),
        account_key: Vec::new(),
        ..message
    }
}

/// How much of a limit is used, as a message.
pub(in crate::grpc) fn budget(budget: &Budget) -> wire::Budget {
    let Budget { issuer, limit, used: Used { subject, count, first_at } } = budget;
    let free_at = (*count > 0).then(|| timestamp(first_at.plus(limit.window())));
    wire::Budget {
        issuer: issuer.to_resource_name(),
        limit: limit.text().to_owned(),
        subject: subject.clone(),
        used: *count,
        rate: Some(limit.rate.message()),
        free_time: free_at,
    }
}

/// What people say of an issuer, field by field.
struct Fields {
    name: String,
    root_ca_pem: String,
    profile: String,
    preferred_chain: String,
    rank: Option<u32>,
    only_where_named: bool,
    rate_limits: Option<wire::RateLimits>,
    etag: String,
}

impl Fields {
    fn take(issuer: Option<wire::Issuer>) -> Result<Self, AppError> {
        let issuer = issuer.ok_or_else(|| AppError::invalid("issuer", "an issuer is required"))?;
        let wire::Issuer {
            name,
            directory: _,
            root_ca_pem,
            email: _,
            external_account: _,
            profile,
            preferred_chain,
            rank,
            only_where_named,
            rate_limits,
            account: _,
            account_thumbprint: _,
            revision: _,
            etag,
            create_time: _,
            update_time: _,
            account_key: _,
        } = issuer;
        Ok(Self { name, root_ca_pem, profile, preferred_chain, rank, only_where_named, rate_limits, etag })
    }

    fn place(&self, violations: &mut Violations) -> Option<Place> {
        match (self.rank, self.only_where_named) {
            (None, false) => Some(Place::Last),
            (Some(rank), false) => Some(Place::Rank(rank)),
            (None, true) => Some(Place::OnlyWhereNamed),
            (Some(_), true) => violations.check("issuer.rank", Err("it excludes only_where_named")),
        }
    }
}

/// What is there, if something is; what is wrong with it is added. `None`: it is wrong.
#[expect(clippy::option_option, reason = "wrong, absent and there are three things")]
fn optional<T, E: std::fmt::Display>(
    violations: &mut Violations,
    field: &'static str,
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { violations.check(field, parse(text)).map(Some) }
}

/// An issuer to be made. Fields that are for output only are ignored (AIP-203).
pub(in crate::grpc) fn new(issuer: Option<wire::Issuer>) -> Result<Issuer, AppError> {
    let issuer = issuer.ok_or_else(|| AppError::invalid("issuer", "an issuer is required"))?;
    let (account, account_thumbprint, account_key) = Default::default();
    let issuer = wire::Issuer { account, account_thumbprint, account_key, ..issuer };
    Issuer::parse(issuer).map_err(|error| AppError::invalid_resource("issuer", &error))
}

/// Which issuer is to be changed, how, and the etag it must have.
pub(in crate::grpc) fn update(
    issuer: Option<wire::Issuer>,
    mask: Option<FieldMask>,
) -> Result<(IssuerId, IssuerUpdate, Option<Revision>), AppError> {
    let fields = Fields::take(issuer)?;
    let mask = Mask::parse(mask, &PATHS)?;
    let mut violations = Violations::default();
    let id = violations.check("issuer.name", IssuerId::parse_resource_name(&fields.name));
    let mut update = IssuerUpdate::default();
    if mask.covers("root_ca_pem", !fields.root_ca_pem.is_empty()) {
        update.roots = optional(&mut violations, "issuer.root_ca_pem", &fields.root_ca_pem, CaBundle::parse);
    }
    if mask.covers("profile", !fields.profile.is_empty()) {
        update.profile = optional(&mut violations, "issuer.profile", &fields.profile, Name::parse);
    }
    if mask.covers("preferred_chain", !fields.preferred_chain.is_empty()) {
        let chain = &fields.preferred_chain;
        update.preferred_chain = optional(&mut violations, "issuer.preferred_chain", chain, Name::parse);
    }
    if mask.covers("rank", fields.rank.is_some()) || mask.covers("only_where_named", fields.only_where_named) {
        update.place = fields.place(&mut violations);
    }
    if mask.covers("rate_limits", fields.rate_limits.is_some()) {
        let whole = wire::Issuer {
            name: "issuers/letsencrypt".to_owned(),
            rate_limits: Some(fields.rate_limits.unwrap_or_default()),
            ..Default::default()
        };
        let whole = Issuer::parse(whole).map_err(|error| AppError::invalid_resource("issuer", &error))?;
        update.limits = Some(whole.limits);
    }
    violations.finish(id.map(|id| (id, update, parse_etag(&fields.etag))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(name: &str) -> wire::Issuer {
        wire::Issuer { name: name.to_owned(), ..wire::Issuer::default() }
    }

    #[test]
    fn an_update_speaks_of_the_fields_in_its_mask() {
        let paths = vec!["profile".to_owned(), "only_where_named".to_owned()];
        let message = wire::Issuer { only_where_named: true, ..issuer("issuers/ca") };
        let (_, update, etag) = update(Some(message), Some(FieldMask { paths })).unwrap();
        assert_eq!((update.profile, update.place, etag), (Some(None), Some(Place::OnlyWhereNamed), None));
        assert!(update.preferred_chain.is_none() && update.limits.is_none());
    }
}
