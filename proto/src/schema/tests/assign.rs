use std::io;

use super::widget::{descriptor, json, of_json, widget};
use crate::schema::{Assignment, InvalidAssignment, Mask, assign, patch, resource};

fn read(name: &str) -> io::Result<String> {
    match name {
        "token" | "-" => Ok("from a file\n".to_owned()),
        "settings.json" => Ok(r#"{"verbose": true, "deep": {"key": "k"}}"#.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn set(set: &[&str]) -> Result<Assignment, InvalidAssignment> {
    assign(&descriptor(), set.iter().copied(), [], &read)
}

fn error(texts: &[&str]) -> String {
    set(texts).unwrap_err().to_string()
}

#[test]
fn every_kind_of_value_is_read() {
    for (text, value) in [
        ("enabled=true", r#"{"enabled": true}"#),
        ("version=v1-2", r#"{"version": "VERSION_V1_2"}"#),
        ("version=1.2", r#"{"version": "VERSION_V1_2"}"#),
        ("version=Dark_Red", r#"{"version": "VERSION_DARK_RED"}"#),
        ("version=VERSION_DARK_RED", r#"{"version": "VERSION_DARK_RED"}"#),
        ("version=unspecified", "{}"),
        ("tags=a,b", r#"{"tags": ["a", "b"]}"#),
        (r#"tags=["a,b"]"#, r#"{"tags": ["a,b"]}"#),
        ("tags=", "{}"),
        ("labels=k=v,l=w=x", r#"{"labels": {"k": "v", "l": "w=x"}}"#),
        (r#"labels={"k": "a,b"}"#, r#"{"labels": {"k": "a,b"}}"#),
        (r#"parts={"p": {"count": 2}}"#, r#"{"parts": {"p": {"count": 2}}}"#),
        (r#"spares=[{"label": "l"}]"#, r#"{"spares": [{"label": "l"}]}"#),
        ("settings={}", r#"{"settings": {}}"#),
        (r#"settings={"verbose": true}"#, r#"{"settings": {"verbose": true}}"#),
        ("settings.deep.level=7", r#"{"settings": {"deep": {"level": 7}}}"#),
        ("remote.token=@token", r#"{"remote": {"token": "from a file"}}"#),
        ("local.pin=@-", r#"{"local": {"pin": "from a file"}}"#),
        ("settings=@settings.json", r#"{"settings": {"verbose": true, "deep": {"key": "k"}}}"#),
        ("literal=@@home", r#"{"literal": "@home"}"#),
        ("rank=0", r#"{"rank": 0}"#),
        ("timeout=250ms", r#"{"timeout": "0.250s"}"#),
        ("timeout=1m 30s", r#"{"timeout": "90s"}"#),
        ("at=2030-01-02T03:04:05Z", r#"{"at": "2030-01-02T03:04:05Z"}"#),
        ("at=2030-01-02T03:04:05+01:00", r#"{"at": "2030-01-02T02:04:05Z"}"#),
        ("blob=aGk=", r#"{"blob": "aGk="}"#),
        ("ratio=0.5", r#"{"ratio": 0.5}"#),
        ("offset=-3", r#"{"offset": "-3"}"#),
    ] {
        let assignment = set(&[text]).unwrap();
        assert_eq!(json(&assignment.message), json(&of_json(value)), "{text}");
        assert_eq!(assignment.paths, [text.split('=').next().unwrap()]);
    }
}

#[test]
fn what_is_no_value_is_refused_with_what_is_expected() {
    for (text, expected) in [
        ("enabled=yes", "enabled: true or false is expected"),
        ("version=3", "version: one of 1.2, dark-red is expected"),
        ("rank=-1", "rank: a whole number from 0 on is expected"),
        ("rank=4294967296", "rank: a whole number from 0 on is expected"),
        ("offset=x", "offset: a whole number is expected"),
        ("timeout=soon", "timeout: a duration such as 30s or 250ms is expected"),
        ("timeout=5", "timeout: a duration such as 30s or 250ms is expected"),
        ("at=today", "at: a time such as 2030-01-02T03:04:05Z is expected"),
        ("blob=?", "blob: base64 is expected"),
        ("labels=k", "labels: KEY=VALUE,KEY=VALUE, or JSON, where KEY is text and VALUE text is expected"),
        ("labels=k=v,k=w", "labels: KEY=VALUE,KEY=VALUE, or JSON, where KEY is text and VALUE text is expected"),
        ("home=@nowhere", "home: read nowhere: entity not found"),
        ("enabled", "\"enabled\" is not PATH=VALUE"),
        ("previous=x", "\"previous\" is for output only"),
        ("tags.0=x", "\"tags.0\" leads into tags, which is set as a whole"),
        ("setings.verbose=true", "\"setings.verbose\" is no field; the nearest are settings.verbose"),
    ] {
        assert_eq!(error(&[text]), expected);
    }
    let json = error(&[r#"settings={"verbos": true}"#]);
    assert!(
        json.starts_with("settings: ")
            && json.contains("verbos")
            && json.ends_with("a JSON object of Settings is expected"),
        "{json}"
    );
    assert!(error(&["settings=on"]).ends_with("a JSON object of Settings is expected"));
    assert!(error(&["spares=a"]).contains("a JSON object of Part is expected"));
}

#[test]
fn secrets_are_read_and_not_written() {
    let of = |path: &str| format!("{path} is secret: name a file, {path}=@FILE, or standard input, {path}=@-");
    assert_eq!(error(&["remote.token=hunter2"]), of("remote.token"));
    assert_eq!(error(&["remote.token=@@hunter2"]), of("remote.token"));
    assert_eq!(error(&["remote.token="]), of("remote.token"));
    assert_eq!(error(&[r#"settings={"deep": {"key": "hunter2"}}"#]), of("settings.deep.key"));
}

#[test]
fn later_ones_refine_earlier_ones_and_do_not_undo_them() {
    let unset = |set: &[&str], unset: &[&str]| assign(&descriptor(), set.iter().copied(), unset.iter().copied(), &read);
    let refined = set(&[r#"settings={"note": "n"}"#, "settings.deep.level=1"]).unwrap();
    assert_eq!(json(&refined.message), serde_json::json!({"settings": {"note": "n", "deep": {"level": 1}}}));
    let trimmed = unset(&[r#"settings={"note": "n", "verbose": true}"#], &["settings.note", "rank"]).unwrap();
    assert_eq!(json(&trimmed.message), serde_json::json!({"settings": {"verbose": true}}));
    assert_eq!(trimmed.paths, ["settings", "settings.note", "rank"]);
    let undone = "settings comes after settings.note, which it would undo";
    assert_eq!(error(&["settings.note=n", "settings={}"]), undone);
    assert_eq!(unset(&["settings.note=n"], &["settings"]).unwrap_err().to_string(), undone);
    assert!(matches!(set(&["rank=1", "rank=2"]), Err(InvalidAssignment::Overlap { .. })));
    assert!(matches!(unset(&[], &["nowhere"]), Err(InvalidAssignment::Path(_))));
    assert_eq!(
        error(&["remote.address=a", "local.path=p"]),
        "remote.address is one of several of which only one can be set"
    );
}

#[test]
fn what_is_assigned_is_a_patch() {
    let unset = ["settings.note", "labels"];
    let of = |set: &[&str]| assign(&descriptor(), set.iter().copied(), unset, &read).unwrap();
    let assigned = of(&["enabled=false", "remote.address=b", "remote.token=@token", "tags=x"]);
    let stored = widget(0);
    let patched = json(&patch(&stored, &assigned.message, &Mask::of(assigned.paths)).unwrap());
    assert!(patched.get("enabled").is_none() && patched.get("labels").is_none());
    assert!(patched["settings"].get("note").is_none());
    assert_eq!(patched["settings"]["deep"], json(&stored)["settings"]["deep"]);
    assert_eq!((&patched["remote"]["address"], &patched["remote"]["token"]), (&"b".into(), &"from a file".into()));
    assert_eq!(patched["tags"], serde_json::json!(["x"]));
}

#[test]
fn the_flags_of_the_handbook_are_understood() {
    let domain = resource("domains").unwrap();
    let read = |name: &str| Ok(format!("the text of {name}"));
    let set = ["tls.minimum_version=1.3", "tls.client_authentication.ca_bundle_pem=@ca.pem"];
    let assigned = assign(&domain, set, ["tls.acme.on_demand"], &read).unwrap();
    let domain: crate::v1::Domain = assigned.message.transcode_to().unwrap();
    let tls = domain.tls.unwrap();
    assert_eq!(tls.minimum_version(), crate::v1::TlsVersion::V13);
    assert_eq!(tls.client_authentication.unwrap().ca_bundle_pem, "the text of ca.pem");
    assert_eq!(assigned.paths[2], "tls.acme.on_demand");
}
