//! Where a name's TXT record is to be set, and who answers for it: CNAMEs, zone, name servers and their addresses, all as the
//! resolver of this machine sees them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::future::join_all;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, RecordType},
};
use hickory_resolver::{
    TokioResolver,
    net::{DnsError as NoAnswer, NetError},
};
use switchyard_process::resolver::{ResolverError, resolver};
use tracing::warn;

use super::plain;

/// How many CNAMEs are followed from a name.
const CNAMES_MAX: usize = 16;
/// How many names upwards a zone is looked for.
const LABELS_MAX: usize = 32;
/// Name servers of one zone that are asked, and addresses of one of them.
const SERVERS_MAX: usize = 32;
const ADDRESSES_MAX: usize = 8;
/// How long one resolver may take.
const RESOLVER_WAIT: Duration = Duration::from_secs(3);

/// Asks the resolver of this machine.
#[derive(Clone)]
pub(super) struct Resolver {
    dns: TokioResolver,
    authoritative_port: u16,
}

/// A zone, and all who answer for it.
#[derive(Debug)]
pub(super) struct Zone {
    pub(super) name: Name,
    pub(super) servers: Vec<NameServer>,
}

/// One who answers for a zone.
#[derive(Debug)]
pub(super) struct NameServer {
    pub(super) name: Name,
    /// At least one; or why they could not be looked up.
    pub(super) addresses: Result<Vec<SocketAddr>, String>,
}

impl Resolver {
    /// Asks `server`, or those that the system is configured to ask, or as a last resort this machine, as the C library
    /// does (resolv.conf(5)).
    pub(super) fn new(server: Option<SocketAddr>, authoritative_port: u16) -> Result<Self, ResolverError> {
        // What is not cached is seen: a delegation that was fixed a moment ago.
        Ok(Self { dns: resolver(server, RESOLVER_WAIT)?, authoritative_port })
    }

    /// Where the CNAMEs of `name` lead, in lower case; `name` itself if there is none.
    pub(super) async fn follow(&self, name: &Name) -> Result<Name, LookupError> {
        let mut at = name.clone();
        let mut seen = BTreeSet::from([at.to_lowercase()]);
        while let Some(next) = self.cname(&at).await? {
            if !seen.insert(next.to_lowercase()) {
                return Err(LookupError::CnameLoop { name: plain(name), again: plain(&next) });
            }
            if seen.len() > CNAMES_MAX {
                return Err(LookupError::CnamesTooMany { name: plain(name) });
            }
            at = next;
        }
        Ok(at.to_lowercase())
    }

