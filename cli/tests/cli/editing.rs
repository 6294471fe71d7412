//! `switchyard domain edit`.

use serde_json::json;
use switchyard_proto::v1::{Domain, DomainTls, TlsVersion};
use tonic::Status;

use crate::{
    commands::mask,
    fake::{Ended, Fake, command},
};

async fn fleet() -> Fake {
    let fake = Fake::start().await;
    fake.state.domains.lock().unwrap().push(Domain {
        name: "domains/shop.example".to_owned(),
        active_tag: "a".to_owned(),
        previous_tag: "b".to_owned(),
        tls: Some(DomainTls { minimum_version: TlsVersion::V12.into(), ..DomainTls::default() }),
        etag: "5".to_owned(),
        ..Domain::default()
    });
    fake
}

/// Edits the domain with this editor.
async fn edit(fake: &Fake, editor: &str) -> Ended {
    let mut edit = command(&["domain", "edit", "shop.example", "--control-plane", &fake.address]);
    let output = edit.env_remove("VISUAL").env("EDITOR", editor).output().await.unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The file that is named in what was said.
fn kept(ended: &Ended) -> String {
    let path = ended.stderr.split([' ', ':', '\n']).find(|word| word.ends_with(".yaml"));
    let path = path.unwrap_or_else(|| panic!("{ended:?}"));
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::remove_file(path).unwrap();
    text
}

#[tokio::test]
async fn what_was_changed_in_the_editor_is_sent_with_the_etag() {
    let fake = fleet().await;
    let ended = edit(&fake, "sed -i -e 's/^activeTag: .*/activeTag: c/' -e 's/V1_2/V1_3/'").await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "domain shop.example updated (revision 7)\n"), "{ended:?}");
    let request = fake.requests("UpdateDomain").pop().unwrap();
    assert_eq!(request["updateMask"], mask(&["active_tag", "tls.minimum_version"]));
    assert_eq!((&request["domain"]["activeTag"], &request["domain"]["etag"]), (&json!("c"), &json!("5")));
    assert_eq!(request["domain"]["previousTag"], json!(null));
    let ended = edit(&fake, "sed -i '/^tls:/,$d'").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(fake.requests("UpdateDomain").pop().unwrap()["updateMask"], mask(&["tls"]));
}

#[tokio::test]
async fn nothing_changed_sends_nothing() {
    let fake = fleet().await;
    for editor in ["true", "sed -i 's/^# .*/# a remark/'", "truncate -s 0"] {
        let ended = edit(&fake, editor).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "domain shop.example: nothing changed\n"), "{editor}");
    }
    let ended = edit(&fake, "false").await;
    assert!(ended.code == 2 && ended.stderr.contains("nothing was changed"), "{ended:?}");
    assert!(fake.requests("UpdateDomain").is_empty());
}

#[tokio::test]
async fn what_cannot_be_applied_is_kept() {
    let fake = fleet().await;
    for (editor, said) in [
        ("sed -i 's/^activeTag/activTag/'", "activTag"),
        ("sed -i 's/^name: .*/name: domains\\/x/'", "name says which resource it is"),
    ] {
        let ended = edit(&fake, editor).await;
        assert!(ended.code == 1 && ended.stderr.contains(said), "{ended:?}");
        assert!(kept(&ended).contains("minimumVersion"), "{ended:?}");
    }
    assert!(fake.requests("UpdateDomain").is_empty());
    fake.refuse(Status::aborted("the etag is stale"));
    let ended = edit(&fake, "sed -i 's/^activeTag: .*/activeTag: c/'").await;
    assert!(ended.code == 1 && ended.stderr.contains("ABORTED: the etag is stale"), "{ended:?}");
    assert!(kept(&ended).contains("activeTag: c"), "{ended:?}");
}
