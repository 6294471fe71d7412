use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pbjson_types::FieldMask;
use switchyard_proto::{
    v1 as wire,
    vocab::{IssuerId, Revision},
};

use super::{Mask, Violations, etag, parse_etag, timestamp};
use crate::{
    app::{
        AppError,
        issuer::{Budget, IssuerUpdate, NewIssuer, Place},
    },
    model::{CaBundle, Directory, Email, ExternalAccount, InvalidIssuer, Issuer, Name, Rate, RateLimits, Stored, Used},
};

/// The paths of an update mask.
const PATHS: [&str; 6] = ["root_ca_pem", "profile", "preferred_chain", "rank", "only_where_named", "rate_limits"];
/// The most that a limit can be.
const RATE_COUNT_MAX: u32 = 1_000_000;
const RATE_WINDOW_MAX: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// An issuer as a message; its keys never are one.
pub(in crate::grpc) fn message(stored: &Stored<Issuer>) -> wire::Issuer {
    let Stored { value, revision, created_at, updated_at } = stored;
    let Issuer { id, directory, roots, email, external_account, profile, preferred_chain, rank, limits, account } =
        value;
    let name = |name: &Option<Name>| name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default();
    wire::Issuer {
        name: id.to_resource_name(),
        directory: directory.as_str().to_owned(),
        root_ca_pem: roots.as_ref().map(CaBundle::pem).unwrap_or_default(),
        email: email.as_ref().map(|email| email.as_str().to_owned()).unwrap_or_default(),
        external_account: external_account
            .as_ref()
            .map(|account| wire::ExternalAccount { key_id: account.key_id.as_str().to_owned(), key: String::new() }),
        profile: name(profile),
        preferred_chain: name(preferred_chain),
        rank: *rank,
        only_where_named: rank.is_none(),
        rate_limits: Some(limits_message(limits)),
        account: account.as_ref().map(|account| account.url.clone()).unwrap_or_default(),
        account_thumbprint: account.as_ref().map(|it| it.thumbprint.as_str().to_owned()).unwrap_or_default(),
        revision: revision.0,
        etag: etag(*revision),
        create_time: Some(timestamp(*created_at)),
        update_time: Some(timestamp(*updated_at)),
    }
}

fn limits_message(limits: &RateLimits) -> wire::RateLimits {
    let RateLimits { orders, certificates_per_registered_domain, certificates_per_exact_names, failures_per_name } =
        limits;
    let rate = |rate: &Option<Rate>| {
        rate.as_ref().map(|Rate { count, window }| wire::Rate { count: *count, window: Some((*window).into()) })
    };
    wire::RateLimits {
        orders: rate(orders),
        certificates_per_registered_domain: rate(certificates_per_registered_domain),
        certificates_per_exact_names: rate(certificates_per_exact_names),
        failures_per_name: rate(failures_per_name),
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
        rate: Some(wire::Rate { count: limit.rate.count, window: Some(limit.rate.window.into()) }),
        free_time: free_at,
    }
}

