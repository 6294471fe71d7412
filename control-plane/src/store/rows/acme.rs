//! The rows of what certificates are ordered with.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use switchyard_proto::vocab::{HostPattern, IssuerId};

use super::Row;
use crate::{
    model::{
        Account, Challenge, Directory, Email, ExternalAccount, Issuance, Issuer, KeyAuthorizationDigest, Name, Order,
        Phase, Place, PrivateKey, Rate, RateLimits, Renewal, Stored, Thumbprint, Timestamp,
    },
    seal::Sealer,
    store::StoreError,
};

#[derive(FromRow)]
pub(in crate::store) struct IssuerRow {
    id: String,
    directory: String,
    roots: Option<Vec<u8>>,
    email: Option<String>,
    profile: Option<String>,
    preferred_chain: Option<String>,
    rank: Option<i64>,
    limits: String,
    external_account_key_id: Option<String>,
    sealed_external_account_key: Option<Vec<u8>>,
    account_url: Option<String>,
    account_thumbprint: Option<String>,
    sealed_account_key: Option<Vec<u8>>,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

impl IssuerRow {
    pub(in crate::store) fn issuer(self, sealer: &Sealer) -> Result<Stored<Issuer>, StoreError> {
        let row = Row { table: "issuer", id: &self.id };
        let name = |text: &Option<String>| text.as_deref().map(|text| row.check(Name::parse(text))).transpose();
        let external_account = match (&self.external_account_key_id, &self.sealed_external_account_key) {
            (None, None) => None,
            (Some(key_id), Some(sealed)) => {
                let key = sealer.open(&external_account_key_identity(&self.id), sealed)?;
                Some(row.check(ExternalAccount::new(row.check(Name::parse(key_id))?, key))?)
            }
            _ => return Err(row.inconsistent("half of an external account")),
        };
        let account = match (&self.account_url, &self.account_thumbprint, &self.sealed_account_key) {
            (None, None, None) => None,
            (Some(url), Some(thumbprint), Some(sealed)) => Some(Account {
                url: url.clone(),
                key: PrivateKey::from_pkcs8(sealer.open(&account_key_identity(&self.id), sealed)?),
                thumbprint: row.check(Thumbprint::parse(thumbprint))?,
            }),
            _ => return Err(row.inconsistent("a part of an account")),
        };
        let issuer = Issuer {
            id: row.check(IssuerId::parse(&self.id))?,
            directory: row.check(Directory::parse(&self.directory))?,
            roots: self.roots.as_deref().map(|der| row.ca_bundle(der)).transpose()?,
            email: self.email.as_deref().map(|text| row.check(Email::parse(text))).transpose()?,
            external_account,
            profile: name(&self.profile)?,
            preferred_chain: name(&self.preferred_chain)?,
            place: match self.rank {
                Some(rank) => Place::Rank(row.check(u32::try_from(rank))?),
                None => Place::OnlyWhereNamed,
            },
            limits: row.check(serde_json::from_str::<LimitsColumn>(&self.limits))?.limits(),
            account,
        };
        row.stored(issuer, self.revision, self.created_at, self.updated_at)
    }
}

/// What the key of an issuer's account is sealed for.
pub(in crate::store) fn account_key_identity(issuer: &str) -> String {
    format!("issuer/{issuer}/account-key")
}

/// What the key of an issuer's external account is sealed for.
pub(in crate::store) fn external_account_key_identity(issuer: &str) -> String {
    format!("issuer/{issuer}/external-account-key")
}

/// What the key of an open order is sealed for.
pub(in crate::store) fn order_key_identity(host: &str) -> String {
    format!("issuance/{host}/private-key")
}

#[derive(Serialize, Deserialize)]
struct RateColumn {
    count: u32,
    window_seconds: u64,
}

#[derive(Serialize, Deserialize)]
struct LimitsColumn {
    orders: Option<RateColumn>,
    certificates_per_registered_domain: Option<RateColumn>,
    certificates_per_exact_names: Option<RateColumn>,
    failures_per_name: Option<RateColumn>,
}

impl LimitsColumn {
    fn limits(self) -> RateLimits {
        let rate = |column: Option<RateColumn>| {
            column
                .map(|RateColumn { count, window_seconds }| Rate { count, window: Duration::from_secs(window_seconds) })
        };
        RateLimits {
            orders: rate(self.orders),
            certificates_per_registered_domain: rate(self.certificates_per_registered_domain),
            certificates_per_exact_names: rate(self.certificates_per_exact_names),
            failures_per_name: rate(self.failures_per_name),
        }
    }
}

/// The limits of an issuer as its row has them.
pub(in crate::store) fn limits_column(limits: &RateLimits) -> String {
    let RateLimits { orders, certificates_per_registered_domain, certificates_per_exact_names, failures_per_name } =
        limits;
    let rate = |rate: &Option<Rate>| {
        rate.as_ref().map(|Rate { count, window }| RateColumn { count: *count, window_seconds: window.as_secs() })
    };
    let column = LimitsColumn {
        orders: rate(orders),
        certificates_per_registered_domain: rate(certificates_per_registered_domain),
        certificates_per_exact_names: rate(certificates_per_exact_names),
        failures_per_name: rate(failures_per_name),
    };
    serde_json::to_string(&column).expect("numbers have a JSON form")
}

#[derive(FromRow)]
pub(in crate::store) struct ChallengeRow {
    host: String,
    http_01_thumbprint: Option<String>,
    tls_alpn_01_digest: Option<Vec<u8>>,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

impl ChallengeRow {
    pub(in crate::store) fn challenge(self) -> Result<Stored<Challenge>, StoreError> {
        let row = Row { table: "challenge", id: &self.host };
        let digest = |bytes: &Vec<u8>| {
            KeyAuthorizationDigest::from_bytes(bytes).ok_or_else(|| row.inconsistent("a digest has 32 bytes"))
        };
        let challenge = Challenge {
            host: row.check(HostPattern::parse(&self.host))?,
            http_01: self.http_01_thumbprint.as_deref().map(|text| row.check(Thumbprint::parse(text))).transpose()?,
            tls_alpn_01: self.tls_alpn_01_digest.as_ref().map(digest).transpose()?,
        };
        row.stored(challenge, self.revision, self.created_at, self.updated_at)
    }
}

#[derive(FromRow)]
pub(in crate::store) struct IssuanceRow {
    host: String,
    on_demand_domain: Option<String>,
    version: i64,
    phase: String,
    next_at: i64,
    failures: i64,
    failure: Option<String>,
    issuer: Option<String>,
    revoke: Option<Vec<u8>>,
    order_issuer: Option<String>,
    order_url: Option<String>,
    sealed_order_key: Option<Vec<u8>>,
    order_began_at: Option<i64>,
    renew_at: Option<i64>,
    window_start: Option<i64>,
    window_end: Option<i64>,
    ask_at: Option<i64>,
    updated_at: i64,
}

impl IssuanceRow {
    pub(in crate::store) fn issuance(self, sealer: &Sealer) -> Result<Issuance, StoreError> {
        let row = Row { table: "issuance", id: &self.host };
        let order = match (&self.order_issuer, self.order_url, &self.sealed_order_key, self.order_began_at) {
            (None, None, None, None) => None,
            (Some(issuer), Some(url), Some(sealed), Some(began_at)) => Some(Order {
                issuer: row.check(IssuerId::parse(issuer))?,
                url,
                private_key: PrivateKey::from_pkcs8(sealer.open(&order_key_identity(&self.host), sealed)?),
                began_at: Timestamp(began_at),
            }),
            _ => return Err(row.inconsistent("a part of an order")),
        };
        let window = self.window_start.zip(self.window_end).map(|(start, end)| (Timestamp(start), Timestamp(end)));
        Ok(Issuance {
            host: row.check(HostPattern::parse(&self.host))?,
            on_demand: self.on_demand_domain.as_deref().map(|host| row.check(HostPattern::parse(host))).transpose()?,
            version: row.check(u64::try_from(self.version))?,
            phase: row.word(&self.phase, Phase::from_word(&self.phase))?,
            issuer: self.issuer.as_deref().map(|id| row.check(IssuerId::parse(id))).transpose()?,
            revoke: self.revoke,
            order,
            next_at: Timestamp(self.next_at),
            failures: row.check(u32::try_from(self.failures))?,
            failure: self.failure,
            renewal: self.renew_at.map(|at| Renewal { at: Timestamp(at), window, ask_at: self.ask_at.map(Timestamp) }),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

/// The columns of an issuance's order.
#[derive(Default)]
pub(in crate::store) struct OrderColumns<'a> {
    pub(in crate::store) issuer: Option<&'a str>,
    pub(in crate::store) url: Option<&'a str>,
    pub(in crate::store) sealed_key: Option<Vec<u8>>,
    pub(in crate::store) began_at: Option<i64>,
}

impl<'a> OrderColumns<'a> {
    pub(in crate::store) fn of(
        host: &HostPattern,
        order: Option<&'a Order>,
        sealer: &Sealer,
    ) -> Result<Self, StoreError> {
        let Some(Order { issuer, url, private_key, began_at }) = order else { return Ok(Self::default()) };
        Ok(Self {
            issuer: Some(issuer.as_str()),
            url: Some(url),
            sealed_key: Some(sealer.seal(&order_key_identity(host.as_str()), private_key.expose_pkcs8())?),
            began_at: Some(began_at.0),
        })
    }
}
