use std::net::{Ipv4Addr, SocketAddr};

use switchyard_proto::vocab::{BackendId, Digest};

use super::*;
use crate::{
    clock::SystemClock,
    fleet::{
        message::{Ack, AckOutcome, Hello, Persistence},
        view::Link,
    },
    model::{EdgeIdentity, EdgeKey, EdgeRecord, Enrolment, Timestamp},
};

fn key(id: &str) -> ResourceKey {
    ResourceKey::backend(&BackendId::parse(id).unwrap())
}

/// How far an edge is with revision 7, which changed `b`, and which of it is rejected. It names rejections of these resources and
/// revisions, and counts so many more.
fn with(named: &[(&str, u64)], more: u64) -> Progress {
    let rejection = |(id, revision): &(&str, u64)| RejectionRecord {
        key: key(id),
        revision: Revision(*revision),
        reason: String::new(),
    };
    let named: Vec<_> = named.iter().map(rejection).collect();
    let rejections = Rejections { total: named.len() as u64 + more, named };
    let hello = Hello {
        version: "1".into(),
        revision: Revision(9),
        digest: Digest::default(),
        rejections,
        withheld: 0,
        schema: None,
    };
    let id = EdgeId::parse("edge-1").unwrap();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let view = FleetView::new(vec![], Arc::new(SystemClock));
    let identity = EdgeIdentity { id: id.clone(), key: EdgeKey::of(b"key"), peer };
    let _link = view.connect(&identity, hello, Some(Revision(9)));
    let changed = Changed::of(Revision(7), vec![key("b").into()]);
    progress(&view.edges()[&id], None, true, &changed)
}

fn rejected(named: &[&str], total: u64) -> (Vec<ResourceKey>, u64) {
    (named.iter().map(|id| key(id)).collect(), total)
}

fn of(progress: Progress) -> (Vec<ResourceKey>, u64) {
    let Progress::Rejected(Rejections { named, total }) = progress else { panic!("{progress:?}") };
    (named.into_iter().map(|rejection| rejection.key).collect(), total)
}

#[test]
fn what_is_not_named_is_never_taken_for_live_unless_it_must_be_older() {
    assert_eq!(with(&[], 0), Progress::Live);
    assert_eq!(with(&[("a", 8), ("b", 6)], 0), Progress::Live, "another resource, and an older version");
    assert_eq!(of(with(&[("b", 7), ("a", 6)], 0)), rejected(&["b"], 1));
    // A named one of before the revision proves that all newer ones are named.
    assert_eq!(with(&[("a", 8), ("c", 6)], 1_000), Progress::Live);
    assert_eq!(of(with(&[("b", 8), ("c", 6)], 1_000)), rejected(&["b"], 1));
    // Nothing proves it.
    assert_eq!(of(with(&[("a", 8), ("c", 7)], 1_000)), rejected(&[], 1_000));
    assert_eq!(of(with(&[("b", 7)], 1_000)), rejected(&["b"], 1_001));
    assert_eq!(of(with(&[], 1)), rejected(&[], 1));
}

const COMMITTED: Revision = Revision(7);

/// A fleet of these edges; revision 7 set the labels of all but `other`.
struct Fleet {
    view: FleetView,
    feed: Feed,
}

impl Fleet {
    /// None of them has been seen.
    fn new(ids: &[&str]) -> Self {
        Self::with(ids, vec![])
    }

    /// They are remembered.
    fn remembered(ids: &[&str]) -> Self {
        let record = |id: &&str| EdgeRecord {
            id: EdgeId::parse(id).unwrap(),
            version: "1".into(),
            acknowledged_revision: Revision(9),
            acknowledged_at: None,
            last_contact_at: Timestamp(1),
            rejections: vec![],
            rejections_total: 0,
        };
        Self::with(ids, ids.iter().map(record).collect())
    }

    fn with(ids: &[&str], records: Vec<EdgeRecord>) -> Self {
        let enrolment = |id: &&str| Enrolment {
            id: EdgeId::parse(id).unwrap(),
            key: EdgeKey::of(b"key"),
            labels: Labels::default(),
            invite: None,
        };
        let feed = Feed::holding(ids.iter().map(enrolment).collect());
        let view = FleetView::new(records, Arc::new(SystemClock));
        view.keep(feed.state().edges());
        Self { view, feed }
    }

    fn connect(&self, id: &str) -> Link {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let identity = EdgeIdentity { id: EdgeId::parse(id).unwrap(), key: EdgeKey::of(b"key"), peer };
        let (rejections, digest) = (Rejections::default(), Digest::default());
        let hello = Hello { version: "1".into(), revision: Revision(6), digest, rejections, withheld: 0, schema: None };
        self.view.connect(&identity, hello, Some(Revision(6)))
    }

    fn track(&self, which: Required) -> Track {
        let keys = self.view.edges().keys().filter(|id| id.as_str() != "other").map(ObjectKey::edge).collect();
        Track {
            changed: Changed::of(COMMITTED, keys),
            which,
            feed: self.feed.clone(),
            edges: self.view.subscribe(),
            expected: HashSet::new(),
            required: HashSet::new(),
            sent: None,
        }
    }
}

