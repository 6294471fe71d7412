use std::sync::Arc;

use switchyard_proto::{
    v1::{self, dns_provider::Settings},
    vocab::DnsProviderId,
};

use super::{Document, Invalid, Secrets, slot::Slot};
use crate::model::{
    DnsProvider, DnsSettings, HookMode, InvalidDnsSettings, Object, ObjectKey, ObjectKind, Stored, TsigKey, Zones,
};

impl Document for DnsProvider {
    const KIND: ObjectKind = ObjectKind::DnsProvider;
    type Id = DnsProviderId;
    type Message = v1::DnsProvider;

    fn key_of(id: &DnsProviderId) -> ObjectKey {
        ObjectKey::dns_provider(id)
    }

    fn id(&self) -> &DnsProviderId {
        &self.id
    }

    fn message(&self) -> v1::DnsProvider {
        let Self { id, zones, settings } = self;
        v1::DnsProvider {
            name: id.to_resource_name(),
            zones: zones.iter().map(ToString::to_string).collect(),
            settings: Some(settings_message(settings)),
            ..v1::DnsProvider::default()
        }
    }

    fn parse(message: v1::DnsProvider, _: &mut Secrets) -> Result<Self, Invalid> {
        let v1::DnsProvider { name, zones, settings, revision: _, etag: _, create_time: _, update_time: _ } = message;
        Ok(Self {
            id: DnsProviderId::parse_resource_name(&name)?,
            zones: Zones::parse(&zones)?,
            settings: parse_settings(settings.ok_or("its settings are missing")?)?,
        })
    }

    fn secret_fields(message: &mut v1::DnsProvider) -> Vec<Slot<'_>> {
        match &mut message.settings {
            Some(Settings::Rfc2136(it)) => vec![Slot::text("rfc2136.key_secret", &mut it.key_secret)],
            Some(Settings::Cloudflare(it)) => vec![Slot::text("cloudflare.api_token", &mut it.api_token)],
            Some(Settings::AcmeDns(it)) => vec![Slot::text("acme_dns.password", &mut it.password)],
            Some(Settings::Httpreq(it)) => vec![Slot::text("httpreq.password", &mut it.password)],
            Some(Settings::Exec(_)) | None => Vec::new(),
        }
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::DnsProvider(stored)
    }
}

fn settings_message(settings: &DnsSettings) -> Settings {
    let is_raw = |mode: &HookMode| *mode == HookMode::Raw;
    match settings {
        DnsSettings::Rfc2136 { server, tsig } => Settings::Rfc2136(v1::Rfc2136 {
            server: server.to_string(),
            key_name: tsig.as_ref().map(TsigKey::name).unwrap_or_default(),
            key_algorithm: tsig.as_ref().map(|key| key.algorithm().as_str().to_owned()).unwrap_or_default(),
            key_secret: tsig.as_ref().map(TsigKey::expose_secret).unwrap_or_default(),
        }),
        DnsSettings::Cloudflare { api_token, api } => {
            Settings::Cloudflare(v1::Cloudflare { api_token: api_token.expose().to_owned(), api: api.to_string() })
        }
        DnsSettings::AcmeDns { server, username, password, subdomain } => Settings::AcmeDns(v1::AcmeDns {
            server: server.to_string(),
            username: username.clone(),
            password: password.expose().to_owned(),
            subdomain: subdomain.clone(),
        }),
        DnsSettings::HttpRequest { endpoint, mode, username, password } => Settings::Httpreq(v1::Httpreq {
            endpoint: endpoint.to_string(),
            raw: is_raw(mode),
            username: username.clone().unwrap_or_default(),
            password: password.as_ref().map(|password| password.expose().to_owned()).unwrap_or_default(),
        }),
        DnsSettings::Exec { program, mode } => Settings::Exec(v1::Exec { program: program.clone(), raw: is_raw(mode) }),
    }
}

fn parse_settings(settings: Settings) -> Result<DnsSettings, InvalidDnsSettings> {
    let mode = |is_raw| if is_raw { HookMode::Raw } else { HookMode::Default };
    match settings {
        Settings::Rfc2136(v1::Rfc2136 { server, key_name, key_algorithm, key_secret }) => {
            let has_key = !(key_name.is_empty() && key_secret.is_empty());
            let key = has_key.then(|| TsigKey::parse(&key_name, &key_algorithm, &key_secret)).transpose()?;
            DnsSettings::rfc2136(&server, key)
        }
        Settings::Cloudflare(v1::Cloudflare { api_token, api }) => DnsSettings::cloudflare(&api_token, Some(&api)),
        Settings::AcmeDns(v1::AcmeDns { server, username, password, subdomain }) => {
            DnsSettings::acme_dns(&server, &username, &password, &subdomain)
        }
        Settings::Httpreq(v1::Httpreq { endpoint, raw, username, password }) => {
            let given = |text: String| Some(text).filter(|text| !text.is_empty());
            let (username, password) = (given(username), given(password));
            DnsSettings::http_request(&endpoint, mode(raw), username.as_deref(), password.as_deref())
        }
        Settings::Exec(v1::Exec { program, raw }) => DnsSettings::exec(&program, mode(raw)),
    }
}
