//! X2: whoever has a token with a scope learns the name of nothing outside it, whatever they call.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost_reflect::MethodDescriptor;
use serde_json::{Value, json};
use switchyard_proto::{
    fleet::v1::{Ack, AckOutcome, Rejection, ResourceKey, SyncRequest, SyncResponse, sync_request, sync_response},
    v1::Role,
};
use switchyard_tests::{
    any_method::{AnyMethod, Reply, methods},
    authority::Authority,
    database::Database,
    eventually::{eventually, within},
    fleet::{Fleet, Plan},
    fleet_client::{Member, nothing},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

/// What is in all names of the other tenant.
const WORD: &str = "zebra";
/// Pages of one list that are looked at.
const PAGES_MAX: usize = 20;

/// Notes what was asked of an issuer for names of both tenants.
const USE_ISSUER: &str = "INSERT INTO issuer_use (issuer, kind, registered_domain, host, at)
    SELECT 'ca', kind, registered_domain, host, CAST(unixepoch('subsec') * 1000 AS INTEGER)
    FROM (SELECT 'order' AS kind UNION SELECT 'certificate' UNION SELECT 'failure'),
         (SELECT 'zebra.example' AS registered_domain, 'shop.zebra.example' AS host
          UNION SELECT 'acorn.example', 'shop.acorn.example')";

/// What must be seen in scope.
const SHOWN: [(&str, &[&str]); 6] = [
    ("CertificateService/ListIssuances", &["domains/shop.acorn.example", "domains/zz.acorn.example"]),
    ("DomainService/ListDomains", &["domains/acorn.example", "domains/shop.acorn.example", "domains/zz.acorn.example"]),
    ("DnsProviderService/ListDnsProviders", &["dnsProviders/acorn", "dnsProviders/both"]),
    (
        "EdgeService/ListEdges",
        &["backends/acorn-1", "domains/acorn.example", "waits for services/acorn-web", "out of this token"],
    ),
    ("EdgeService/WatchRevision", &["edges/edge-1"]),
    ("IssuerService/GetBudget", &["acorn.example", "shop.acorn.example", "orders"]),
];

/// What is asked of a method, and whether a scoped operator is answered.
type Case = (&'static str, Value, bool);

/// What the administrator makes for both tenants: method and request, in order.
fn setup(tenant: &str, certificate: &[String; 2]) -> Vec<(&'static str, Value)> {
    let domain = |host: &str, service: &str, tls: Value| json!({"domain": {"name": format!("domains/{host}"), "service": format!("services/{service}"), "activeTag": "a", "tls": tls}});
    let web = format!("{tenant}-web");
    let acme = json!({"certificateSource": "CERTIFICATE_SOURCE_ACME", "acme": {}});
    vec![
        ("CreateService", json!({"service": {"name": format!("services/{web}")}})),
        (
            "CreateBackend",
            json!({"backend": {"name": format!("backends/{tenant}-1"), "service": format!("services/{web}"), "address": "127.0.0.1:9", "tags": ["a"]}}),
        ),
        (
            "CreateDomain",
            domain(&format!("{tenant}.example"), &web, json!({"certificateSource": "CERTIFICATE_SOURCE_INTERNAL"})),
        ),
        ("CreateDomain", domain(&format!("shop.{tenant}.example"), &web, acme.clone())),
        ("CreateDomain", domain(&format!("zz.{tenant}.example"), &web, acme)),
        (
            "CreateCertificate",
            json!({"certificate": {"name": format!("certificates/{tenant}"), "chainPem": certificate[0]}, "privateKeyPem": certificate[1]}),
        ),
        (
            "CreateDnsProvider",
            json!({"dnsProvider": {"name": format!("dnsProviders/{tenant}"), "zones": [format!("{tenant}.example")], "exec": {"program": "set-txt"}}}),
        ),
    ]
}

/// What is asked of each method with a token for what is `acorn`'s.
#[rustfmt::skip]
fn cases(revision: u64, certificate: &[String; 2]) -> Vec<Case> {
    let own = |kind: &str, id: &str| json!({"name": format!("{kind}/{id}")});
    let only_check = |mut request: Value| { request["validateOnly"] = true.into(); request };
    let forced = |request: Value| { let mut request = only_check(request); request["force"] = true.into(); request };
    let domain = |host: &str, service: &str| json!({"domain": {"name": format!("domains/{host}"), "service": format!("services/{service}"), "activeTag": "a"}});
    let backend = |id: &str, service: &str| json!({"backend": {"name": format!("backends/{id}"), "service": format!("services/{service}"), "address": "127.0.0.1:9", "tags": ["a"]}});
    let upload = |id: &str| json!({"certificate": {"name": format!("certificates/{id}"), "chainPem": certificate[0]}, "privateKeyPem": certificate[1], "validateOnly": true});
    let page = || json!({"pageSize": 1});
    vec![
        ("AuditService/ListChanges", json!({}), false),
        ("AuditService/ListChanges", json!({"resource": "domains/acorn.example"}), false),
        ("AuditService/PurgeSecret", json!({"resource": "services/acorn-web", "path": "tls.client_certificate.private_key_pem"}), false),
        ("BackendService/ListBackends", page(), true),
        ("BackendService/GetBackend", own("backends", "acorn-1"), true),
        ("BackendService/GetBackend", own("backends", "zebra-1"), false),
        ("BackendService/CreateBackend", only_check(backend("acorn-2", "acorn-web")), true),
        ("BackendService/CreateBackend", only_check(backend("zebra-1", "acorn-web")), false),
        ("BackendService/CreateBackend", only_check(backend("acorn-2", "zebra-web")), false),
        ("BackendService/UpdateBackend", only_check(backend("acorn-1", "acorn-web")), true),
        ("BackendService/UpdateBackend", only_check(backend("zebra-1", "acorn-web")), false),
        ("BackendService/DrainBackend", forced(own("backends", "acorn-1")), true),
        ("BackendService/DrainBackend", only_check(own("backends", "zebra-1")), false),
        ("BackendService/DeleteBackend", forced(own("backends", "acorn-1")), true),
        ("BackendService/DeleteBackend", only_check(own("backends", "zebra-1")), false),
        ("CertificateService/ListCertificates", page(), true),
        ("CertificateService/GetCertificate", own("certificates", "acorn"), true),
        ("CertificateService/GetCertificate", own("certificates", "zebra"), false),
        ("CertificateService/GetCertificate", own("certificates", "both"), false),
        ("CertificateService/CreateCertificate", upload("acorn-new"), true),
        ("CertificateService/CreateCertificate", upload("both"), false),
        ("CertificateService/UpdateCertificate", upload("acorn"), true),
        ("CertificateService/UpdateCertificate", upload("both"), false),
        ("CertificateService/DeleteCertificate", only_check(own("certificates", "acorn")), true),
        ("CertificateService/DeleteCertificate", only_check(own("certificates", "both")), false),
        ("CertificateService/GetIssuance", json!({"domain": "domains/shop.acorn.example"}), true),
        ("CertificateService/GetIssuance", json!({"domain": "domains/shop.zebra.example"}), false),
        ("CertificateService/WatchIssuance", json!({"domain": "domains/shop.acorn.example"}), true),
        ("CertificateService/WatchIssuance", json!({"domain": "domains/shop.zebra.example"}), false),
        ("CertificateService/ListIssuances", page(), true),
        ("CertificateService/RenewCertificate", json!({"domain": "domains/shop.acorn.example"}), true),
        ("CertificateService/RenewCertificate", json!({"domain": "domains/shop.zebra.example"}), false),
        ("CertificateService/RevokeCertificate", json!({"domain": "domains/shop.acorn.example"}), false),
        ("CertificateService/GetInternalCa", json!({}), true),
        ("DnsProviderService/ListDnsProviders", page(), true),
        ("DnsProviderService/GetDnsProvider", own("dnsProviders", "acorn"), true),
        ("DnsProviderService/GetDnsProvider", own("dnsProviders", "both"), true),
        ("DnsProviderService/GetDnsProvider", own("dnsProviders", "zebra"), false),
        ("DnsProviderService/CreateDnsProvider", json!({"dnsProvider": {"name": "dnsProviders/both", "zones": ["acorn.example"], "exec": {"program": "x"}}}), false),
        ("DnsProviderService/UpdateDnsProvider", json!({"dnsProvider": {"name": "dnsProviders/both", "zones": ["acorn.example"]}}), false),
        ("DnsProviderService/DeleteDnsProvider", own("dnsProviders", "both"), false),
        ("DomainService/ListDomains", page(), true),
        ("DomainService/GetDomain", own("domains", "acorn.example"), true),
        ("DomainService/GetDomain", own("domains", "zebra.example"), false),
        ("DomainService/CreateDomain", only_check(domain("new.acorn.example", "acorn-web")), true),
        ("DomainService/CreateDomain", only_check(domain("new.acorn.example", "zebra-web")), false),
        ("DomainService/CreateDomain", only_check(domain("zebra.example", "acorn-web")), false),
        ("DomainService/UpdateDomain", only_check(domain("acorn.example", "acorn-web")), true),
        ("DomainService/UpdateDomain", only_check(domain("acorn.example", "zebra-web")), false),
        ("DomainService/DeleteDomain", only_check(own("domains", "acorn.example")), true),
        ("DomainService/DeleteDomain", only_check(own("domains", "zebra.example")), false),
        ("DomainService/SwitchDomain", json!({"name": "domains/acorn.example", "tag": "b", "validateOnly": true, "force": true}), true),
        ("DomainService/SwitchDomain", json!({"name": "domains/acorn.example", "tag": "b", "validateOnly": true}), false),
        ("EdgeService/ListEdges", page(), true),
        ("EdgeService/GetEdge", own("edges", "edge-1"), true),
        ("EdgeService/WatchRevision", json!({"revision": revision}), true),
        ("EdgeService/WatchRevision", json!({"revision": 1_000_000}), false),
        ("EdgeService/UpdateEdge", json!({"edge": {"name": "edges/edge-1"}}), false),
        ("EdgeService/DeleteEdge", own("edges", "edge-1"), false),
        ("InviteService/ListInvites", page(), false),
        ("InviteService/CreateInvite", json!({"invite": {"uses": 1}}), false),
        ("InviteService/DeleteInvite", own("invites", "k7"), false),
        ("IssuerService/ListIssuers", page(), true),
        ("IssuerService/GetIssuer", own("issuers", "ca"), true),
        ("IssuerService/CreateIssuer", json!({"issuer": {"name": "issuers/ca", "directory": "https://ca.example/"}}), false),
        ("IssuerService/UpdateIssuer", json!({"issuer": {"name": "issuers/ca", "rank": 1}}), false),
        ("IssuerService/DeleteIssuer", own("issuers", "ca"), false),
        ("IssuerService/GetBudget", json!({}), true),
        ("IssuerService/GetBudget", own("issuers", "ca"), true),
        ("IssuerService/RotateAccount", own("issuers", "ca"), false),
        ("ServiceService/ListServices", page(), true),
        ("ServiceService/GetService", own("services", "acorn-web"), true),
        ("ServiceService/GetService", own("services", "zebra-web"), false),
        ("ServiceService/CreateService", only_check(json!({"service": {"name": "services/acorn-new"}})), true),
        ("ServiceService/CreateService", only_check(json!({"service": {"name": "services/zebra-web"}})), false),
        ("ServiceService/UpdateService", only_check(json!({"service": {"name": "services/acorn-web"}})), true),
        ("ServiceService/UpdateService", only_check(json!({"service": {"name": "services/zebra-web"}})), false),
        ("ServiceService/DeleteService", only_check(own("services", "acorn-shared")), false),
        ("ServiceService/DeleteService", only_check(own("services", "zebra-web")), false),
        ("TaskService/ListTasks", json!({}), false),
        ("TokenService/GetCurrentToken", json!({}), true),
        ("TokenService/ListTokens", page(), false),
        ("TokenService/CreateToken", json!({"token": {"name": "tokens/more", "role": "ROLE_ADMIN"}}), false),
        ("TokenService/DeleteToken", own("tokens", "zebra"), false),
        ("UnreadableService/ListUnreadable", page(), false),
        ("UnreadableService/GetUnreadable", own("domains", "acorn.example"), false),
        ("UnreadableService/DeleteUnreadable", own("domains", "acorn.example"), false),
    ]
}

/// The method of this short name.
fn method<'a>(all: &'a [MethodDescriptor], name: &str) -> Result<&'a MethodDescriptor> {
    let is_named =
        |method: &&MethodDescriptor| format!("{}/{}", method.parent_service().name(), method.name()).ends_with(name);
    all.iter().find(is_named).with_context(|| format!("there is no {name}"))
}

