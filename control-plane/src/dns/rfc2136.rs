//! Dynamic updates ([RFC 2136](https://www.rfc-editor.org/rfc/rfc2136)), signed with TSIG
//! ([RFC 8945](https://www.rfc-editor.org/rfc/rfc8945)).
//!
//! What always holds: with a key, everything that is sent is signed, and that an update succeeded is believed only when that is
//! signed too.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use hickory_proto::{
    dnssec::DnsSecError,
    op::{Message, OpCode, ResponseCode, update_message},
    rr::{
        Name, RData, Record, RecordType, TSigner,
        rdata::{
            TXT,
            tsig::{self, TsigError},
        },
    },
};

use super::{
    exchange::{self, Answer, ExchangeError},
    plain,
};
use crate::model::{TsigAlgorithm, TsigKey};

/// How long others may keep the record, in seconds: it is short-lived.
const TTL_SECONDS: u32 = 60;
/// How many names upwards a zone is looked for.
const LABELS_MAX: usize = 32;
/// How far the clocks of server and client may be apart, in seconds: what RFC 8945 recommends.
const FUDGE_SECONDS: u16 = 300;

/// What an update does with the record; others of the same name stay as they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Update {
    Add,
    Remove,
}

/// Adds a TXT record to what `server` has at `name`, or takes it away.
///
/// # Errors
///
/// The server has no such zone, refuses the change or the key, or does not answer.
pub(super) async fn update(
    server: SocketAddr,
    key: Option<&TsigKey>,
    update: Update,
    name: &Name,
    value: &str,
) -> Result<(), UpdateError> {
    let zone = zone(server, key, name).await?;
    let record = Record::from_rdata(name.clone(), TTL_SECONDS, RData::TXT(TXT::new(vec![value.to_owned()])));
    let message = match update {
        Update::Add => update_message::append(record.into(), zone.clone(), false, false),
        Update::Remove => update_message::delete_by_rdata(record.into(), zone.clone(), false),
    };
    let answer = send(server, key, message).await?;
    match answer.response_code {
        ResponseCode::NoError => Ok(()),
        ResponseCode::Refused => Err(match key {
            Some(key) => UpdateError::RefusedWithKey {
                server,
                zone: plain(&zone),
                name: plain(name),
                key: key.name().to_owned(),
            },
            None => UpdateError::RefusedWithoutKey { server, zone: plain(&zone) },
        }),
        ResponseCode::NotAuth | ResponseCode::NotZone => {
            Err(UpdateError::NotAuthoritative { server, zone: plain(&zone) })
        }
        ResponseCode::NotImp => Err(UpdateError::NotImplemented { server }),
        code => Err(UpdateError::Failed { server, zone: plain(&zone), code }),
    }
}

/// The zone that `name` is in, as `server` itself sees it: the nearest name upwards that has a SOA record there.
async fn zone(server: SocketAddr, key: Option<&TsigKey>, name: &Name) -> Result<Name, UpdateError> {
    let mut candidate = name.clone();
    for _ in 0..LABELS_MAX {
        let answer = send(server, key, exchange::question(&candidate, RecordType::SOA)).await?;
        // In the answer when the candidate is the zone, in the authority section when it is in it.
        let sections = answer.answers.iter().chain(&answer.authorities);
        let mut zones = sections.filter(|record| record.record_type() == RecordType::SOA).map(|record| &record.name);
        if let Some(zone) = zones.find(|zone| zone.zone_of(name)) {
            return Ok(zone.clone());
        }
        if candidate.is_root() {
            break;
        }
        candidate = candidate.base_name();
    }
    Err(UpdateError::NoZone { server, name: plain(name) })
}

/// What signs messages with a key.
fn signer(key: &TsigKey) -> Result<TSigner, DnsSecError> {
    let algorithm = match key.algorithm() {
        TsigAlgorithm::HmacSha256 => tsig::TsigAlgorithm::HmacSha256,
        TsigAlgorithm::HmacSha384 => tsig::TsigAlgorithm::HmacSha384,
        TsigAlgorithm::HmacSha512 => tsig::TsigAlgorithm::HmacSha512,
    };
    let mut name = Name::from_ascii(key.name())?;
    name.set_fqdn(true);
    TSigner::new(key.expose_secret_bytes().to_vec(), algorithm, name, FUDGE_SECONDS)
}

