//! Real name servers of its own for each test: two of BIND, on loopback addresses, at ports that were free.
//!
//! BIND listens only at addresses that an interface has, and `lo` has but 127.0.0.1. So the second one listens there too, at
//! another port, and a relay makes it appear at 127.0.0.2, at the port of the first.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::Stdio,
    sync::Mutex,
    time::Duration,
};

use switchyard_control_plane::{
    dns::{Dns, Outgoing},
    model::{DnsSettings, TsigAlgorithm, TsigKey},
};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener as TokioTcpListener, TcpStream, UdpSocket as TokioUdpSocket},
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// How long BIND may take to begin, and any condition to come true.
const WAIT: Duration = Duration::from_secs(20);
/// How often another port is tried: somebody may take it in between.
const STARTS_MAX: usize = 5;

pub(crate) const PRIMARY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
pub(crate) const SECONDARY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where nobody listens.
pub(crate) const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

pub(crate) const KEY_NAME: &str = "switchyard";
pub(crate) const KEY_SECRET: &str = "c3dpdGNoeWFyZC1zd2l0Y2h5YXJkLXN3aXRjaHlhcmQ=";
pub(crate) const OTHER_SECRET: &str = "YW5vdGhlci1zZWNyZXQtYW5vdGhlci1zZWNyZXQtLi4=";

/// A primary server, and one beside it that is secondary for some zones.
pub(crate) struct Bind {
    pub(crate) port: u16,
    pub(crate) secondary_port: u16,
    folder: TempDir,
    children: Vec<Child>,
    _relays: JoinSet<()>,
}

impl Bind {
    /// Starts both; they answer when this returns, and end when it is dropped.
    pub(crate) async fn start() -> Self {
        for _ in 0..STARTS_MAX {
            if let Some(bind) = Self::try_start().await {
                return bind;
            }
        }
        panic!("BIND does not start; its log is on stderr");
    }

