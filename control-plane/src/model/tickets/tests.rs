use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn fresh() -> FreshTicketKey {
    FreshTicketKey::generate().unwrap()
}

fn roles(keys: &TicketKeys) -> Vec<TicketKeyRole> {
    let mut roles: Vec<_> = keys.keys().iter().map(|key| key.role).collect();
    roles.sort();
    roles
}

fn issuing(keys: &TicketKeys) -> Option<TicketKeyName> {
    keys.keys().iter().find(|key| key.role.is_issuing()).map(|key| key.name)
}

fn accepts(keys: &TicketKeys, name: TicketKeyName) -> bool {
    keys.keys().iter().any(|key| key.name == name)
}

/// Does what is due, if anything is.
fn step(keys: &TicketKeys, now: Timestamp, is_acknowledged: bool) -> Option<TicketKeys> {
    Some(match keys.due(now) {
        Due::Acknowledgement { .. } if is_acknowledged => keys.promoted(now),
        Due::Nothing { .. } | Due::Acknowledgement { .. } => return None,
        Due::Begin => keys.begun(fresh(), now),
        Due::Promote => keys.promoted(now),
        Due::Forget => keys.without_old(now),
    })
}

#[test]
fn a_key_is_accepted_issued_with_accepted_still_and_gone() {
    use TicketKeyRole::{Current, Next, Previous};
    let first = TicketKeys::new(Labels::default(), fresh(), NOW);
    let rotation = NOW.plus(TICKET_KEY_ROTATION);
    assert_eq!(first.due(NOW), Due::Nothing { until: rotation });
    assert_eq!(first.due(rotation), Due::Begin);
    let begun = first.begun(fresh(), rotation);
    assert_eq!(roles(&begun), [Next, Current]);
    assert_eq!(issuing(&begun), issuing(&first));
    let until = rotation.plus(ACKNOWLEDGEMENT_TIMEOUT);
    assert_eq!(begun.due(rotation), Due::Acknowledgement { until });
    assert_eq!(begun.due(until), Due::Promote, "nobody is waited for without end");
    let promoted = begun.promoted(rotation);
    assert_eq!(roles(&promoted), [Current, Previous]);
    assert!(accepts(&promoted, issuing(&first).unwrap()) && issuing(&promoted) != issuing(&first));
    let second = rotation.plus(TICKET_KEY_ROTATION);
    assert_eq!(promoted.due(rotation), Due::Nothing { until: second });
    let third = second.plus(ACKNOWLEDGEMENT_TIMEOUT);
    let next = promoted.begun(fresh(), second).promoted(third);
    let end = rotation.plus(TICKET_LIFETIME);
    assert_eq!(next.due(third), Due::Nothing { until: end });
    assert_eq!(next.due(end), Due::Forget);
    assert_eq!(roles(&next), [Current, Previous, Previous]);
    assert_eq!(roles(&next.without_old(end)), [Current, Previous]);
}

