//! A name gets its certificate when a client first asks for it, if a hook approves (C9).

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use futures::future::join_all;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use switchyard_tests::{
    client::{Answer, Client},
    database::Database,
    eventually::eventually,
    fleet::{Fleet, Plan},
    install_crypto_provider,
    load::Load,
    origin::Origin,
    pebble::{Pebble, PebbleOptions},
    process::Process,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};

/// A hook that approves of the names it is told to.
struct Hook {
    url: String,
    names: Arc<Mutex<Names>>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct Names {
    approved: Vec<String>,
    calls: HashMap<String, usize>,
}

impl Hook {
    async fn start(approved: &[&str]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/ask?key=a%20b", listener.local_addr()?);
        let names = Arc::new(Mutex::new(Names::default()));
        names.lock().expect("nothing panics with it").approved = approved.iter().map(ToString::to_string).collect();
        let router = Router::new().route("/ask", get(answer)).with_state(names.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("it serves until it is dropped") });
        Ok(Self { url, names, _server: server })
    }

    fn calls(&self, name: &str) -> usize {
        self.names.lock().expect("nothing panics with it").calls.get(name).copied().unwrap_or_default()
    }

    fn all_calls(&self) -> usize {
        self.names.lock().expect("nothing panics with it").calls.values().sum()
    }

    fn refuse_all(&self) {
        self.names.lock().expect("nothing panics with it").approved.clear();
    }
}

async fn answer(State(names): State<Arc<Mutex<Names>>>, Query(query): Query<HashMap<String, String>>) -> StatusCode {
    let mut names = names.lock().expect("nothing panics with it");
    let Some(name) = query.get("domain").filter(|_| query.get("key").is_some_and(|key| key == "a b")) else {
        return StatusCode::BAD_REQUEST;
    };
    *names.calls.entry(name.clone()).or_default() += 1;
    if names.approved.contains(name) { StatusCode::OK } else { StatusCode::FORBIDDEN }
}

/// An edge, a CA that asks it, a backend with the tag a, and a hook that approves of some names below sites.test.
struct Sites {
    fleet: Fleet,
    pebble: Pebble,
    hook: Hook,
    _origin: Origin,
}

impl Sites {
    async fn start(approved: &[&str]) -> Result<Self> {
        install_crypto_provider();
        let control_plane_arguments = ["--order-retry-pause", "100ms"].map(str::to_owned).into();
        let fleet = Fleet::start_with(Database::Sqlite, Plan { control_plane_arguments, ..Plan::default() }).await?;
        let http_port = fleet.edge().http.port();
        let pebble = Pebble::start(PebbleOptions { http_port, ..PebbleOptions::default() }).await?;
        let api = fleet.api()?;
        api.create_issuer("pebble", &pebble.directory(), pebble.root_pem()).await?;
        let origin = Origin::start("a-1", "a").await?;
        api.create_backend("a-1", "default", &origin.address.to_string(), &["a"]).await?;
        let hook = Hook::start(approved).await?;
        let mut create = vec!["domain", "create", "*.sites.test", "--tag", "a", "--tls", "acme", "--wait"];
        create.extend(["--on-demand-hook", &hook.url]);
        let created = fleet.cli().run(&create).await?;
        ensure!(created.code == 0, "{created:?}");
        Ok(Self { fleet, pebble, hook, _origin: origin })
    }

    /// What the edge answers over a connection of its own.
    async fn get(&self, name: &str) -> Result<Answer> {
        request(self.fleet.edge().https, &self.pebble.issuing_root_pem().await?, name).await
    }

    async fn is_served(&self, name: &str) -> Result<()> {
        let answer = self.get(name).await?;
        ensure!(answer.status == StatusCode::OK && answer.tag() == "a", "{name}: {answer:?}");
        Ok(())
    }

    async fn is_refused(&self, name: &str) -> Result<()> {
        let error = self.get(name).await.err().with_context(|| format!("{name} is served"))?;
        let text = format!("{error:#} {error:?}");
        ensure!(text.contains("UnrecognisedName"), "{name}: {text}");
        Ok(())
    }
}

async fn request(edge: SocketAddr, root: &str, name: &str) -> Result<Answer> {
    Client::https(edge, root)?.get(&format!("https://{name}/")).await
}