/// Signs and sends a message. The answer to an update says success only if it is signed as well.
async fn send(server: SocketAddr, key: Option<&TsigKey>, mut message: Message) -> Result<Message, UpdateError> {
    let mut verifier = None;
    if let Some(key) = key {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signer = signer(key).map_err(|error| UpdateError::Signing(error.to_string()))?;
        verifier = message.finalize(&signer, now).map_err(|error| UpdateError::Signing(error.to_string()))?;
    }
    let answer = exchange::ask(server, &message).await;
    let Answer { message, bytes } = answer.map_err(|source| UpdateError::Exchange { server, source })?;
    let Some(key) = key else { return Ok(message) };
    // An error may be unsigned: a server that does not know the key cannot sign (RFC 8945, section 5.3.2).
    match message.signature().and_then(|signature| signature.data.error) {
        Some(TsigError::BadKey) => {
            let algorithm = key.algorithm().as_str();
            return Err(UpdateError::UnknownKey { server, key: key.name().to_owned(), algorithm });
        }
        Some(TsigError::BadSig) => return Err(UpdateError::WrongSecret { server, key: key.name().to_owned() }),
        Some(TsigError::BadTime) => return Err(UpdateError::Clocks { server }),
        Some(error) => return Err(UpdateError::Tsig { server, key: key.name().to_owned(), code: error.into() }),
        None => {}
    }
    // What a question finds only goes into an update, which the server checks itself: not all servers sign that.
    if message.op_code == OpCode::Update && message.response_code == ResponseCode::NoError {
        let verified = verifier.map(|mut verifier| verifier.verify(&bytes));
        if !matches!(verified, Some(Ok(_))) {
            return Err(UpdateError::Unsigned { server, key: key.name().to_owned() });
        }
    }
    Ok(message)
}

