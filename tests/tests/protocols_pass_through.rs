//! S3: HTTP/1.1, HTTP/2, WebSocket, server-sent events, gRPC, and bodies of any size, streamed.

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use http::{Request, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use switchyard_proto::v1::{BackendProtocol, Service, UpdateServiceRequest};
use switchyard_tests::{
    api::mask,
    client::{Body, Client},
    eventually::within,
    fleet::Fleet,
    on_both_databases,
    origin::GrpcOrigin,
    shop::{HOST, Shop},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// More than any buffer on the way holds.
const LARGE_BODY_BYTES: usize = 32 * 1024 * 1024;

/// The size of the pieces that it is sent in.
const PIECE_BYTES: usize = 64 * 1024;

/// The clients of every protocol that the edge speaks.
async fn clients(fleet: &Fleet) -> Result<Vec<(&'static str, Client, Version)>> {
    let root = fleet.api()?.internal_ca().await?;
    let (http, https) = (fleet.edge().http, fleet.edge().https);
    Ok(vec![
        ("http", Client::http(http), Version::HTTP_11),
        ("http", Client::http2(http), Version::HTTP_2),
        ("https", Client::https1(https, &root)?, Version::HTTP_11),
        ("https", Client::https(https, &root)?, Version::HTTP_2),
    ])
}

/// A body whose pieces come from a channel.
fn piecewise() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, pieces) = mpsc::channel(1);
    let frames = ReceiverStream::new(pieces).map(|piece| Ok(Frame::data(piece)));
    (sender, BodyExt::boxed(StreamBody::new(frames)))
}