/// Over a month in which edges acknowledge sooner, later or not at all: a ticket of an edge with any of two neighbouring versions is
/// accepted by an edge with the other, for as long as it is good.
#[test]
fn a_ticket_is_accepted_everywhere_at_any_moment_of_a_rotation() {
    for delay in [Duration::ZERO, 30 * SECOND, 2 * ACKNOWLEDGEMENT_TIMEOUT] {
        let end = NOW.plus(Duration::from_secs(30 * 24 * 60 * 60));
        let mut versions = vec![(NOW, TicketKeys::new(Labels::default(), fresh(), NOW))];
        let mut now = NOW;
        while now < end {
            let (since, keys) = versions.last().unwrap();
            if let Some(next) = step(keys, now, now >= since.plus(delay)) {
                assert!(next.keys().len() <= 5, "{:?}", roles(&next));
                TicketKeys::from_parts(Labels::default(), next.keys().to_vec()).unwrap();
                versions.push((now, next));
            }
            now = now.plus(7 * SECOND);
        }
        assert!(versions.len() > 100, "about two steps each twelve hours: {}", versions.len());
        for pair in versions.windows(2) {
            let [(_, one), (_, other)] = pair else { unreachable!() };
            assert!(accepts(one, issuing(other).unwrap()) && accepts(other, issuing(one).unwrap()));
        }
        for (at, (_, keys)) in versions.iter().enumerate() {
            let replaced = versions.get(at + 1).map_or(end, |(next, _)| *next);
            let name = issuing(keys).unwrap();
            let later = versions[at..].iter().filter(|(since, _)| *since < replaced.plus(TICKET_LIFETIME));
            assert!(later.into_iter().all(|(_, keys)| accepts(keys, name)), "it is good for a day");
            let much_later = NOW.plus(TICKET_KEY_ROTATION).0 + replaced.0 - NOW.0 + 25 * 60 * 60 * 1_000;
            let gone = versions.iter().filter(|(since, _)| since.0 > much_later);
            assert!(gone.into_iter().all(|(_, keys)| !accepts(keys, name)), "and not for much longer");
        }
    }
}

#[test]
fn what_a_removed_edge_had_goes_when_the_others_have_another() {
    use TicketKeyRole::{Condemned, Current, Next};
    let later = NOW.plus(TICKET_KEY_ROTATION);
    let rotating = TicketKeys::new(Labels::default(), fresh(), NOW).begun(fresh(), later).promoted(later);
    let rotating = rotating.begun(fresh(), later.plus(TICKET_KEY_ROTATION));
    let condemned = rotating.condemned(fresh(), later);
    assert_eq!(roles(&condemned), [Next, Condemned]);
    assert_eq!(issuing(&condemned), issuing(&rotating));
    let next = condemned.of_role(Next).unwrap().name;
    assert!(!accepts(&rotating, next), "the next one was known, too");
    // Another edge is removed before the others have it.
    let again = condemned.condemned(fresh(), later);
    assert!(roles(&again) == [Next, Condemned] && !accepts(&again, next));
    assert!(matches!(again.due(later), Due::Acknowledgement { .. }));
    let promoted = again.promoted(later);
    assert_eq!(roles(&promoted), [Current]);
    assert!(rotating.keys().iter().all(|key| !accepts(&promoted, key.name)));
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_the_rotation() {
    let keys = TicketKeys::new(Labels::default(), fresh(), NOW);
    let before = |duration: Duration| Timestamp(NOW.0 - i64::try_from(duration.as_millis()).unwrap());
    assert!(matches!(keys.due(before(SECOND)), Due::Nothing { .. }));
    assert_eq!(keys.due(before(TICKET_KEY_ROTATION)), Due::Begin);
}

#[test]
fn keys_that_are_kept_are_checked_and_none_is_shown() {
    let keys = TicketKeys::new(Labels::default(), fresh(), NOW);
    let key = keys.keys()[0].clone();
    let of = |keys: Vec<TicketKey>| TicketKeys::from_parts(Labels::default(), keys);
    assert_eq!(of(vec![key.clone()]), Ok(keys));
    assert_eq!(of(vec![]), Err(InvalidTicketKeys::Count));
    assert_eq!(of(vec![key.clone(), key.clone()]), Err(InvalidTicketKeys::Names));
    let other = fresh().key(TicketKeyRole::Condemned, NOW);
    assert_eq!(of(vec![key.clone(), other]), Err(InvalidTicketKeys::Current));
    let many = (0..=TICKET_KEYS_MAX).map(|_| fresh().key(TicketKeyRole::Previous, NOW)).collect();
    assert_eq!(of(many), Err(InvalidTicketKeys::Count));
    assert!(format!("{key:?}").contains("TicketSecret(redacted)"));
    assert_eq!(ticket_key_parts(&[1; 16], &[2; 31]), None);
}
