//! X2: neither the database, nor logs at debug level, nor any answer of the API holds a private key or a token.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use switchyard_proto::{
    fleet::v1::{Resource, TicketKeys, sync_response},
    v1::{CreateTokenRequest, Role, Token},
};
use switchyard_tests::{
    authority::Authority,
    client::Client,
    database::Database,
    fleet::{Fleet, Plan},
    fleet_client::{Invitation, Member, begin, nothing},
    install_crypto_provider,
    shop::{HOST, Shop},
};

/// What must not be found, under a name that may be told.
struct Secret {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn text(name: &'static str, text: &str) -> Self {
        Self { name, forms: vec![text.as_bytes().to_vec()] }
    }

    /// A private key: as it is, and pieces of it as they stand in PEM, JSON or a `Debug` output.
    fn key(name: &'static str, der: &[u8]) -> Self {
        // The beginning says only what kind of key it is.
        let own = &der[der.len() / 2..];
        let numbers = own[..16].iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let pem = STANDARD.encode(der);
        let hex: String = own[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let forms = vec![own[..24].to_vec(), pem[pem.len() / 2..pem.len() / 2 + 24].into(), numbers.into(), hex.into()];
        Self { name, forms }
    }

    /// A key that is nothing but random bytes.
    fn random(name: &'static str, bytes: &[u8]) -> Self {
        let numbers = bytes[..16].iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let hex: String = bytes[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name, forms: vec![bytes.into(), STANDARD.encode(bytes)[..32].into(), numbers.into(), hex.into()] }
    }

    fn is_in(&self, place: &[u8]) -> bool {
        self.forms.iter().any(|form| place.windows(form.len()).any(|window| window == form))
    }
}

/// The secret of the key that edges without labels issue session tickets with.
async fn ticket_secret(fleet: &Fleet) -> Result<Vec<u8>> {
    let token = fleet.control_plane.join_token().await?;
    let member = Member::join(fleet.control_plane.fleet, &token, "reader").await?;
    let mut incoming = begin(member.connect(fleet.control_plane.fleet)?, nothing()).await?;
    while let Some(message) = incoming.message().await? {
        let Some(sync_response::Message::Batch(batch)) = message.message else { continue };
        for encoded in batch.resources {
            let resource = Resource::decode(encoded)?;
            if resource.key.context("a key")?.kind == "ticketKeys" {
                let keys = TicketKeys::decode(resource.body)?.keys;
                return Ok(keys.first().context("a ticket key")?.secret.to_vec());
            }
        }
        ensure!(!batch.last, "there are no ticket keys");
    }
    bail!("the stream ended")
}

#[tokio::test]
async fn keys_and_tokens_are_in_no_file_log_or_answer() -> Result<()> {
    install_crypto_provider();
    let debug = ["--log-level", "debug"].map(String::from).to_vec();
    let plan = Plan { edge_arguments: debug.clone(), control_plane_arguments: debug, ..Plan::default() };
    let mut fleet = Fleet::start_with(Database::Sqlite, plan).await?;
    let _shop = Shop::open(&fleet).await?;
    let (api, cli) = (fleet.api()?, fleet.cli());
    let issued = Authority::generate()?.issue(&["uploaded.example"])?;
    api.create_certificate("uploaded", &issued.chain_pem, &issued.key_pem).await?;
    api.create_domain("uploaded.example", "shop", "a").await?;
    let client = Authority::generate()?.issue(&["edges.example"])?;
    let (chain, key) = (fleet.dir().join("chain.pem"), fleet.dir().join("key.pem"));
    fs::write(&chain, &client.chain_pem)?;
    fs::write(&key, &client.key_pem)?;
    let (chain, key) = (chain.to_string_lossy(), key.to_string_lossy());
    let upload = ["service", "create", "strict", "--tls-client-chain", &chain, "--tls-client-key", &key];
    ensure!(cli.run(&upload).await?.code == 0, "a client certificate");
    api.create_domain("strict.example", "strict", "a").await?;
    api.create_internal_domain("internal.example", "shop", "a").await?;
    let token = Token { name: "tokens/ci".to_owned(), role: Role::Viewer.into(), ..Token::default() };
    let request = CreateTokenRequest { token: Some(token), validate_only: false };
    let token = api.tokens.clone().create_token(request).await?.into_inner().secret;
    let invitation = Invitation::of(&api.invite(1, &[]).await?)?;
    // Wrong ones are secrets, too: perhaps of another fleet.
    let wrong = cli.clone().with_token("sy_of-somewhere-else").run(&["domain", "list"]).await?;
    ensure!(wrong.code == 1, "{wrong:?}");
    fleet.live(api.list_edges().await?.revision).await?;
    ensure!(Client::http(fleet.edge().http).get(&format!("http://{HOST}/")).await?.status == 200, "it serves");

    let identity: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(fleet.edge().state_dir.join("identity.json"))?)?;
    let edge_key =
        identity["private_key_pem"].as_str().unwrap_or_default().lines().nth(1).unwrap_or_default().to_owned();
    ensure!(edge_key.len() > 40, "the edge has a key");
    let master_key = fs::read_to_string(fleet.control_plane.master_key_file())?;
    let secrets = [
        Secret::key("an uploaded private key", &issued.key_pkcs8),
        Secret::key("the key of a client certificate", &client.key_pkcs8),
        Secret::text("the first token", &fleet.control_plane.admin_token()?),
        Secret::text("a token", &token),
        Secret::text("a wrong token", "sy_of-somewhere-else"),
        Secret::text("an invitation", &invitation.secret),
        Secret::text("the master key", master_key.trim()),
        Secret::text("the key of an edge", &edge_key),
        Secret::random("a key of session tickets", &ticket_secret(&fleet).await?),
    ];

    let mut places: Vec<(String, Vec<u8>)> = Vec::new();
    for command in [
        &["domain", "list"][..],
        &["service", "list"],
        &["service", "get", "strict"],
        &["backend", "list"],
        &["certificate", "list"],
        &["certificate", "get", "uploaded"],
        &["edge", "list"],
        &["edge", "invites"],
        &["token", "list"],
        &["audit", "--limit", "1000"],
    ] {
        places.push((command.join(" "), cli.json(command).await?.to_string().into_bytes()));
        places.push((command.join(" "), cli.run(command).await?.stdout.into_bytes()));
    }
    let lines = |process: &switchyard_tests::process::Process| process.log().lines().join("\n").into_bytes();
    places.push(("the control plane's log".to_owned(), lines(fleet.control_plane.process()?)));
    places.push(("the edge's log".to_owned(), lines(fleet.edge().process()?)));
    fleet.control_plane.terminate().await?;
    for entry in fs::read_dir(&fleet.control_plane.data_dir)? {
        let path = entry?.path();
        // What these are for.
        if !["admin-token", "master-key"].iter().any(|name| path.ends_with(name)) {
            places.push((path.display().to_string(), fs::read(&path)?));
        }
    }
    ensure!(places.iter().any(|(name, _)| name.ends_with("switchyard.db")), "the database is among them");
    fleet.edge_mut().terminate().await?;
    let store = fleet.edge().state_dir.join("edge.redb");
    places.push((store.display().to_string(), fs::read(&store)?));
    for (place, content) in &places {
        for secret in &secrets {
            ensure!(!secret.is_in(content), "{} is in {place}", secret.name);
        }
    }
    // They would have been found.
    ensure!(
        secrets[0].is_in(issued.key_pem.replace('\n', "").as_bytes()) && secrets[0].is_in(&issued.key_pkcs8),
        "PEM and DER"
    );
    Ok(())
}
