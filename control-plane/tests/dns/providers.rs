//! Providers that are told by HTTP or by a program: what they are told, and what becomes of what they say.

use std::path::Path;

use axum::{
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use serde_json::json;
use switchyard_control_plane::{
    dns::{AcmeDnsError, DnsError, ExecError, HttpError},
    model::{DnsSettings, HookMode},
};

use crate::{
    ANOTHER, VALUE,
    bind::{Bind, PRIMARY, nsupdate},
    http::{Api, Seen, json},
    record,
};

const NAME: &str = "_acme-challenge.example.test";

#[tokio::test]
async fn an_http_endpoint_is_told_name_and_value_and_who_asks() {
    let bind = Bind::start().await;
    let port = bind.port;
    let api = Api::start(move |seen: Seen| async move {
        let command = if seen.path == "/dns/present" { "add" } else { "delete" };
        let ttl = if command == "add" { "60" } else { "" };
        nsupdate(port, &format!("update {command} {} {ttl} TXT {}", seen.text("fqdn"), seen.text("value"))).await;
        StatusCode::OK.into_response()
    })
    .await;
    let settings = DnsSettings::http_request(&api.url("/dns"), HookMode::Default, Some("me"), Some("hunter2")).unwrap();
    let record = record("delegating.test", VALUE);
    bind.dns().present(&settings, &record).await.unwrap();
    assert_eq!(bind.txt(PRIMARY, "0123abcd.acme.test").await, [VALUE]);
    bind.dns().remove(&settings, &record).await.unwrap();
    assert!(bind.txt(PRIMARY, "0123abcd.acme.test").await.is_empty());
    let seen = api.seen();
    assert_eq!(seen.iter().map(|seen| seen.path.as_str()).collect::<Vec<_>>(), ["/dns/present", "/dns/cleanup"]);
    for seen in seen {
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.header("content-type"), "application/json");
        assert_eq!(seen.header("authorization"), "Basic bWU6aHVudGVyMg==");
        assert_eq!(seen.body, json!({ "fqdn": "0123abcd.acme.test.", "value": VALUE }));
    }
}

#[tokio::test]
async fn a_raw_http_endpoint_is_told_what_the_ca_said() {
    let bind = Bind::start().await;
    bind.nsupdate(&format!("update add {NAME} 60 TXT {VALUE}")).await;
    let api = Api::start(async |_| StatusCode::OK.into_response()).await;
    let settings = DnsSettings::http_request(&api.url("/"), HookMode::Raw, None, None).unwrap();
    bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap();
    bind.dns().remove(&settings, &record("example.test", VALUE)).await.unwrap();
    let seen = api.seen();
    assert_eq!(seen.iter().map(|seen| seen.path.as_str()).collect::<Vec<_>>(), ["/present", "/cleanup"]);
    for seen in seen {
        assert_eq!(seen.header("authorization"), "");
        let told = json!({ "domain": "example.test", "token": "the-token", "keyAuth": "the-token.thumbprint" });
        assert_eq!(seen.body, told);
    }
}

#[tokio::test]
async fn an_http_error_says_what_the_endpoint_said_in_bounds_and_without_secrets() {
    let bind = Bind::start().await;
    let present = async |status: StatusCode, body: String| {
        let api = Api::start(move |_| {
            let body = body.clone();
            async move { (status, [(header::LOCATION, "/elsewhere")], body).into_response() }
        })
        .await;
        let settings = DnsSettings::http_request(&api.url(""), HookMode::Default, Some("me"), Some("hunter2")).unwrap();
        let error = bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap_err();
        assert_eq!(api.seen().len(), 1, "a redirect was followed");
        let text = error.to_string();
        assert!(text.len() < 600 && !text.contains("hunter2") && !text.contains("bWU6aHVudGVyMg=="), "{text}");
        (error, text)
    };
    let said = "hunter2 is wrong, and so is Basic bWU6aHVudGVyMg==".to_owned();
    let (error, text) = present(StatusCode::UNAUTHORIZED, said).await;
    assert!(matches!(error, DnsError::HttpRequest(HttpError::Credentials { .. })), "{text}");
    assert!(text.contains("is wrong") && text.contains("401"), "{text}");
    let (error, text) = present(StatusCode::INTERNAL_SERVER_ERROR, "x".repeat(1 << 20)).await;
    assert!(matches!(error, DnsError::HttpRequest(HttpError::Status { .. })) && text.contains("500"), "{text}");
    let (error, text) = present(StatusCode::TEMPORARY_REDIRECT, String::new()).await;
    assert!(matches!(error, DnsError::HttpRequest(HttpError::Status { .. })) && text.contains("307"), "{text}");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named() {
    let bind = Bind::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/dns", listener.local_addr().unwrap());
    drop(listener);
    let settings = DnsSettings::http_request(&url, HookMode::Default, None, None).unwrap();
    let error = bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::HttpRequest(HttpError::Unreachable { .. })), "{error}");
    assert!(error.to_string().contains(&url) && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn acme_dns_is_told_the_value_of_its_account_and_has_nothing_to_take_away() {
    let bind = Bind::start().await;
    let port = bind.port;
    let api = Api::start(move |seen: Seen| async move {
        if seen.header("x-api-key") != "hunter2" {
            return json(StatusCode::UNAUTHORIZED, &json!({ "error": "forbidden" }));
        }
        let (subdomain, txt) = (seen.text("subdomain"), seen.text("txt"));
        nsupdate(port, &format!("update add {subdomain}.acme.test 1 TXT {txt}")).await;
        json(StatusCode::OK, &json!({ "txt": txt }))
    })
    .await;
    let settings = |key| DnsSettings::acme_dns(&api.url("/"), "account", key, "0123abcd").unwrap();
    let record = record("delegating.test", VALUE);
    bind.dns().present(&settings("hunter2"), &record).await.unwrap();
    bind.dns().remove(&settings("hunter2"), &record).await.unwrap();
    let seen = api.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/update"));
    assert_eq!(seen[0].header("x-api-user"), "account");
    assert_eq!(seen[0].body, json!({ "subdomain": "0123abcd", "txt": VALUE }));
    let error = bind.dns().present(&settings("hunter3"), &record).await.unwrap_err();
    assert!(matches!(error, DnsError::AcmeDns(AcmeDnsError::Http(HttpError::Credentials { .. }))), "{error}");
    assert!(error.to_string().contains("forbidden"), "{error}");
}

#[tokio::test]
async fn a_name_that_is_not_delegated_to_acme_dns_is_an_error_that_asks_for_the_cname() {
    let bind = Bind::start().await;
    let api = Api::start(async |_| StatusCode::OK.into_response()).await;
    let settings = DnsSettings::acme_dns(&api.url("/"), "account", "hunter2", "0123abcd").unwrap();
    let error = bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::AcmeDns(AcmeDnsError::NotDelegated { .. })), "{error}");
    assert!(error.to_string().contains("make _acme-challenge.example.test a CNAME"), "{error}");
    assert!(api.seen().is_empty());
}

