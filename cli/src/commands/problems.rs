//! What is wrong in the fleet, as far as a list of everything shows it.

use std::{collections::BTreeSet, time::SystemTime};

use serde::Serialize;
use switchyard_proto::v1::{
    Backend, BackendState, Domain, Edge, EdgeState, Issuance, IssuanceState, Rejection, Service, Unreadable,
};

use super::edge::label_text;
use crate::{
    names,
    output::{Show, age},
    wait::unnamed,
};

/// Everything that may have a problem.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub(super) domains: Vec<Domain>,
    pub(super) services: Vec<Service>,
    pub(super) backends: Vec<Backend>,
    pub(super) edges: Vec<Edge>,
    pub(super) issuances: Vec<Issuance>,
    pub(super) unreadable: Vec<Unreadable>,
}

/// What is wrong with a resource.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    pub(super) resource: String,
    pub(super) problem: String,
}

impl Problem {
    fn new(resource: &str, problem: impl Into<String>) -> Self {
        Self { resource: resource.to_owned(), problem: problem.into() }
    }
}

impl Show for Problem {
    const PLURAL: &'static str = "problems";
    const COLUMNS: &'static [&'static str] = &["RESOURCE", "PROBLEM"];
    const ENDS_IN_TEXT: bool = true;

    fn row(&self, _: SystemTime) -> Vec<String> {
        vec![self.resource.clone(), self.problem.clone()]
    }
}

impl Fleet {
    /// All problems: certificates, edges, domains, and what cannot be read.
    pub(super) fn problems(&self, now: SystemTime) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.issuances.iter().filter_map(|it| certificate(it, now)).collect();
        problems.extend(self.edges.iter().flat_map(|it| edge(it, now)));
        if self.edges.is_empty() && !self.domains.is_empty() {
            problems.push(Problem::new("edges", "there is none to serve the domains: `switchyard edge invite`"));
        }
        problems.extend(self.unserved());
        let unreadable = self.unreadable.iter();
        problems.extend(unreadable.map(|it| Problem::new(&it.resource, format!("cannot be read: {}", it.reason))));
        problems
    }

    /// The domains that no backend or no edge serves.
    fn unserved(&self) -> Vec<Problem> {
        let active = self.backends.iter().filter(|backend| backend.state() == BackendState::Active);
        let pools: BTreeSet<(&str, &str)> =
            active.flat_map(|it| it.tags.iter().map(|tag| (it.service.as_str(), tag.as_str()))).collect();
        // A token may see a domain and not its service: then nothing is known of the backends.
        let services: BTreeSet<&str> = self.services.iter().map(|service| service.name.as_str()).collect();
        let mut problems = Vec::new();
        for Domain { name, service, active_tag, edge_selector, .. } in &self.domains {
            if services.contains(service.as_str()) && !pools.contains(&(service, active_tag)) {
                let service = names::id(service);
                problems.push(Problem::new(
                    name,
                    format!("no active backend of service {service} carries the tag {active_tag}"),
                ));
            }
            let is_selected =
                |edge: &Edge| edge_selector.iter().all(|(label, value)| edge.labels.get(label) == Some(value));
            if !self.edges.is_empty() && !self.edges.iter().any(is_selected) {
                problems.push(Problem::new(name, format!("no edge has the labels {}", label_text(edge_selector))));
            }
        }
        problems
    }
}

fn certificate(issuance: &Issuance, now: SystemTime) -> Option<Problem> {
    if issuance.state() != IssuanceState::Failing {
        return None;
    }
    let served = match issuance.certificate.as_str() {
        "" => "no certificate".to_owned(),
        _ => format!("the certificate is not renewed, and expires {}", age(issuance.not_after_time.as_ref(), now)),
    };
    Some(Problem::new(&issuance.domain, format!("{served}: {}", issuance.failure)))
}

