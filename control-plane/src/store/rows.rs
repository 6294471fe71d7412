//! Rows as the database has them, and what they mean. A row that means nothing is [`StoreError::Inconsistent`]: somebody
//! else wrote it.

mod acme;
mod dns;
mod service;
mod tickets;

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use switchyard_proto::vocab::{
    BackendAddress, BackendId, CertificateId, EdgeId, HostPattern, InviteId, IssuerId, Labels, Revision, ServiceId,
    Tag, TokenId,
};

use super::{StoreError, history::labels_value};
use crate::{
    model::{
        Access, AcmeSettings, Backend, BackendState, CaBundle, Certificate, CertificateChain, CertificateSource,
        ChallengeKind, ClientAuthentication, ClientCertificateMode, Domain, Door, EdgeKey, EdgeRecord, Enrolment,
        HistoryEntry, HistoryPlace, HookUrl, Invite, ObjectKey, OnDemand, Pattern, Patterns, PrivateKey,
        RejectionRecord, Role, Scope, SecretHash, Stored, Tags, Timestamp, TlsVersion, Token,
    },
    seal::Sealer,
};

pub(super) use self::acme::{
    ChallengeRow, IssuanceRow, IssuerRow, OrderColumns, account_key_identity, external_account_key_identity,
    limits_column, order_key_identity,
};
pub(super) use self::dns::{DnsProviderRow, dns_settings_column, dns_settings_identity, zones_column};
pub(super) use self::service::{ServiceRow, TlsColumns, client_key_identity};
pub(super) use self::tickets::{TicketKeysRow, ticket_keys_columns, ticket_secrets_identity};

/// Makes errors about one row.
struct Row<'a> {
    table: &'static str,
    id: &'a str,
}

impl Row<'_> {
    fn inconsistent(&self, reason: impl Display) -> StoreError {
        StoreError::Inconsistent { table: self.table, id: self.id.to_owned(), reason: reason.to_string() }
    }

    /// The value, unless it was refused.
    fn check<T, E: Display>(&self, value: Result<T, E>) -> Result<T, StoreError> {
        value.map_err(|error| self.inconsistent(error))
    }

    /// What a word stands for.
    fn word<T>(&self, word: &str, meaning: Option<T>) -> Result<T, StoreError> {
        meaning.ok_or_else(|| self.inconsistent(format_args!("unknown word {word:?}")))
    }

    fn millis(&self, millis: i64) -> Result<Duration, StoreError> {
        self.check(u64::try_from(millis).map(Duration::from_millis))
    }

    fn revision(&self, revision: i64) -> Result<Revision, StoreError> {
        self.check(u64::try_from(revision).map(Revision))
    }

    fn hash(&self, bytes: &[u8]) -> Result<SecretHash, StoreError> {
        SecretHash::from_bytes(bytes).ok_or_else(|| self.inconsistent("the hash of its secret is damaged"))
    }

    /// CAs that follow each other.
    fn ca_bundle(&self, der: &[u8]) -> Result<CaBundle, StoreError> {
        self.check(CaBundle::of_der(self.check(split_chain(der))?))
    }

    fn labels(&self, json: &str) -> Result<Labels, StoreError> {
        let labels: BTreeMap<String, String> = self.check(serde_json::from_str(json))?;
        self.check(Labels::new(labels))
    }

    fn stored<T>(&self, value: T, revision: i64, created_at: i64, updated_at: i64) -> Result<Stored<T>, StoreError> {
        Ok(Stored {
            value,
            revision: self.revision(revision)?,
            created_at: Timestamp(created_at),
            updated_at: Timestamp(updated_at),
        })
    }
}

