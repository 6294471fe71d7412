//! What this version of the edge does not know.

use super::*;

/// Field 9999, a number, which no message has.
const UNKNOWN_FIELD: &[u8] = b"\xf8\xf0\x04\x01";

/// A resource with a field that no version has, of the message or within one of its fields.
fn with_unknown_field((key, mut body): (ResourceKey, Vec<u8>)) -> (ResourceKey, Vec<u8>) {
    body.extend_from_slice(UNKNOWN_FIELD);
    (key, body)
}

#[test]
fn an_unknown_field_at_any_level_rejects_the_resource_by_name_and_keeps_its_last_good_version() {
    let nested = {
        let (key, mut body) = service("shop");
        // Field 9, `tls`: a message of nothing but the unknown field.
        body.extend_from_slice(&[0x4a, UNKNOWN_FIELD.len() as u8]);
        body.extend_from_slice(UNKNOWN_FIELD);
        (key, body)
    };
    for newer in [
        with_unknown_field(service("shop")),
        nested,
        with_unknown_field(backend("a1", "shop", "a", "10.0.0.9:80")),
        with_unknown_field(domain("shop.example", "shop", "b")),
        with_unknown_field(certificate("shop", "shop.example")),
        with_unknown_field(ticket_keys("eu", &[(1, wire::TicketKeyRole::Current)])),
        with_unknown_field((key(ResourceKind::Challenge, "shop.example"), Vec::new())),
    ] {
        let mut fleet = shop();
        let mut edge = Edge::new();
        edge.apply(fleet.batch(Revision::ZERO));
        let name = newer.0.to_string();
        fleet.change(&[newer, service("other"), domain("new.example", "other", "a")], &[]);
        edge.apply(fleet.batch(edge.resources.revision()));
        for _ in 0..2 {
            let reason = "needs a newer edge: it has a field that is not known here".to_owned();
            assert_eq!(rejected(&edge.resources), [(name.clone(), reason)]);
            assert_eq!(serves(&edge.resources, "shop.example"), tag_and("a", &["a1"]), "{name}");
            assert_eq!(serves(&edge.resources, "new.example"), tag_and("a", &[]), "{name}: the rest goes live");
            assert_eq!(edge.resources.digest(), fleet.digest());
            edge = edge.restart();
        }
    }
}

#[test]
fn an_envelope_or_a_key_with_an_unknown_field_is_kept_and_rejected() {
    let (key, body) = domain("shop.example", "shop", "b");
    let envelope = wire::Resource { key: Some(key.to_wire()), revision: 2, body: body.clone().into() }.encode_to_vec();
    let newer_key = [&key.to_wire().encode_to_vec()[..], UNKNOWN_FIELD].concat();
    let with_newer_key = {
        let rest = wire::Resource { key: None, revision: 2, body: body.into() }.encode_to_vec();
        let length = u8::try_from(newer_key.len()).unwrap();
        [&[0x0a, length][..], &newer_key, &rest].concat()
    };
    for encoded in [[&envelope[..], UNKNOWN_FIELD].concat(), with_newer_key] {
        let mut fleet = shop();
        let mut edge = Edge::new();
        edge.apply(fleet.batch(Revision::ZERO));
        fleet.change(&[], std::slice::from_ref(&key));
        fleet.resources.insert(key.clone(), encoded.into());
        edge.apply(fleet.batch(edge.resources.revision()));
        for _ in 0..2 {
            assert_eq!(rejected(&edge.resources).len(), 1);
            assert!(
                rejected(&edge.resources)[0].1.starts_with("needs a newer edge: "),
                "{:?}",
                rejected(&edge.resources)
            );
            assert_eq!(serves(&edge.resources, "shop.example"), tag_and("a", &["a1"]));
            edge = edge.restart();
        }
    }
}

