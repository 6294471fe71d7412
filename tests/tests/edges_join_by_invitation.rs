//! F3: edges join with a token that is used once, get a certificate that renews itself, and are locked out when they are removed.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use switchyard_proto::{
    fleet::v1::SyncResponse,
    v1::{DeleteInviteRequest, EdgeState},
};
use switchyard_tests::{
    authority::Authority,
    client::Client,
    database::Database,
    eventually::eventually,
    fleet::{Edge, Fleet, Plan},
    fleet_client::{FleetClient, Invitation, Member, begin, connect, edge_params, nothing},
    load::Load,
    on_both_databases,
    shop::{HOST, Shop},
};
use tonic::{Code, Status, Streaming};

/// What an edge that has nothing is told on its stream.
async fn sync(client: FleetClient) -> Result<Streaming<SyncResponse>, Status> {
    let mut incoming = begin(client, nothing()).await?;
    incoming.message().await?;
    Ok(incoming)
}

/// How a stream is refused.
async fn refused(client: FleetClient) -> Result<Code> {
    Ok(sync(client).await.err().context("it is refused")?.code())
}

/// Awaits that the edge itself says that it was removed.
async fn says_removed(fleet: &Fleet) -> Result<()> {
    eventually("the edge says that it was removed", async || {
        let (status, body) = fleet.edge().ready().await?;
        ensure!(status == 200 && body["removed"] == true && body["connected"] == false, "{status} {body}");
        Ok(())
    })
    .await
}

fn request(params: CertificateParams, key: &KeyPair) -> Result<Vec<u8>> {
    Ok(params.serialize_request(key)?.der().to_vec())
}

