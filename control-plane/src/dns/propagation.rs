//! Waiting until every name server of a zone shows a record: the CA may ask any of them, from several places.

use std::{fmt, net::SocketAddr, time::Duration};

use futures::future::join_all;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, RecordType},
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    exchange, plain,
    resolver::{NameServer, Resolver, Zone},
};

/// Pauses between two rounds of questions: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// What the last round has at least.
const ROUND_MIN: Duration = Duration::from_millis(100);

/// Waits until all servers of `zone` show `value` at `name`, for as long as `within`.
///
/// A server shows it when at least one of its addresses answers and all that answer show it. One that has shown it once is
/// not asked again.
pub(super) async fn wait(
    resolver: &Resolver,
    zone: Zone,
    name: &Name,
    value: &str,
    within: Duration,
) -> Result<(), NotShown> {
    let deadline = Instant::now() + within;
    let mut pause = PAUSE_MIN;
    let mut missing: Vec<Missing> = zone.servers.into_iter().map(Missing::new).collect();
    loop {
        let asked = missing.into_iter().map(|missing| missing.ask(resolver, name, value, deadline));
        missing = join_all(asked).await.into_iter().flatten().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left <= ROUND_MIN {
            let servers = missing.iter().map(Missing::to_string).collect::<Vec<_>>().join(", ");
            return Err(NotShown { zone: plain(&zone.name), name: plain(name), within, servers });
        }
        sleep(pause.min(left - ROUND_MIN)).await;
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

/// A server that has not shown the record yet, and why.
struct Missing {
    server: NameServer,
    reason: String,
}

impl Missing {
    fn new(server: NameServer) -> Self {
        Self { server, reason: "it has not answered in time".to_owned() }
    }

    /// `None` if it shows it now.
    async fn ask(mut self, resolver: &Resolver, name: &Name, value: &str, deadline: Instant) -> Option<Self> {
        match timeout_at(deadline, shows(resolver, &mut self.server, name, value)).await {
            Ok(Ok(())) => return None,
            Ok(Err(reason)) => self.reason = reason,
            // What was found out before says more.
            Err(_) => {}
        }
        Some(self)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", plain(&self.server.name), self.reason)
    }
}

/// Whether a server shows the value; else why it does not.
async fn shows(resolver: &Resolver, server: &mut NameServer, name: &Name, value: &str) -> Result<(), String> {
    if server.addresses.is_err() {
        server.addresses = resolver.addresses(&server.name).await.map_err(|error| error.to_string());
    }
    let addresses = server.addresses.as_ref().map_err(Clone::clone)?;
    let answers = join_all(addresses.iter().map(|address| txt(*address, name, value))).await;
    let mut shown = false;
    let mut silent = None;
    for answer in answers {
        match answer {
            Shown::Yes => shown = true,
            Shown::No(reason) => return Err(reason),
            Shown::Unknown(reason) => silent = Some(reason),
        }
    }
    if shown { Ok(()) } else { Err(silent.unwrap_or_else(|| "it has no address".to_owned())) }
}

/// What one address of a server has at a name.
enum Shown {
    Yes,
    No(String),
    /// It cannot be asked.
    Unknown(String),
}

async fn txt(address: SocketAddr, name: &Name, value: &str) -> Shown {
    let answer = match exchange::ask(address, &exchange::question(name, RecordType::TXT)).await {
        Ok(answer) => answer.message,
        Err(error) => return Shown::Unknown(format!("{address}: {error}")),
    };
    let code = answer.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Shown::No(format!("{address} answers {code}"));
    }
    let shown = answer.answers.iter().any(|record| match &record.data {
        RData::TXT(txt) => record.name == *name && txt.txt_data.concat() == value.as_bytes(),
        _ => false,
    });
    if shown { Shown::Yes } else { Shown::No(format!("{address} does not have it yet")) }
}

/// Not all name servers show the record.
#[derive(Debug, thiserror::Error)]
#[error(
    "after {within:?} the TXT record of {name} is not shown by these name servers of the zone {zone}: {servers}; check that they \
     are reached from here, take over changes of the zone, and are the ones that the provider changes"
)]
pub struct NotShown {
    /// Which zone.
    pub zone: String,
    /// Which name.
    pub name: String,
    /// How long it was waited for.
    pub within: Duration,
    /// The servers, each with its reason.
    pub servers: String,
}
