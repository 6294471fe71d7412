//! A DNS server whose answers a test can change.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};
use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use tokio::{net::UdpSocket, sync::watch, task::JoinSet};

/// How long an answer may be kept; the shortest that is not "do not keep".
const TTL_SECONDS: u32 = 1;

/// Answers questions for addresses of names from memory, over UDP.
pub struct Dns {
    /// Where it listens.
    pub address: SocketAddr,
    records: Arc<Mutex<HashMap<Name, Answer>>>,
    asked: Arc<watch::Sender<usize>>,
    _server: JoinSet<()>,
}

#[derive(Clone)]
enum Answer {
    Addresses(Vec<Ipv4Addr>),
    Failure,
}

impl Dns {
    /// Starts it with no names.
    pub async fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let records = Arc::<Mutex<HashMap<Name, Answer>>>::default();
        let asked = Arc::new(watch::Sender::new(0));
        let mut server = JoinSet::new();
        server.spawn(serve(socket, records.clone(), asked.clone()));
        Ok(Self { address, records, asked, _server: server })
    }

    /// Makes a name lead to these addresses from now on.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr]) -> Result<()> {
        self.insert(name, Answer::Addresses(addresses.to_vec()))
    }

    /// Makes questions for a name fail (SERVFAIL) from now on.
    pub fn fail(&self, name: &str) -> Result<()> {
        self.insert(name, Answer::Failure)
    }

    /// Awaits that it has been asked so many times more.
    pub async fn asked_again(&self, times: usize) -> Result<()> {
        let mut asked = self.asked.subscribe();
        let before = *asked.borrow();
        crate::eventually::within("DNS is asked", asked.wait_for(|count| *count >= before + times)).await??;
        Ok(())
    }

    fn insert(&self, name: &str, answer: Answer) -> Result<()> {
        let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.')))?;
        self.records.lock().expect("nothing panics while it is held").insert(name, answer);
        Ok(())
    }
}

async fn serve(socket: UdpSocket, records: Arc<Mutex<HashMap<Name, Answer>>>, asked: Arc<watch::Sender<usize>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        let answer = answer(&buffer[..length], &records);
        if let Ok(bytes) = answer {
            // A question that is not answered is asked again.
            let _ = socket.send_to(&bytes, peer).await;
            asked.send_modify(|count| *count += 1);
        }
    }
}

fn answer(question: &[u8], records: &Mutex<HashMap<Name, Answer>>) -> Result<Vec<u8>> {
    let question = Message::from_vec(question)?;
    let query = question.queries.first().context("a query")?;
    let mut answer = Message::new(question.metadata.id, MessageType::Response, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let found = records.lock().expect("nothing panics while it is held").get(query.name()).cloned();
    match found {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(Answer::Failure) => answer.metadata.response_code = ResponseCode::ServFail,
        Some(Answer::Addresses(addresses)) if query.query_type() == RecordType::A => {
            for address in addresses {
                let record = Record::from_rdata(query.name().clone(), TTL_SECONDS, RData::A(address.into()));
                answer.add_answer(record);
            }
        }
        // The name exists, without a record of that kind.
        Some(Answer::Addresses(_)) => {}
    }
    Ok(answer.to_vec()?)
}
