//! `--wait`: what is said, and how it ends.

use serde_json::{Value, json};
use switchyard_proto::v1::{EdgeProgress, ProgressState, Rejection, WatchRevisionResponse};
use tonic::Status;

use crate::fake::{Ended, Fake};

const DRAIN: [&str; 4] = ["backend", "drain", "shop-1", "--wait"];

fn edges(states: &[(&str, ProgressState)]) -> WatchRevisionResponse {
    let progress = |(id, state): &(&str, ProgressState)| EdgeProgress {
        edge: format!("edges/{id}"),
        state: (*state).into(),
        required: *state != ProgressState::Offline,
        ..EdgeProgress::default()
    };
    WatchRevisionResponse { edges: states.iter().map(progress).collect(), ..WatchRevisionResponse::default() }
}

fn complete(response: WatchRevisionResponse) -> WatchRevisionResponse {
    WatchRevisionResponse { complete: true, ..response }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[tokio::test]
async fn live_everywhere_connected_is_0_and_names_the_offline() {
    let fake = Fake::start().await;
    let before = [("e1", ProgressState::Pending), ("e2", ProgressState::Pending), ("e3", ProgressState::Offline)];
    let between = [("e1", ProgressState::Live), ("e2", ProgressState::Pending), ("e3", ProgressState::Offline)];
    let after = [("e1", ProgressState::Live), ("e2", ProgressState::Live), ("e3", ProgressState::Offline)];
    fake.say(vec![Ok(edges(&before)), Ok(edges(&between)), Ok(complete(edges(&after)))]);
    let Ended { code, stdout, stderr } = fake.run(&DRAIN).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(fake.requests("WatchRevision"), [json!({"revision": "7"})]);

    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[1].starts_with("e1   live      ") && lines[1].ends_with(" ms"), "{stdout}");
    assert_eq!(lines[3], "e3   offline");
    assert!(last_line(&stdout).starts_with("live on 2 of 2 connected edges after "), "{stdout}");
    assert!(last_line(&stdout).ends_with(" ms; 1 offline"), "{stdout}");
    let steps: Vec<&str> = stderr.lines().map(|line| line.split(" after ").next().unwrap()).collect();
    assert_eq!(steps, ["e1: pending", "e2: pending", "e3: offline", "e1: live", "e2: live"]);
}