/// What comes back names nothing of the other tenant's but what the request named.
fn check(name: &str, request: &Value, reply: &Reply) -> Result<()> {
    let mut text = String::from_utf8_lossy(&reply.bytes).into_owned();
    let asked = request.to_string();
    let separators = |c: char| "\"/,[]{}:".contains(c);
    for said in asked.split(separators).filter(|said| said.contains(WORD)) {
        text = text.replace(said, "");
    }
    ensure!(!text.contains(WORD), "{name} {asked} gives away: {text:?}");
    let page_token = reply.messages.first().map(|_| reply.text("next_page_token")).unwrap_or_default();
    let opened = URL_SAFE_NO_PAD.decode(&page_token).unwrap_or_default();
    let is_word = |window: &[u8]| window == WORD.as_bytes();
    ensure!(!opened.windows(WORD.len()).any(is_word), "the page token of {name} can be read");
    Ok(())
}

/// Calls a method, of a list all its pages; how it ended, and what came of it as text.
async fn walk(api: &AnyMethod, method: &MethodDescriptor, mut request: Value) -> Result<(Code, String)> {
    let mut text = String::new();
    for _ in 0..PAGES_MAX {
        let reply = api.call(method, &request).await?;
        check(method.full_name(), &request, &reply)?;
        text += &format!("{:?}", reply.messages);
        let next = if method.output().get_field_by_name("next_page_token").is_some() {
            reply.text("next_page_token")
        } else {
            String::new()
        };
        if next.is_empty() {
            return Ok((reply.code, text));
        }
        request["pageToken"] = next.into();
    }
    anyhow::bail!("{} has no last page", method.full_name())
}