on_both_databases! {
    async fn an_invitation_is_good_for_as_many_edges_as_it_says(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let place = fleet.control_plane.fleet;
        let cli = fleet.cli();
        let made = cli.run(&["edge", "invite", "--label", "region=eu", "--expires", "1h"]).await?;
        ensure!(made.code == 0, "{made:?}");
        let port = format!(":{}", place.port());
        let words: Vec<&str> = made.stdout.split_whitespace().collect();
        let [variable, "switchyard-edge-proxy", "--control-plane", url] = words[..] else { bail!("{made:?}") };
        ensure!(url.starts_with("https://") && url.ends_with(&port), "{url}");
        let token = variable.strip_prefix("SWITCHYARD_EDGE_TOKEN=").context("the token is in a variable")?;
        Member::join(place, token, "edge-1").await?;
        let again = Member::join(place, token, "edge-2").await.err().context("a copy of the token is refused")?;
        ensure!(again.downcast_ref::<Status>().map(Status::code) == Some(Code::Unauthenticated), "{again:?}");

        let two = fleet.api()?.invite(2, &[]).await?;
        let taken = Member::join(place, &two, "edge-1").await.err().context("the name is taken")?;
        ensure!(taken.downcast_ref::<Status>().map(Status::code) == Some(Code::AlreadyExists), "{taken:?}");
        Member::join(place, &two, "edge-2").await?;
        let revoked = Invitation::of(&two)?;
        let request = DeleteInviteRequest { name: format!("invites/{}", revoked.invite), validate_only: false };
        fleet.api()?.invites.clone().delete_invite(request).await?;
        ensure!(Member::join(place, &two, "edge-3").await.is_err(), "it is revoked");

        let edges = cli.json(&["edge", "list"]).await?;
        let listed = edges["edges"].as_array().context("edges")?;
        ensure!(listed.len() == 2 && listed[0]["labels"]["region"] == "eu", "they are there before they connect: {edges}");
        let history = cli.json(&["audit", "edges/edge-1"]).await?;
        ensure!(history["changes"][0]["origin"] == "ORIGIN_FLEET", "who joined is in the history: {history}");
        let told = cli.json(&["audit"]).await?.to_string();
        ensure!(!told.contains(&revoked.secret), "secrets are not");
        Ok(())
    }

    async fn an_answer_that_was_lost_costs_no_second_invitation(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let place = fleet.control_plane.fleet;
        let invitation = Invitation::of(&fleet.control_plane.join_token().await?)?;
        let key = KeyPair::generate()?;
        let again = KeyPair::from_pem(&key.serialize_pem())?;
        let asked = request(CertificateParams::default(), &key)?;
        Member::join_with(place, &invitation, "edge-1", key, asked.clone()).await??;
        Member::join_with(place, &invitation, "edge-1", again, asked).await??;
        Ok(())
    }

    async fn only_who_belongs_to_the_fleet_opens_a_stream(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let place = fleet.control_plane.fleet;
        let invitation = Invitation::of(&fleet.control_plane.join_token().await?)?;
        ensure!(refused(connect(place, &invitation.authority, None)?).await? == Code::Unauthenticated, "no certificate");

        // Of a CA of somebody else's, for the name of an edge of the fleet.
        let foreign = Authority::generate()?;
        let key = KeyPair::generate()?;
        let chain = foreign.sign(&request(edge_params("edge-1")?, &key)?)?;
        let own = (chain, PrivatePkcs8KeyDer::from(key.serialize_der()));
        let status = sync(connect(place, &invitation.authority, Some(own))?).await.err().context("another CA")?;
        ensure!(status.code() != Code::Ok, "{status:?}");

        // A request that asks for more than a key.
        let key = KeyPair::generate()?;
        let asked = request(edge_params("edge-2")?, &key)?;
        let member = Member::join_with(place, &invitation, "edge-1", key, asked).await??;
        let issued = x509(&member.chain[0])?;
        ensure!(issued.contains("spiffe://switchyard/edge/edge-1") && !issued.contains("edge-2"), "{issued}");
        ensure!(issued.contains("CA:false"), "{issued}");
        sync(member.connect(place)?).await?;

        // A token of another fleet: nothing is sent to a control plane that cannot prove itself.
        let wrong = Invitation { authority: "00".repeat(32), ..Invitation::of(&fleet.control_plane.join_token().await?)? };
        let key = KeyPair::generate()?;
        let asked = request(CertificateParams::default(), &key)?;
        let status = Member::join_with(place, &wrong, "edge-3", key, asked).await?.err().context("no trust")?;
        ensure!(status.code() == Code::Unavailable || status.code() == Code::Unknown, "{status:?}");
        Ok(())
    }

    async fn an_edge_that_is_removed_is_locked_out_at_once(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        let member = Member::join(fleet.control_plane.fleet, &fleet.control_plane.join_token().await?, "other").await?;
        let mut stream = sync(member.connect(fleet.control_plane.fleet)?).await?;
        let removed = fleet.cli().run(&["edge", "remove", "edge-1"]).await?;
        ensure!(removed.code == 0 && removed.stdout.contains("removed and locked out"), "{removed:?}");
        api.delete_edge("other").await?;
        let status = stream.message().await.err().context("its stream ends")?;
        ensure!(status.code() == Code::PermissionDenied, "{status:?}");
        ensure!(refused(member.connect(fleet.control_plane.fleet)?).await? == Code::PermissionDenied, "it is locked out");
        let renewed = member.renew(fleet.control_plane.fleet).await?.err().context("no renewal")?;
        ensure!(renewed.code() == Code::PermissionDenied, "{renewed:?}");

        ensure!(api.list_edges().await?.edges.is_empty(), "it is not listed any more");
        let switched = api.switch_domain(HOST, "b").await?;
        ensure!(api.progress(switched.revision).await?.is_empty(), "nobody waits for it");
        // What it has, it serves; what is new does not reach it.
        let url = format!("http://{HOST}/");
        ensure!(fleet.http().get(&url).await?.tag() == "a", "it is as it was");
        says_removed(&fleet).await?;
        fleet.edge_mut().terminate().await?;
        fleet.edge_mut().start().await?;
        ensure!(fleet.http().get(&url).await?.tag() == "a", "also after a restart");
        says_removed(&fleet).await?;
        ensure!(api.list_edges().await?.edges.is_empty(), "it does not come back");
        Ok(())
    }

    async fn a_removed_edge_comes_back_neither_with_its_key_nor_by_its_invitation(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let (place, api) = (fleet.control_plane.fleet, fleet.api()?);
        let old = api.invite(5, &[]).await?;
        let key = KeyPair::generate()?;
        let asked = request(CertificateParams::default(), &key)?;
        let pem = key.serialize_pem();
        Member::join_with(place, &Invitation::of(&old)?, "edge-1", key, asked.clone()).await??;
        api.delete_edge("edge-1").await?;

        let new = Invitation::of(&api.invite(1, &[]).await?)?;
        for name in ["edge-1", "edge-2"] {
            let same = Member::join_with(place, &new, name, KeyPair::from_pem(&pem)?, asked.clone()).await?;
            let refused = same.err().context("its key is not accepted again")?;
            ensure!(refused.code() == Code::PermissionDenied && refused.message().contains("was removed"), "{refused:?}");
        }
        let closed = Member::join(place, &old, "edge-1").await.err().context("its invitation is closed")?;
        ensure!(closed.downcast_ref::<Status>().map(Status::code) == Some(Code::Unauthenticated), "{closed:?}");
        let key = KeyPair::generate()?;
        let asked = request(CertificateParams::default(), &key)?;
        Member::join_with(place, &new, "edge-1", key, asked).await??;
        Ok(())
    }

    async fn an_invited_edge_joins_while_its_address_guesses(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let place = fleet.control_plane.fleet;
        let right = Invitation::of(&fleet.api()?.invite(8, &[]).await?)?;
        let wrong = Invitation { secret: "guess".to_owned(), ..right.clone() };
        let join = async |invitation: &Invitation, name: String| -> Result<Option<Code>> {
            let key = KeyPair::generate()?;
            let asked = request(CertificateParams::default(), &key)?;
            let joined = Member::join_with(place, invitation, &name, key, asked).await?;
            Ok(joined.err().map(|status| status.code()))
        };
        let guesses = (0..40).map(|number| join(&wrong, format!("guess-{number}")));
        let invited = (0..8).map(|number| join(&right, format!("edge-{number}")));
        let (guessed, invited) = tokio::join!(try_join_all(guesses), try_join_all(invited));
        ensure!(invited?.iter().all(Option::is_none), "they were invited");
        let refused = |code: &Option<Code>| matches!(code, Some(Code::Unauthenticated | Code::ResourceExhausted));
        let guessed = guessed?;
        ensure!(guessed.iter().all(refused), "{guessed:?}");
        Ok(())
    }

    async fn a_certificate_that_lives_for_seconds_renews_under_traffic(database: Database) -> Result<()> {
        let arguments = ["--edge-certificate-lifetime", "3s"].map(String::from).to_vec();
        let plan = Plan { control_plane_arguments: arguments, ..Plan::default() };
        let mut fleet = Fleet::start_with(database, plan).await?;
        let _shop = Shop::open(&fleet).await?;
        let api = fleet.api()?;
        let load = Load::start(vec![(Client::http(fleet.edge().http), format!("http://{HOST}/"))]);
        let identity = fleet.edge().state_dir.join("identity.json");
        let mut seen = vec![fs::read_to_string(&identity)?];
        for _ in 0..3 {
            eventually("it has another certificate", async || {
                let now = fs::read_to_string(&identity)?;
                ensure!(seen.last() != Some(&now), "not yet");
                seen.push(now);
                Ok(())
            })
            .await?;
        }
        load.goes_on(20).await?;
        load.stop().await?;
        let edge = api.edge("edge-1").await?;
        ensure!(edge.state() == EdgeState::Connected && edge.snapshots_sent == 1, "it has kept its stream: {edge:?}");

        // Off for longer than its certificate lives: its key brings it back.
        fleet.edge_mut().terminate().await?;
        let expired = Member::join(fleet.control_plane.fleet, &fleet.control_plane.join_token().await?, "late").await?;
        eventually("a certificate has expired", async || {
            let status = sync(expired.connect(fleet.control_plane.fleet)?).await.err().context("it is still good")?;
            ensure!(status.code() != Code::PermissionDenied, "{status:?}");
            Ok(())
        })
        .await?;
        let switched = api.switch_domain(HOST, "b").await?;
        fleet.edge_mut().start().await?;
        eventually("it is back", async || {
            ensure!(api.edge("edge-1").await?.acknowledged_revision >= switched.revision, "not yet");
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn an_edge_that_has_joined_needs_no_token_and_keeps_its_name() -> Result<()> {
    switchyard_tests::install_crypto_provider();
    let mut fleet = Fleet::start(Database::Sqlite).await?;
    fleet.edge_mut().terminate().await?;
    // The token it was started with is used up, and was it all along.
    fleet.edge_mut().start().await?;
    fleet.edge().configured().await?;
    let state_dir = fleet.edge().state_dir.clone();
    fleet.edge_mut().terminate().await?;
    let token = fleet.control_plane.join_token().await?;
    let mut renamed = Edge::new(fleet.dir(), "other", fleet.control_plane.fleet, &token, Vec::new())?;
    renamed.state_dir = state_dir;
    let failed = renamed.start().await.err().context("it has a name")?;
    ensure!(format!("{failed:?}").contains("ended before it was ready"), "{failed:?}");
    Ok(())
}

/// What a certificate says of its subject.
fn x509(der: &CertificateDer<'_>) -> Result<String> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(der)?;
    let names = certificate.subject_alternative_name()?.context("it has a name")?;
    let is_ca = certificate.basic_constraints()?.is_some_and(|it| it.value.ca);
    Ok(format!("{} {:?} CA:{is_ca}", certificate.subject(), names.value.general_names))
}