/// Why a name server does not have the record now.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// There is no answer.
    #[error("the name server {server}: {source}; check its address, and that TCP and UDP get through to it")]
    Exchange {
        /// Which one.
        server: SocketAddr,
        /// Why.
        source: ExchangeError,
    },
    /// The key cannot be used here.
    #[error("the update cannot be signed: {0}; give another TSIG key")]
    Signing(String),
    /// The server knows no zone that the name is in.
    #[error("the name server {server} has no zone that {name} is in; give the address of the zone's primary server")]
    NoZone {
        /// Which one.
        server: SocketAddr,
        /// Which name.
        name: String,
    },
    /// BADKEY.
    #[error(
        "the name server {server} refuses the key {key} because it knows no {algorithm} key of that name (BADKEY); compare name \
         and algorithm with its configuration, or add the key there"
    )]
    UnknownKey {
        /// Which one.
        server: SocketAddr,
        /// The key's name.
        key: String,
        /// The key's algorithm.
        algorithm: &'static str,
    },
    /// BADSIG.
    #[error(
        "the name server {server} refuses the key {key} because its own secret for it is another (BADSIG); copy the secret from \
         the server's key file again"
    )]
    WrongSecret {
        /// Which one.
        server: SocketAddr,
        /// The key's name.
        key: String,
    },
    /// BADTIME.
    #[error("the clock of the name server {server} and that of this machine are apart (BADTIME); set both by NTP")]
    Clocks {
        /// Which one.
        server: SocketAddr,
    },
    /// Another error of TSIG.
    #[error("the name server {server} refuses the key {key} with the TSIG error {code}; look into its log")]
    Tsig {
        /// Which one.
        server: SocketAddr,
        /// The key's name.
        key: String,
        /// What it says (RFC 8945, section 3).
        code: u16,
    },
    /// A success that nobody with the key has signed.
    #[error(
        "the answer of the name server {server} is not signed with the key {key}, so it is not believed; check that the address \
         is the server's own, and that it supports TSIG"
    )]
    Unsigned {
        /// Which one.
        server: SocketAddr,
        /// The key's name.
        key: String,
    },
    /// REFUSED, and the key was right.
    #[error(
        "the name server {server} knows the key {key}, but refuses to let it change {name} (REFUSED); allow it to change TXT \
         records there, in BIND by 'update-policy' or 'allow-update' of the zone {zone}; if this is a secondary server, \
         give the address of the primary one"
    )]
    RefusedWithKey {
        /// Which one.
        server: SocketAddr,
        /// Which zone.
        zone: String,
        /// Which name.
        name: String,
        /// The key's name.
        key: String,
    },
    /// REFUSED, and there was no key.
    #[error("the name server {server} refuses unsigned changes of the zone {zone} (REFUSED); give a TSIG key")]
    RefusedWithoutKey {
        /// Which one.
        server: SocketAddr,
        /// Which zone.
        zone: String,
    },
    /// NOTAUTH without an error of TSIG, or NOTZONE.
    #[error(
        "the name server {server} is not the primary server of the zone {zone} (NOTAUTH); give the address of the one that is"
    )]
    NotAuthoritative {
        /// Which one.
        server: SocketAddr,
        /// Which zone.
        zone: String,
    },
    /// NOTIMP.
    #[error("the name server {server} does not take dynamic updates (NOTIMP); turn them on, or use another provider")]
    NotImplemented {
        /// Which one.
        server: SocketAddr,
    },
    /// Something else went wrong there.
    #[error("the name server {server} cannot change the zone {zone}: {code}; look into its log")]
    Failed {
        /// Which one.
        server: SocketAddr,
        /// Which zone.
        zone: String,
        /// What it says.
        code: ResponseCode,
    },
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::{
        op::MessageType,
        rr::{
            DNSClass,
            rdata::{SOA, TSIG, tsig::TsigAlgorithm},
        },
    };
    use tokio::{net::UdpSocket, task::JoinSet};

    use super::*;

    /// A name server that says what `answer` makes of a question, without any key.
    async fn server(answer: impl Fn(&mut Message) + Send + 'static) -> (SocketAddr, JoinSet<()>) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let mut message = Message::from_vec(&buffer[..length]).unwrap();
                message.metadata.message_type = MessageType::Response;
                message.signature = None;
                message.authorities.clear();
                answer(&mut message);
                socket.send_to(&message.to_vec().unwrap(), client).await.unwrap();
            }
        });
        (address, server)
    }

    fn soa(message: &mut Message) {
        if message.queries[0].query_type() == RecordType::SOA && message.answers.is_empty() {
            let zone = Name::from_ascii("example.test.").unwrap();
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 1, 1, 1, 1);
            message.authorities.push(Record::from_rdata(zone, 1, RData::SOA(soa)));
        }
    }

    async fn add(server: SocketAddr) -> Result<(), UpdateError> {
        let key =
            TsigKey::parse("switchyard", crate::model::TsigAlgorithm::HmacSha256, "c2VjcmV0LXNlY3JldA==").unwrap();
        let name = Name::from_ascii("_acme-challenge.example.test.").unwrap();
        update(server, Some(&key), Update::Add, &name, "value").await
    }

    fn tsig(message: &mut Message, error: Option<TsigError>) {
        let tsig = TSIG::new(TsigAlgorithm::HmacSha256, 1, 300, vec![0; 32], message.id, error, Vec::new());
        let mut record = Record::from_rdata(Name::from_ascii("switchyard.").unwrap(), 0, tsig);
        record.dns_class = DNSClass::ANY;
        message.set_signature(Box::new(record));
    }

    #[tokio::test]
    async fn a_success_that_is_not_signed_is_not_believed() {
        let (address, _server) = server(soa).await;
        assert!(matches!(add(address).await.unwrap_err(), UpdateError::Unsigned { .. }));
        let (address, _server) = server(|message| {
            soa(message);
            tsig(message, None);
        })
        .await;
        assert!(matches!(add(address).await.unwrap_err(), UpdateError::Unsigned { .. }));
    }

    #[tokio::test]
    async fn clocks_that_are_apart_are_named() {
        let (address, _server) = server(|message| {
            message.metadata.response_code = ResponseCode::NotAuth;
            tsig(message, Some(TsigError::BadTime));
        })
        .await;
        let error = add(address).await.unwrap_err();
        assert!(matches!(error, UpdateError::Clocks { .. }), "{error}");
        assert!(error.to_string().contains("NTP"));
    }

    #[tokio::test]
    async fn a_server_without_dynamic_updates_and_one_that_is_not_primary_are_told_apart() {
        for (code, words) in [(ResponseCode::NotImp, "NOTIMP"), (ResponseCode::NotAuth, "NOTAUTH")] {
            let (address, _server) = server(move |message| {
                soa(message);
                if message.queries[0].query_type() == RecordType::SOA && message.op_code != OpCode::Update {
                    return;
                }
                message.metadata.response_code = code;
            })
            .await;
            let name = Name::from_ascii("_acme-challenge.example.test.").unwrap();
            let error = update(address, None, Update::Add, &name, "value").await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