fn edge(edge: &Edge, now: SystemTime) -> Vec<Problem> {
    let mut problems = Vec::new();
    if edge.state() != EdgeState::Connected {
        let contact = age(edge.last_contact_time.as_ref(), now);
        problems.push(Problem::new(&edge.name, format!("not connected, last contact {contact}")));
    }
    if edge.not_persisted {
        problems.push(Problem::new(&edge.name, "its disk refuses what it serves: a restart would go back"));
    }
    for Rejection { resource, revision, reason } in &edge.rejections {
        problems.push(Problem::new(&edge.name, format!("rejects {resource} (revision {revision}): {reason}")));
    }
    match unnamed(edge.rejections_total, &edge.rejections) {
        0 => {}
        more => problems.push(Problem::new(&edge.name, format!("rejects {more} more"))),
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(host: &str, service: &str, tag: &str) -> Domain {
        Domain {
            name: format!("domains/{host}"),
            service: format!("services/{service}"),
            active_tag: tag.to_owned(),
            ..Domain::default()
        }
    }

    fn backend(service: &str, tag: &str, state: BackendState) -> Backend {
        Backend {
            service: format!("services/{service}"),
            tags: vec![tag.to_owned()],
            state: state.into(),
            ..Backend::default()
        }
    }

    fn fleet() -> Fleet {
        let connected = EdgeState::Connected.into();
        Fleet {
            domains: vec![domain("a.example", "shop", "a")],
            services: vec![Service { name: "services/shop".to_owned(), ..Service::default() }],
            backends: vec![backend("shop", "a", BackendState::Active), backend("shop", "b", BackendState::Draining)],
            edges: vec![Edge { name: "edges/edge-1".to_owned(), state: connected, ..Edge::default() }],
            ..Fleet::default()
        }
    }

    /// `resource: problem`
    fn told(fleet: &Fleet) -> Vec<String> {
        let problems = fleet.problems(SystemTime::UNIX_EPOCH);
        problems.iter().map(|it| format!("{}: {}", it.resource, it.problem)).collect()
    }

    #[test]
    fn a_fleet_that_serves_has_no_problems() {
        assert_eq!(told(&fleet()), [""; 0]);
    }

    #[test]
    fn a_fleet_without_edges_serves_nothing() {
        let fleet = Fleet { edges: Vec::new(), ..fleet() };
        assert_eq!(told(&fleet), ["edges: there is none to serve the domains: `switchyard edge invite`"]);
        assert_eq!(told(&Fleet::default()), [""; 0]);
    }

    #[test]
    fn domains_that_nothing_serves_are_named() {
        let mut fleet = fleet();
        fleet.domains.push(domain("b.example", "shop", "b"));
        fleet.domains.push(domain("c.example", "out-of-scope", "a"));
        let selector = [("region".to_owned(), "eu".to_owned())].into();
        fleet.domains.push(Domain { edge_selector: selector, ..domain("d.example", "shop", "a") });
        assert_eq!(
            told(&fleet),
            [
                "domains/b.example: no active backend of service shop carries the tag b",
                "domains/d.example: no edge has the labels region=eu",
            ]
        );
    }

    #[test]
    fn failing_certificates_edges_and_what_cannot_be_read_are_named() {
        let mut fleet = fleet();
        let issuance = |host: &str, state: IssuanceState, certificate: &str| Issuance {
            domain: format!("domains/{host}"),
            state: state.into(),
            failure: "the CA refused".to_owned(),
            certificate: certificate.to_owned(),
            not_after_time: Some(pbjson_types::Timestamp { seconds: 7_200, nanos: 0 }),
            ..Issuance::default()
        };
        fleet.issuances = vec![
            issuance("a.example", IssuanceState::Failing, ""),
            issuance("b.example", IssuanceState::Failing, "certificates/b"),
            issuance("c.example", IssuanceState::Issued, "certificates/c"),
        ];
        let rejection =
            Rejection { resource: "domains/a.example".to_owned(), revision: 3, reason: "no key".to_owned() };
        fleet.edges = vec![
            Edge { name: "edges/away".to_owned(), state: EdgeState::Offline.into(), ..Edge::default() },
            Edge {
                name: "edges/bad".to_owned(),
                state: EdgeState::Connected.into(),
                not_persisted: true,
                rejections: vec![rejection],
                rejections_total: 5,
                ..Edge::default()
            },
        ];
        fleet.unreadable = vec![Unreadable {
            resource: "services/old".to_owned(),
            reason: "of a newer format".to_owned(),
            ..Unreadable::default()
        }];
        assert_eq!(
            told(&fleet),
            [
                "domains/a.example: no certificate: the CA refused",
                "domains/b.example: the certificate is not renewed, and expires in 2h: the CA refused",
                "edges/away: not connected, last contact -",
                "edges/bad: its disk refuses what it serves: a restart would go back",
                "edges/bad: rejects domains/a.example (revision 3): no key",
                "edges/bad: rejects 4 more",
                "services/old: cannot be read: of a newer format",
            ]
        );
    }
}
