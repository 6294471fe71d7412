//! X1: the API asks for a token, and for a role and a scope that reach.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use switchyard_proto::{
    Bearer,
    v1::{
        AcmeSettings, CreateTokenRequest, DeleteTokenRequest, EdgeState, GetDomainRequest, ListChangesRequest,
        ListDomainsRequest, ListTokensRequest, Role, Token, WatchIssuanceRequest, WatchRevisionRequest,
    },
};
use switchyard_tests::{
    api::Api,
    authority::Authority,
    database::Database,
    eventually::{eventually, within},
    fleet::{ControlPlane, Fleet, Plan},
    fleet_client::{Member, begin, nothing},
    key_file, on_both_databases,
    shop::{HOST, Shop},
};
use tokio::{io::AsyncReadExt, net::TcpSocket};
use tonic::{Code, Status};

/// Where idle connections come from; all others come from 127.0.0.1.
const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// More than one address may have on which no call was let in.
const IDLE_CONNECTIONS: usize = 300;

/// A token of this role and scope.
async fn token(fleet: &Fleet, name: &str, role: Role, domains: &[&str]) -> Result<Api> {
    let token = Token {
        name: format!("tokens/{name}"),
        role: role.into(),
        domains: domains.iter().map(|it| (*it).to_owned()).collect(),
        ..Token::default()
    };
    let request = CreateTokenRequest { token: Some(token), validate_only: false };
    let secret = fleet.api()?.tokens.create_token(request).await?.into_inner().secret;
    Api::new(fleet.control_plane.admin, &secret)
}

fn code<T>(result: Result<T, Status>) -> Option<Code> {
    result.err().map(|status| status.code())
}