#[derive(FromRow)]
pub(super) struct DomainRow {
    host: String,
    service: String,
    active_tag: String,
    previous_tag: Option<String>,
    certificate_source: String,
    http_to_https: bool,
    edge_selector: String,
    client_authorities: Option<Vec<u8>>,
    client_certificate_mode: Option<String>,
    minimum_tls_version: String,
    acme_challenge: Option<String>,
    acme_issuers: String,
    on_demand_hook: Option<String>,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

impl DomainRow {
    pub(super) fn domain(self) -> Result<Stored<Domain>, StoreError> {
        let row = Row { table: "domain", id: &self.host };
        let domain = Domain {
            host: row.check(HostPattern::parse(&self.host))?,
            service: row.check(ServiceId::parse(&self.service))?,
            active_tag: row.check(Tag::parse(&self.active_tag))?,
            previous_tag: self.previous_tag.as_deref().map(|tag| row.check(Tag::parse(tag))).transpose()?,
            certificate_source: row
                .word(&self.certificate_source, CertificateSource::from_word(&self.certificate_source))?,
            http_to_https: self.http_to_https,
            edge_selector: row.labels(&self.edge_selector)?,
            client_authentication: self.client_authentication(&row)?,
            minimum_tls_version: row
                .word(&self.minimum_tls_version, TlsVersion::from_word(&self.minimum_tls_version))?,
            acme: self.acme(&row)?,
        };
        row.stored(domain, self.revision, self.created_at, self.updated_at)
    }

    fn acme(&self, row: &Row<'_>) -> Result<AcmeSettings, StoreError> {
        let challenge = self.acme_challenge.as_deref();
        let challenge = challenge.map(|word| row.word(word, ChallengeKind::from_word(word))).transpose()?;
        let ids: Vec<String> = row.check(serde_json::from_str(&self.acme_issuers))?;
        let issuers = ids.iter().map(|id| row.check(IssuerId::parse(id))).collect::<Result<_, _>>()?;
        let hook = self.on_demand_hook.as_deref().map(|url| row.check(HookUrl::parse(url))).transpose()?;
        row.check(AcmeSettings::new(challenge, issuers, hook.map(|hook| OnDemand { hook })))
    }

