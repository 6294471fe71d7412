use pbjson_types::FieldMask;
use switchyard_proto::{
    resource::{Defaults, Resource as _},
    v1::{self as wire, dns_provider::Settings},
    vocab::{DnsProviderId, Revision},
};

use super::{Mask, Violations, etag, parse_etag, timestamp};
use crate::{
    app::{AppError, dns_provider::DnsProviderUpdate},
    model::{DnsProvider, Stored, Zones},
};

/// The paths of an update mask. Settings are replaced as a whole: what is secret of them is not there to be changed in part.
const PATHS: [&str; 6] = ["zones", "rfc2136", "cloudflare", "acme_dns", "httpreq", "exec"];

/// A DNS provider as a message, without what is secret.
pub(in crate::grpc) fn message(stored: &Stored<DnsProvider>) -> wire::DnsProvider {
    let Stored { value, revision, created_at, updated_at } = stored;
    let mut message = value.message(Defaults::Written);
    match &mut message.settings {
        Some(Settings::Rfc2136(it)) => it.key_secret.clear(),
        Some(Settings::Cloudflare(it)) => it.api_token.clear(),
        Some(Settings::AcmeDns(it)) => it.password.clear(),
        Some(Settings::Httpreq(it)) => it.password.clear(),
        Some(Settings::Exec(_)) | None => {}
    }
    wire::DnsProvider {
        revision: revision.0,
        etag: etag(*revision),
        create_time: Some(timestamp(*created_at)),
        update_time: Some(timestamp(*updated_at)),
        ..message
    }
}

/// A DNS provider to be made. Fields that are for output only are ignored (AIP-203).
pub(in crate::grpc) fn new(provider: Option<wire::DnsProvider>) -> Result<DnsProvider, AppError> {
    let provider = provider.ok_or_else(|| AppError::invalid("dns_provider", "a DNS provider is required"))?;
    DnsProvider::parse(provider).map_err(|error| AppError::invalid_resource("dns_provider", &error))
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
        let whole = wire::DnsProvider { zones: vec!["example".to_owned()], settings, name, ..Default::default() };
        let whole = DnsProvider::parse(whole).map_err(|error| AppError::invalid_resource("dns_provider", &error))?;
        update.settings = Some(whole.settings);
    }
    violations.finish(id.map(|id| (id, update, parse_etag(&etag))))
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
        assert_eq!(fields, ["dns_provider.zones", "dns_provider.exec.program"]);
    }
}