on_both_databases! {
    async fn each_call_needs_a_token_whose_role_and_scope_reach(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let admin = fleet.api()?;
        admin.create_domain("other.example", "shop", "a").await?;
        let place = fleet.control_plane.admin;

        let nobody = Api::with(place, Bearer::none())?;
        ensure!(code(nobody.domains.clone().list_domains(ListDomainsRequest::default()).await) == Some(Code::Unauthenticated), "no token");
        let guess = Api::new(place, "sy_guess")?;
        ensure!(code(guess.get_domain(HOST).await) == Some(Code::Unauthenticated), "a wrong one");

        let viewer = token(&fleet, "viewer", Role::Viewer, &[]).await?;
        ensure!(viewer.get_domain(HOST).await?.active_tag == "a", "a viewer reads");
        ensure!(code(viewer.switch_domain(HOST, "b").await) == Some(Code::PermissionDenied), "and changes nothing");

        let keeper = token(&fleet, "keeper", Role::Operator, &[HOST]).await?;
        ensure!(keeper.switch_domain(HOST, "b").await?.active_tag == "b", "an operator changes what is theirs");
        let request = GetDomainRequest { name: "domains/other.example".to_owned() };
        ensure!(code(keeper.domains.clone().get_domain(request).await) == Some(Code::PermissionDenied), "another's");
        ensure!(code(keeper.switch_domain("other.example", "b").await) == Some(Code::PermissionDenied), "another's");
        let listed = keeper.domains.clone().list_domains(ListDomainsRequest::default()).await?.into_inner();
        ensure!(listed.domains.len() == 1, "a list has what is theirs: {listed:?}");
        let history = keeper.audit.clone().list_changes(ListChangesRequest::default()).await;
        ensure!(code(history) == Some(Code::PermissionDenied), "the history has more than is theirs");
        let operator = token(&fleet, "operator", Role::Operator, &[]).await?;
        let tokens = operator.tokens.clone().list_tokens(ListTokensRequest::default()).await;
        ensure!(code(tokens) == Some(Code::PermissionDenied), "tokens are for admins");

        let history = fleet.cli().json(&["audit", &format!("domains/{HOST}"), "--limit", "1"]).await?;
        ensure!(history["changes"][0]["actor"] == "keeper", "who it was is known by the token: {history}");
        let tokens = fleet.cli().json(&["token", "list"]).await?;
        let used = |name: &str| {
            let all = tokens["tokens"].as_array().into_iter().flatten();
            all.filter(|token| token["name"] == format!("tokens/{name}")).any(|token| token["lastUseTime"].is_string())
        };
        ensure!(used("keeper") && used("admin"), "and when it was used: {tokens}");

        let request = DeleteTokenRequest { name: "tokens/keeper".to_owned(), ..DeleteTokenRequest::default() };
        admin.tokens.clone().delete_token(request).await?;
        ensure!(code(keeper.get_domain(HOST).await) == Some(Code::Unauthenticated), "it is revoked");
        Ok(())
    }

    async fn the_streams_of_a_token_end_when_it_is_revoked_or_expires(database: Database) -> Result<()> {
        let arguments = ["--orders", "off"].map(String::from).to_vec();
        let plan = Plan { edges: 0, control_plane_arguments: arguments, ..Plan::default() };
        let fleet = Fleet::start_with(database, plan).await?;
        let admin = fleet.api()?;
        let waiting = admin.create_acme_domain(HOST, AcmeSettings::default()).await?;
        // An edge that acknowledges nothing keeps whoever watches a revision waiting.
        let member = Member::join(fleet.control_plane.fleet, &fleet.control_plane.join_token().await?, "silent").await?;
        let _silent = begin(member.connect(fleet.control_plane.fleet)?, nothing()).await?;
        eventually("the edge is connected", async || {
            ensure!(admin.edge("silent").await?.state() == EdgeState::Connected, "not yet");
            Ok(())
        })
        .await?;
        let made = fleet.cli().run(&["token", "create", "brief", "--role", "viewer", "--expires", "5s"]).await?;
        let brief = Api::new(fleet.control_plane.admin, made.stdout.trim())?;
        let watcher = token(&fleet, "watcher", Role::Viewer, &[]).await?;
        for (api, name) in [(brief, "brief"), (watcher, "watcher")] {
            let request = WatchRevisionRequest { revision: waiting.revision, ..WatchRevisionRequest::default() };
            let mut revisions = api.edges.clone().watch_revision(request).await?.into_inner();
            ensure!(revisions.message().await?.is_some_and(|it| !it.complete), "the edge is waited for");
            let request = WatchIssuanceRequest { domain: format!("domains/{HOST}") };
            let mut issuances = api.certificates.clone().watch_issuance(request).await?.into_inner();
            ensure!(issuances.message().await?.is_some(), "how far it is");
            if name == "watcher" {
                let request = DeleteTokenRequest { name: format!("tokens/{name}"), ..DeleteTokenRequest::default() };
                admin.tokens.clone().delete_token(request).await?;
            }
            let ended = within("the streams end", async {
                let revisions = async { while revisions.message().await?.is_some() {} Ok::<_, Status>(()) };
                let issuances = async { while issuances.message().await?.is_some() {} Ok::<_, Status>(()) };
                (code(revisions.await), code(issuances.await))
            })
            .await?;
            ensure!(ended == (Some(Code::Unauthenticated), Some(Code::Unauthenticated)), "{name}: {ended:?}");
        }
        Ok(())
    }

    async fn a_token_survives_the_control_plane_and_ends_when_it_was_to(database: Database) -> Result<()> {
        let mut fleet = Fleet::without_edges(database).await?;
        let cli = fleet.cli();
        let made = cli.run(&["token", "create", "brief", "--role", "viewer", "--expires", "5s"]).await?;
        ensure!(made.code == 0, "{made:?}");
        let brief = Api::new(fleet.control_plane.admin, made.stdout.trim())?;
        fleet.control_plane.terminate().await?;
        fleet.control_plane.start().await?;
        eventually("it has expired", async || {
            let refused = code(brief.domains.clone().list_domains(ListDomainsRequest::default()).await);
            ensure!(refused == Some(Code::Unauthenticated), "{refused:?}");
            Ok(())
        })
        .await?;
        let last = cli.run(&["token", "revoke", "admin"]).await?;
        ensure!(last.code == 1 && last.stderr.contains("make one first"), "{last:?}");
        Ok(())
    }
}

