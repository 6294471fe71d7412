//! Everything that parses what comes from outside, each driven by bytes: as a program for libFuzzer in `fuzz_targets/`, and by the
//! plain test that replays what was found, in `corpus/`.
//!
//! What always holds: no bytes make it panic, and none make it use more memory than [`memory_max`].

use std::{
    cell::Cell,
    fs,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use bytes::Bytes;
use switchyard_control_plane::{app::seed::Seed, grpc::fuzzing as api, model::Timestamp, pki};
use switchyard_edge_proxy::{identity::JoinToken, sync::fuzzing as edge};
use switchyard_proto::{
    resource::{CaBundle, ClientCertificate, certificates_pem},
    vocab::{
        BackendAddress, BackendHost, BackendId, CertificateId, EdgeId, HostPattern, ServiceId, Tag, normalize_host,
    },
};

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("api_requests", api_requests),
    ("control_plane_messages", control_plane_messages),
    ("edge_messages", edge_messages),
    ("edge_store", edge_store),
    ("join_tokens", join_tokens),
    ("names", names),
    ("pem", pem),
    ("seed_files", seed_files),
];

/// The memory that so many bytes may take while they are parsed: what is always there, and some copies of each.
pub fn memory_max(bytes: usize) -> u64 {
    16 * 1024 * 1024 + 256 * bytes as u64
}

/// Runs a target.
///
/// # Panics
///
/// It does, or uses too much memory.
pub fn run((name, target): Target, bytes: &[u8]) {
    let used = allocation_counter::measure(|| target(bytes));
    let (most, max) = (used.bytes_max, memory_max(bytes.len()));
    assert!(most <= max, "{name}: {most} bytes of memory for {} bytes, and not {max}", bytes.len());
}

/// Names, addresses, ids and tags.
pub fn names(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(pattern) = HostPattern::parse(text) {
        let again = HostPattern::parse(pattern.as_str()).expect("what is stored is valid");
        assert_eq!(again, pattern, "and stays what it is");
        assert_eq!(HostPattern::parse_resource_name(&pattern.to_resource_name()).as_ref(), Ok(&pattern));
        assert!(pattern.covers(&pattern), "a pattern stands for itself");
    }
    if let Some(host) = normalize_host(text) {
        assert_eq!(normalize_host(&host).as_deref(), Some(&*host), "once is enough");
    }
    if let Ok(address) = BackendAddress::parse(text) {
        assert_eq!(BackendAddress::parse(&address.to_string()).as_ref(), Ok(&address));
    }
    if let Ok(host) = BackendHost::parse(text) {
        assert_eq!(BackendHost::parse(&host.to_string()).as_ref(), Ok(&host));
    }
    drop((
        Tag::parse(text),
        ServiceId::parse(text),
        BackendId::parse(text),
        CertificateId::parse(text),
        EdgeId::parse(text),
    ));
}

/// Requests of clients of the API.
pub fn api_requests(bytes: &[u8]) {
    api::request(bytes);
}

/// What a control plane is sent by edges.
pub fn edge_messages(bytes: &[u8]) {
    api::edge_messages(bytes);
    api::enrolment(bytes);
}

/// What an edge is sent by a control plane.
pub fn control_plane_messages(bytes: &[u8]) {
    edge::receive(Bytes::copy_from_slice(bytes));
}

/// The file with what an edge has received: any bytes; or, after a first byte that is odd, damage to a good one, as places among
/// what it holds (two bytes) and what is changed there (one).
pub fn edge_store(bytes: &[u8]) {
    const MESSAGES: &[u8] = include_bytes!("../corpus/control_plane_messages/snapshot");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("edge.redb");
    let content = match bytes.split_first() {
        Some((first, damage)) if first % 2 == 1 => {
            edge::write_store(directory.path(), Bytes::from_static(MESSAGES));
            let mut content = fs::read(&file).expect("it was written");
            // Most of it is empty.
            let held: Vec<usize> = (0..content.len()).filter(|place| content[*place] != 0).collect();
            for edit in damage.chunks_exact(3) {
                let place = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
                content[held[place % held.len()]] ^= edit[2];
            }
            content
        }
        _ => bytes.to_vec(),
    };
    fs::write(&file, content).expect("a file can be written");
    let opened = without_reports(|| edge::open_store(directory.path()));
    assert!(opened.is_some(), "an edge could not start from it");
}

/// Runs something that catches panics of its own, of which nobody is to be told: telling takes memory, and libFuzzer takes each for
/// a find. `None` if one was not caught.
fn without_reports<T>(run: impl FnOnce() -> T) -> Option<T> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                tell(panic);
            }
        }));
    });
    QUIET.set(true);
    let ended = panic::catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    ended.ok()
}

/// What edges join with.
pub fn join_tokens(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    drop(text.parse::<JoinToken>());
}

/// Chains, keys, CAs and certificate requests that people and edges bring. What comes before the first zero byte is the chain.
pub fn pem(bytes: &[u8]) {
    drop(pki::CertificateRequest::parse(bytes));
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (chain, key) = text.split_once('\0').unwrap_or((text, text));
    let now = Timestamp(1_800_000_000_000);
    if let Ok((chain, _)) = pki::upload(chain, key, now) {
        assert!(!chain.dns_names.is_empty() && chain.not_after >= now, "it can be served");
    }
    if let Ok(client) = ClientCertificate::of_pem(chain, key) {
        let again = ClientCertificate::of_pem(&certificates_pem(&client.chain), &client.private_key.expose_pem());
        assert_eq!(again.as_ref(), Ok(&client), "what was read can be written");
    }
    if let Ok(bundle) = CaBundle::parse(text) {
        assert_eq!(CaBundle::parse(&bundle.pem()).as_ref(), Ok(&bundle), "what was read can be written");
    }
}

/// Seed files.
pub fn seed_files(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    drop(text.parse::<Seed>());
}
