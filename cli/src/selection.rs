//! Which elements of a list are shown, and in what order: `--filter`, `--sort` and `--limit`.
//!
//! Nothing here names a field: paths are those that `get` shows, read by the descriptor of the message, so that a new field can be filtered and
//! sorted by without code of its own.

use std::cmp::Ordering;

use clap::Args;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};
use switchyard_proto::schema::{self, FieldOptions};

use crate::{failure::Failure, listing, names, output::note};

/// What every list takes.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "List options")]
pub(crate) struct ListArgs {
    /// List only what has this value at a path that `get` shows: service=shop, state!=active, name~shop (contains shop); may be given again: then
    /// all must hold
    #[arg(long = "filter", value_name = "PATH=VALUE", value_parser = Filter::parse)]
    filters: Vec<Filter>,
    /// Sort by a path, the smallest first; -PATH: the largest first
    #[arg(long, value_name = "PATH", allow_hyphen_values = true)]
    sort: Option<String>,
    /// List at most this many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

impl ListArgs {
    /// The elements that are asked for, in the order that is asked for.
    pub(crate) fn select<M: prost::Name>(&self, items: Vec<M>) -> Result<Vec<M>, Failure> {
        let descriptor = schema::descriptor::<M>();
        for Filter { path, .. } in &self.filters {
            check(&descriptor, path).map_err(|error| Failure::Usage(format!("--filter: {error}")))?;
        }
        let order = self.sort.as_deref().map(|sort| sort.strip_prefix('-').map_or((sort, false), |path| (path, true)));
        if let Some((path, _)) = order {
            check(&descriptor, path).map_err(|error| Failure::Usage(format!("--sort: {error}")))?;
        }
        let mut items = items;
        if !self.filters.is_empty() {
            items.retain(|item| {
                let message = schema::dynamic(item);
                self.filters.iter().all(|filter| filter.matches(&message))
            });
        }
        if let Some((path, is_descending)) = order {
            let key = |item: &M| Found::at(&schema::dynamic(item), path).into_iter().find(|it| !it.text.is_empty());
            let mut keyed: Vec<_> = items.into_iter().map(|item| (key(&item), item)).collect();
            keyed.sort_by(|(key, _), (other, _)| compare(key.as_ref(), other.as_ref(), is_descending));
            items = keyed.into_iter().map(|(_, item)| item).collect();
        }
        if let Some(limit) = self.limit.filter(|limit| *limit < items.len()) {
            note(&format!("{limit} of {} are listed (--limit)", items.len()));
            items.truncate(limit);
        }
        Ok(items)
    }
}

/// What is not set comes last in either order.
fn compare(key: Option<&Found>, other: Option<&Found>, is_descending: bool) -> Ordering {
    match (key, other) {
        (Some(key), Some(other)) if is_descending => other.cmp(key),
        (Some(key), Some(other)) => key.cmp(other),
        (key, other) => key.is_none().cmp(&other.is_none()),
    }
}

/// A condition on what is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    path: String,
    comparison: Comparison,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Is,
    IsNot,
    Contains,
}

impl Filter {
    fn parse(text: &str) -> Result<Self, String> {
        let end = text.find(['=', '!', '~']).unwrap_or(text.len());
        let (path, rest) = text.split_at(end);
        let comparisons = [("!=", Comparison::IsNot), ("=", Comparison::Is), ("~", Comparison::Contains)];
        let found = comparisons.into_iter().find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)));
        let Some((comparison, value)) = found.filter(|_| !path.is_empty()) else {
            return Err("write PATH=VALUE, PATH!=VALUE, or PATH~TEXT for what contains the text".to_owned());
        };
        Ok(Self { path: path.to_owned(), comparison, value: value.to_owned() })
    }

    /// Of several values one has to be equal, or to contain the text.
    fn matches(&self, message: &DynamicMessage) -> bool {
        let found = Found::at(message, &self.path);
        let is_unset = found.iter().all(|it| it.text.is_empty());
        // `get` shows a dash for what is not set.
        let is_equal = match self.value.as_str() {
            "" | "-" if is_unset => true,
            value => found.iter().any(|it| it.text == value || names::id(&it.text) == value),
        };
        match self.comparison {
            Comparison::Is => is_equal,
            Comparison::IsNot => !is_equal,
            Comparison::Contains => found.iter().any(|it| it.text.contains(&self.value)),
        }
    }
}