#[tokio::test]
async fn login_keeps_a_token_for_a_control_plane_with_tls() -> Result<()> {
    switchyard_tests::install_crypto_provider();
    let authority = Authority::generate()?;
    let dir = tempfile::tempdir()?;
    let issued = authority.issue(&["localhost"])?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = dir.path().join(name);
        key_file::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (chain, key, ca) =
        (file("chain.pem", &issued.chain_pem)?, file("key.pem", &issued.key_pem)?, file("ca.pem", &authority.pem())?);
    let arguments = ["--admin-certificate-file", &chain, "--admin-private-key-file", &key];
    let plan = Plan { edges: 0, control_plane_arguments: arguments.map(String::from).to_vec(), ..Plan::default() };
    let fleet = Fleet::start_with(Database::Sqlite, plan).await?;
    let url = format!("https://localhost:{}", fleet.control_plane.admin.port());

    let cli = fleet.cli().on_its_own();
    let unknown = cli.clone().with_token("sy_any").run(&["login", &url]).await?;
    ensure!(unknown.code == 1 && unknown.stderr.contains("cannot be reached"), "its CA is not trusted: {unknown:?}");
    let wrong = cli.clone().with_token("sy_wrong").run(&["login", &url, "--ca-file", &ca]).await?;
    ensure!(wrong.code == 1 && wrong.stderr.contains("UNAUTHENTICATED"), "{wrong:?}");
    let token = fleet.control_plane.admin_token()?;
    let right = cli.clone().with_token(&token).run(&["login", &url, "--ca-file", &ca, "--name", "prod"]).await?;
    ensure!(right.code == 0 && right.stdout.contains("as admin (admin)"), "{right:?}");

    let without = cli;
    let listed = without.run(&["domain", "list"]).await?;
    ensure!(listed.code == 0, "the context has all that is needed: {listed:?}");
    let contexts = without.json(&["context", "list"]).await?;
    ensure!(contexts["contexts"][0]["name"] == "prod" && !contexts.to_string().contains("sy_"), "{contexts}");
    ensure!(without.run(&["context", "delete", "prod"]).await?.code == 0, "it can be forgotten");
    let plain = without.run(&["--control-plane", "http://192.0.2.1:7080", "domain", "list"]).await?;
    ensure!(plain.code == 1 || plain.code == 2, "{plain:?}");
    Ok(())
}

#[tokio::test]
async fn an_api_that_others_reach_is_not_served_in_the_clear() -> Result<()> {
    switchyard_tests::install_crypto_provider();
    let dir = tempfile::tempdir()?;
    let mut control_plane = ControlPlane::new(dir.path(), Database::Sqlite, Vec::new())?;
    control_plane.admin.set_ip(Ipv4Addr::UNSPECIFIED.into());
    let ended = control_plane.fail().await?;
    let said = String::from_utf8(ended.stderr)?;
    ensure!(!ended.status.success() && said.contains("--admin-certificate-file"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_right_token_passes_while_its_address_guesses() -> Result<()> {
    switchyard_tests::install_crypto_provider();
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let guess = Api::new(fleet.control_plane.admin, "sy_guess")?;
    let api = fleet.api()?;
    let guesses = (0..64).map(|_| async { code(guess.get_domain(HOST).await) });
    let right = (0..64).map(|_| async { code(api.domains.clone().list_domains(ListDomainsRequest::default()).await) });
    let (guessed, right) = tokio::join!(join_all(guesses), join_all(right));
    ensure!(right.iter().all(Option::is_none), "{right:?}");
    let of = |code| guessed.iter().filter(|guessed| **guessed == Some(code)).count();
    // While some are delayed, further ones are refused at once.
    ensure!(of(Code::Unauthenticated) > 0, "{guessed:?}");
    ensure!(of(Code::Unauthenticated) + of(Code::ResourceExhausted) == 64, "{guessed:?}");
    Ok(())
}

#[tokio::test]
async fn connections_that_show_nothing_leave_room_for_other_addresses() -> Result<()> {
    switchyard_tests::install_crypto_provider();
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let join_token = fleet.control_plane.join_token().await?;
    let mut others = Vec::new();
    for listener in [fleet.control_plane.admin, fleet.control_plane.fleet] {
        let mut idle = Vec::new();
        for _ in 0..IDLE_CONNECTIONS {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((OTHER_ADDRESS, 0)))?;
            idle.push(socket.connect(listener).await?);
        }
        let (first, rest) = idle.split_first_mut().context("there are some")?;
        let last = rest.last_mut().context("there are some")?;
        let closed = within("the last is closed", last.read_u8()).await?;
        ensure!(closed.is_err(), "nothing was said");
        // They end by themselves after a while: the first would be the first of them.
        ensure!(futures::poll!(Box::pin(first.read_u8())).is_pending(), "the first is not closed");
        fleet.api()?.domains.clone().list_domains(ListDomainsRequest::default()).await?;
        others.push(idle);
    }
    Member::join(fleet.control_plane.fleet, &join_token, "edge-1").await?;
    Ok(())
}
