use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use switchyard_proto::{v1, vocab::IssuerId};

use super::{Document, Invalid, Secrets, optional, pem, slot::Slot};
use crate::model::{
    Account, CaBundle, Directory, Email, ExternalAccount, Issuer, Name, Object, ObjectKey, ObjectKind, PrivateKey,
    Rate, RateLimits, Stored, Thumbprint,
};

/// The key of the account, which no field of the message has: nobody is ever to give it.
const ACCOUNT_KEY: &str = "account_key";

impl Document for Issuer {
    const KIND: ObjectKind = ObjectKind::Issuer;
    type Id = IssuerId;
    type Message = v1::Issuer;

    fn key_of(id: &IssuerId) -> ObjectKey {
        ObjectKey::issuer(id)
    }

    fn id(&self) -> &IssuerId {
        &self.id
    }

    fn message(&self) -> v1::Issuer {
        let Self { id, directory, roots, email, external_account, profile, preferred_chain, rank, limits, account } =
            self;
        let name = |name: &Option<Name>| name.as_ref().map(|name| name.as_str().to_owned()).unwrap_or_default();
        v1::Issuer {
            name: id.to_resource_name(),
            directory: directory.as_str().to_owned(),
            root_ca_pem: roots.as_ref().map(|CaBundle(der)| pem::of_certificates(der)).unwrap_or_default(),
            email: email.as_ref().map(|email| email.as_str().to_owned()).unwrap_or_default(),
            external_account: external_account.as_ref().map(|account| v1::ExternalAccount {
                key_id: account.key_id.as_str().to_owned(),
                key: URL_SAFE_NO_PAD.encode(account.expose_key()),
            }),
            profile: name(profile),
            preferred_chain: name(preferred_chain),
            rank: *rank,
            only_where_named: rank.is_none(),
            rate_limits: (*limits != RateLimits::default()).then(|| limits_message(limits)),
            account: account.as_ref().map(|account| account.url.clone()).unwrap_or_default(),
            account_thumbprint: account.as_ref().map(|it| it.thumbprint.as_str().to_owned()).unwrap_or_default(),
            ..v1::Issuer::default()
        }
    }

    fn parse(message: v1::Issuer, secrets: &mut Secrets) -> Result<Self, Invalid> {
        let v1::Issuer {
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
            account,
            account_thumbprint,
            revision: _,
            etag: _,
            create_time: _,
            update_time: _,
        } = message;
        if rank.is_none() != only_where_named {
            return Err("it has a rank, and is asked only where it is named".into());
        }
        let roots = optional(&root_ca_pem, |text| pem::certificates(text).map_err(|Invalid(reason)| reason))?;
        let account = match (account, account_thumbprint, secrets.take(ACCOUNT_KEY)) {
            (url, thumbprint, None) if url.is_empty() && thumbprint.is_empty() => None,
            (url, thumbprint, Some(key)) => {
                let thumbprint = Thumbprint::parse(&thumbprint)?;
                Some(Account { url, key: PrivateKey::from_pkcs8(key), thumbprint })
            }
            _ => return Err("a part of an account".into()),
        };
        Ok(Self {
            id: IssuerId::parse_resource_name(&name)?,
            directory: Directory::parse(&directory)?,
            roots: roots.map(CaBundle),
            email: optional(&email, Email::parse)?,
            external_account: external_account.map(parse_external_account).transpose()?,
            profile: optional(&profile, Name::parse)?,
            preferred_chain: optional(&preferred_chain, Name::parse)?,
            rank,
            limits: parse_limits(rate_limits.unwrap_or_default())?,
            account,
        })
    }

    fn secret_fields(message: &mut v1::Issuer) -> Vec<Slot<'_>> {
        let account = message.external_account.as_mut();
        account.map(|account| Slot::text("external_account.key", &mut account.key)).into_iter().collect()
    }

    fn other_secrets(&self) -> Secrets {
        let mut secrets = Secrets::default();
        if let Some(account) = &self.account {
            secrets.insert(ACCOUNT_KEY, account.key.expose_pkcs8().to_vec());
        }
        secrets
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Issuer(stored)
    }
}

fn parse_external_account(message: v1::ExternalAccount) -> Result<ExternalAccount, Invalid> {
    let v1::ExternalAccount { key_id, key } = message;
    let key = URL_SAFE_NO_PAD.decode(key).map_err(|_| "the key of its external account is damaged")?;
    Ok(ExternalAccount::new(Name::parse(&key_id)?, key)?)
}

fn limits_message(limits: &RateLimits) -> v1::RateLimits {
    let RateLimits { orders, certificates_per_registered_domain, certificates_per_exact_names, failures_per_name } =
        limits;
    let rate = |rate: &Option<Rate>| {
        rate.as_ref().map(|Rate { count, window }| v1::Rate { count: *count, window: Some((*window).into()) })
    };
    v1::RateLimits {
        orders: rate(orders),
        certificates_per_registered_domain: rate(certificates_per_registered_domain),
        certificates_per_exact_names: rate(certificates_per_exact_names),
        failures_per_name: rate(failures_per_name),
    }
}

fn parse_limits(message: v1::RateLimits) -> Result<RateLimits, Invalid> {
    let v1::RateLimits { orders, certificates_per_registered_domain, certificates_per_exact_names, failures_per_name } =
        message;
    let rate = |rate: Option<v1::Rate>| {
        let parse = |v1::Rate { count, window }| {
            let window = window.and_then(|window| Duration::try_from(window).ok()).ok_or("a rate without a window")?;
            Ok::<_, Invalid>(Rate { count, window })
        };
        rate.map(parse).transpose()
    };
    Ok(RateLimits {
        orders: rate(orders)?,
        certificates_per_registered_domain: rate(certificates_per_registered_domain)?,
        certificates_per_exact_names: rate(certificates_per_exact_names)?,
        failures_per_name: rate(failures_per_name)?,
    })
}
