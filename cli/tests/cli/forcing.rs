//! Changes that leave domains without what serves them: `--force`, `--yes`, and the question in a terminal.

use std::{collections::HashMap, process::Stdio};

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, PreconditionViolation, StatusExt};

use crate::fake::{Ended, Fake};

const DRAIN: [&str; 3] = ["backend", "drain", "shop-1"];
const WHY: &str =
    "backends/shop-1 is the last active backend of services/shop with the tag a, used by domains/shop.example";

async fn refusing() -> Fake {
    let fake = Fake::start().await;
    let mut details = ErrorDetails::new();
    details.set_precondition_failure(vec![
        PreconditionViolation::new("LAST_BACKEND", "backends/shop-1", WHY),
        PreconditionViolation::new("DEPENDENT", "domains/shop.example", "depends on backends/shop-1"),
    ]);
    details.set_error_info("FORCE_REQUIRED", "switchyard", HashMap::new());
    fake.refuse(Status::with_error_details(Code::FailedPrecondition, WHY, details));
    fake
}

/// Runs the program in a terminal (`script` of bsdutils), in which somebody types an answer.
async fn in_terminal(fake: &Fake, args: &[&str], answer: &str) -> (i32, String) {
    let command = format!("{} --control-plane {} {}", env!("CARGO_BIN_EXE_switchyard"), fake.address, args.join(" "));
    let mut script = tokio::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut script = script.spawn().unwrap();
    let mut keyboard = script.stdin.take().unwrap();
    keyboard.write_all(answer.as_bytes()).await.unwrap();
    let output = script.wait_with_output().await.unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn elsewhere_than_in_a_terminal_it_is_refused_and_says_what_forces_it() {
    let fake = refusing().await;
    let Ended { code, stderr, .. } = fake.run(&DRAIN).await;
    assert_eq!(code, 1);
    let expected = format!(
        "switchyard: FAILED_PRECONDITION: {WHY}\n  domains/shop.example: depends on backends/shop-1\n\
         hint: `--force` does it all the same\n"
    );
    assert_eq!(stderr, expected);
    assert_eq!(fake.requests("DrainBackend"), [json!({"name": "backends/shop-1"})]);
}

#[tokio::test]
async fn with_force_there_is_no_question() {
    let fake = refusing().await;
    let request = fake.request_of("DrainBackend", &[&DRAIN[..], &["--force"]].concat()).await;
    assert_eq!(request, json!({"name": "backends/shop-1", "force": true}));
    for (method, command) in [
        ("DeleteBackend", &["backend", "delete", "shop-1"][..]),
        ("UpdateBackend", &["backend", "update", "shop-1", "--state", "disabled"]),
        ("DeleteCertificate", &["certificate", "delete", "shop"]),
    ] {
        assert_eq!(fake.run(command).await.code, 1, "{command:?}");
        let request = fake.request_of(method, &[command, &["--force"]].concat()).await;
        assert_eq!(request["force"], true, "{command:?}");
    }
}

#[tokio::test]
async fn in_a_terminal_it_is_asked_for() {
    let fake = refusing().await;
    let (code, text) = in_terminal(&fake, &DRAIN, "y\n").await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("depends on backends/shop-1") && text.contains("Do it all the same? [y/N]"), "{text}");
    assert_eq!(fake.requests("DrainBackend")[1]["force"], true);

    let (code, text) = in_terminal(&fake, &DRAIN, "n\n").await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("not confirmed: nothing was changed"), "{text}");
    assert_eq!(fake.requests("DrainBackend").len(), 3, "it was not sent again");

    let (code, text) = in_terminal(&fake, &[&DRAIN[..], &["--yes"]].concat(), "").await;
    assert!(code == 1 && !text.contains("Do it all the same?"), "{text}");
}