    fn client_authentication(&self, row: &Row<'_>) -> Result<Option<ClientAuthentication>, StoreError> {
        match (&self.client_authorities, &self.client_certificate_mode) {
            (None, None) => Ok(None),
            (Some(authorities), Some(word)) => Ok(Some(ClientAuthentication {
                authorities: row.ca_bundle(authorities)?,
                mode: row.word(word, ClientCertificateMode::from_word(word))?,
            })),
            _ => Err(row.inconsistent("CAs of clients without a mode, or a mode without CAs")),
        }
    }
}

#[derive(FromRow)]
pub(super) struct BackendRow {
    id: String,
    service: String,
    address: String,
    tags: String,
    state: String,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

impl BackendRow {
    pub(super) fn backend(self) -> Result<Stored<Backend>, StoreError> {
        let row = Row { table: "backend", id: &self.id };
        let words: Vec<String> = row.check(serde_json::from_str(&self.tags))?;
        let tags = words.iter().map(|tag| row.check(Tag::parse(tag))).collect::<Result<_, _>>()?;
        let backend = Backend {
            id: row.check(BackendId::parse(&self.id))?,
            service: row.check(ServiceId::parse(&self.service))?,
            address: row.check(BackendAddress::parse(&self.address))?,
            tags: row.check(Tags::new(tags))?,
            state: row.word(&self.state, BackendState::from_word(&self.state))?,
        };
        row.stored(backend, self.revision, self.created_at, self.updated_at)
    }
}

/// The tags of a backend as its row has them.
pub(super) fn tags_column(tags: &Tags) -> String {
    json_array(tags.iter().map(Tag::as_str))
}

/// The issuers that a domain names as its row has them.
pub(super) fn issuers_column(acme: &AcmeSettings) -> String {
    json_array(acme.issuers().iter().map(IssuerId::as_str))
}

/// The names of a certificate as its row has them.
pub(super) fn names_column(names: &[HostPattern]) -> String {
    json_array(names.iter().map(HostPattern::as_str))
}

fn json_array<'a>(words: impl Iterator<Item = &'a str>) -> String {
    serde_json::Value::from_iter(words).to_string()
}

#[derive(FromRow)]
pub(super) struct CertificateRow {
    id: String,
    source: String,
    chain: Vec<u8>,
    dns_names: String,
    issuer: String,
    fingerprint_sha256: String,
    not_before: i64,
    not_after: i64,
    sealed_private_key: Vec<u8>,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

impl CertificateRow {
    pub(super) fn certificate(self, sealer: &Sealer) -> Result<Stored<Certificate>, StoreError> {
        let row = Row { table: "certificate", id: &self.id };
        let names: Vec<String> = row.check(serde_json::from_str(&self.dns_names))?;
        let certificate = Certificate {
            id: row.check(CertificateId::parse(&self.id))?,
            source: row.word(&self.source, CertificateSource::from_word(&self.source))?,
            chain: CertificateChain {
                certificates: row.check(split_chain(&self.chain))?,
                dns_names: names.iter().map(|name| row.check(HostPattern::parse(name))).collect::<Result<_, _>>()?,
                issuer: self.issuer,
                fingerprint_sha256: self.fingerprint_sha256,
                not_before: Timestamp(self.not_before),
                not_after: Timestamp(self.not_after),
            },
            private_key: PrivateKey::from_pkcs8(
                sealer.open(&private_key_identity(&self.id), &self.sealed_private_key)?,
            ),
        };
        row.stored(certificate, self.revision, self.created_at, self.updated_at)
    }
}

/// What the private key of a certificate is sealed for.
pub(super) fn private_key_identity(certificate: &str) -> String {
    format!("certificate/{certificate}/private-key")
}

/// What a secret of the system is sealed for.
pub(super) fn secret_identity(name: &str) -> String {
    format!("secret/{name}")
}

/// Certificates that follow each other: DER says where each ends.
fn split_chain(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut chain = Vec::new();
    while !bytes.is_empty() {
        let (rest, _) = x509_parser::parse_x509_certificate(bytes).map_err(|_| "the chain is damaged")?;
        let (certificate, _) = bytes.split_at(bytes.len() - rest.len());
        chain.push(certificate.to_vec());
        bytes = rest;
    }
    if chain.is_empty() { Err("the chain is empty") } else { Ok(chain) }
}

#[derive(FromRow)]
pub(super) struct EnrolmentRow {
    id: String,
    key_sha256: Vec<u8>,
    labels: String,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

impl EnrolmentRow {
    pub(super) fn enrolment(self) -> Result<Stored<Enrolment>, StoreError> {
        let row = Row { table: "enrolment", id: &self.id };
        let enrolment = Enrolment {
            id: row.check(EdgeId::parse(&self.id))?,
            key: EdgeKey::from_bytes(&self.key_sha256).ok_or_else(|| row.inconsistent("its key is damaged"))?,
            labels: row.labels(&self.labels)?,
        };
        row.stored(enrolment, self.revision, self.created_at, self.updated_at)
    }
}

#[derive(FromRow)]
pub(super) struct InviteRow {
    id: String,
    secret_sha256: Vec<u8>,
    labels: String,
    uses: i64,
    expires_at: i64,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

impl InviteRow {
    pub(super) fn invite(self) -> Result<Stored<Invite>, StoreError> {
        let row = Row { table: "invite", id: &self.id };
        let invite = Invite {
            id: row.check(InviteId::parse(&self.id))?,
            hash: row.hash(&self.secret_sha256)?,
            labels: row.labels(&self.labels)?,
            uses: row.check(u32::try_from(self.uses))?,
            expires_at: Timestamp(self.expires_at),
        };
        row.stored(invite, self.revision, self.created_at, self.updated_at)
    }
}

/// The labels of an edge or an invitation as its row has them.
pub(super) fn labels_column(labels: &Labels) -> String {
    labels_value(labels).to_string()
}

#[derive(FromRow)]
pub(super) struct TokenRow {
    id: String,
    secret_sha256: Vec<u8>,
    role: String,
    domains: String,
    services: String,
    expires_at: Option<i64>,
    revision: i64,
    created_at: i64,
    updated_at: i64,
}

impl TokenRow {
    pub(super) fn token(self) -> Result<Stored<Token>, StoreError> {
        let row = Row { table: "token", id: &self.id };
        let patterns = |json: &str| {
            let texts: Vec<String> = row.check(serde_json::from_str(json))?;
            row.check(Patterns::parse(&texts))
        };
        let token = Token {
            id: row.check(TokenId::parse(&self.id))?,
            hash: row.hash(&self.secret_sha256)?,
            access: Access {
                role: row.word(&self.role, Role::from_word(&self.role))?,
                scope: Scope::new(patterns(&self.domains)?, patterns(&self.services)?),
            },
            expires_at: self.expires_at.map(Timestamp),
        };
        row.stored(token, self.revision, self.created_at, self.updated_at)
    }
}

/// The patterns of a scope as its row has them.
pub(super) fn patterns_column(patterns: &[Pattern]) -> String {
    serde_json::Value::from_iter(patterns.iter().map(ToString::to_string)).to_string()
}

#[derive(FromRow)]
pub(super) struct TokenUseRow {
    id: String,
    last_used_at: i64,
}

impl TokenUseRow {
    pub(super) fn token_use(self) -> Result<(TokenId, Timestamp), StoreError> {
        let row = Row { table: "token_use", id: &self.id };
        Ok((row.check(TokenId::parse(&self.id))?, Timestamp(self.last_used_at)))
    }
}

#[derive(FromRow)]
pub(super) struct KeyRow {
    kind: String,
    id: String,
    revision: i64,
}

impl KeyRow {
    pub(super) fn key(self) -> Result<(ObjectKey, Revision), StoreError> {
        let row = Row { table: "tombstone", id: &self.id };
        Ok((row.check(ObjectKey::new(&self.kind, &self.id))?, row.revision(self.revision)?))
    }
}

#[derive(FromRow)]
pub(super) struct HistoryRow {
    revision: i64,
    seq: i64,
    kind: String,
    id: String,
    old_value: Option<String>,
    new_value: Option<String>,
    actor: String,
    door: String,
    address: Option<String>,
    method: Option<String>,
    changed_at: i64,
}

impl HistoryRow {
    pub(super) fn entry(self) -> Result<HistoryEntry, StoreError> {
        let place = format!("{}.{}", self.revision, self.seq);
        let row = Row { table: "change", id: &place };
        let fields = |json: Option<String>| json.map(|json| row.check(serde_json::from_str(&json))).transpose();
        let (key, revision) = KeyRow { kind: self.kind, id: self.id, revision: self.revision }.key()?;
        Ok(HistoryEntry {
            place: HistoryPlace { revision, position: row.check(u32::try_from(self.seq))? },
            key,
            old: fields(self.old_value)?,
            new: fields(self.new_value)?,
            actor: self.actor,
            door: row.word(&self.door, Door::from_word(&self.door))?,
            address: self.address.map(|address| row.check(address.parse())).transpose()?,
            method: self.method,
            at: Timestamp(self.changed_at),
        })
    }
}

#[derive(FromRow)]
pub(super) struct EdgeRow {
    id: String,
    version: String,
    acknowledged_revision: i64,
    acknowledged_at: Option<i64>,
    last_contact_at: i64,
    rejections: String,
    rejections_total: i64,
}

#[derive(Serialize, Deserialize)]
struct RejectionColumn {
    kind: String,
    id: String,
    revision: i64,
    reason: String,
}

impl EdgeRow {
    pub(super) fn edge(self) -> Result<EdgeRecord, StoreError> {
        let row = Row { table: "edge", id: &self.id };
        let rejections: Vec<RejectionColumn> = row.check(serde_json::from_str(&self.rejections))?;
        let rejections = rejections
            .into_iter()
            .map(|RejectionColumn { kind, id, revision, reason }| {
                let (key, revision) = KeyRow { kind, id, revision }.key()?;
                let key = key.served().ok_or_else(|| row.inconsistent("a rejection of what no edge serves"))?;
                Ok(RejectionRecord { key, revision, reason })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(EdgeRecord {
            id: row.check(EdgeId::parse(&self.id))?,
            version: self.version,
            acknowledged_revision: row.revision(self.acknowledged_revision)?,
            acknowledged_at: self.acknowledged_at.map(Timestamp),
            last_contact_at: Timestamp(self.last_contact_at),
            rejections,
            rejections_total: row.check(u64::try_from(self.rejections_total))?,
        })
    }
}

/// The rejections of an edge as its row has them.
pub(super) fn rejections_column(rejections: &[RejectionRecord]) -> String {
    let columns: Vec<_> = rejections
        .iter()
        .map(|RejectionRecord { key, revision, reason }| RejectionColumn {
            kind: key.kind.collection().to_owned(),
            id: key.id.to_string(),
            revision: revision_column(*revision),
            reason: reason.clone(),
        })
        .collect();
    serde_json::to_string(&columns).expect("strings and numbers have a JSON form")
}

/// A revision as the database has it. It counts changes one by one and does not reach the end of `i64`.
pub(super) fn revision_column(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// A duration as the database has it; [`Timeouts`] bounds it.
pub(super) fn millis_column(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