/// A value at a path: in what order it comes, and its text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    number: i128,
    text: String,
}

impl Found {
    /// What is at a path: several values where it leads through lists, none where nothing is set.
    fn at(message: &DynamicMessage, path: &str) -> Vec<Self> {
        let mut found = Vec::new();
        collect(message, path, &mut found);
        found
    }

    fn of(field: &FieldDescriptor, value: &Value) -> Self {
        Self { number: number(value), text: listing::plain(field, value) }
    }
}

/// The first name of a path, the index behind it, and the rest.
fn split(path: &str) -> (&str, Option<usize>, &str) {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let index = name.split_once('[').and_then(|(name, index)| Some((name, index.strip_suffix(']')?.parse().ok()?)));
    index.map_or((name, None, rest), |(name, index)| (name, Some(index), rest))
}

fn collect(message: &DynamicMessage, path: &str, found: &mut Vec<Found>) {
    let (name, index, rest) = split(path);
    let Some(field) = message.descriptor().get_field_by_name(name) else { return };
    if field.supports_presence() && !message.has_field(&field) {
        return;
    }
    match &*message.get_field(&field) {
        Value::List(values) => {
            let wanted = |(at, _): &(usize, &Value)| index.is_none_or(|index| index == *at);
            values.iter().enumerate().filter(wanted).for_each(|(_, value)| element(&field, value, rest, found));
        }
        Value::Map(values) => {
            let Kind::Message(entry) = field.kind() else { return };
            let entry = entry.map_entry_value_field();
            for (key, value) in values {
                let key = listing::key_text(key);
                if rest.is_empty() {
                    let text = format!("{key}={}", listing::plain(&entry, value));
                    found.push(Found { number: 0, text });
                } else if rest == key {
                    element(&entry, value, "", found);
                }
            }
        }
        value => element(&field, value, rest, found),
    }
}

fn element(field: &FieldDescriptor, value: &Value, rest: &str, found: &mut Vec<Found>) {
    match value {
        Value::Message(inner) if !rest.is_empty() => collect(inner, rest, found),
        value if rest.is_empty() => found.push(Found::of(field, value)),
        _ => {}
    }
}

/// What numbers, times and durations are ordered by; texts are all alike.
fn number(value: &Value) -> i128 {
    match value {
        Value::I32(number) => (*number).into(),
        Value::I64(number) => (*number).into(),
        Value::U32(number) => (*number).into(),
        Value::U64(number) => (*number).into(),
        Value::Message(message) => {
            let part = |name| message.get_field_by_name(name).map_or(0, |value| number(&value));
            part("seconds") * 1_000_000_000 + part("nanos")
        }
        _ => 0,
    }
}

/// Whether a path leads to a field of the message that can be shown.
fn check(message: &MessageDescriptor, path: &str) -> Result<(), String> {
    let (name, _, rest) = split(path);
    let shown = |field: &FieldDescriptor| !FieldOptions::of(field).secret;
    let Some(field) = message.get_field_by_name(name).filter(shown) else {
        let fields = message.fields().filter(shown).map(|field| field.name().to_owned());
        return Err(format!("{path:?} is no field; the fields there are {}", fields.collect::<Vec<_>>().join(", ")));
    };
    match field.kind() {
        _ if rest.is_empty() || field.is_map() => Ok(()),
        Kind::Message(inner) if !schema::is_well_known(&inner) => check(&inner, rest),
        _ => Err(format!("there is nothing below {name}, and so no {path:?}")),
    }
}

#[cfg(test)]
mod tests {
    use switchyard_proto::v1::{Backend, BackendState, Domain, DomainTls, Edge, Rejection, Service, ServiceTimeouts};

    use super::*;

    fn select<M: prost::Name>(items: Vec<M>, filters: &[&str], sort: Option<&str>) -> Result<Vec<M>, Failure> {
        let filters = filters.iter().map(|text| Filter::parse(text).unwrap()).collect();
        ListArgs { filters, sort: sort.map(str::to_owned), limit: None }.select(items)
    }

    fn backend(id: &str, tags: &[&str], state: BackendState) -> Backend {
        Backend {
            name: format!("backends/{id}"),
            service: "services/shop".to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            state: state.into(),
            ..Backend::default()
        }
    }

