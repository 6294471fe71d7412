//! The rows of DNS providers. What a provider is told with is one sealed record: which part of it is secret differs.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use switchyard_proto::{
    resource::InvalidDnsSettings,
    vocab::{DnsProviderId, HostPattern},
};

use super::{Row, json_array};
use crate::{
    model::{DnsProvider, DnsSettings, HookMode, Stored, TsigAlgorithm, TsigKey, Zones},
    seal::Sealer,
    store::StoreError,
};

#[derive(FromRow)]
pub(in crate::store) struct DnsProviderRow {
    id: String,
    zones: String,
    sealed_settings: Vec<u8>,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "kebab-case")]
enum SettingsColumn {
    Rfc2136 { server: String, key: Option<KeyColumn> },
    Cloudflare { api_token: String, api: String },
    AcmeDns { server: String, username: String, password: String, subdomain: String },
    Httpreq { endpoint: String, is_raw: bool, username: Option<String>, password: Option<String> },
    Exec { program: String, is_raw: bool },
}

#[derive(Serialize, Deserialize)]
struct KeyColumn {
    name: String,
    algorithm: String,
    secret: String,
}

impl DnsProviderRow {
    pub(in crate::store) fn provider(self, sealer: &Sealer) -> Result<Stored<DnsProvider>, StoreError> {
        let row = Row { table: "dns_provider", id: &self.id };
        let zones: Vec<String> = row.check(serde_json::from_str(&self.zones))?;
        let json = sealer.open(&dns_settings_identity(&self.id), &self.sealed_settings)?;
        // Without the parser's words, which may repeat a secret.
        let column: SettingsColumn =
            row.check(serde_json::from_slice(&json).map_err(|_| "its settings are damaged"))?;
        let provider = DnsProvider {
            id: row.check(DnsProviderId::parse(&self.id))?,
            zones: row.check(Zones::parse(&zones))?,
            settings: row.check(column.settings())?,
        };
        row.stored(provider, self.revision, self.created_at, self.updated_at)
    }
}

impl SettingsColumn {
    fn settings(self) -> Result<DnsSettings, InvalidDnsSettings> {
        let mode = |is_raw| if is_raw { HookMode::Raw } else { HookMode::Default };
        match self {
            Self::Rfc2136 { server, key } => {
                let key = key.map(|KeyColumn { name, algorithm, secret }| {
                    TsigKey::parse(&name, TsigAlgorithm::parse(&algorithm)?, &secret)
                });
                DnsSettings::rfc2136(&server, key.transpose()?)
            }
            Self::Cloudflare { api_token, api } => DnsSettings::cloudflare(&api_token, Some(&api)),
            Self::AcmeDns { server, username, password, subdomain } => {
                DnsSettings::acme_dns(&server, &username, &password, &subdomain)
            }
            Self::Httpreq { endpoint, is_raw, username, password } => {
                DnsSettings::http_request(&endpoint, mode(is_raw), username.as_deref(), password.as_deref())
            }
            Self::Exec { program, is_raw } => DnsSettings::exec(&program, mode(is_raw)),
        }
    }

    fn of(settings: &DnsSettings) -> Self {
        match settings {
            DnsSettings::Rfc2136 { server, tsig } => Self::Rfc2136 {
                server: server.to_string(),
                key: tsig.as_ref().map(|key| KeyColumn {
                    name: key.name().to_owned(),
                    algorithm: key.algorithm().as_str().to_owned(),
                    secret: key.expose_secret(),
                }),
            },
            DnsSettings::Cloudflare { api_token, api } => {
                Self::Cloudflare { api_token: api_token.expose().to_owned(), api: api.to_string() }
            }
            DnsSettings::AcmeDns { server, username, password, subdomain } => Self::AcmeDns {
                server: server.to_string(),
                username: username.clone(),
                password: password.expose().to_owned(),
                subdomain: subdomain.clone(),
            },
            DnsSettings::HttpRequest { endpoint, mode, username, password } => Self::Httpreq {
                endpoint: endpoint.to_string(),
                is_raw: *mode == HookMode::Raw,
                username: username.clone(),
                password: password.as_ref().map(|password| password.expose().to_owned()),
            },
            DnsSettings::Exec { program, mode } => {
                Self::Exec { program: program.clone(), is_raw: *mode == HookMode::Raw }
            }
        }
    }
}

/// What the settings of a DNS provider are sealed for.
pub(in crate::store) fn dns_settings_identity(provider: &str) -> String {
    format!("dns-provider/{provider}/settings")
}

/// The settings of a DNS provider as its row has them.
pub(in crate::store) fn dns_settings_column(
    id: &DnsProviderId,
    settings: &DnsSettings,
    sealer: &Sealer,
) -> Result<Vec<u8>, StoreError> {
    let json = serde_json::to_vec(&SettingsColumn::of(settings)).expect("strings have a JSON form");
    Ok(sealer.seal(&dns_settings_identity(id.as_str()), &json)?)
}

/// The zones of a DNS provider as its row has them.
pub(in crate::store) fn zones_column(zones: &Zones) -> String {
    json_array(zones.iter().map(HostPattern::as_str))
}
