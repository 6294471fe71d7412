//! What the control plane cannot read.

use super::*;

fn shop_key() -> ResourceKey {
    key(ResourceKind::Domain, "shop.example")
}

#[test]
fn what_is_withheld_is_served_on_and_is_neither_received_nor_rejected() {
    let mut fleet = shop();
    let mut edge = Edge::new();
    edge.apply(fleet.batch(Revision::ZERO));
    fleet.withhold(&[shop_key()]);
    fleet.change(&[domain("other.example", "shop", "b")], &[]);
    // With a difference, with everything, and again with everything.
    for batch in [fleet.batch(edge.resources.revision()), fleet.snapshot(), fleet.snapshot()] {
        edge.apply(batch);
        for _ in 0..2 {
            assert_eq!((edge.resources.digest(), rejected(&edge.resources)), (fleet.digest(), vec![]));
            assert_eq!(edge.resources.withheld(), 1);
            assert_eq!(serves(&edge.resources, "shop.example"), tag_and("a", &["a1"]));
            assert_eq!(serves(&edge.resources, "other.example"), tag_and("b", &[]), "the rest goes live");
            edge = edge.restart();
        }
    }
    fleet.change(&[domain("shop.example", "shop", "b")], &[]);
    edge.apply(fleet.batch(edge.resources.revision()));
    assert_eq!((edge.resources.withheld(), edge.resources.digest()), (0, fleet.digest()));
    assert_eq!(serves(&edge.resources, "shop.example"), tag_and("b", &[]), "a readable version ends it");
    assert_eq!(edge.restart().resources.withheld(), 0);
}

#[test]
fn a_removal_ends_it_also_one_that_only_shows_where_all_is_named() {
    let whole = |fleet: &Fleet, edge: &Edge| Batch {
        named: Named::All,
        removed: vec![],
        ..fleet.batch(edge.resources.revision())
    };
    let removals: [fn(&Fleet, &Edge) -> Batch; 3] =
        [|fleet, edge| fleet.batch(edge.resources.revision()), |fleet, _| fleet.snapshot(), whole];
    for removal in removals {
        let mut fleet = shop();
        let mut edge = Edge::new();
        edge.apply(fleet.batch(Revision::ZERO));
        fleet.withhold(&[shop_key()]);
        edge.apply(fleet.batch(edge.resources.revision()));
        fleet.change(&[], &[shop_key()]);
        edge.apply(removal(&fleet, &edge));
        for _ in 0..2 {
            assert_eq!(serves(&edge.resources, "shop.example"), None);
            assert_eq!((edge.resources.withheld(), rejected(&edge.resources)), (0, vec![]));
            assert_eq!(edge.resources.digest(), fleet.digest());
            edge = edge.restart();
        }
    }
}

#[test]
fn the_last_good_version_stays_when_the_one_after_it_was_rejected() {
    let mut fleet = shop();
    let mut edge = Edge::new();
    edge.apply(fleet.batch(Revision::ZERO));
    fleet.change(&[domain("shop.example", "shop", "NOT A TAG"), domain("new.example", "shop", "NOT A TAG")], &[]);
    edge.apply(fleet.batch(edge.resources.revision()));
    assert_eq!(rejected(&edge.resources).len(), 2);
    fleet.withhold(&[shop_key(), key(ResourceKind::Domain, "new.example")]);
    edge.apply(fleet.batch(edge.resources.revision()));
    for _ in 0..2 {
        assert_eq!(rejected(&edge.resources), [], "what cannot be read is no rejection");
        assert_eq!(serves(&edge.resources, "shop.example"), tag_and("a", &["a1"]));
        assert_eq!(serves(&edge.resources, "new.example"), None, "nothing of it was ever served");
        edge = edge.restart();
    }
}