fn rejection(kind: &str, id: &str, reason: &str) -> Rejection {
    let key = ResourceKey { kind: kind.to_owned(), id: id.to_owned() };
    Rejection { key: Some(key), revision: u64::MAX >> 1, reason: reason.to_owned() }
}

/// A stream of an edge that has everything, and rejects things of both tenants.
async fn rejecting_edge(fleet: &Fleet, revision: u64) -> Result<(mpsc::Sender<SyncRequest>, Streaming<SyncResponse>)> {
    let join_token = fleet.control_plane.join_token().await?;
    let member = Member::join(fleet.control_plane.fleet, &join_token, "edge-1").await?;
    let (outgoing, requests) = mpsc::channel(4);
    outgoing.send(SyncRequest { message: Some(sync_request::Message::Hello(nothing())) }).await?;
    let mut client = member.connect(fleet.control_plane.fleet)?;
    let mut incoming = client.sync(ReceiverStream::new(requests)).await?.into_inner();
    loop {
        let message = within("a batch", incoming.message()).await??.context("the stream goes on")?.message;
        let Some(sync_response::Message::Batch(batch)) = message else { continue };
        if !batch.last {
            continue;
        }
        let rejections = vec![
            rejection("domains", "zebra.example", "it is zebra's"),
            rejection("backends", "zebra-1", "it is zebra's"),
            rejection("certificates", "both", "it is zebra's, too"),
            rejection("backends", "acorn-1", "waits for domains/zebra.example: needs a newer edge"),
            rejection("domains", "acorn.example", "waits for services/acorn-web: needs a newer edge"),
        ];
        let total = rejections.len() as u64;
        let (is_newest, revision) = (batch.revision >= revision, batch.revision);
        let outcome = AckOutcome::Applied.into();
        let ack = Ack { revision, outcome, rejections, rejections_total: total, not_persisted: false };
        outgoing.send(SyncRequest { message: Some(sync_request::Message::Ack(ack)) }).await?;
        if is_newest {
            return Ok((outgoing, incoming));
        }
    }
}

