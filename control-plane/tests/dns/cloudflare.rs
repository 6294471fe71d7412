//! Cloudflare's API as it is documented, and as far as it is used, before a real name server.

use std::sync::{Arc, Mutex};

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};
use switchyard_control_plane::{
    dns::{CloudflareError, DnsError},
    model::DnsSettings,
};

use crate::{
    ANOTHER, VALUE,
    bind::{Bind, PRIMARY, nsupdate},
    http::{Api, Seen, json},
    record,
};

const TOKEN: &str = "the-api-token";

fn success(result: Value) -> Response {
    json(StatusCode::OK, &json!({ "success": true, "errors": [], "messages": [], "result": result }))
}

fn failure(status: StatusCode, code: u64, message: &str) -> Response {
    let errors = json!([{ "code": code, "message": message }]);
    json(status, &json!({ "success": false, "errors": errors, "messages": [], "result": null }))
}

/// An API with the zone `acme.test`, whose records are `records` and are served by BIND at `port`.
async fn api(port: u16, records: Arc<Mutex<Vec<Value>>>) -> Api {
    Api::start(move |seen: Seen| {
        let records = Arc::clone(&records);
        async move {
            if seen.header("authorization") != format!("Bearer {TOKEN}") {
                return failure(StatusCode::FORBIDDEN, 10000, "Authentication error");
            }
            match (seen.method.as_str(), seen.path.as_str()) {
                ("GET", "/client/v4/zones") if seen.query == "name=acme.test" => {
                    success(json!([{ "id": "zone1", "name": "acme.test" }]))
                }
                ("GET", "/client/v4/zones") => success(json!([])),
                ("POST", "/client/v4/zones/zone1/dns_records") => {
                    let mut record = seen.body.clone();
                    let (name, content) = (seen.text("name"), seen.text("content"));
                    {
                        let mut records = records.lock().unwrap();
                        if records.iter().any(|old| old["name"] == record["name"] && old["content"] == content) {
                            return failure(StatusCode::BAD_REQUEST, 81058, "An identical record already exists.");
                        }
                        record["id"] = format!("record{}", records.len()).into();
                        records.push(record.clone());
                    }
                    nsupdate(port, &format!("update add {name} 60 TXT {content}")).await;
                    success(record)
                }
                // It returns more than was asked for: nothing else may be taken away.
                ("GET", "/client/v4/zones/zone1/dns_records") => success(records.lock().unwrap().clone().into()),
                ("DELETE", path) => {
                    let id = path.strip_prefix("/client/v4/zones/zone1/dns_records/").unwrap();
                    let mut records = records.lock().unwrap();
                    records.retain(|record| record["id"] != id);
                    success(json!({ "id": id }))
                }
                _ => failure(StatusCode::NOT_FOUND, 7003, "Could not route to the path"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn cloudflare_gets_a_record_beside_others_and_loses_only_it() {
    let bind = Bind::start().await;
    let records: Arc<Mutex<Vec<Value>>> = Arc::default();
    let api = api(bind.port, Arc::clone(&records)).await;
    let settings = DnsSettings::cloudflare(TOKEN, Some(&api.url("/client/v4"))).unwrap();
    let (apex, wildcard) = (record("delegating.test", VALUE), record("delegating.test", ANOTHER));
    bind.dns().present(&settings, &wildcard).await.unwrap();
    bind.dns().present(&settings, &apex).await.unwrap();
    // Once more is no error.
    bind.dns().present(&settings, &apex).await.unwrap();
    assert_eq!(bind.txt(PRIMARY, "0123abcd.acme.test").await, [VALUE, ANOTHER]);
    let posted = api.seen().into_iter().find(|seen| seen.method == "POST").unwrap();
    let told = json!({ "type": "TXT", "name": "0123abcd.acme.test", "content": format!("\"{ANOTHER}\""), "ttl": 120 });
    assert_eq!(posted.body, told);
    // As it may come back: without quotes, at another name, of another type.
    for (id, kind, name, content) in [
        ("bare", "TXT", "0123abcd.acme.test", VALUE),
        ("name", "TXT", "www.acme.test", VALUE),
        ("type", "CNAME", "0123abcd.acme.test", VALUE),
    ] {
        records.lock().unwrap().push(json!({ "id": id, "type": kind, "name": name, "content": content }));
    }
    bind.dns().remove(&settings, &apex).await.unwrap();
    let left = records.lock().unwrap().iter().map(|record| record["id"].clone()).collect::<Vec<_>>();
    assert_eq!(left, ["record0", "name", "type"]);
    let asked = api.seen().into_iter().find(|seen| seen.method == "GET" && seen.path.ends_with("dns_records")).unwrap();
    assert_eq!(asked.query, "type=TXT&name=0123abcd.acme.test&per_page=100");
}

#[tokio::test]
async fn a_token_that_cloudflare_refuses_is_named_and_not_shown() {
    let bind = Bind::start().await;
    let api = api(bind.port, Arc::default()).await;
    let settings = DnsSettings::cloudflare("another-token", Some(&api.url("/client/v4"))).unwrap();
    let error = bind.dns().present(&settings, &record("delegating.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Cloudflare(CloudflareError::Token { code: 10000, .. })), "{error}");
    assert!(!error.to_string().contains("another-token"), "{error}");
}

#[tokio::test]
async fn a_zone_that_the_token_does_not_see_is_named() {
    let bind = Bind::start().await;
    let api = api(bind.port, Arc::default()).await;
    let settings = DnsSettings::cloudflare(TOKEN, Some(&api.url("/client/v4"))).unwrap();
    let error = bind.dns().present(&settings, &record("www.example.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Cloudflare(CloudflareError::NoZone(_))), "{error}");
    let asked: Vec<_> = api.seen().into_iter().map(|seen| seen.query).collect();
    assert_eq!(asked, ["name=www.example.test", "name=example.test"]);
}

#[tokio::test]
async fn what_is_not_cloudflares_api_is_an_error() {
    let bind = Bind::start().await;
    for said in [json!("<html>"), json!([]), json!({ "success": true }), json!({ "errors": 5 }), json!(null)] {
        let odd = said.clone();
        let api = Api::start(move |_| {
            let odd = odd.clone();
            async move { json(StatusCode::OK, &odd) }
        })
        .await;
        let settings = DnsSettings::cloudflare(TOKEN, Some(&api.url("/client/v4"))).unwrap();
        let error = bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap_err();
        assert!(matches!(error, DnsError::Cloudflare(_)), "{said}: {error}");
    }
}
