//! U1: what bad input gets: the right code, the field, and nothing changed.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use switchyard_proto::v1::{
    Backend, CreateDomainRequest, DeleteDomainRequest, Domain, ListDomainsRequest, UpdateDomainRequest,
    WatchRevisionRequest,
};
use switchyard_tests::{
    api::{domain, mask},
    fleet::{ControlPlane, Fleet},
    on_both_databases,
    process::run,
    shop::{HOST, Shop},
};
use tokio::process::Command;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The code and the fields of a call that must fail.
fn refused<T>(result: Result<T, Status>) -> Result<(Code, Vec<String>)> {
    let Err(status) = result else { bail!("it is accepted") };
    let details = status.get_error_details();
    let violations = details.bad_request().map_or(&[][..], |request| &request.field_violations);
    Ok((status.code(), violations.iter().map(|violation| violation.field.clone()).collect()))
}

/// Calls a method with buf, which knows the API from the server's reflection alone.
async fn buf_curl(control_plane: &ControlPlane, method: &str, request: &Value) -> Result<std::process::Output> {
    let url = format!("http://{}/{method}", control_plane.admin);
    let authorization = format!("authorization: Bearer {}", control_plane.admin_token()?);
    let mut command = Command::new("buf");
    command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge", "--header", &authorization]);
    command.args(["--reflect-header", "*", "--data", &request.to_string(), &url]);
    run(&mut command).await.context("buf is installed by scripts/tools, which scripts/test calls")
}

