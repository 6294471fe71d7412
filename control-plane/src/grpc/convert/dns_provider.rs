use pbjson_types::FieldMask;
use switchyard_proto::{
    v1::{self as wire, dns_provider::Settings},
    vocab::{DnsProviderId, HostPattern, Revision},
};

use super::{Mask, Violations, etag, parse_etag, timestamp};
use crate::{
    app::{AppError, dns_provider::DnsProviderUpdate},
    model::{DnsProvider, DnsSettings, HookMode, InvalidDnsSettings, Stored, TsigKey, Zones},
};

/// The paths of an update mask. Settings are replaced as a whole: what is secret of them is not there to be changed in part.
const PATHS: [&str; 6] = ["zones", "rfc2136", "cloudflare", "acme_dns", "httpreq", "exec"];

/// A DNS provider as a message, without what is secret.
pub(in crate::grpc) fn message(stored: &Stored<DnsProvider>) -> wire::DnsProvider {
    let Stored { value, revision, created_at, updated_at } = stored;
    let DnsProvider { id, zones, settings } = value;
    let mode = |mode: &HookMode| *mode == HookMode::Raw;
    let settings = match settings {
        DnsSettings::Rfc2136 { server, tsig } => Settings::Rfc2136(wire::Rfc2136 {
            server: server.to_string(),
            key_name: tsig.as_ref().map(TsigKey::name).unwrap_or_default(),
            key_algorithm: tsig.as_ref().map(|key| key.algorithm().as_str().to_owned()).unwrap_or_default(),
            key_secret: String::new(),
        }),
        DnsSettings::Cloudflare { api_token: _, api } => {
            Settings::Cloudflare(wire::Cloudflare { api_token: String::new(), api: api.to_string() })
        }
        DnsSettings::AcmeDns { server, username, password: _, subdomain } => Settings::AcmeDns(wire::AcmeDns {
            server: server.to_string(),
            username: username.clone(),
            password: String::new(),
            subdomain: subdomain.clone(),
        }),
        DnsSettings::HttpRequest { endpoint, mode: how, username, password: _ } => Settings::Httpreq(wire::Httpreq {
            endpoint: endpoint.to_string(),
            raw: mode(how),
            username: username.clone().unwrap_or_default(),
            password: String::new(),
        }),
        DnsSettings::Exec { program, mode: how } => {
            Settings::Exec(wire::Exec { program: program.clone(), raw: mode(how) })
        }
    };
    wire::DnsProvider {
        name: id.to_resource_name(),
        zones: zones.iter().map(HostPattern::to_string).collect(),
        settings: Some(settings),
        revision: revision.0,
        etag: etag(*revision),
        create_time: Some(timestamp(*created_at)),
        update_time: Some(timestamp(*updated_at)),
    }
}

/// A DNS provider to be made. Fields that are for output only are ignored (AIP-203).
pub(in crate::grpc) fn new(provider: Option<wire::DnsProvider>) -> Result<DnsProvider, AppError> {
    let wire::DnsProvider { name, zones, settings, revision: _, etag: _, create_time: _, update_time: _ } =
        provider.ok_or_else(|| AppError::invalid("dns_provider", "a DNS provider is required"))?;
    let mut violations = Violations::default();
    let id = violations.check("dns_provider.name", DnsProviderId::parse_resource_name(&name));
    let zones = violations.check("dns_provider.zones", Zones::parse(&zones));
    let settings = parse_settings(settings, &mut violations);
    let provider = || Some(DnsProvider { id: id?, zones: zones?, settings: settings? });
    let provider = provider();
    violations.finish(provider)
}