#[tokio::test]
async fn live_nowhere_is_3_unless_that_is_allowed() {
    let fake = Fake::start().await;
    fake.say(vec![Ok(complete(edges(&[("e1", ProgressState::Offline)])))]);
    let ended = fake.run(&DRAIN).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(ended.stdout.lines().last(), Some("e1   offline"));
    let why =
        "revision 7 is committed, but not live anywhere: the edge that serves it is offline (see --allow-offline)";
    assert!(ended.stderr.contains(why), "{ended:?}");

    fake.say(vec![Ok(complete(edges(&[("e1", ProgressState::Offline)])))]);
    let ended = fake.run(&[&DRAIN[..], &["--allow-offline"]].concat()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let told = "revision 7 is committed, and live nowhere yet: the edge that serves it is offline";
    assert_eq!(last_line(&ended.stdout), told);
}

#[tokio::test]
async fn all_edges_can_be_required() {
    let fake = Fake::start().await;
    let mut response = edges(&[("e1", ProgressState::Live), ("e2", ProgressState::Offline)]);
    response.edges[1].required = true;
    fake.say(vec![Ok(response)]);
    let ended = fake.run(&[&DRAIN[..], &["--require-all", "--timeout", "200ms"]].concat()).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(fake.requests("WatchRevision"), [json!({"revision": "7", "requireAll": true})]);
    assert_eq!(last_line(&ended.stderr), "  e2: is offline, and gets it when it connects");
}

#[tokio::test]
async fn a_rejection_of_this_change_is_3_and_says_which_edge_and_why() {
    let fake = Fake::start().await;
    let mut response = complete(edges(&[("e1", ProgressState::Live), ("e2", ProgressState::Rejected)]));
    response.edges[1].rejections.push(Rejection {
        resource: "backends/shop-1".to_owned(),
        revision: 7,
        reason: "address: not an address".to_owned(),
    });
    fake.say(vec![Ok(response)]);
    let ended = fake.run(&DRAIN).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    let told = "revision 7 is committed, but not live everywhere: live on 1 of 2 connected edges after ";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    let why = "  e2: rejected backends/shop-1 (revision 7): address: not an address";
    assert_eq!(last_line(&ended.stderr), why);
}

#[tokio::test]
async fn rejections_that_an_edge_does_not_name_are_3_and_counted() {
    let fake = Fake::start().await;
    let mut response = complete(edges(&[("e1", ProgressState::Rejected), ("e2", ProgressState::Rejected)]));
    response.edges[0].rejections_total = 250;
    let resource = "backends/shop-1".to_owned();
    response.edges[1].rejections.push(Rejection { resource, revision: 7, reason: "needs a newer edge".to_owned() });
    response.edges[1].rejections_total = 201;
    fake.say(vec![Ok(response)]);
    let ended = fake.run(&DRAIN).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().rev().take(3).collect();
    let expected = [
        "  e2: and 200 more",
        "  e2: rejected backends/shop-1 (revision 7): needs a newer edge",
        "  e1: rejects 250 that it does not name, perhaps of this revision",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_timeout_is_3_and_says_which_edge() {
    let fake = Fake::start().await;
    fake.say(vec![Ok(edges(&[("e1", ProgressState::Live), ("e2", ProgressState::Pending)]))]);
    let ended = fake.run(&[&DRAIN[..], &["--timeout", "200ms"]].concat()).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(last_line(&ended.stderr), "  e2: has not acknowledged it yet");
}

#[tokio::test]
async fn with_json_the_standard_output_is_the_message_alone() {
    let fake = Fake::start().await;
    fake.say(vec![Ok(complete(edges(&[("e1", ProgressState::Live)])))]);
    let ended = fake.run(&[&DRAIN[..], &["--output", "json"]].concat()).await;
    assert_eq!(ended.code, 0);
    let message: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(message, json!({"name": "backends/shop-1", "revision": "7"}));
    assert!(last_line(&ended.stderr).starts_with("live on 1 of 1 connected edges after "), "{}", ended.stderr);
}

#[tokio::test]
async fn a_broken_stream_is_followed_anew() {
    let fake = Fake::start().await;
    fake.say(vec![Ok(edges(&[("e1", ProgressState::Pending)])), Err(Status::unavailable("shutting down"))]);
    fake.say(vec![Ok(edges(&[("e1", ProgressState::Pending)]))]);
    fake.say(vec![Ok(complete(edges(&[("e1", ProgressState::Live)])))]);
    let ended = fake.run(&DRAIN).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(fake.requests("WatchRevision").len(), 3);
    let steps: Vec<&str> = ended.stderr.lines().map(|line| line.split(" after ").next().unwrap()).collect();
    assert_eq!(steps, ["e1: pending", "e1: live"]);
}

#[tokio::test]
async fn a_revision_that_cannot_be_followed_is_3() {
    let fake = Fake::start().await;
    fake.say(vec![Err(Status::unimplemented("no such method"))]);
    let ended = fake.run(&DRAIN).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(last_line(&ended.stderr).ends_with("it cannot be followed: UNIMPLEMENTED: no such method"), "{ended:?}");
}

#[tokio::test]
async fn a_control_plane_that_went_away_is_3_and_says_so() {
    let fake = Fake::start().await;
    for _ in 0..20 {
        fake.say(vec![Ok(edges(&[("e1", ProgressState::Pending)])), Err(Status::unavailable("shutting down"))]);
    }
    let ended = fake.run(&[&DRAIN[..], &["--timeout", "500ms"]].concat()).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    let told = "it cannot be followed any more: UNAVAILABLE: shutting down\n  e1: has not acknowledged it yet\n";
    assert!(ended.stderr.ends_with(told), "{ended:?}");
}
