use sqlx::FromRow;
use switchyard_proto::vocab::{BackendHost, ServiceId};

use super::{Row, split_chain};
use crate::{
    model::{
        BackendProtocol, BackendTls, BackendTrust, Balancing, ClientCertificate, PrivateKey, Service, Stored, Timeouts,
    },
    seal::Sealer,
    store::StoreError,
};

#[derive(FromRow)]
pub(in crate::store) struct ServiceRow {
    id: String,
    balancing: String,
    protocol: String,
    connect_timeout_ms: i64,
    first_byte_timeout_ms: i64,
    idle_timeout_ms: i64,
    tls_trust: Option<String>,
    tls_authorities: Option<Vec<u8>>,
    tls_server_name: Option<String>,
    tls_alternative_name: Option<String>,
    tls_client_chain: Option<Vec<u8>>,
    tls_sealed_client_key: Option<Vec<u8>>,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

impl ServiceRow {
    pub(in crate::store) fn service(self, sealer: &Sealer) -> Result<Stored<Service>, StoreError> {
        let row = Row { table: "service", id: &self.id };
        let service = Service {
            id: row.check(ServiceId::parse(&self.id))?,
            balancing: row.word(&self.balancing, Balancing::from_word(&self.balancing))?,
            protocol: row.word(&self.protocol, BackendProtocol::from_word(&self.protocol))?,
            timeouts: row.check(Timeouts::new(
                row.millis(self.connect_timeout_ms)?,
                row.millis(self.first_byte_timeout_ms)?,
                row.millis(self.idle_timeout_ms)?,
            ))?,
            tls: self.tls(&row, sealer)?,
        };
        row.stored(service, self.revision, self.created_at, self.updated_at)
    }

    fn tls(&self, row: &Row<'_>, sealer: &Sealer) -> Result<Option<BackendTls>, StoreError> {
        let Some(word) = &self.tls_trust else { return Ok(None) };
        let trust = match (word.as_str(), &self.tls_authorities) {
            ("system", None) => Some(BackendTrust::System),
            ("authorities", Some(der)) => Some(BackendTrust::Authorities(row.ca_bundle(der)?)),
            ("anybody", None) => Some(BackendTrust::Anybody),
            _ => None,
        };
        let name = |text: &Option<String>| text.as_deref().map(|text| row.check(BackendHost::parse(text))).transpose();
        let (server_name, alternative_name) = (name(&self.tls_server_name)?, name(&self.tls_alternative_name)?);
        let client_certificate = match (&self.tls_client_chain, &self.tls_sealed_client_key) {
            (None, None) => None,
            (Some(chain), Some(sealed)) => {
                let private_key = PrivateKey::from_pkcs8(sealer.open(&client_key_identity(&self.id), sealed)?);
                Some(ClientCertificate { chain: row.check(split_chain(chain))?, private_key })
            }
            _ => return Err(row.inconsistent("a client certificate without its key, or a key without its certificate")),
        };
        Ok(Some(BackendTls { trust: row.word(word, trust)?, server_name, alternative_name, client_certificate }))
    }
}

/// What the key of a service's client certificate is sealed for.
pub(in crate::store) fn client_key_identity(service: &str) -> String {
    format!("service/{service}/client-key")
}

/// The columns of a service's TLS.
#[derive(Default)]
pub(in crate::store) struct TlsColumns {
    pub(in crate::store) trust: Option<&'static str>,
    pub(in crate::store) authorities: Option<Vec<u8>>,
    pub(in crate::store) server_name: Option<String>,
    pub(in crate::store) alternative_name: Option<String>,
    pub(in crate::store) client_chain: Option<Vec<u8>>,
    pub(in crate::store) sealed_client_key: Option<Vec<u8>>,
}

impl TlsColumns {
    pub(in crate::store) fn of(
        service: &ServiceId,
        tls: Option<&BackendTls>,
        sealer: &Sealer,
    ) -> Result<Self, StoreError> {
        let Some(BackendTls { trust, server_name, alternative_name, client_certificate }) = tls else {
            return Ok(Self::default());
        };
        let (client_chain, sealed_client_key) = match client_certificate {
            Some(ClientCertificate { chain, private_key }) => {
                let sealed = sealer.seal(&client_key_identity(service.as_str()), private_key.expose_pkcs8())?;
                (Some(chain.concat()), Some(sealed))
            }
            None => (None, None),
        };
        Ok(Self {
            trust: Some(trust.as_str()),
            authorities: match trust {
                BackendTrust::Authorities(bundle) => Some(bundle.certificates().concat()),
                BackendTrust::System | BackendTrust::Anybody => None,
            },
            server_name: server_name.as_ref().map(ToString::to_string),
            alternative_name: alternative_name.as_ref().map(ToString::to_string),
            client_chain,
            sealed_client_key,
        })
    }
}
