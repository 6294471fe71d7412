//! Steady load from several clients, with a record of every request.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use crate::{client::Client, eventually::eventually};

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(3);

/// One request.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Which of the clients sent it.
    pub client: usize,
    /// Before its first byte was sent.
    pub begun: Instant,
    /// After the last byte of its answer, or when it failed.
    pub ended: Instant,
    /// The tag of the backend that answered with 200, or what went wrong.
    pub outcome: Result<String, String>,
}

/// Clients that send one request after the other until this is stopped or dropped.
pub struct Load {
    sent: Arc<Mutex<Vec<Sent>>>,
    clients: usize,
    // Aborts them when it is dropped.
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts one client for each pair of a client and a URL.
    pub fn start(clients: Vec<(Client, String)>) -> Self {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let count = clients.len();
        for (number, (client, url)) in clients.into_iter().enumerate() {
            tasks.spawn(send_forever(number, client, url, sent.clone()));
        }
        Self { sent, clients: count, tasks }
    }

    /// Every request that has ended.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().expect("nothing panics while it is held").clone()
    }

    /// Awaits that every client has begun and ended some requests more.
    pub async fn goes_on(&self, requests: usize) -> Result<()> {
        let since = Instant::now();
        eventually("the load goes on", async || {
            let sent = self.sent.lock().expect("nothing panics while it is held");
            for client in 0..self.clients {
                let more = sent.iter().rev().take_while(|sent| sent.ended >= since);
                let more = more.filter(|sent| sent.client == client && sent.begun >= since).count();
                ensure!(more >= requests, "client {client} has sent {more} of {requests} requests");
            }
            Ok(())
        })
        .await
    }

    /// Ends the load; fails if one of its requests failed.
    pub async fn stop(mut self) -> Result<Vec<Sent>> {
        self.tasks.shutdown().await;
        let sent = self.sent();
        let failed: Vec<&Sent> = sent.iter().filter(|sent| sent.outcome.is_err()).collect();
        ensure!(failed.is_empty(), "{} of {} requests failed; the first: {:?}", failed.len(), sent.len(), failed[0]);
        Ok(sent)
    }
}

async fn send_forever(number: usize, client: Client, url: String, sent: Arc<Mutex<Vec<Sent>>>) {
    loop {
        let begun = Instant::now();
        let outcome = match client.get(&url).await {
            Ok(answer) if answer.status == 200 => Ok(answer.tag().to_owned()),
            Ok(answer) => Err(format!("{} {:?}", answer.status, answer.body)),
            Err(error) => Err(format!("{error:#}")),
        };
        let ended = Instant::now();
        sent.lock().expect("nothing panics while it is held").push(Sent { client: number, begun, ended, outcome });
        tokio::time::sleep(PAUSE).await;
    }
}