/// A program in the folder of hooks.
fn program(folder: &Path, script: &str) {
    let path = folder.join("set-txt");
    // Written by another process: one that another test starts could still hold the file open otherwise (ETXTBSY).
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 755 "$0""#;
    assert!(std::process::Command::new("sh").args(["-c", write]).arg(&path).arg(script).status().unwrap().success());
}

#[tokio::test]
async fn a_program_is_told_name_and_value() {
    let bind = Bind::start().await;
    let folder = bind.hooks();
    let script = format!(
        r#"case "$1" in present) what="add $2 60" ;; cleanup) what="delete $2" ;; esac
printf 'server {PRIMARY} {port}\nupdate %s TXT %s\nsend\n' "$what" "$3" | nsupdate -y {key}"#,
        port = bind.port,
        key = Bind::nsupdate_key()
    );
    program(folder, &script);
    let settings = DnsSettings::exec("set-txt", HookMode::Default).unwrap();
    let record = record("delegating.test", VALUE);
    bind.dns().present(&settings, &record).await.unwrap();
    assert_eq!(bind.txt(PRIMARY, "0123abcd.acme.test").await, [VALUE]);
    bind.dns().remove(&settings, &record).await.unwrap();
    assert!(bind.txt(PRIMARY, "0123abcd.acme.test").await.is_empty());
}

#[tokio::test]
async fn a_raw_program_is_told_what_the_ca_said_and_sees_no_environment_but_path() {
    let bind = Bind::start().await;
    let folder = bind.hooks();
    let script = r#"printf '%s\n' "$@" >> "${0%/*}/arguments"; env | grep -vE '^(PATH|PWD|SHLVL|_)=' > "${0%/*}/environment"
exit 0"#;
    program(folder, script);
    let settings = DnsSettings::exec("set-txt", HookMode::Raw).unwrap();
    bind.nsupdate(&format!("update add {NAME} 60 TXT {VALUE}")).await;
    bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap();
    bind.dns().remove(&settings, &record("example.test", VALUE)).await.unwrap();
    let told = |what| format!("{what}\n--\nexample.test\nthe-token\nthe-token.thumbprint\n");
    let arguments = std::fs::read_to_string(folder.join("arguments")).unwrap();
    assert_eq!(arguments, told("present") + &told("cleanup"));
    assert_eq!(std::fs::read_to_string(folder.join("environment")).unwrap(), "");
}

#[tokio::test]
async fn a_program_that_fails_says_why_in_bounds() {
    let bind = Bind::start().await;
    let folder = bind.hooks();
    let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo 'no such zone' >&2; exit 3";
    program(folder, script);
    let settings = DnsSettings::exec("set-txt", HookMode::Default).unwrap();
    let error = bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Exec(ExecError::Failed { .. })), "{error}");
    let text = error.to_string();
    assert!(text.contains("no such zone") && text.contains("exit status: 3") && text.len() < 2000, "{text}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let bind = Bind::start().await;
    let settings = DnsSettings::exec("not-there", HookMode::Default).unwrap();
    let error = bind.dns().remove(&settings, &record("example.test", ANOTHER)).await.unwrap_err();
    assert!(matches!(error, DnsError::Exec(ExecError::Start { .. })), "{error}");
    assert!(error.to_string().contains("/not-there"), "{error}");
}
