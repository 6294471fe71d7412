//! X4: whoever watches over the control plane needs no token, and is told the truth.

use anyhow::{Context, Result, ensure};
use http::{Method, Request, StatusCode};
use switchyard_tests::{
    client::{Answer, Client, empty},
    database::Database,
    eventually::{eventually, within},
    fleet::Fleet,
    on_both_databases,
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// What the database is asked for by every read and every write.
const BREAK: &str = "ALTER TABLE revision RENAME TO elsewhere";
const REPAIR: &str = "ALTER TABLE elsewhere RENAME TO revision";
/// Changes are refused, and reads are not.
const REFUSE_WRITES: &str =
    "CREATE TRIGGER refuse BEFORE UPDATE ON revision BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END";
const ACCEPT_WRITES: &str = "DROP TRIGGER refuse";

async fn get(fleet: &Fleet, path: &str) -> Result<Answer> {
    Client::http(fleet.control_plane.admin).get(&format!("http://localhost{path}")).await
}

async fn becomes_ready(fleet: &Fleet, reason: Option<&str>) -> Result<()> {
    eventually("readiness changes", async || {
        let answer = get(fleet, "/readyz").await?;
        let body = answer.json()?;
        let expected = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        ensure!(answer.status == expected && body["ready"] == reason.is_none(), "{answer:?}");
        ensure!(body["reason"].as_str() == reason, "{body}");
        Ok(())
    })
    .await
}

on_both_databases! {
    async fn health_is_that_of_the_database(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database.clone()).await?;
        let data_dir = fleet.control_plane.data_dir.clone();
        let channel = Endpoint::from_shared(format!("http://{}", fleet.control_plane.admin))?.connect().await?;
        let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
        let mut health = HealthClient::new(channel.clone());
        for service in ["", "switchyard.v1.DomainService"] {
            let status = health.check(request(service)).await?.into_inner().status();
            ensure!(status == ServingStatus::Serving, "{service}: {status:?}");
        }
        becomes_ready(&fleet, None).await?;

        let mut watch = health.watch(request("")).await?.into_inner();
        ensure!(watch.message().await?.context("a status")?.status() == ServingStatus::Serving, "as it is");
        database.execute(&data_dir, BREAK).await?;
        let status = within("the status changes", watch.message()).await??.context("a status")?.status();
        ensure!(status == ServingStatus::NotServing, "{status:?}");
        becomes_ready(&fleet, Some("the database cannot be read")).await?;
        let status = HealthClient::new(channel).check(request("switchyard.v1.DomainService")).await?;
        ensure!(status.into_inner().status() == ServingStatus::NotServing, "each service says so");
        ensure!(get(&fleet, "/healthz").await?.status == StatusCode::OK, "it is alive");
        fleet.api()?.domains.clone().list_domains(switchyard_proto::v1::ListDomainsRequest::default()).await?;

        database.execute(&data_dir, REPAIR).await?;
        becomes_ready(&fleet, None).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_not_served() -> Result<()> {
    switchyard_tests::install_crypto_provider();
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    Database::Sqlite.execute(&fleet.control_plane.data_dir, REFUSE_WRITES).await?;
    becomes_ready(&fleet, Some("the database cannot be written")).await?;
    Database::Sqlite.execute(&fleet.control_plane.data_dir, ACCEPT_WRITES).await?;
    becomes_ready(&fleet, None).await
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_asks_for_a_token() -> Result<()> {
    switchyard_tests::install_crypto_provider();
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let list = "/switchyard.v1.DomainService/ListDomains";
    for path in ["/", "/nothing", "/metrics/", "/switchyard.v1.DomainService/Nothing", "/healthz/more"] {
        ensure!(get(&fleet, path).await?.status == StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/metrics", list] {
        let answer = get(&fleet, path).await?;
        ensure!(answer.status == StatusCode::UNAUTHORIZED, "{path}: {answer:?}");
        ensure!(answer.header("www-authenticate") == "Bearer", "{answer:?}");
    }
    let token = format!("Bearer {}", fleet.control_plane.admin_token()?);
    let request = |method, path: &str| {
        let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
        request.header("authorization", &token).body(empty())
    };
    let client = Client::http(fleet.control_plane.admin);
    let answer = client.exchange(request(Method::GET, "/nothing")?).await?;
    ensure!(answer.status == StatusCode::NOT_FOUND, "with a token, too: {answer:?}");
    let answer = client.exchange(request(Method::POST, list)?).await?;
    ensure!(answer.status == StatusCode::UNSUPPORTED_MEDIA_TYPE, "it is no gRPC: {answer:?}");

    let channel = Endpoint::from_shared(format!("http://{}", fleet.control_plane.admin))?.connect().await?;
    let mut unknown = tonic::client::Grpc::new(channel);
    unknown.ready().await?;
    let path = http::uri::PathAndQuery::from_static("/switchyard.v1.DomainService/Nothing");
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let called = unknown.unary(tonic::Request::new(HealthCheckRequest::default()), path, codec).await;
    let status = called.err().context("there is no such method")?;
    ensure!(status.code() == Code::Unimplemented, "{status:?}");
    Ok(())
}