    async fn try_start() -> Option<Self> {
        let (port, secondary_port) = (free_port(), free_port());
        let folder = tempfile::tempdir().unwrap();
        let relays = relay((SECONDARY, port).into(), (PRIMARY, secondary_port).into()).await?;
        let mut bind = Self { port, secondary_port, folder, children: Vec::new(), _relays: relays };
        for (name, port, zones) in
            [("primary", port, bind.primary_zones()), ("secondary", secondary_port, bind.secondary_zones())]
        {
            let child = bind.spawn(name, port, &zones);
            bind.children.push(child);
        }
        let deadline = Instant::now() + WAIT;
        while Instant::now() < deadline {
            if bind.children.iter_mut().any(|child| child.try_wait().unwrap().is_some()) {
                return None;
            }
            let mut ready = true;
            for address in [PRIMARY, SECONDARY] {
                ready &= bind.dig(address, "two.test", "SOA").await.contains("ns1");
            }
            if ready {
                return Some(bind);
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }

    fn spawn(&self, name: &str, port: u16, zones: &str) -> Child {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        self.write_zones(&folder);
        let configuration = format!(
            r#"
options {{
    directory "{folder}";
    listen-on port {port} {{ {PRIMARY}; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    session-keyfile none;
    recursion no;
    dnssec-validation no;
    check-integrity no;
    notify-delay 0;
    serial-query-rate 1000;
    notify explicit;
    allow-transfer {{ 127.0.0.0/8; }};
}};
controls {{ }};
key "{KEY_NAME}" {{ algorithm hmac-sha256; secret "{KEY_SECRET}"; }};
key "sha384" {{ algorithm hmac-sha384; secret "{KEY_SECRET}"; }};
key "sha512" {{ algorithm hmac-sha512; secret "{KEY_SECRET}"; }};
key "bystander" {{ algorithm hmac-sha256; secret "{KEY_SECRET}"; }};
{zones}
"#,
            folder = folder.display()
        );
        let path = folder.join("named.conf");
        std::fs::write(&path, configuration).unwrap();
        Command::new("named")
            .args(["-g", "-n", "1", "-c"])
            .arg(&path)
            .args(["-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("BIND is there: apt-get install bind9 bind9-dnsutils")
    }

    fn primary_zones(&self) -> String {
        let port = self.secondary_port;
        let grants = [KEY_NAME, "sha384", "sha512"].map(|key| format!("grant {key} zonesub TXT;")).concat();
        let mut zones = String::new();
        for zone in ["example.test", "acme.test", "two.test", "stuck.test", "gone.test", "lame.test"] {
            zones += &format!(
                "zone \"{zone}\" {{ type primary; file \"{zone}\"; update-policy {{ {grants} }}; \
                 also-notify {{ {PRIMARY} port {port}; }}; }};\n"
            );
        }
        zones + "zone \"delegating.test\" { type primary; file \"delegating.test\"; };\n"
    }

    fn secondary_zones(&self) -> String {
        let port = self.port;
        format!(
            "zone \"two.test\" {{ type secondary; primaries {{ {PRIMARY} port {port}; }}; }};\n\
             zone \"stuck.test\" {{ type primary; file \"stuck.test\"; update-policy {{ grant {KEY_NAME} zonesub TXT; }}; }};\n"
        )
    }

    fn write_zones(&self, folder: &Path) {
        let head = |servers: &[&str]| {
            let mut text = "$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 86400 1\n".to_owned();
            for server in servers {
                text += &format!("@ NS {server}\n");
            }
            text + &format!("ns1 A {PRIMARY}\nns2 A {SECONDARY}\nns3 A {NOBODY}\n")
        };
        for (zone, servers, more) in [
            ("example.test", &["ns1"][..], "old CNAME www\n_acme-challenge.sub TXT \"there before\"\n"),
            ("acme.test", &["ns1"], ""),
            ("two.test", &["ns1", "ns2"], ""),
            ("stuck.test", &["ns1", "ns2"], ""),
            ("gone.test", &["ns1", "ns3"], ""),
            ("lame.test", &["ns.example.test."], ""),
            (
                "delegating.test",
                &["ns1"],
                "_acme-challenge CNAME hop\n\
                 hop CNAME 0123abcd.acme.test.\n\
                 _acme-challenge.circle CNAME round\n\
                 round CNAME _acme-challenge.circle\n",
            ),
        ] {
            std::fs::write(folder.join(zone), head(servers) + more).unwrap();
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (PRIMARY, self.port).into()
    }

    /// The folder of the programs that may be run.
    pub(crate) fn hooks(&self) -> &Path {
        self.folder.path()
    }

    /// What a test asks with: the primary server is its resolver.
    pub(crate) fn dns(&self) -> Dns {
        Dns::new(Some(self.address()), self.port, Outgoing::new().unwrap(), Some(self.folder.path().to_owned()))
            .unwrap()
    }

    /// Settings for updates of the primary server.
    pub(crate) fn settings(&self, key: Option<(&str, &str, &str)>) -> DnsSettings {
        let key = key.map(|(name, algorithm, secret)| {
            TsigKey::parse(name, TsigAlgorithm::parse(algorithm).unwrap(), secret).unwrap()
        });
        DnsSettings::rfc2136(&self.address().to_string(), key).unwrap()
    }

    /// Those with the key that may change zones.
    pub(crate) fn right(&self) -> DnsSettings {
        self.settings(Some((KEY_NAME, "hmac-sha256", KEY_SECRET)))
    }

    /// The TXT records of a name, sorted, as somebody else's client sees them.
    pub(crate) async fn txt(&self, address: Ipv4Addr, name: &str) -> Vec<String> {
        let answer = self.dig(address, name, "TXT").await;
        let mut values: Vec<_> = answer.lines().map(|line| line.trim_matches('"').to_owned()).collect();
        values.sort();
        values
    }

    async fn dig(&self, address: Ipv4Addr, name: &str, kind: &str) -> String {
        let (server, port) = (format!("@{address}"), self.port.to_string());
        let dig = Command::new("dig")
            .args(["+short", "+norecurse", "+time=1", "+tries=1", "-p", &port, &server, name, kind])
            .kill_on_drop(true)
            .output();
        let output = timeout(WAIT, dig).await.unwrap().expect("dig is there: apt-get install bind9-dnsutils");
        // What it says when there is no answer is for people.
        if output.status.success() { String::from_utf8(output.stdout).unwrap() } else { String::new() }
    }

    /// Changes the primary server by somebody else's client, as a provider would.
    pub(crate) async fn nsupdate(&self, command: &str) {
        nsupdate(self.port, command).await;
    }

    /// What nsupdate is told to sign with.
    pub(crate) fn nsupdate_key() -> String {
        format!("hmac-sha256:{KEY_NAME}:{KEY_SECRET}")
    }
}

#[expect(clippy::print_stderr, reason = "why a test failed may be in the log")]
impl Drop for Bind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["primary", "secondary"] {
                let log = std::fs::read_to_string(self.folder.path().join(name).join("log")).unwrap_or_default();
                eprintln!("--- the {name} server's log ---\n{log}");
            }
        }
    }
}

/// Changes the primary server at `port` by somebody else's client.
pub(crate) async fn nsupdate(port: u16, command: &str) {
    let mut child = Command::new("nsupdate")
        .args(["-y", &Bind::nsupdate_key()])
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("nsupdate is there: apt-get install bind9-dnsutils");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("server {PRIMARY} {port}\n{command}\nsend\n").as_bytes()).await.unwrap();
    drop(stdin);
    assert!(timeout(WAIT, child.wait()).await.unwrap().unwrap().success(), "nsupdate: {command}");
}

/// Makes what is at `to` appear at `at`, by UDP and by TCP. `None` if that is taken.
async fn relay(at: SocketAddr, to: SocketAddr) -> Option<JoinSet<()>> {
    let udp = TokioUdpSocket::bind(at).await.ok()?;
    let tcp = TokioTcpListener::bind(at).await.ok()?;
    let mut relays = JoinSet::new();
    relays.spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
            let server = TokioUdpSocket::bind((PRIMARY, 0)).await.unwrap();
            server.connect(to).await.unwrap();
            let mut answer = vec![0; 65_535];
            let exchange = async {
                server.send(&buffer[..length]).await?;
                server.recv(&mut answer).await
            };
            if let Ok(Ok(length)) = timeout(Duration::from_secs(1), exchange).await {
                udp.send_to(&answer[..length], client).await.unwrap();
            }
        }
    });
    relays.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = tcp.accept().await {
            connections.spawn(async move {
                if let Ok(mut server) = TcpStream::connect(to).await {
                    // Either side may hang up.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    Some(relays)
}

/// A port that is free for UDP and TCP at both addresses, and that no other test is given: BIND shares its ports (`SO_REUSEPORT`), so
/// two servers at one port would both start, and answer by turns.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind((PRIMARY, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let free = TcpListener::bind((SECONDARY, port)).is_ok()
            && UdpSocket::bind((PRIMARY, port)).is_ok()
            && UdpSocket::bind((SECONDARY, port)).is_ok();
        if free && GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}