/// What people say of an issuer, field by field.
struct Fields {
    name: String,
    directory: String,
    root_ca_pem: String,
    email: String,
    external_account: Option<wire::ExternalAccount>,
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
            directory,
            root_ca_pem,
            email,
            external_account,
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
        } = issuer;
        Ok(Self {
            name,
            directory,
            root_ca_pem,
            email,
            external_account,
            profile,
            preferred_chain,
            rank,
            only_where_named,
            rate_limits,
            etag,
        })
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
pub(in crate::grpc) fn new(issuer: Option<wire::Issuer>) -> Result<NewIssuer, AppError> {
    let fields = Fields::take(issuer)?;
    let mut violations = Violations::default();
    let place = fields.place(&mut violations);
    let it = &mut violations;
    let id = it.check("issuer.name", IssuerId::parse_resource_name(&fields.name));
    let directory = optional(it, "issuer.directory", &fields.directory, Directory::parse);
    let roots = optional(it, "issuer.root_ca_pem", &fields.root_ca_pem, CaBundle::parse);
    let email = optional(it, "issuer.email", &fields.email, Email::parse);
    let profile = optional(it, "issuer.profile", &fields.profile, Name::parse);
    let preferred_chain = optional(it, "issuer.preferred_chain", &fields.preferred_chain, Name::parse);
    let external_account = match fields.external_account {
        None => Some(None),
        Some(account) => it.check("issuer.external_account", external_account(&account)).map(Some),
    };
    let limits = match fields.rate_limits {
        None => Some(None),
        Some(limits) => it.check("issuer.rate_limits", parse_limits(&limits)).map(Some),
    };
    let new = || {
        Some(NewIssuer {
            id: id?,
            directory: directory?,
            roots: roots?,
            email: email?,
            external_account: external_account?,
            profile: profile?,
            preferred_chain: preferred_chain?,
            place: place?,
            limits: limits?,
        })
    };
    let new = new();
    violations.finish(new)
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
        let limits = fields.rate_limits.unwrap_or_default();
        update.limits = violations.check("issuer.rate_limits", parse_limits(&limits));
    }
    violations.finish(id.map(|id| (id, update, parse_etag(&fields.etag))))
}

fn external_account(account: &wire::ExternalAccount) -> Result<ExternalAccount, InvalidIssuer> {
    let wire::ExternalAccount { key_id, key } = account;
    // Some CAs show it with padding.
    let key = URL_SAFE_NO_PAD.decode(key.trim().trim_end_matches('=')).map_err(|_| InvalidIssuer::ExternalKey)?;
    ExternalAccount::new(Name::parse(key_id)?, key)
}

fn parse_limits(limits: &wire::RateLimits) -> Result<RateLimits, String> {
    let wire::RateLimits {
        orders,
        certificates_per_registered_domain,
        certificates_per_exact_names,
        failures_per_name,
    } = limits;
    let rate = |rate: &Option<wire::Rate>| {
        let Some(wire::Rate { count, window }) = rate else { return Ok(None) };
        let window = window.and_then(|window| Duration::try_from(window).ok()).unwrap_or_default();
        let is_bounded =
            (1..=RATE_COUNT_MAX).contains(count) && (Duration::from_secs(1)..=RATE_WINDOW_MAX).contains(&window);
        if is_bounded {
            Ok(Some(Rate { count: *count, window: Duration::from_secs(window.as_secs()) }))
        } else {
            Err(format!("a rate is 1 to {RATE_COUNT_MAX} in 1 second to 31 days"))
        }
    };
    Ok(RateLimits {
        orders: rate(orders)?,
        certificates_per_registered_domain: rate(certificates_per_registered_domain)?,
        certificates_per_exact_names: rate(certificates_per_exact_names)?,
        failures_per_name: rate(failures_per_name)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(name: &str) -> wire::Issuer {
        wire::Issuer { name: name.to_owned(), ..wire::Issuer::default() }
    }

    #[test]
    fn every_wrong_field_is_named() {
        let bad = wire::Issuer {
            directory: "http://ca.example".to_owned(),
            email: "nobody".to_owned(),
            root_ca_pem: "none".to_owned(),
            rank: Some(1),
            only_where_named: true,
            external_account: Some(wire::ExternalAccount { key_id: "kid".to_owned(), key: "!".to_owned() }),
            rate_limits: Some(wire::RateLimits { orders: Some(wire::Rate::default()), ..Default::default() }),
            ..issuer("issuers/Bad")
        };
        let Err(AppError::Invalid(violations)) = new(Some(bad)) else { panic!("it is refused") };
        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        for field in ["name", "directory", "email", "root_ca_pem", "rank", "external_account", "rate_limits"] {
            assert!(fields.contains(&format!("issuer.{field}").as_str()), "{field} in {fields:?}");
        }
        let plain = new(Some(issuer("issuers/letsencrypt"))).unwrap();
        assert_eq!((plain.place, plain.directory), (Place::Last, None));
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