/// Creates what both tenants have; the newest revision.
async fn create_all(fleet: &Fleet, all: &[MethodDescriptor], issued: &[(&str, [String; 2])]) -> Result<u64> {
    let admin = AnyMethod::new(fleet.control_plane.admin, &fleet.control_plane.admin_token()?)?;
    let rate = json!({"count": 50, "window": "604800s"});
    let limits = json!({"orders": rate, "certificatesPerRegisteredDomain": rate, "certificatesPerExactNames": rate, "failuresPerName": rate});
    let issuer =
        json!({"issuer": {"name": "issuers/ca", "directory": "https://ca.example/directory", "rateLimits": limits}});
    let mut requests = vec![("CreateIssuer", issuer)];
    for (tenant, certificate) in &issued[..2] {
        requests.extend(setup(tenant, certificate));
    }
    let [chain, key] = &issued[2].1;
    requests.extend([
        ("CreateCertificate", json!({"certificate": {"name": "certificates/both", "chainPem": chain}, "privateKeyPem": key})),
        ("CreateDnsProvider", json!({"dnsProvider": {"name": "dnsProviders/both", "zones": ["acorn.example", "zebra.example"],
            "rfc2136": {"server": "192.0.2.1:53", "keyName": "zebra-key", "keySecret": "c2VjcmV0"}}})),
        ("CreateService", json!({"service": {"name": "services/acorn-shared"}})),
        ("CreateDomain", json!({"domain": {"name": "domains/aa.zebra.example", "service": "services/acorn-shared", "activeTag": "a"}})),
        ("CreateToken", json!({"token": {"name": "tokens/zebra", "role": "ROLE_VIEWER", "domains": ["zebra.example"]}})),
        // The revision that is watched: it concerns both.
        ("UpdateBackend", json!({"backend": {"name": "backends/zebra-1", "tags": ["a", "b"]}, "updateMask": "tags"})),
    ]);
    let mut revision = 0;
    for (name, request) in requests {
        let reply = admin.call(method(all, name)?, &request).await?;
        ensure!(reply.code == Code::Ok, "{name} {request}: {:?}", String::from_utf8_lossy(&reply.bytes));
        let value = reply.messages.first().and_then(|it| it.get_field_by_name("revision").and_then(|it| it.as_u64()));
        revision = value.unwrap_or(revision);
    }
    Ok(revision)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_method_names_what_is_out_of_scope() -> Result<()> {
    switchyard_tests::install_crypto_provider();
    let arguments = ["--orders", "off"].map(String::from).to_vec();
    let plan = Plan { edges: 0, control_plane_arguments: arguments, ..Plan::default() };
    let database = Database::Sqlite;
    let fleet = Fleet::start_with(database.clone(), plan).await?;
    let all = methods()?;
    let authority = Authority::generate()?;
    let issue = |names: &[&str]| authority.issue(names).map(|it| [it.chain_pem, it.key_pem]);
    let issued = [
        ("acorn", issue(&["acorn.example"])?),
        ("zebra", issue(&["zebra.example"])?),
        ("both", issue(&["acorn.example", "zebra.example"])?),
    ];
    let revision = create_all(&fleet, &all, &issued).await?;
    database.execute(&fleet.control_plane.data_dir, USE_ISSUER).await?;
    let _edge = rejecting_edge(&fleet, revision).await?;
    let admin = fleet.api()?;
    eventually("what the edge rejects is known", async || {
        ensure!(admin.edge("edge-1").await?.rejections.len() == 5, "not yet");
        Ok(())
    })
    .await?;

    let cases = cases(revision, &issued[0].1);
    let called: BTreeSet<&str> = cases.iter().map(|(name, ..)| *name).collect();
    let declared = all.iter().map(|it| format!("{}/{}", it.parent_service().name(), it.name()));
    let declared: Vec<String> = declared.collect();
    let missing: Vec<&String> = declared.iter().filter(|name| !called.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "add what is asked of these methods to the cases: {missing:?}");

    for role in [Role::Operator, Role::Admin] {
        let name = format!("tokens/acorn-{}", role.as_str_name().to_lowercase().replace('_', "-"));
        let token = json!({"token": {"name": name, "role": role.as_str_name(),
            "domains": ["acorn.example", "*.acorn.example"], "services": ["acorn-*"]}});
        let administrator = AnyMethod::new(fleet.control_plane.admin, &fleet.control_plane.admin_token()?)?;
        let made = administrator.call(method(&all, "CreateToken")?, &token).await?;
        let scoped = AnyMethod::new(fleet.control_plane.admin, &made.text("secret"))?;
        let mut seen = BTreeMap::new();
        for (name, request, is_answered) in &cases {
            let (code, text) = walk(&scoped, method(&all, name)?, request.clone()).await?;
            ensure!((code == Code::Ok) == *is_answered, "{name} {request}: {code:?}");
            *seen.entry(*name).or_insert_with(String::new) += &text;
        }
        for (name, own) in SHOWN {
            ensure!(own.iter().all(|own| seen[name].contains(own)), "{name} has all that is theirs: {}", seen[name]);
        }
    }
    Ok(())
}