#[test]
fn what_a_withheld_domain_uses_stays() {
    let mut fleet = shop();
    fleet.change(&[certificate("shop", "shop.example"), certificate("spare", "*.example")], &[]);
    let mut edge = Edge::new();
    edge.apply(fleet.batch(Revision::ZERO));
    fleet.withhold(&[shop_key()]);
    edge.apply(fleet.batch(edge.resources.revision()));
    let certificates = |edge: &Edge| edge.resources.snapshot().certificates().count();

    // One certificate is replaced by another that is there already.
    fleet.change(&[], &[key(ResourceKind::Certificate, "spare")]);
    edge.apply(fleet.batch(edge.resources.revision()));
    assert_eq!((certificates(&edge), rejected(&edge.resources)), (1, vec![]));

    let used = [
        key(ResourceKind::Service, "shop"),
        key(ResourceKind::Backend, "a1"),
        key(ResourceKind::Certificate, "shop"),
        key(ResourceKind::Domain, "other.example"),
    ];
    fleet.change(&[], &used);
    edge.apply(fleet.batch(edge.resources.revision()));
    for _ in 0..2 {
        assert_eq!(serves(&edge.resources, "shop.example"), tag_and("a", &["a1"]));
        assert_eq!(serves(&edge.resources, "other.example"), None);
        assert_eq!(certificates(&edge), 1);
        assert_eq!(edge.resources.digest(), fleet.digest());
        let reasons = rejected(&edge.resources);
        let why = |name: &str| reasons.iter().find(|(key, _)| key == name).map(|(_, reason)| reason.as_str());
        let withheld = "waits for domains/shop.example: it is withheld: the control plane cannot read it";
        assert_eq!((why("backends/a1"), why("certificates/shop")), (Some(withheld), Some(withheld)), "{reasons:?}");
        assert!(why("services/shop").is_some_and(|reason| reason.starts_with("still in use by ")), "{reasons:?}");
        edge = edge.restart();
    }
    // With the domain goes what it used.
    fleet.change(&[], &[shop_key()]);
    edge.apply(fleet.batch(edge.resources.revision()));
    assert_eq!((rejected(&edge.resources), certificates(&edge)), (vec![], 0));
    assert_eq!((edge.resources.snapshot().services().count(), edge.resources.snapshot().backends().count()), (0, 0));
}

#[test]
fn a_withheld_service_serves_on_and_what_never_was_there_is_said_to_be_withheld() {
    let mut fleet = shop();
    fleet.change(&[service("new")], &[]);
    let mut resources = resources_with(&shop());
    fleet.withhold(&[key(ResourceKind::Service, "shop"), key(ResourceKind::Service, "new")]);
    fleet.change(&[domain("shop.example", "shop", "b"), domain("new.example", "new", "a")], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!(serves(&resources, "shop.example"), tag_and("b", &[]), "domains of a service that is served may change");
    let reason = "waits for services/new: it is withheld: the control plane cannot read it";
    assert_eq!(rejected(&resources), [("domains/new.example".to_owned(), reason.to_owned())]);
    fleet.change(&[service("new")], &[]);
    resources.apply(fleet.batch(resources.revision())).unwrap();
    assert_eq!((rejected(&resources), serves(&resources, "new.example")), (vec![], tag_and("a", &[])));
}

#[test]
fn what_is_withheld_and_was_never_there_is_ignored() {
    let mut fleet = shop();
    let mut edge = Edge::new();
    edge.apply(fleet.batch(Revision::ZERO));
    let keys: Vec<_> = ["domains/x.example", "gadgets/g1", "ticketKeys/Not Known"]
        .iter()
        .map(|name| name.split_once('/').and_then(|(kind, id)| ResourceKey::new(kind, id).ok()).unwrap())
        .collect();
    fleet.withhold(&keys);
    edge.apply(fleet.batch(edge.resources.revision()));
    assert_eq!((rejected(&edge.resources), edge.resources.withheld()), (vec![], 3));
    fleet.change(&[], &keys);
    edge.apply(fleet.batch(edge.resources.revision()));
    assert_eq!((rejected(&edge.resources), edge.resources.withheld()), (vec![], 0));
}

#[test]
fn ticket_keys_that_were_received_take_the_place_of_withheld_ones_also_after_a_restart() {
    use wire::TicketKeyRole::Current;
    let (eu, us) = (ticket_keys("eu", &[(1, Current)]), ticket_keys("us", &[(2, Current)]));
    // Whichever comes first by id.
    for (before, after, name) in [(&eu, &us, 2), (&us, &eu, 1)] {
        let mut fleet = shop();
        fleet.change(std::slice::from_ref(before), &[]);
        let mut edge = Edge::new();
        edge.apply(fleet.snapshot());
        fleet.withhold(std::slice::from_ref(&before.0));
        edge.apply(fleet.batch(edge.resources.revision()));
        assert_eq!(accepted(&edge.resources).len(), 1, "they are served on");
        fleet.change(std::slice::from_ref(after), &[]);
        edge.apply(fleet.batch(edge.resources.revision()));
        assert_eq!(accepted(&edge.resources), [name]);
        assert_eq!(accepted(&edge.restart().resources), [name]);
    }
}