/// Which DNS provider is to be changed, how, and the etag it must have.
pub(in crate::grpc) fn update(
    provider: Option<wire::DnsProvider>,
    mask: Option<FieldMask>,
) -> Result<(DnsProviderId, DnsProviderUpdate, Option<Revision>), AppError> {
    let wire::DnsProvider { name, zones, settings, revision: _, etag, create_time: _, update_time: _ } =
        provider.ok_or_else(|| AppError::invalid("dns_provider", "a DNS provider is required"))?;
    let mask = Mask::parse(mask, &PATHS)?;
    let mut violations = Violations::default();
    let id = violations.check("dns_provider.name", DnsProviderId::parse_resource_name(&name));
    let mut update = DnsProviderUpdate::default();
    if mask.covers("zones", !zones.is_empty()) {
        update.zones = violations.check("dns_provider.zones", Zones::parse(&zones));
    }
    if PATHS[1..].iter().any(|path| mask.covers(path, settings.is_some())) {
        update.settings = parse_settings(settings, &mut violations);
    }
    violations.finish(id.map(|id| (id, update, parse_etag(&etag))))
}

fn parse_settings(settings: Option<Settings>, violations: &mut Violations) -> Option<DnsSettings> {
    let parsed = match settings {
        None => {
            let what = "one of rfc2136, cloudflare, acme_dns, httpreq and exec is required";
            return violations.check("dns_provider.settings", Err(what));
        }
        Some(settings) => of_message(settings),
    };
    match parsed {
        Ok(settings) => Some(settings),
        Err(error) => violations.check("dns_provider.settings", Err(format!("{}: {error}", error.field()))),
    }
}

fn of_message(settings: Settings) -> Result<DnsSettings, InvalidDnsSettings> {
    let mode = |raw| if raw { HookMode::Raw } else { HookMode::Default };
    let optional = |text: &String| (!text.is_empty()).then(|| text.clone());
    match settings {
        Settings::Rfc2136(wire::Rfc2136 { server, key_name, key_algorithm, key_secret }) => {
            let has_key = !(key_name.is_empty() && key_secret.is_empty());
            let algorithm = if key_algorithm.is_empty() { "hmac-sha256" } else { &key_algorithm };
            let key = has_key.then(|| TsigKey::parse(&key_name, algorithm, &key_secret)).transpose()?;
            DnsSettings::rfc2136(&server, key)
        }
        Settings::Cloudflare(wire::Cloudflare { api_token, api }) => {
            DnsSettings::cloudflare(&api_token, optional(&api).as_deref())
        }
        Settings::AcmeDns(wire::AcmeDns { server, username, password, subdomain }) => {
            DnsSettings::acme_dns(&server, &username, &password, &subdomain)
        }
        Settings::Httpreq(wire::Httpreq { endpoint, raw, username, password }) => {
            let (username, password) = (optional(&username), optional(&password));
            DnsSettings::http_request(&endpoint, mode(raw), username.as_deref(), password.as_deref())
        }
        Settings::Exec(wire::Exec { program, raw }) => DnsSettings::exec(&program, mode(raw)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn provider(settings: Settings) -> wire::DnsProvider {
        wire::DnsProvider {
            name: "dnsProviders/home".to_owned(),
            zones: vec!["shop.example".to_owned()],
            settings: Some(settings),
            ..wire::DnsProvider::default()
        }
    }

    #[test]
    fn what_is_secret_comes_in_and_never_goes_out() {
        let key = wire::Rfc2136 {
            server: "192.0.2.1".to_owned(),
            key_name: "switchyard".to_owned(),
            key_secret: "c2VjcmV0".to_owned(),
            ..Default::default()
        };
        let token = wire::Cloudflare { api_token: "hunter2".to_owned(), api: String::new() };
        for (settings, secret) in [(Settings::Rfc2136(key), "c2VjcmV0"), (Settings::Cloudflare(token), "hunter2")] {
            let value = new(Some(provider(settings))).unwrap();
            let at = Timestamp(1);
            let shown = message(&Stored { value, revision: Revision(1), created_at: at, updated_at: at });
            let shown = serde_json::to_string(&shown).unwrap();
            assert!(!shown.contains(secret) && shown.contains("shop.example"), "{shown}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let bad = wire::DnsProvider { zones: vec![], ..provider(Settings::Exec(wire::Exec::default())) };
        let Err(AppError::Invalid(violations)) = new(Some(bad)) else { panic!("it is refused") };
        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["dns_provider.zones", "dns_provider.settings"]);
        assert!(violations[1].description.starts_with("program: "), "{violations:?}");
    }
}
