//! Names of resources as people write them: `shop.example` or `domains/shop.example`.
//!
//! What is not a name at all passes through, so that there is one place that refuses it and one text that says why: the
//! control plane.

use switchyard_proto::vocab::HostPattern;

/// The resource name of a domain: in lower case, IDNs as A-labels.
pub(crate) fn domain(text: &str) -> String {
    let host = text.strip_prefix("domains/").unwrap_or(text);
    match HostPattern::parse(host) {
        Ok(host) => host.to_resource_name(),
        Err(_) => format!("domains/{host}"),
    }
}

/// The resource name of a service.
pub(crate) fn service(text: &str) -> String {
    within("services/", text)
}

/// The resource name of a backend.
pub(crate) fn backend(text: &str) -> String {
    within("backends/", text)
}

/// The resource name of a certificate.
pub(crate) fn certificate(text: &str) -> String {
    within("certificates/", text)
}

/// The resource name of an edge.
pub(crate) fn edge(text: &str) -> String {
    within("edges/", text)
}

/// The resource name of an invitation.
pub(crate) fn invite(text: &str) -> String {
    within("invites/", text)
}

/// The resource name of a DNS provider.
pub(crate) fn dns_provider(text: &str) -> String {
    within("dnsProviders/", text)
}

/// The resource name of an issuer.
pub(crate) fn issuer(text: &str) -> String {
    within("issuers/", text)
}

/// The resource name of a token.
pub(crate) fn token(text: &str) -> String {
    within("tokens/", text)
}

/// What people call the resource of this name: what follows its collection.
pub(crate) fn id(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, id)| id)
}

fn within(collection: &str, text: &str) -> String {
    if text.starts_with(collection) { text.to_owned() } else { format!("{collection}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_named_with_or_without_its_collection_in_any_spelling() {
        for text in ["shop.example", "domains/shop.example", "Shop.Example.", "domains/SHOP.example"] {
            assert_eq!(domain(text), "domains/shop.example");
        }
        assert_eq!(domain("bücher.example"), "domains/xn--bcher-kva.example");
        assert_eq!(domain("*.Bücher.example"), "domains/*.xn--bcher-kva.example");
    }

    #[test]
    fn what_is_no_name_is_left_to_the_control_plane() {
        assert_eq!(domain("a b"), "domains/a b");
        assert_eq!(domain("domains/10.0.0.1"), "domains/10.0.0.1");
        assert_eq!(service(""), "services/");
    }

    #[test]
    fn other_resources_are_named_with_or_without_their_collection() {
        assert_eq!(service("shop"), "services/shop");
        assert_eq!(service("services/shop"), "services/shop");
        assert_eq!(backend("shop-1"), "backends/shop-1");
        assert_eq!(id("certificates/*.shop.example"), "*.shop.example");
    }
}
