//! The rows of issuances.

use sqlx::FromRow;
use switchyard_proto::vocab::{HostPattern, IssuerId};

use super::Row;
use crate::{
    model::{Issuance, Order, Phase, PrivateKey, Renewal, Timestamp},
    seal::Sealer,
    store::StoreError,
};

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

/// What the key of an open order is sealed for.
pub(in crate::store) fn order_key_identity(host: &str) -> String {
    format!("issuance/{host}/private-key")
}
