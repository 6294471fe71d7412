//! What people are told when something goes wrong.

use serde_json::json;
use tokio::net::TcpListener;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::fake::{Fake, run_alone};

#[tokio::test]
async fn a_control_plane_that_is_not_there_is_one_line_that_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ended = run_alone(&["domain", "list", "--control-plane", &address]).await;
    assert_eq!(ended.code, 1);
    assert_eq!(
        ended.stderr,
        format!(
            "switchyard: the control plane at {address} (--control-plane) cannot be reached: connection refused; start \
             switchyard-control-plane there, or say where it is with --control-plane or SWITCHYARD_CONTROL_PLANE\n"
        )
    );
    assert_eq!(ended.stdout, "");
}

#[tokio::test]
async fn every_wrong_field_has_its_line() {
    let fake = Fake::start().await;
    let violations = vec![
        FieldViolation::new("domain.name", "an IP address is not a host name"),
        FieldViolation::new("domain.active_tag", "a tag is required"),
    ];
    let details = ErrorDetails::with_bad_request(violations);
    fake.refuse(Status::with_error_details(Code::InvalidArgument, "the domain is not valid", details));
    let ended = fake.run(&["domain", "create", "10.0.0.1", "--tag", "", "--wait"]).await;
    assert_eq!(ended.code, 1);
    assert_eq!(
        ended.stderr,
        "switchyard: INVALID_ARGUMENT: the domain is not valid\n  DOMAIN: an IP address is not a host name\n  --tag: a tag \
         is required\n"
    );
    assert_eq!(ended.stdout, "");

    let violation = FieldViolation::new("domain.tls.acme.something", "it is wrong");
    let details = ErrorDetails::with_bad_request(vec![violation]);
    let message = "domain.tls.acme.something: it is wrong";
    fake.refuse(Status::with_error_details(Code::InvalidArgument, message, details));
    let ended = fake.run(&["domain", "update", "shop.example", "--tag", "a"]).await;
    assert_eq!(ended.stderr, "switchyard: INVALID_ARGUMENT: --set tls.acme.something: it is wrong\n");
}

#[tokio::test]
async fn programs_get_errors_as_one_object() {
    let fake = Fake::start().await;
    let object = |ended: &crate::fake::Ended| {
        assert!(ended.stdout.is_empty() && ended.stderr.lines().count() == 1, "{ended:?}");
        serde_json::from_str::<serde_json::Value>(&ended.stderr).unwrap()
    };
    let details = ErrorDetails::with_bad_request(vec![FieldViolation::new("domain.active_tag", "a tag is required")]);
    let message = "domain.active_tag: a tag is required";
    fake.refuse(Status::with_error_details(Code::InvalidArgument, message, details));
    let ended = fake.run(&["domain", "create", "shop.example", "--tag", "", "-o", "json"]).await;
    assert_eq!(ended.code, 1);
    let violation = json!({"field": "domain.active_tag", "argument": "--tag", "description": "a tag is required"});
    let expected =
        json!({"code": "INVALID_ARGUMENT", "message": "--tag: a tag is required", "violations": [violation]});
    assert_eq!(object(&ended), expected);

    let ended = fake.run(&["domain", "create", "--output", "json"]).await;
    assert_eq!(ended.code, 2);
    let usage = object(&ended);
    assert_eq!(usage["code"], "USAGE");
    assert!(usage["message"].as_str().is_some_and(|message| message.contains("<DOMAIN>")), "{usage}");
    let ended = fake.run(&["domain", "list", "--filter", "x=1", "-o", "yaml"]).await;
    assert_eq!((ended.code, object(&ended)["code"].as_str()), (2, Some("USAGE")));
    let ended = run_alone(&["domain", "list", "-o", "json", "--control-plane", "http://127.0.0.1:1"]).await;
    assert_eq!((ended.code, object(&ended)["code"].as_str()), (1, Some("UNREACHABLE")));
}

#[tokio::test]
async fn conditions_that_do_not_hold_have_their_line() {
    let fake = Fake::start().await;
    let details = ErrorDetails::with_precondition_failure_violation("IN_USE", "services/shop", "domains refer to it");
    fake.refuse(Status::with_error_details(Code::FailedPrecondition, "the service is in use", details));
    let ended = fake.run(&["service", "delete", "shop"]).await;
    assert_eq!(ended.code, 1);
    let expected = "switchyard: FAILED_PRECONDITION: the service is in use\n  services/shop: domains refer to it\n";
    assert_eq!(ended.stderr, expected);
}

#[tokio::test]
async fn a_stale_etag_comes_with_what_to_do() {
    let fake = Fake::start().await;
    fake.refuse(Status::aborted("the etag is stale"));
    let ended = fake.run(&["domain", "update", "shop.example", "--tag", "b", "--etag", "3"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.starts_with("switchyard: ABORTED: the etag is stale\nhint: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("`switchyard domain get shop.example`"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_write_that_may_have_been_made_says_so() {
    let fake = Fake::start().await;
    fake.refuse(Status::unavailable("the database does not answer"));
    let ended = fake.run(&["backend", "delete", "shop-1"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("it is not known whether the change was made"), "{}", ended.stderr);
}

#[tokio::test]
async fn errors_do_not_steer_the_terminal() {
    let fake = Fake::start().await;
    fake.refuse(Status::internal("\x1b[2J"));
    let ended = fake.run(&["backend", "delete", "shop-1"]).await;
    assert!(ended.stderr.contains("\\u{1b}[2J") && !ended.stderr.contains('\x1b'), "{}", ended.stderr);
}

#[tokio::test]
async fn what_is_not_there_is_named_by_the_control_plane() {
    let fake = Fake::start().await;
    let ended = fake.run(&["edge", "get", "edge-9"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (1, "switchyard: NOT_FOUND: there is no such resource\n"));
}
