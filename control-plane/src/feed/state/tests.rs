use super::*;
use crate::model::{
    Access, Account, Directory, DnsSettings, EdgeKey, Place, PrivateKey, RateLimits, Secret, Thumbprint, Timestamp,
    Zones,
};

fn stored<T>(value: T) -> Arc<Stored<T>> {
    Arc::new(Stored { value, revision: Revision(1), created_at: Timestamp(1), updated_at: Timestamp(1) })
}

fn withheld(kind: &str, id: &str, revision: u64) -> Withheld {
    Withheld { kind: kind.into(), id: id.into(), revision: Revision(revision), reason: "damaged".into() }
}

#[test]
fn who_cannot_be_read_does_not_get_in_until_he_can() {
    let hash = Secret::generate().unwrap().hash();
    let token = Token { id: TokenId::parse("ci").unwrap(), hash, access: Access::EVERYTHING, expires_at: None };
    let key = EdgeKey::of(b"key");
    let edge = Enrolment { id: EdgeId::parse("edge-1").unwrap(), key, labels: Labels::default(), invite: None };
    let invite = Invite {
        id: InviteId::parse("k7").unwrap(),
        hash,
        labels: Labels::default(),
        uses: 1,
        expires_at: Timestamp(i64::MAX),
    };
    let issuer = Issuer {
        id: IssuerId::parse("ca").unwrap(),
        directory: Directory::parse("https://ca.example/directory").unwrap(),
        roots: None,
        email: None,
        external_account: None,
        profile: None,
        preferred_chain: None,
        place: Place::OnlyWhereNamed,
        limits: RateLimits::default(),
        account: Some(Account {
            url: "https://ca.example/account/1".to_owned(),
            key: PrivateKey::from_pkcs8(b"key".to_vec()),
            thumbprint: Thumbprint::parse(&"a".repeat(43)).unwrap(),
        }),
    };
    let provider = DnsProvider {
        id: DnsProviderId::parse("home").unwrap(),
        zones: Zones::parse(&["shop.example".to_owned()]).unwrap(),
        settings: DnsSettings::cloudflare("secret", None).unwrap(),
    };
    let put = || {
        vec![
            Object::Edge(stored(edge.clone())),
            Object::Token(stored(token.clone())),
            Object::Invite(stored(invite.clone())),
            Object::Issuer(stored(issuer.clone())),
            Object::DnsProvider(stored(provider.clone())),
        ]
    };
    let counts = |state: &State| {
        let edge = usize::from(state.has_edge(&edge.id, key));
        let token = usize::from(state.token_of(&hash).is_some());
        [edge, token, state.invites().len(), state.issuers().len(), state.dns_providers().len()]
    };
    let mut state = State::default();
    state.apply(Changes { head: Revision(1), put: put(), ..Changes::default() });
    assert_eq!(counts(&state), [1; 5]);
    let all = [("edges", "edge-1"), ("tokens", "ci"), ("invites", "k7"), ("issuers", "ca"), ("dnsProviders", "home")];
    let unreadable = all.iter().map(|(kind, id)| withheld(kind, id, 2)).collect();
    state.apply(Changes { head: Revision(2), withheld: unreadable, ..Changes::default() });
    assert_eq!((counts(&state), state.withheld().count()), ([0; 5], 5));
    // Nothing of it is named to edges.
    let part = state.visible(&Labels::default()).batch(None, state.revision()).next_part().unwrap();
    assert_eq!(part.withheld, []);
    state.apply(Changes { head: Revision(3), put: put(), ..Changes::default() });
    assert_eq!((counts(&state), state.withheld().count()), ([1; 5], 0));
}

#[test]
fn what_is_of_an_unknown_kind_or_has_no_proper_name_is_withheld_too() {
    let mut state = State::default();
    let unreadable = vec![withheld("gadgets", "Any Thing", 1), withheld("", "x", 1), withheld("services", "No Id", 1)];
    state.apply(Changes { head: Revision(1), withheld: unreadable, ..Changes::default() });
    assert_eq!(state.withheld().count(), 3);
    let named = |state: &State, from| {
        let part = state.visible(&Labels::default()).batch(from, state.revision()).next_part().unwrap();
        let names = |keys: Vec<ResourceKey>| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        (names(part.withheld), names(part.removed))
    };
    assert_eq!(named(&state, None).0, ["services/No Id", "gadgets/Any Thing"], "what can be named is");
    let key = ObjectKey::new("gadgets", "Any Thing").unwrap();
    state.put_edge(
        stored(Enrolment {
            id: EdgeId::parse("edge-1").unwrap(),
            key: EdgeKey::of(b"key"),
            labels: Labels::default(),
            invite: None,
        }),
        Revision::ZERO,
    );
    let removed = vec![(key, Revision(2))];
    state.apply(Changes { head: Revision(2), removed, ..Changes::default() });
    // The older version does not know the kind, and passes the deletion on all the same.
    assert_eq!(named(&state, Some(Revision(1))), (vec![], vec!["gadgets/Any Thing".to_owned()]));
}