on_both_databases! {
    async fn every_version_of_http_is_spoken_with_and_without_tls(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        for (scheme, client, version) in clients(&fleet).await? {
            let answer = client.get(&format!("{scheme}://{HOST}/")).await?;
            ensure!(answer.status == 200 && answer.version == version && answer.tag() == "a", "{scheme}: {answer:?}");
        }
        Ok(())
    }

    async fn large_uploads_and_downloads_pass_whole(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let pieces = (0..LARGE_BODY_BYTES / PIECE_BYTES).map(|number| Bytes::from(vec![number as u8; PIECE_BYTES]));
        let hash = digest(&SHA256, &pieces.clone().collect::<Vec<_>>().concat());
        for (scheme, client, version) in clients(&fleet).await? {
            let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces.clone().map(|piece| Ok(Frame::data(piece))))));
            let request = Request::post(format!("{scheme}://{HOST}/upload")).body(body)?;
            let answer = client.exchange(request).await.with_context(|| format!("upload by {scheme} {version:?}"))?;
            ensure!(answer.text()? == format!("{LARGE_BODY_BYTES} {hash:?}"), "{scheme} {version:?}: {answer:?}");
            let url = format!("{scheme}://{HOST}/download?bytes={LARGE_BODY_BYTES}");
            let answer = client.get(&url).await.with_context(|| format!("download by {scheme} {version:?}"))?;
            let whole = answer.body.len() == LARGE_BODY_BYTES && answer.body.iter().all(|byte| *byte == b'x');
            ensure!(answer.status == 200 && whole, "{scheme} {version:?}: {} bytes", answer.body.len());
        }
        Ok(())
    }

    async fn bodies_are_streamed_and_not_collected(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        for (scheme, client, version) in clients(&fleet).await? {
            let (pieces, body) = piecewise();
            let request = Request::post(format!("{scheme}://{HOST}/echo")).body(body)?;
            pieces.send(Bytes::from_static(b"first")).await?;
            let mut answer = client.send(request).await?.into_body();
            // The answer to the first piece is there before the second is sent.
            for text in ["first", "second"] {
                if text != "first" {
                    pieces.send(Bytes::from(text)).await?;
                }
                let frame = within("a piece comes back", answer.frame()).await?.context("the body goes on")??;
                ensure!(frame.data_ref().is_some_and(|data| data == text), "{scheme} {version:?}: {frame:?}");
            }
            drop(pieces);
            while let Some(frame) = within("the body ends", answer.frame()).await? {
                // HTTP/2 may end it with an empty piece.
                ensure!(frame?.data_ref().is_some_and(Bytes::is_empty), "{scheme} {version:?}: nothing is left");
            }
        }
        Ok(())
    }

    async fn server_sent_events_arrive_as_they_are_sent(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let shop = Shop::open(&fleet).await?;
        for (scheme, client, version) in clients(&fleet).await? {
            let request = Request::get(format!("{scheme}://{HOST}/events"))
                .header("accept", "text/event-stream")
                .body(switchyard_tests::client::empty())?;
            let mut events = client.send(request).await?.into_body();
            for event in ["one", "two"] {
                ensure!(shop.a.emit(event) >= 1, "the backend is listened to");
                let frame = within("an event arrives", events.frame()).await?.context("the events go on")??;
                let data = frame.data_ref().cloned().unwrap_or_default();
                ensure!(data == format!("data: {event}\n\n"), "{scheme} {version:?}: {data:?}");
            }
        }
        Ok(())
    }

    async fn websockets_are_carried_with_and_without_tls(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        for client in [fleet.http(), fleet.https().await?] {
            let mut socket = client.websocket(&format!("ws://{HOST}/ws")).await?;
            for size in [1, 1_000, 1_000_000] {
                let text = "x".repeat(size);
                socket.send(Message::text(text.clone())).await?;
                let answer = within("the WebSocket answers", socket.next()).await?.context("it is open")??;
                ensure!(answer == Message::text(format!("a:{text}")), "{size} bytes");
            }
            socket.close(None).await?;
        }
        Ok(())
    }

    async fn grpc_passes_with_its_trailers_and_streams(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let api = fleet.api()?;
        let origin = GrpcOrigin::start().await?;
        for (service, host, protocol) in [
            ("automatic", "automatic.example", BackendProtocol::Automatic),
            ("http2", "http2.example", BackendProtocol::Http2),
        ] {
            api.create_service(service).await?;
            let service_now = Service { name: format!("services/{service}"), protocol: protocol.into(), ..Service::default() };
            let update = UpdateServiceRequest {
                service: Some(service_now), update_mask: Some(mask("protocol")), validate_only: false,
            };
            api.services.clone().update_service(update).await?;
            api.create_backend(service, service, &origin.address.to_string(), &["a"]).await?;
            fleet.live(api.create_internal_domain(host, service, "a").await?.revision).await?;
            for client in [fleet.http(), fleet.https().await?] {
                let mut health = HealthClient::new(client.grpc(host).await?);
                let shop = HealthCheckRequest { service: GrpcOrigin::SERVICE.to_owned() };
                let answer = health.check(shop.clone()).await?;
                // tonic reads the status from the trailers, and fails without them.
                ensure!(answer.get_ref().status() == ServingStatus::Serving, "{answer:?}");
                let unknown = HealthCheckRequest { service: "unknown".to_owned() };
                let failed = health.check(unknown).await.err().context("an unknown service fails")?;
                ensure!(failed.code() == Code::NotFound, "{failed:?}");

                let mut statuses = health.watch(shop).await?.into_inner();
                for status in [ServingStatus::Serving, ServingStatus::NotServing] {
                    // The service may say a status twice.
                    let arrives = async {
                        loop {
                            let seen = statuses.message().await?.context("the stream goes on")?;
                            if seen.status() == status {
                                return anyhow::Ok(());
                            }
                        }
                    };
                    within("the status arrives", arrives).await??;
                    if status == ServingStatus::Serving {
                        // The stream says the next one as it comes.
                        origin.set_health(tonic_health::ServingStatus::NotServing).await;
                    }
                }
                origin.set_health(tonic_health::ServingStatus::Serving).await;
            }
        }
        Ok(())
    }
}