on_both_databases! {
    async fn every_wrong_field_is_named_and_nothing_is_changed(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        let before = api.list_edges().await?.revision;

        for (name, tag, field) in [
            ("not a host", "a", "domain.name"),
            ("10.0.0.1", "a", "domain.name"),
            ("*", "a", "domain.name"),
            ("", "a", "domain.name"),
            ("new.example", "", "domain.active_tag"),
            ("new.example", "UPPER", "domain.active_tag"),
        ] {
            let (code, fields) = refused(api.create_domain(name, "shop", tag).await).context(field)?;
            ensure!(code == Code::InvalidArgument && fields == [field], "{name:?} {tag:?}: {code:?} {fields:?}");
        }
        let both = Domain { active_tag: String::new(), ..domain("a b", "shop", "") };
        let (_, fields) = refused(api.create(both).await)?;
        ensure!(fields.len() == 2, "all at once: {fields:?}");

        for (address, tags, field) in [
            ("10.0.0.1", &["a"][..], "backend.address"),
            ("10.0.0.1:0", &["a"], "backend.address"),
            ("http://10.0.0.1:80", &["a"], "backend.address"),
            ("10.0.0.1:80", &[], "backend.tags"),
        ] {
            let (code, fields) = refused(api.create_backend("new", "shop", address, tags).await).context(field)?;
            ensure!(code == Code::InvalidArgument && fields == [field], "{address:?}: {code:?} {fields:?}");
        }
        let (code, fields) = refused(api.create_backend("new", "shop", "10.0.0.1:80", &["a", "B"]).await)?;
        ensure!(code == Code::InvalidArgument && fields.iter().all(|field| field.starts_with("backend.tags")), "{fields:?}");
        let (code, _) = refused(api.create_service("No Id").await)?;
        ensure!(code == Code::InvalidArgument, "{code:?}");
        let (code, fields) = refused(api.update_domain(domain(HOST, "shop", "a"), "nonsense").await)?;
        ensure!(code == Code::InvalidArgument && fields == ["update_mask"], "{code:?} {fields:?}");
        ensure!(api.list_edges().await?.revision == before, "nothing has changed");
        Ok(())
    }

    async fn what_is_missing_or_there_already_or_in_use_is_refused(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        let before = api.list_edges().await?.revision;
        let unknown_service = refused(api.create_domain("new.example", "nowhere", "a").await)?.0;
        ensure!(unknown_service == Code::FailedPrecondition, "{unknown_service:?}");
        let unknown_service = refused(api.create_backend("new", "nowhere", "10.0.0.1:80", &["a"]).await)?.0;
        ensure!(unknown_service == Code::FailedPrecondition, "{unknown_service:?}");
        for code in [
            refused(api.create_domain(HOST, "shop", "a").await)?.0,
            refused(api.create_domain("SHOP.Example.", "shop", "a").await)?.0,
            refused(api.create_service("shop").await)?.0,
            refused(api.create_service("default").await)?.0,
            refused(api.create_backend("shop-a", "shop", "10.0.0.1:80", &["a"]).await)?.0,
        ] {
            ensure!(code == Code::AlreadyExists, "{code:?}");
        }
        for code in [
            refused(api.get_domain("nowhere.example").await)?.0,
            refused(api.delete_domain("nowhere.example").await)?.0,
            refused(api.switch_domain("nowhere.example", "a").await)?.0,
            refused(api.delete_backend("nowhere").await)?.0,
            refused(api.delete_service("nowhere").await)?.0,
            refused(api.move_backend("nowhere", "10.0.0.1:80").await)?.0,
        ] {
            ensure!(code == Code::NotFound, "{code:?}");
        }
        for code in [refused(api.delete_service("shop").await)?.0, refused(api.delete_service("default").await)?.0] {
            ensure!(code == Code::FailedPrecondition, "{code:?}");
        }
        ensure!(api.list_edges().await?.revision == before, "nothing has changed");
        Ok(())
    }

    async fn a_stale_etag_is_refused_and_a_current_one_is_taken(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        let read = api.get_domain(HOST).await?;
        let faster = api.switch_domain(HOST, "b").await?;
        ensure!(faster.etag != read.etag, "the etag has changed");
        let slower = Domain { http_to_https: true, ..read.clone() };
        let (code, _) = refused(api.update_domain(slower, "http_to_https").await)?;
        ensure!(code == Code::Aborted, "{code:?}");
        let delete = |etag: &str| DeleteDomainRequest {
            name: read.name.clone(), etag: etag.to_owned(), validate_only: false,
        };
        let (code, _) = refused(api.domains.clone().delete_domain(delete(&read.etag)).await)?;
        ensure!(code == Code::Aborted, "{code:?}");
        let updated = api.update_domain(Domain { http_to_https: true, ..faster.clone() }, "http_to_https").await?;
        ensure!(updated.http_to_https && updated.active_tag == "b" && updated.revision > faster.revision, "{updated:?}");
        api.domains.clone().delete_domain(delete(&updated.etag)).await?;
        Ok(())
    }

    async fn validate_only_checks_everything_and_changes_nothing(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        let before = api.list_edges().await?.revision;
        let create = |name: &str| CreateDomainRequest { domain: Some(domain(name, "shop", "a")), validate_only: true };
        let would_be = api.domains.clone().create_domain(create("new.example")).await?.into_inner();
        ensure!(would_be.name == "domains/new.example", "{would_be:?}");
        let (code, _) = refused(api.domains.clone().create_domain(create(HOST)).await)?;
        ensure!(code == Code::AlreadyExists, "{code:?}");
        let change = UpdateDomainRequest {
            domain: Some(domain(HOST, "shop", "b")), update_mask: Some(mask("active_tag")), validate_only: true,
        };
        api.domains.clone().update_domain(change).await?;
        ensure!(api.get_domain(HOST).await?.active_tag == "a", "nothing has changed");
        ensure!(refused(api.get_domain("new.example").await)?.0 == Code::NotFound, "nothing was created");
        ensure!(api.list_edges().await?.revision == before, "no revision was made");
        Ok(())
    }

    async fn a_mask_changes_what_it_names_and_nothing_else(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        let changed = Backend {
            name: "backends/shop-a".to_owned(), address: shop.b.address(), tags: vec!["z".to_owned()], ..Backend::default()
        };
        let updated = api.update_backend(changed.clone(), "tags").await?;
        ensure!(updated.address == shop.a.address() && updated.tags == ["z"], "{updated:?}");
        let updated = api.update_backend(changed, "").await?;
        ensure!(updated.address == shop.b.address() && updated.service == "services/shop", "{updated:?}");
        let unchanged = api.update_backend(updated.clone(), "").await?;
        ensure!(unchanged.revision == updated.revision, "what changes nothing is no revision");
        Ok(())
    }

    async fn lists_come_in_pages(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        for number in 0..5 {
            api.create_domain(&format!("d{number}.example"), "shop", "a").await?;
        }
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListDomainsRequest { page_size: 2, page_token };
            let page = api.domains.clone().list_domains(request).await?.into_inner();
            ensure!(page.domains.len() <= 2, "{page:?}");
            names.extend(page.domains.into_iter().map(|domain| domain.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let mut sorted = names.clone();
        sorted.sort();
        ensure!(names == sorted && names.len() == 6, "each once, by name: {names:?}");
        for (page_size, page_token, field) in [(-1, "", "page_size"), (2, "no token of ours", "page_token")] {
            let request = ListDomainsRequest { page_size, page_token: page_token.to_owned() };
            let (code, fields) = refused(api.domains.clone().list_domains(request).await)?;
            ensure!(code == Code::InvalidArgument && fields == [field], "{code:?} {fields:?}");
        }
        Ok(())
    }

    async fn a_revision_that_does_not_exist_is_not_waited_for(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let api = fleet.api()?;
        let newest = api.list_edges().await?.revision;
        let watched = api.edges.clone().watch_revision(WatchRevisionRequest { revision: newest + 1_000, require_all: false }).await;
        let code = match watched {
            Err(status) => status.code(),
            Ok(stream) => stream.into_inner().message().await.err().context("the stream fails")?.code(),
        };
        ensure!(matches!(code, Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange), "{code:?}");
        Ok(())
    }

    async fn buf_curl_creates_a_domain_by_reflection(database: Database) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut control_plane = ControlPlane::new(dir.path(), database, Vec::new())?;
        control_plane.start().await?;
        let method = "switchyard.v1.DomainService/CreateDomain";
        let request = json!({"domain": {"name": "domains/buf.example", "activeTag": "a"}});
        let created = buf_curl(&control_plane, method, &request).await?;
        ensure!(created.status.success(), "{created:?}");
        let domain: Value = serde_json::from_slice(&created.stdout)?;
        ensure!(domain["name"] == "domains/buf.example" && domain["service"] == "services/default", "{domain}");
        let api = control_plane.api()?;
        ensure!(api.get_domain("buf.example").await?.active_tag == "a", "it is there");

        let again = buf_curl(&control_plane, method, &request).await?;
        ensure!(!again.status.success(), "{again:?}");
        let error: Value = serde_json::from_slice(&again.stderr)?;
        ensure!(error["code"] == "already_exists", "{error}");
        let health = buf_curl(&control_plane, "grpc.health.v1.Health/Check", &json!({})).await?;
        ensure!(health.status.success() && String::from_utf8_lossy(&health.stdout).contains("SERVING"), "{health:?}");
        Ok(())
    }
}