#[test]
fn an_unknown_number_in_any_enum_is_rejected_by_the_name_of_its_field() {
    let set = |(key, body): (ResourceKey, Vec<u8>), change: &dyn Fn(&[u8]) -> Vec<u8>| (key, change(&body));
    let domain_with = |change: fn(&mut v1::Domain)| {
        set(domain("shop.example", "shop", "b"), &|body| {
            let mut message = v1::Domain::decode(body).unwrap();
            change(&mut message);
            message.encode_to_vec()
        })
    };
    let service_with = |change: fn(&mut v1::Service)| {
        set(service("shop"), &|body| {
            let mut message = v1::Service::decode(body).unwrap();
            change(&mut message);
            message.encode_to_vec()
        })
    };
    let unknown_state = set(backend("a1", "shop", "a", GOOD), &|body| {
        v1::Backend { state: 9_999, ..v1::Backend::decode(body).unwrap() }.encode_to_vec()
    });
    let unknown_role = set(ticket_keys("eu", &[(1, wire::TicketKeyRole::Current)]), &|body| {
        let mut message = wire::TicketKeys::decode(body).unwrap();
        message.keys[0].role = 9_999;
        message.encode_to_vec()
    });
    for (field, newer) in [
        ("tls.minimum_version", domain_with(|domain| domain.tls.get_or_insert_default().minimum_version = 9_999)),
        (
            "tls.client_authentication.mode",
            domain_with(|domain| {
                let authentication = v1::ClientAuthentication { ca_bundle_pem: String::new(), mode: 9_999 };
                domain.tls.get_or_insert_default().client_authentication = Some(authentication);
            }),
        ),
        ("balancing", service_with(|service| service.balancing = 9_999)),
        ("protocol", service_with(|service| service.protocol = -1)),
        ("state", unknown_state),
        ("keys.role", unknown_role),
    ] {
        let mut fleet = shop();
        let mut resources = resources_with(&fleet);
        fleet.change(&[newer], &[]);
        resources.apply(fleet.batch(resources.revision())).unwrap();
        let reason = format!("needs a newer edge: {field} has a value that is not known here");
        assert_eq!(rejected(&resources).iter().map(|(_, reason)| reason.clone()).collect::<Vec<_>>(), [reason]);
        assert_eq!(serves(&resources, "shop.example"), tag_and("a", &["a1"]));
    }
}

#[test]
fn an_unknown_kind_or_id_is_kept_counted_and_rejected_until_it_is_removed() {
    let mut fleet = shop();
    let mut edge = Edge::new();
    edge.apply(fleet.batch(Revision::ZERO));
    // Another spelling of a name that is served must not be taken for it.
    let keys = ["gadgets/g 1", "domains/SHOP.example", "services/No Service", "ticketKeys/all"];
    let keys = keys.map(|name| name.split_once('/').and_then(|(kind, id)| ResourceKey::new(kind, id).ok()).unwrap());
    let body = |key: &ResourceKey| match key.kind {
        ResourceKind::Domain => domain("shop.example", "shop", "b").1,
        ResourceKind::Service => service("shop").1,
        ResourceKind::TicketKeys => ticket_keys("eu", &[(1, wire::TicketKeyRole::Current)]).1,
        _ => b"\xff anything".to_vec(),
    };
    let puts: Vec<_> = keys.iter().map(|key| (key.clone(), body(key))).collect();
    fleet.change(&[&puts[..], &[domain("other.example", "shop", "b")]].concat(), &[]);
    edge.apply(fleet.batch(edge.resources.revision()));
    for _ in 0..2 {
        let names: BTreeSet<_> = rejected(&edge.resources).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, keys.iter().map(ToString::to_string).collect());
        let kind = rejected(&edge.resources).into_iter().find(|(name, _)| name.starts_with("gadgets/")).unwrap();
        assert_eq!(kind.1, "needs a newer edge: its kind is not known here");
        assert_eq!(edge.resources.digest(), fleet.digest());
        assert_eq!(serves(&edge.resources, "shop.example"), tag_and("a", &["a1"]));
        assert_eq!(serves(&edge.resources, "other.example"), tag_and("b", &[]), "the rest goes live");
        edge = edge.restart();
    }
    fleet.change(&[], &keys);
    edge.apply(fleet.batch(edge.resources.revision()));
    assert_eq!(rejected(&edge.resources), []);
    assert_eq!(edge.resources.digest(), fleet.digest());
    assert_eq!(serves(&edge.resources, "shop.example"), tag_and("a", &["a1"]), "nothing known was removed");
}

#[test]
fn of_many_rejections_the_newest_are_named_and_all_are_counted() {
    let mut fleet = shop();
    let mut resources = resources_with(&fleet);
    let bad = |number: usize| domain(&format!("d{number:03}.example"), "shop", "NOT A TAG");
    fleet.change(&(0..REJECTIONS_MAX).map(bad).collect::<Vec<_>>(), &[]);
    fleet.change(&[bad(999)], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!((resources.rejected(), resources.rejections().len()), (REJECTIONS_MAX + 1, REJECTIONS_MAX));
    assert_eq!(rejected(&resources)[0].0, "domains/d999.example");
    let revisions: Vec<_> = resources.rejections().iter().map(|rejection| Reverse(rejection.revision)).collect();
    assert!(revisions.is_sorted(), "{revisions:?}");
}