    /// The names of the backends that the filters leave.
    fn backends(filters: &[&str]) -> Vec<String> {
        let all = vec![
            backend("shop-1", &["a"], BackendState::Active),
            backend("shop-2", &["a", "b"], BackendState::Draining),
            Backend { service: "services/blog".to_owned(), ..backend("blog-1", &[], BackendState::Active) },
        ];
        select(all, filters, None).unwrap().into_iter().map(|it| names::id(&it.name).to_owned()).collect()
    }

    #[test]
    fn filters_take_the_texts_that_get_shows() {
        assert_eq!(backends(&["service=shop"]), ["shop-1", "shop-2"]);
        assert_eq!(backends(&["service=services/shop", "tags=b"]), ["shop-2"]);
        assert_eq!(backends(&["state=draining"]), ["shop-2"]);
        assert_eq!(backends(&["state!=draining"]), ["shop-1", "blog-1"]);
        assert_eq!(backends(&["name~log"]), ["blog-1"]);
        assert_eq!(backends(&["tags=-"]), ["blog-1"]);
        assert_eq!(backends(&["tags!="]), ["shop-1", "shop-2"]);
        assert_eq!(backends(&["service=shop", "state=active", "tags=b"]), [""; 0]);
    }

    #[test]
    fn paths_lead_into_messages_lists_and_maps() {
        let tls = DomainTls { minimum_version: switchyard_proto::v1::TlsVersion::V13.into(), ..DomainTls::default() };
        let domain = |tls, region: &str| Domain {
            tls,
            edge_selector: [("region".to_owned(), region.to_owned())].into(),
            ..Domain::default()
        };
        let domains = || vec![domain(Some(tls.clone()), "eu"), domain(None, "us")];
        let count = |filter: &str| select(domains(), &[filter], None).unwrap().len();
        let counts = ["tls.minimum_version=1.3", "tls.minimum_version=", "edge_selector.region=us"].map(count);
        assert_eq!((counts, count("edge_selector=region=eu"), count("tls=-")), ([1, 1, 1], 1, 1));
        let rejection = |resource: &str| Rejection { resource: resource.to_owned(), ..Rejection::default() };
        let edge = Edge { rejections: vec![rejection("domains/a"), rejection("domains/b")], ..Edge::default() };
        let count = |filter: &str| select(vec![edge.clone()], &[filter], None).unwrap().len();
        assert_eq!((count("rejections.resource=b"), count("rejections[0].resource=b")), (1, 0));
    }

    #[test]
    fn numbers_and_durations_are_sorted_as_such_and_what_is_unset_comes_last() {
        let revisions = |sort| {
            let domain = |revision| Domain { revision, ..Domain::default() };
            let sorted = select(vec![domain(9), domain(100), domain(20)], &[], Some(sort)).unwrap();
            sorted.iter().map(|domain| domain.revision).collect::<Vec<_>>()
        };
        assert_eq!((revisions("revision"), revisions("-revision")), (vec![9, 20, 100], vec![100, 20, 9]));
        let service = |seconds: Option<i64>| {
            let idle = seconds.map(|seconds| pbjson_types::Duration { seconds, nanos: 0 });
            Service { timeouts: Some(ServiceTimeouts { idle, ..ServiceTimeouts::default() }), ..Service::default() }
        };
        for (sort, expected) in
            [("timeouts.idle", [Some(5), Some(90), None]), ("-timeouts.idle", [Some(90), Some(5), None])]
        {
            let sorted = select(vec![service(None), service(Some(90)), service(Some(5))], &[], Some(sort)).unwrap();
            let idle = |it: &Service| it.timeouts.unwrap().idle.map(|idle| idle.seconds);
            assert_eq!(sorted.iter().map(idle).collect::<Vec<_>>(), expected, "{sort}");
        }
    }

    #[test]
    fn a_path_that_does_not_exist_names_those_that_do() {
        let error = |filter: &str| {
            let failure = select(Vec::<Domain>::new(), &[filter], None).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            failure.to_string()
        };
        assert!(
            error("tag=a")
                .starts_with("--filter: \"tag\" is no field; the fields there are name, service, active_tag, ")
        );
        assert!(error("tls.acme.x=a").contains("the fields there are challenge, issuers, on_demand"));
        assert!(error("active_tag.x=a").contains("nothing below active_tag"));
        let secret = select(Vec::<Service>::new(), &["tls.client_certificate.private_key_pem~MII"], None);
        assert!(secret.unwrap_err().to_string().contains("is no field"));
        for text in ["service", "=shop", "service!shop", ""] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
    }
}
