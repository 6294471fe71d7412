//! `switchyard switch`.

use serde_json::json;
use switchyard_proto::v1::{Backend, BackendState, Domain};
use tonic::Status;

use crate::fake::Fake;

async fn fleet() -> Fake {
    let fake = Fake::start().await;
    fake.state.domains.lock().unwrap().push(Domain {
        name: "domains/shop.example".to_owned(),
        service: "services/shop".to_owned(),
        active_tag: "b".to_owned(),
        previous_tag: "a".to_owned(),
        etag: "5".to_owned(),
        ..Domain::default()
    });
    // The second tag is on the second page.
    *fake.state.backends.lock().unwrap() =
        [("shop-1", "b"), ("shop-2", "b"), ("shop-3", "c")].map(|(id, tag)| backend(id, tag)).to_vec();
    fake
}

fn backend(id: &str, tag: &str) -> Backend {
    Backend {
        name: format!("backends/{id}"),
        service: "services/shop".to_owned(),
        tags: vec![tag.to_owned()],
        state: BackendState::Active.into(),
        ..Backend::default()
    }
}

#[tokio::test]
async fn the_request_names_the_tag_and_the_etag_that_was_read() {
    let fake = fleet().await;
    let request = fake.request_of("SwitchDomain", &["switch", "shop.example", "--to", "x", "--force"]).await;
    assert_eq!(request, json!({"name": "domains/shop.example", "tag": "x", "etag": "5", "force": true}));
}

#[tokio::test]
async fn with_two_tags_in_use_it_goes_to_the_other_one() {
    let fake = fleet().await;
    let request = fake.request_of("SwitchDomain", &["switch", "shop.example"]).await;
    assert_eq!(request, json!({"name": "domains/shop.example", "tag": "c", "etag": "5"}));
}

#[tokio::test]
async fn with_three_tags_in_use_it_must_be_said_which() {
    let fake = fleet().await;
    fake.state.backends.lock().unwrap().push(backend("shop-4", "d"));
    let ended = fake.run(&["switch", "shop.example"]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("--to TAG") && ended.stderr.contains("b, c, d"), "{}", ended.stderr);
    assert!(fake.requests("SwitchDomain").is_empty());
}

#[tokio::test]
async fn back_goes_to_the_tag_before() {
    let fake = fleet().await;
    let request = fake.request_of("SwitchDomain", &["switch", "shop.example", "--back", "--dry-run"]).await;
    assert_eq!(request, json!({"name": "domains/shop.example", "tag": "a", "etag": "5", "validateOnly": true}));
    fake.state.domains.lock().unwrap()[0].previous_tag.clear();
    let ended = fake.run(&["switch", "shop.example", "--back"]).await;
    assert!(ended.code == 2 && ended.stderr.contains("has not been switched yet"), "{ended:?}");
}

#[tokio::test]
async fn it_says_from_where_to_where() {
    let fake = fleet().await;
    let ended = fake.run(&["switch", "shop.example", "--to", "c"]).await;
    assert_eq!(ended.stdout, "domain shop.example switched from tag b to c (revision 7)\n");
    let ended = fake.run(&["switch", "shop.example", "--to", "b"]).await;
    assert_eq!(ended.stdout, "domain shop.example left on tag b, where it was (revision 7)\n");
}

#[tokio::test]
async fn after_an_unknown_outcome_it_names_the_command_that_can_be_repeated() {
    let fake = fleet().await;
    fake.refuse(Status::unavailable("the database does not answer"));
    let ended = fake.run(&["switch", "shop.example"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("`switchyard switch shop.example --to c`"), "{}", ended.stderr);
}