fn acknowledge(link: &Link) {
    let (rejections, persistence) = (Rejections::default(), Persistence::NotPersisted);
    link.acknowledged(Ack { revision: COMMITTED, outcome: AckOutcome::Applied, rejections, persistence });
}

impl Track {
    /// What is reported when so much time has passed from now on.
    fn after(&mut self, time: Duration) -> Report {
        let (report, _) = self.report(Instant::now() + time);
        self.sent = Some(report.clone());
        report
    }

    fn now(&mut self) -> Report {
        self.after(Duration::ZERO)
    }
}

/// The edges of a report, and of each whether it is required.
fn standings(report: &Report) -> Vec<(&str, Progress, bool)> {
    report.edges.iter().map(|(id, it)| (id.as_str(), it.progress.clone(), it.required)).collect()
}

#[test]
fn edges_that_were_offline_before_are_named_and_not_required() {
    let fleet = Fleet::new(&["away", "here", "other"]);
    let here = fleet.connect("here");
    let mut track = fleet.track(Required::Connected);
    let first = track.now();
    assert_eq!(standings(&first), [("away", Progress::Offline, false), ("here", Progress::Pending, true)]);
    assert_eq!((first.others, first.is_complete), (1, false));
    acknowledge(&here);
    // One that comes now is shown, and does not hold it up.
    let _away = fleet.connect("away");
    let report = track.now();
    assert_eq!(standings(&report), [("away", Progress::Pending, false), ("here", Progress::Live, true)]);
    assert!(report.is_complete);
}

#[test]
fn an_edge_that_stops_answering_is_gone_and_still_required() {
    let fleet = Fleet::new(&["e1"]);
    let e1 = fleet.connect("e1");
    let mut track = fleet.track(Required::Connected);
    track.now();
    drop(e1);
    let (report, again) = track.report(Instant::now());
    assert_eq!((standings(&report), report.is_complete), (vec![("e1", Progress::Pending, true)], false));
    let again = again.unwrap();
    assert!(again > Instant::now() && again <= Instant::now() + RECONNECT);
    let report = track.after(RECONNECT);
    assert_eq!((standings(&report), report.is_complete), (vec![("e1", Progress::Gone, true)], true));
    // Whoever begins to follow it now finds it offline.
    assert_eq!(standings(&fleet.track(Required::Connected).after(RECONNECT)), [("e1", Progress::Offline, false)]);
}

#[test]
fn an_edge_that_acknowledged_it_and_stops_answering_is_gone_as_well() {
    let fleet = Fleet::new(&["e1"]);
    let e1 = fleet.connect("e1");
    let mut track = fleet.track(Required::Connected);
    track.now();
    acknowledge(&e1);
    drop(e1);
    assert_eq!(standings(&track.now()), [("e1", Progress::Live, true)], "it may come back yet");
    assert_eq!(standings(&track.after(RECONNECT)), [("e1", Progress::Gone, true)]);
}

#[test]
fn an_edge_that_comes_back_in_time_is_waited_for() {
    let fleet = Fleet::new(&["e1"]);
    drop(fleet.connect("e1"));
    let mut track = fleet.track(Required::Connected);
    assert_eq!(standings(&track.now()), [("e1", Progress::Pending, true)]);
    let e1 = fleet.connect("e1");
    assert!(!track.now().is_complete);
    acknowledge(&e1);
    assert_eq!(standings(&track.now()), [("e1", Progress::Live, true)]);
}

#[test]
fn after_a_restart_edges_have_time_to_come_back() {
    let fleet = Fleet::remembered(&["away", "back"]);
    let mut track = fleet.track(Required::Connected);
    let first = track.now();
    assert_eq!(standings(&first), [("away", Progress::Pending, false), ("back", Progress::Pending, false)]);
    assert!(!first.is_complete);
    let back = fleet.connect("back");
    acknowledge(&back);
    let second = track.now();
    assert_eq!(standings(&second), [("away", Progress::Pending, false), ("back", Progress::Live, true)]);
    assert!(!second.is_complete);
    let last = track.after(RECONNECT);
    assert_eq!(standings(&last), [("away", Progress::Offline, false), ("back", Progress::Live, true)]);
    assert!(last.is_complete);
}

#[test]
fn all_edges_can_be_required() {
    let fleet = Fleet::new(&["away", "here"]);
    let here = fleet.connect("here");
    acknowledge(&here);
    let mut track = fleet.track(Required::All);
    let first = track.now();
    assert_eq!(standings(&first), [("away", Progress::Offline, true), ("here", Progress::Live, true)]);
    assert!(!first.is_complete);
    let away = fleet.connect("away");
    assert!(!track.now().is_complete);
    acknowledge(&away);
    let last = track.now();
    assert_eq!((&standings(&last)[0], last.is_complete), (&("away", Progress::Live, true), true));
}

#[test]
fn a_revision_that_concerns_no_edge_is_complete_at_once() {
    let fleet = Fleet::new(&["other"]);
    let _other = fleet.connect("other");
    let report = fleet.track(Required::All).now();
    assert!(report.is_complete && report.nothing_to_serve && report.edges.is_empty(), "{report:?}");
    assert_eq!(report.others, 1);
}