    async fn cname(&self, name: &Name) -> Result<Option<Name>, LookupError> {
        match self.dns.lookup(name.clone(), RecordType::CNAME).await {
            Ok(found) => Ok(found.answers().iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == *name => Some(absolute(&target.0)),
                _ => None,
            })),
            Err(error) if is_absence(&error) => Ok(None),
            Err(source) => Err(LookupError::Failed { kind: "CNAME", name: plain(name), source: source.into() }),
        }
    }

    /// The zone that `name` is in, and its name servers.
    pub(super) async fn zone(&self, name: &Name) -> Result<Zone, LookupError> {
        let zone = self.zone_name(name).await?;
        let found = match self.dns.lookup(zone.clone(), RecordType::NS).await {
            Ok(found) => found,
            Err(error) if is_absence(&error) => {
                return Err(LookupError::NoServers { zone: plain(&zone), name: plain(name) });
            }
            Err(source) => {
                return Err(LookupError::Failed { kind: "NS", name: plain(&zone), source: source.into() });
            }
        };
        let names: BTreeSet<Name> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::NS(server) if record.name == zone => Some(absolute(&server.0).to_lowercase()),
                _ => None,
            })
            .take(SERVERS_MAX)
            .collect();
        let servers: Vec<_> =
            join_all(names.iter().map(|name| self.server(name))).await.into_iter().flatten().collect();
        if servers.is_empty() {
            return Err(LookupError::NoServers { zone: plain(&zone), name: plain(name) });
        }
        Ok(Zone { name: zone, servers })
    }

    /// The nearest name upwards that has a SOA record.
    async fn zone_name(&self, name: &Name) -> Result<Name, LookupError> {
        let mut candidate = name.clone();
        for _ in 0..LABELS_MAX {
            if candidate.is_root() {
                break;
            }
            let zone = match self.dns.lookup(candidate.clone(), RecordType::SOA).await {
                // Through a CNAME there may be one of another name.
                Ok(found) => found
                    .answers()
                    .iter()
                    .find(|record| record.record_type() == RecordType::SOA && record.name == candidate)
                    .map(|record| record.name.clone()),
                // That there is none is said by the zone that it would be in.
                Err(error) if is_absence(&error) => {
                    error.into_soa().map(|soa| soa.name.clone()).filter(|zone| zone.zone_of(&candidate))
                }
                Err(source) => {
                    return Err(LookupError::Failed { kind: "SOA", name: plain(&candidate), source: source.into() });
                }
            };
            match zone {
                Some(zone) if zone.is_root() => break,
                Some(zone) => return Ok(absolute(&zone)),
                None => candidate = candidate.base_name(),
            }
        }
        Err(LookupError::NoZone { name: plain(name) })
    }

    /// `None` if the name is known to have no address: nobody can ask such a server, the CA no more than others.
    async fn server(&self, name: &Name) -> Option<NameServer> {
        let addresses = match self.addresses(name).await {
            Ok(addresses) if addresses.is_empty() => {
                warn!(server = %name, "a name server of a zone has no address, and is left out");
                return None;
            }
            Ok(addresses) => Ok(addresses),
            Err(error) => Err(error.to_string()),
        };
        Some(NameServer { name: name.clone(), addresses })
    }

    /// Where a name server is asked; nowhere if it has no address.
    pub(super) async fn addresses(&self, name: &Name) -> Result<Vec<SocketAddr>, LookupError> {
        match self.dns.lookup_ip(name.clone()).await {
            Ok(found) => {
                let ips: BTreeSet<IpAddr> = found.iter().take(ADDRESSES_MAX).collect();
                Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, self.authoritative_port)).collect())
            }
            Err(error) if is_absence(&error) => Ok(Vec::new()),
            Err(source) => Err(LookupError::Failed { kind: "address", name: plain(name), source: source.into() }),
        }
    }
}

/// Whether DNS says that there is no such record, and not that it cannot say.
fn is_absence(error: &NetError) -> bool {
    matches!(error, NetError::Dns(NoAnswer::NoRecordsFound(none))
        if matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain))
}

fn absolute(name: &Name) -> Name {
    let mut name = name.clone();
    name.set_fqdn(true);
    name
}

/// Why it is not known where the record is to be set, or who answers for it.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// A lookup has no answer.
    #[error(
        "the {kind} lookup of {name} has no answer: {source}; check that the resolver of this machine can look it up"
    )]
    Failed {
        /// What was looked up.
        kind: &'static str,
        /// Whose.
        name: String,
        /// Why.
        source: Box<NetError>,
    },
    /// CNAMEs lead in a circle.
    #[error("the CNAMEs of {name} lead in a circle, by {again}; fix the delegation")]
    CnameLoop {
        /// Where they begin.
        name: String,
        /// Where they lead twice.
        again: String,
    },
    /// CNAMEs lead on and on.
    #[error("{name} leads over more than {CNAMES_MAX} CNAMEs; make the delegation shorter")]
    CnamesTooMany {
        /// Where they begin.
        name: String,
    },
    /// There is no zone.
    #[error(
        "no zone is found that {name} is in, because no name above it has a SOA record; check that the domain is \
         registered and that the resolver of this machine knows its zone"
    )]
    NoZone {
        /// Which name.
        name: String,
    },
    /// There are no name servers that can be asked.
    #[error(
        "the zone {zone} of {name} has no name servers with addresses as far as the resolver of this machine knows; add \
         NS records to it and addresses to those, or have this machine use a resolver that knows them"
    )]
    NoServers {
        /// Which zone.
        zone: String,
        /// Which name.
        name: String,
    },
}