#[tokio::test]
async fn the_first_handshake_of_an_approved_name_waits_for_its_certificate() -> Result<()> {
    let sites = Sites::start(&["one.sites.test", "two.sites.test"]).await?;
    sites.is_served("one.sites.test").await?;
    sites.is_served("one.sites.test").await?;
    ensure!(sites.hook.calls("one.sites.test") == 1);

    let root = sites.pebble.issuing_root_pem().await?;
    let edge = sites.fleet.edge().https;
    let together = join_all((0..20).map(|_| request(edge, &root, "two.sites.test"))).await;
    for answer in together {
        ensure!(answer?.status == StatusCode::OK);
    }
    ensure!(sites.hook.calls("two.sites.test") == 1);

    let shown = sites.fleet.cli().run(&["domain", "get", "*.sites.test"]).await?;
    ensure!(
        shown.stdout.contains("tls.acme.on_demand.hook_url:") && shown.stdout.contains(&sites.hook.url),
        "{shown:?}"
    );
    let names = sites.fleet.cli().run(&["certificate", "list"]).await?;
    ensure!(names.stdout.contains("acme-one.sites.test") && !names.stdout.contains("*.sites.test"), "{names:?}");

    let api = sites.fleet.api()?;
    api.issued("one.sites.test").await?;
    api.delete_domain("*.sites.test").await?;
    ensure!(api.issuance("one.sites.test").await.is_err(), "its names are retired with it");
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_refused_is_asked_for_once() -> Result<()> {
    let sites = Sites::start(&[]).await?;
    let together = join_all((0..20).map(|_| sites.is_refused("other.sites.test"))).await;
    together.into_iter().collect::<Result<()>>()?;
    sites.is_refused("other.sites.test").await?;
    ensure!(sites.hook.calls("other.sites.test") == 1);
    ensure!(orders(&sites.pebble) == 0);
    // What no wildcard covers is not asked for.
    sites.is_refused("deeper.other.sites.test").await?;
    sites.is_refused("sites.test").await?;
    ensure!(sites.hook.calls("deeper.other.sites.test") + sites.hook.calls("sites.test") == 0);
    Ok(())
}

#[tokio::test]
async fn without_a_control_plane_the_names_that_are_there_are_served_and_others_refused() -> Result<()> {
    let mut sites = Sites::start(&["one.sites.test", "two.sites.test"]).await?;
    sites.is_served("one.sites.test").await?;
    sites.fleet.control_plane.kill().await?;
    eventually("the edge knows that it has no stream", async || {
        let lines = sites.fleet.edge().process()?.log().lines();
        ensure!(lines.iter().any(|line| line.contains("no stream to the control plane")), "it does not");
        Ok(())
    })
    .await?;
    sites.is_refused("two.sites.test").await?;
    sites.is_served("one.sites.test").await?;
    sites.fleet.edge_mut().kill().await?;
    sites.fleet.edge_mut().start().await?;
    sites.is_served("one.sites.test").await?;
    sites.is_refused("two.sites.test").await?;
    ensure!(sites.hook.calls("two.sites.test") == 0);

    sites.fleet.control_plane.start().await?;
    eventually("it is asked again", async || sites.is_served("two.sites.test").await).await
}

#[tokio::test]
async fn before_a_renewal_the_hook_is_asked_again() -> Result<()> {
    let sites = Sites::start(&["one.sites.test"]).await?;
    sites.is_served("one.sites.test").await?;
    let api = sites.fleet.api()?;
    let before = api.issued("one.sites.test").await?;
    let renewed = sites.fleet.cli().run(&["certificate", "renew", "one.sites.test"]).await?;
    ensure!(renewed.code == 0, "{renewed:?}");
    eventually("there is another certificate", async || {
        let now = api.issued("one.sites.test").await?;
        ensure!(now.certificate_revision > before.certificate_revision, "{now:?}");
        Ok(())
    })
    .await?;
    ensure!(sites.hook.calls("one.sites.test") == 2);

    sites.hook.refuse_all();
    // It ends with an error if it still waits when there is nothing more to wait for.
    sites.fleet.cli().run(&["certificate", "renew", "one.sites.test"]).await?;
    eventually("it is renewed no more", async || {
        ensure!(api.issuance("one.sites.test").await.is_err(), "it is still to be");
        Ok(())
    })
    .await?;
    ensure!(sites.hook.calls("one.sites.test") == 3);
    ensure!(orders(&sites.pebble) == 2);
    sites.is_served("one.sites.test").await
}

/// How many orders were made at a CA.
fn orders(pebble: &Pebble) -> usize {
    pebble.log().lines().iter().filter(|line| line.contains("POST /order-plz")).count()
}

/// Handshakes of the flood, and how many are under way at a time.
const FLOOD: usize = 100_000;
const FLOOD_AT_A_TIME: usize = 64;
/// As many before anything is measured, so that what is needed once is there.
const FLOOD_BEFORE: usize = 5_000;
/// How much a program may have grown after the flood.
const GROWTH_KIB_MAX: usize = 16 * 1024;
/// What the control plane allows for one domain in a second (`DOMAIN_HOOK_CALLS_PER_SECOND_MAX`).
const HOOK_CALLS_PER_SECOND: usize = 20;
/// A fatal alert: unrecognized_name (RFC 6066, section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_names_costs_neither_orders_nor_memory_nor_the_requests_of_others() -> Result<()> {
    let sites = Sites::start(&["one.sites.test", "two.sites.test"]).await?;
    sites.is_served("one.sites.test").await?;
    let api = sites.fleet.api()?;
    let other = api.create_internal_domain("shop.test", "default", "a").await?;
    sites.fleet.live(other.revision).await?;
    let before = orders(&sites.pebble);
    ensure!(before == 1);

    let edge = sites.fleet.edge().https;
    let hello = Hello::new()?;
    flood(edge, &hello, 0..FLOOD_BEFORE).await?;
    let load = Load::start(vec![(sites.fleet.https().await?, "https://shop.test/".to_owned()); 2]);
    load.goes_on(10).await?;
    let programs = [sites.fleet.edge().process()?, sites.fleet.control_plane.process()?];
    let [edge_before, control_plane_before] = [resident_kib(programs[0])?, resident_kib(programs[1])?];
    let (calls_before, began) = (sites.hook.all_calls(), Instant::now());

    flood(edge, &hello, FLOOD_BEFORE..FLOOD_BEFORE + FLOOD).await?;

    let calls = sites.hook.all_calls() - calls_before;
    // What is allowed in a second may come at once, at its beginning.
    let allowed = (began.elapsed().as_secs() as usize + 2) * HOOK_CALLS_PER_SECOND;
    ensure!(calls <= allowed, "the hook was called {calls} times in {:?}", began.elapsed());
    for (program, before) in programs.into_iter().zip([edge_before, control_plane_before]) {
        let after = resident_kib(program)?;
        ensure!(after < before + GROWTH_KIB_MAX, "from {before} KiB to {after} KiB");
    }
    ensure!(orders(&sites.pebble) == before, "something was ordered");
    load.goes_on(10).await?;
    let sent = load.stop().await?;
    ensure!(!sent.is_empty());
    eventually("a name that is approved has its turn", async || sites.is_served("two.sites.test").await).await
}

