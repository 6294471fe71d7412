//! DNS providers: who sets the records by which names prove themselves (DNS-01, RFC 8555, section 8.4), and how it is told to.

mod invalid;
mod settings;
mod tsig;

use crate::{
    v1::{self as wire, dns_provider::Settings},
    vocab::{DnsProviderId, HostPattern, limits::DNS_PROVIDER_ZONES_MAX},
};

use super::{Defaults, InvalidResource, Resource, invalid::Violations};

pub use self::{
    invalid::InvalidDnsSettings,
    settings::{BaseUrl, CLOUDFLARE_API, DnsSettings, HookMode, Secret as DnsSecret},
    tsig::{TsigAlgorithm, TsigKey},
};

/// Who sets records in some zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsProvider {
    /// Its id.
    pub id: DnsProviderId,
    /// The zones.
    pub zones: Zones,
    /// How it is told.
    pub settings: DnsSettings,
}

impl Resource for DnsProvider {
    type Message = wire::DnsProvider;

    fn parse(message: wire::DnsProvider) -> Result<Self, InvalidResource> {
        let wire::DnsProvider { name, zones, settings, revision: _, etag: _, create_time: _, update_time: _ } = message;
        let mut violations = Violations::default();
        let id = violations.check("name", DnsProviderId::parse_resource_name(&name));
        let zones = violations.check("zones", Zones::parse(&zones));
        let settings = match settings {
            None => {
                violations.check("settings", Err("one of rfc2136, cloudflare, acme_dns, httpreq and exec is required"))
            }
            Some(settings) => {
                let arm = arm(&settings);
                DnsSettings::parse(settings)
                    .map_or_else(|error| violations.check(format!("{arm}.{}", error.field()), Err(error)), Some)
            }
        };
        let provider = || Some(Self { id: id?, zones: zones?, settings: settings? });
        let provider = provider();
        violations.finish(provider)
    }

    fn message(&self, defaults: Defaults) -> wire::DnsProvider {
        let Self { id, zones, settings } = self;
        wire::DnsProvider {
            name: id.to_resource_name(),
            zones: zones.iter().map(HostPattern::to_string).collect(),
            settings: Some(settings.message(defaults)),
            revision: 0,
            etag: String::new(),
            create_time: None,
            update_time: None,
        }
    }
}

/// The field that the settings are in.
fn arm(settings: &Settings) -> &'static str {
    match settings {
        Settings::Rfc2136(_) => "rfc2136",
        Settings::Cloudflare(_) => "cloudflare",
        Settings::AcmeDns(_) => "acme_dns",
        Settings::Httpreq(_) => "httpreq",
        Settings::Exec(_) => "exec",
    }
}

/// The names of zones, each for itself and everything below; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zones(Vec<HostPattern>);

impl Zones {
    /// Takes zones by name: `shop.example`.
    pub fn parse(names: &[String]) -> Result<Self, InvalidZones> {
        if names.is_empty() || names.len() > DNS_PROVIDER_ZONES_MAX {
            return Err(InvalidZones);
        }
        let mut zones = names
            .iter()
            .map(|name| HostPattern::parse(name).ok().filter(|zone| zone.wildcard_suffix().is_none()))
            .collect::<Option<Vec<_>>>()
            .ok_or(InvalidZones)?;
        zones.sort();
        zones.dedup();
        Ok(Self(zones))
    }

    /// The zones, by name.
    pub fn iter(&self) -> impl Iterator<Item = &HostPattern> {
        self.0.iter()
    }

    /// How many labels the narrowest of these zones has that `host` is in.
    fn labels_of_narrowest(&self, host: &HostPattern) -> Option<usize> {
        let name = host.wildcard_suffix().unwrap_or(host.as_str());
        let has = |zone: &&HostPattern| {
            name.strip_suffix(zone.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.0.iter().filter(has).map(|zone| zone.as_str().split('.').count()).max()
    }
}

/// The provider that sets records for `host`: the one with the narrowest zone that it is in.
pub fn provider_of<'a>(host: &HostPattern, all: impl IntoIterator<Item = &'a DnsProvider>) -> Option<&'a DnsProvider> {
    let fitting = all.into_iter().filter_map(|it| Some((it.zones.labels_of_narrowest(host)?, it)));
    fitting.max_by_key(|(labels, _)| *labels).map(|(_, provider)| provider)
}

/// What is no list of zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("1 to {DNS_PROVIDER_ZONES_MAX} names of zones are required, without `*.`: shop.example")]
pub struct InvalidZones;

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(id: &str, zones: &[&str]) -> DnsProvider {
        let zones: Vec<String> = zones.iter().map(|zone| (*zone).to_owned()).collect();
        DnsProvider {
            id: DnsProviderId::parse(id).unwrap(),
            zones: Zones::parse(&zones).unwrap(),
            settings: DnsSettings::exec("hook", HookMode::Default).unwrap(),
        }
    }

    #[test]
    fn the_narrowest_zone_counts() {
        let all = [provider("wide", &["example"]), provider("narrow", &["shop.example", "other.test"])];
        let found = |host: &str| provider_of(&HostPattern::parse(host).unwrap(), &all).map(|it| it.id.to_string());
        assert_eq!(found("*.shop.example").as_deref(), Some("narrow"));
        assert_eq!(found("a.b.shop.example").as_deref(), Some("narrow"));
        assert_eq!(found("workshop.example").as_deref(), Some("wide"));
        assert_eq!(found("shop.test"), None);
    }

    #[test]
    fn zones_are_names_and_bounded() {
        let zones = |names: &[&str]| Zones::parse(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert!(zones(&[]).is_err() && zones(&["*.shop.example"]).is_err() && zones(&["a b"]).is_err());
        assert_eq!(zones(&["b.example", "A.example", "a.example"]).unwrap().iter().count(), 2);
    }
}
