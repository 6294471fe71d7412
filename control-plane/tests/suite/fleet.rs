//! The change feed as an edge sees it: over the real listener, with a real client.

use switchyard_proto::{
    fleet::v1::{Ack, AckOutcome, BatchKind, Hello, Rejection, ResourceKey, SyncRequest, sync_request},
    v1::{
        Backend, DeleteBackendRequest, Edge, EdgeState, GetEdgeRequest, ListEdgesRequest, ProgressState,
        UpdateBackendRequest, WatchRevisionRequest,
    },
};
use tonic::Code;

use crate::{
    edge::{FakeEdge, open},
    support::{ControlPlane, within},
};

/// A control plane with a domain on the default service: edges see what a domain uses.
async fn started() -> ControlPlane {
    let mut control_plane = ControlPlane::start().await;
    control_plane.create_domain("all.example", "a").await.unwrap();
    control_plane
}

/// The edge as the API shows it.
async fn shown(control_plane: &mut ControlPlane, id: &str) -> Edge {
    control_plane.edges.get_edge(GetEdgeRequest { name: format!("edges/{id}") }).await.unwrap().into_inner()
}

/// Awaits that an edge, as the API shows it, is as it should be.
async fn shows(control_plane: &mut ControlPlane, id: &str, what: &str, right: impl Fn(&Edge) -> bool) -> Edge {
    within(what, async {
        loop {
            match control_plane.edges.get_edge(GetEdgeRequest { name: format!("edges/{id}") }).await {
                Ok(edge) if right(edge.get_ref()) => return edge.into_inner(),
                Ok(_) => tokio::task::yield_now().await,
                Err(status) => assert_eq!(status.code(), Code::NotFound, "{status:?}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_new_edge_gets_a_snapshot_and_then_differences() {
    let mut control_plane = started().await;
    control_plane.create_backend("shop-1", "a").await.unwrap();
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Snapshot);
    assert!(edge.has("services", "default"));
    assert!(edge.has("backends", "shop-1"));
    edge.acknowledge(&stream).await;

    control_plane.create_domain("shop.example", "a").await.unwrap();
    let batch = stream.batch().await.unwrap();
    assert_eq!(batch.resources.len(), 1, "only what changed is sent");
    assert_eq!(edge.take(batch), Some(BatchKind::Delta));
    assert!(edge.has("domains", "shop.example"));
    edge.acknowledge(&stream).await;

    let name = "backends/shop-1".to_owned();
    control_plane
        .backends
        .delete_backend(DeleteBackendRequest { name, force: true, ..Default::default() })
        .await
        .unwrap();
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    assert!(!edge.has("backends", "shop-1"));
    edge.acknowledge(&stream).await;

    let revision = edge.revision;
    let shown =
        shows(&mut control_plane, "edge-1", "an acknowledgement", |edge| edge.acknowledged_revision == revision).await;
    assert_eq!((shown.snapshots_sent, shown.deltas_sent), (1, 2));
    assert_eq!((shown.state(), shown.version.as_str()), (EdgeState::Connected, "test"));
    assert!(shown.peer_address.starts_with("127.0.0.1:"));
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_edge_resumes_with_a_difference_also_after_a_restart_of_the_control_plane() {
    let mut control_plane = started().await;
    control_plane.create_backend("shop-1", "a").await.unwrap();
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    shows(&mut control_plane, "edge-1", "an acknowledgement", |edge| edge.acknowledged_revision > 0).await;
    drop(stream);

    // Deleted while the edge is away, and before the restart: it must still be told.
    let name = "backends/shop-1".to_owned();
    control_plane
        .backends
        .delete_backend(DeleteBackendRequest { name, force: true, ..Default::default() })
        .await
        .unwrap();
    let mut control_plane = control_plane.restart().await;
    let known = shown(&mut control_plane, "edge-1").await;
    assert_eq!((known.state(), known.acknowledged_revision), (EdgeState::Offline, edge.revision));

    let mut stream = edge.join(&control_plane, "edge-1").await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    assert!(!edge.has("backends", "shop-1"));
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_edge_that_has_everything_is_sent_nothing_until_something_changes() {
    let mut control_plane = started().await;
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;

    let mut stream = edge.join(&control_plane, "edge-1").await;
    let revision = edge.revision;
    let known = shows(&mut control_plane, "edge-1", "the second stream", |edge| edge.snapshots_sent == 0).await;
    assert_eq!((known.acknowledged_revision, known.deltas_sent), (revision, 0));
    control_plane.create_backend("shop-1", "a").await.unwrap();
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_edge_with_another_digest_or_from_the_future_is_sent_everything() {
    let mut control_plane = started().await;
    control_plane.create_backend("shop-1", "a").await.unwrap();
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    let right = edge.received_digest();

    edge.resources.pop_first();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Snapshot);
    assert_eq!(edge.received_digest(), right);
    edge.acknowledge(&stream).await;

    edge.revision += 1_000;
    let mut stream = edge.join(&control_plane, "edge-1").await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Snapshot);
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_edge_that_another_control_plane_told_more_is_not_sent_everything() {
    let mut here = started().await;
    let mut there = here.start_another().await;
    // Only the database tells the one of what the other commits, and the edge may be faster.
    let revision = there.create_backend("shop-1", "a").await.unwrap();
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&there, "edge-1").await;
    edge.reach(&mut stream, revision).await;
    let mut stream = edge.join(&here, "edge-1").await;
    let known = shows(&mut here, "edge-1", "the edge", |edge| edge.state() == EdgeState::Connected).await;
    assert_eq!((known.acknowledged_revision, known.snapshots_sent), (edge.revision, 0));
    let revision = here.create_backend("shop-2", "a").await.unwrap();
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    assert_eq!(edge.revision, revision);
    here.server.end().await;
    there.server.end().await;
}

#[tokio::test]
async fn a_digest_mismatch_brings_everything_and_a_second_one_ends_the_stream() {
    let mut control_plane = started().await;
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    let revision = control_plane.create_backend("shop-1", "a").await.unwrap();
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    let mismatch = Ack { revision, outcome: AckOutcome::DigestMismatch.into(), ..Ack::default() };
    stream.say(sync_request::Message::Ack(mismatch.clone())).await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Snapshot);
    stream.say(sync_request::Message::Ack(mismatch)).await;
    assert_eq!(stream.ended().await.code(), Code::DataLoss);
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_slow_edge_gets_one_batch_at_a_time_and_skips_to_the_newest() {
    let mut control_plane = started().await;
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    // Not acknowledged yet: what happens now is not sent.
    let mut newest = 0;
    for number in 0..5 {
        newest = control_plane.create_backend(&format!("shop-{number}"), "a").await.unwrap();
    }
    let sent = shown(&mut control_plane, "edge-1").await;
    assert_eq!((sent.snapshots_sent, sent.deltas_sent), (1, 0));
    edge.acknowledge(&stream).await;
    let batch = stream.batch().await.unwrap();
    assert_eq!((batch.revision, batch.resources.len()), (newest, 5));
    assert_eq!(edge.take(batch), Some(BatchKind::Delta));
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_change_that_is_undone_moves_only_the_number() {
    let mut control_plane = started().await;
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    control_plane.create_backend("shop-1", "a").await.unwrap();
    let name = "backends/shop-1".to_owned();
    let deleted =
        control_plane.backends.delete_backend(DeleteBackendRequest { name, force: true, ..Default::default() });
    let revision = deleted.await.unwrap().into_inner().revision;
    edge.acknowledge(&stream).await;
    let batch = stream.batch().await.unwrap();
    assert_eq!((batch.revision, batch.resources.len(), batch.last), (revision, 0, true));
    assert_eq!(edge.take(batch), Some(BatchKind::Delta));
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_second_stream_of_an_edge_replaces_the_first() {
    let mut control_plane = started().await;
    let mut edge = FakeEdge::default();
    let mut first = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut first).await;
    edge.acknowledge(&first).await;
    let mut second = edge.join(&control_plane, "edge-1").await;
    assert_eq!(first.ended().await.code(), Code::Aborted);
    assert_eq!(shown(&mut control_plane, "edge-1").await.state(), EdgeState::Connected);
    let revision = control_plane.create_backend("shop-1", "a").await.unwrap();
    edge.reach(&mut second, revision).await;
    drop(second);
    shows(&mut control_plane, "edge-1", "it is offline", |edge| edge.state() == EdgeState::Offline).await;
    control_plane.server.end().await;
}

#[tokio::test]
async fn what_does_not_belong_ends_the_stream_with_the_reason() {
    let control_plane = started().await;
    let edge = FakeEdge::default();
    let ack = sync_request::Message::Ack(Ack { outcome: AckOutcome::Applied.into(), ..Ack::default() });

    let mut before_hello = open(&control_plane, "edge-1").await.unwrap();
    before_hello.say(ack.clone()).await;
    assert_eq!(before_hello.ended().await.code(), Code::InvalidArgument);

    let mut other_revision = edge.join(&control_plane, "edge-2").await;
    other_revision.batch().await.unwrap();
    other_revision.say(ack).await;
    assert_eq!(other_revision.ended().await.code(), Code::InvalidArgument);

    let mut bad_hello = open(&control_plane, "edge-3").await.unwrap();
    let hello = Hello { digest: vec![1].into(), revision: 1, ..edge.hello() };
    bad_hello.say(sync_request::Message::Hello(hello)).await;
    let status = bad_hello.ended().await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "hello.digest: 16 bytes"));

    let mut nothing = open(&control_plane, "edge-4").await.unwrap();
    nothing.requests.send(SyncRequest { message: None }).await.unwrap();
    assert_eq!(nothing.ended().await.code(), Code::InvalidArgument);
    control_plane.server.end().await;
}

#[tokio::test]
async fn a_revision_is_followed_to_every_edge() {
    let mut control_plane = started().await;
    control_plane.create_domain("shop.example", "a").await.unwrap();
    let (mut quick, mut slow) = (FakeEdge::default(), FakeEdge::default());
    // None joins while another one is being brought up to date.
    for id in ["quick", "slow", "away"] {
        control_plane.member(id).await;
    }
    let mut quick_stream = quick.join(&control_plane, "quick").await;
    let mut slow_stream = slow.join(&control_plane, "slow").await;
    quick.receive(&mut quick_stream).await;
    quick.acknowledge(&quick_stream).await;
    slow.receive(&mut slow_stream).await;
    slow.acknowledge(&slow_stream).await;

    let revision = control_plane.create_backend("shop-1", "a").await.unwrap();
    let mut watch = control_plane
        .edges
        .watch_revision(WatchRevisionRequest { revision, require_all: false })
        .await
        .unwrap()
        .into_inner();
    quick.reach(&mut quick_stream, revision).await;
    slow.receive(&mut slow_stream).await;
    // It holds two bad resources: one of this revision, one from before.
    let rejection = |id: &str, revision| Rejection {
        key: Some(ResourceKey { kind: "backends".to_owned(), id: id.to_owned() }),
        revision,
        reason: "not for me".to_owned(),
    };
    slow.rejections = vec![rejection("shop-1", revision), rejection("shop-0", revision - 1)];
    let states = loop {
        let report = within("a report", watch.message()).await.unwrap().expect("it ends with a complete report");
        let states: Vec<_> = report.edges.iter().map(|edge| (edge.edge.clone(), edge.state())).collect();
        if states[1].1 == ProgressState::Live {
            slow.acknowledge(&slow_stream).await;
        }
        if report.complete {
            let rejections = &report.edges[2].rejections;
            assert_eq!(rejections.len(), 1, "what was rejected before has nothing to do with it");
            assert_eq!(
                (rejections[0].resource.as_str(), rejections[0].reason.as_str()),
                ("backends/shop-1", "not for me")
            );
            break states;
        }
        assert_eq!(states[2].1, ProgressState::Pending);
    };
    let expected = [
        ("edges/away".to_owned(), ProgressState::Offline),
        ("edges/quick".to_owned(), ProgressState::Live),
        ("edges/slow".to_owned(), ProgressState::Rejected),
    ];
    assert_eq!(states, expected);
    assert!(within("the end", watch.message()).await.unwrap().is_none());

    let future = WatchRevisionRequest { revision: revision + 1, require_all: false };
    assert_eq!(control_plane.edges.watch_revision(future).await.unwrap_err().code(), Code::InvalidArgument);

    let list = control_plane.edges.list_edges(ListEdgesRequest { page_size: 2, page_token: String::new() });
    let list = list.await.unwrap().into_inner();
    assert_eq!((list.edges.len(), list.revision), (2, revision));
    let next = ListEdgesRequest { page_size: 2, page_token: list.next_page_token };
    let next = control_plane.edges.list_edges(next).await.unwrap().into_inner();
    assert_eq!((next.edges[0].name.as_str(), next.next_page_token.as_str()), ("edges/slow", ""));
    control_plane.server.end().await;
}

#[tokio::test]
async fn rejections_survive_a_restart_and_are_gone_once_the_edge_says_so() {
    let mut control_plane = started().await;
    let revision = control_plane.create_backend("shop-1", "a").await.unwrap();
    let key = Some(ResourceKey { kind: "backends".to_owned(), id: "shop-1".to_owned() });
    let rejection = Rejection { key, revision, reason: "no".to_owned() };
    let mut edge = FakeEdge { rejections: vec![rejection], ..FakeEdge::default() };
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    shows(&mut control_plane, "edge-1", "its rejection", |edge| edge.acknowledged_revision >= revision).await;
    let mut control_plane = control_plane.restart().await;
    let known = shown(&mut control_plane, "edge-1").await;
    assert_eq!((known.rejections.len(), known.rejections[0].reason.as_str()), (1, "no"));

    let backend =
        Backend { name: "backends/shop-1".to_owned(), address: "127.0.0.1:2".to_owned(), ..Backend::default() };
    let update = UpdateBackendRequest { backend: Some(backend), ..UpdateBackendRequest::default() };
    let revision = control_plane.backends.update_backend(update).await.unwrap().into_inner().revision;
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.rejections.clear();
    edge.acknowledge(&stream).await;
    let known = shows(&mut control_plane, "edge-1", "the fix", |edge| edge.acknowledged_revision == revision).await;
    assert!(known.rejections.is_empty());
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_edge_that_knows_of_withheld_resources_is_told_which_still_are() {
    let control_plane = started().await;
    let mut edge = FakeEdge::default();
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    drop(stream);
    // It was deleted while the edge was away, by a control plane that told nobody. The digest does not show it.
    edge.withheld.insert("domains/gone.example".to_owned());
    let mut stream = edge.join(&control_plane, "edge-1").await;
    assert_eq!(edge.receive(&mut stream).await, BatchKind::Delta);
    assert!(edge.withheld.is_empty(), "{:?}", edge.withheld);
    edge.acknowledge(&stream).await;
    control_plane.server.end().await;
}

#[tokio::test]
async fn an_edge_that_rejects_more_than_it_names_is_live_nowhere_it_may_not_be() {
    let mut control_plane = started().await;
    control_plane.create_domain("shop.example", "a").await.unwrap();
    let revision = control_plane.create_backend("shop-1", "a").await.unwrap();
    let key = ResourceKey { kind: "gadgets".to_owned(), id: "Any Thing".to_owned() };
    let rejection = Rejection { key: Some(key), revision, reason: "needs a newer edge".to_owned() };
    let mut edge = FakeEdge { rejections: vec![rejection], unnamed: 200, ..FakeEdge::default() };
    let mut stream = edge.join(&control_plane, "edge-1").await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    let known = shows(&mut control_plane, "edge-1", "it", |edge| edge.acknowledged_revision >= revision).await;
    assert_eq!((known.rejections[0].resource.as_str(), known.rejections_total), ("gadgets/Any Thing", 201));
    let mut watch = control_plane
        .edges
        .watch_revision(WatchRevisionRequest { revision, require_all: false })
        .await
        .unwrap()
        .into_inner();
    let report = within("a report", watch.message()).await.unwrap().unwrap();
    let progress = &report.edges[0];
    assert_eq!((progress.state(), progress.rejections_total), (ProgressState::Rejected, 200), "{progress:?}");
    // It survives a restart.
    let mut control_plane = control_plane.restart().await;
    assert_eq!(shown(&mut control_plane, "edge-1").await.rejections_total, 201);
    control_plane.server.end().await;
}