/// A ClientHello of which only the name changes.
struct Hello {
    bytes: Vec<u8>,
    name_at: usize,
}

/// The name in it, as long as all the others.
const HELLO_NAME: &str = "00000000.sites.test";

impl Hello {
    fn new() -> Result<Self> {
        let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut connection = ClientConnection::new(Arc::new(config), HELLO_NAME.try_into()?)?;
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes)?;
        let name_at = bytes.windows(HELLO_NAME.len()).position(|part| part == HELLO_NAME.as_bytes());
        Ok(Self { bytes, name_at: name_at.context("the name is in it")? })
    }

    fn of(&self, number: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        // As if by chance: the numbers are spread, and each one comes once.
        let label = format!("{:08x}", (number as u32).wrapping_mul(0x9e37_79b1));
        bytes[self.name_at..self.name_at + label.len()].copy_from_slice(label.as_bytes());
        bytes
    }
}

/// Begins a handshake for each number, each for another name; all are refused.
async fn flood(edge: SocketAddr, hello: &Hello, numbers: std::ops::Range<usize>) -> Result<()> {
    let next = AtomicUsize::new(numbers.start);
    let clients = (0..FLOOD_AT_A_TIME).map(async |client| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return Ok(());
            }
            handshake(edge, client, &hello.of(number)).await?;
        }
    });
    join_all(clients).await.into_iter().collect()
}

async fn handshake(edge: SocketAddr, client: usize, hello: &[u8]) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    // Addresses of their own, so that ports do not run out.
    socket.bind((Ipv4Addr::new(127, 0, 1, u8::try_from(client)?), 0).into())?;
    let mut stream = socket.connect(edge).await?;
    stream.write_all(hello).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(answer == UNRECOGNIZED_NAME, "{answer:?}");
    Ok(())
}

/// The memory that a program has.
fn resident_kib(process: &Process) -> Result<usize> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
