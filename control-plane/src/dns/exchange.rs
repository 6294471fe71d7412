//! One question to one name server, and its answer: UDP, and TCP where that does not do.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// How often a question is sent by UDP, and how long each time its answer is waited for.
const UDP_ATTEMPTS: usize = 2;
const UDP_WAIT: Duration = Duration::from_secs(2);
/// How long all of an exchange by TCP may take.
const TCP_WAIT: Duration = Duration::from_secs(5);
/// The longest answer by UDP: what EDNS could allow. By TCP its length has 16 bits.
const UDP_BYTES_MAX: usize = 4096;

/// An answer, read and as it came: what signs it covers its bytes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) message: Message,
    pub(super) bytes: Vec<u8>,
}

/// A question to a name server about what it itself knows.
pub(super) fn question(name: &Name, record_type: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Query;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name.clone(), record_type));
    message
}

/// Sends `request` to `server` until there is an answer, and at most as often as bounds allow. It may arrive more than once.
pub(super) async fn ask(server: SocketAddr, request: &Message) -> Result<Answer, ExchangeError> {
    let bytes = request.to_vec().map_err(|error| ExchangeError::Request(error.to_string()))?;
    match by_udp(server, request, &bytes).await {
        Ok(Some(answer)) => Ok(answer),
        // Cut short, lost, or not let through: TCP gets the last word.
        Ok(None) | Err(_) => {
            timeout(TCP_WAIT, by_tcp(server, request, &bytes)).await.map_err(|_| ExchangeError::Silent)?
        }
    }
}

/// `None` says that the answer was cut short, or that there was none.
async fn by_udp(server: SocketAddr, request: &Message, bytes: &[u8]) -> Result<Option<Answer>, ExchangeError> {
    let local = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    for _ in 0..UDP_ATTEMPTS {
        // A new socket for each attempt: its random port is part of what an answer must match.
        let socket = UdpSocket::bind(local).await?;
        socket.connect(server).await?;
        socket.send(bytes).await?;
        let Ok(answer) = timeout(UDP_WAIT, udp_answer(&socket, request)).await else { continue };
        return answer.map(|answer| Some(answer).filter(|answer| !answer.message.truncation));
    }
    Ok(None)
}

async fn udp_answer(socket: &UdpSocket, request: &Message) -> Result<Answer, ExchangeError> {
    let mut buffer = vec![0; UDP_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not match may be forged, and does not end the wait.
        if let Ok(answer) = read(buffer[..length].to_vec(), request) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, request: &Message, bytes: &[u8]) -> Result<Answer, ExchangeError> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(|_| ExchangeError::Request("it is too long".to_owned()))?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await?;
    read(buffer, request)
}

fn read(bytes: Vec<u8>, request: &Message) -> Result<Answer, ExchangeError> {
    let message = Message::from_vec(&bytes).map_err(|_| ExchangeError::Answer)?;
    let is_for_it = message.id == request.id
        && message.message_type == MessageType::Response
        && message.op_code == request.op_code
        // Some servers leave the question out of errors.
        && (message.queries.is_empty() || message.queries == request.queries);
    if !is_for_it {
        return Err(ExchangeError::Answer);
    }
    Ok(Answer { message, bytes })
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The question cannot be written.
    #[error("the question cannot be written: {0}")]
    Request(String),
    /// There is no way to the server, or nothing listens there.
    #[error("it cannot be reached: {0}")]
    Network(#[from] io::Error),
    /// It says nothing.
    #[error("it does not answer in time")]
    Silent,
    /// What it says is not DNS, or is for another question.
    #[error("its answer cannot be read, or is for another question")]
    Answer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_another_question_is_none() {
        let name = Name::from_ascii("example.test.").unwrap();
        let request = question(&name, RecordType::TXT);
        let mut answer = request.clone().into_response();
        answer.metadata.message_type = MessageType::Response;
        assert!(read(answer.to_vec().unwrap(), &request).is_ok());
        let mut other = answer.clone();
        other.metadata.id = request.id.wrapping_add(1);
        assert!(read(other.to_vec().unwrap(), &request).is_err());
        let mut other = answer.clone();
        other.queries = vec![Query::query(name, RecordType::A)];
        assert!(read(other.to_vec().unwrap(), &request).is_err());
        assert!(read(request.to_vec().unwrap(), &request).is_err());
        assert!(read(vec![1, 2, 3], &request).is_err());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        drop(listener);
        let request = question(&Name::from_ascii("example.test.").unwrap(), RecordType::TXT);
        assert!(matches!(ask(server, &request).await.unwrap_err(), ExchangeError::Network(_)));
    }

    /// What a server that was asked says of itself.
    fn reply(bytes: &[u8]) -> Vec<u8> {
        let mut answer = Message::from_vec(bytes).unwrap();
        answer.metadata.message_type = MessageType::Response;
        answer.to_vec().unwrap()
    }

    #[tokio::test]
    async fn tcp_is_asked_where_udp_does_not_get_through() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let request = question(&Name::from_ascii("example.test.").unwrap(), RecordType::TXT);
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut buffer = vec![0; length.into()];
            stream.read_exact(&mut buffer).await.unwrap();
            let answer = reply(&buffer);
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask(server, &request), answering);
        assert_eq!(answer.unwrap().message.id, request.id);
    }

    #[tokio::test]
    async fn what_does_not_match_does_not_end_the_wait_for_what_does() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = socket.local_addr().unwrap();
        let request = question(&Name::from_ascii("example.test.").unwrap(), RecordType::TXT);
        let answering = async {
            let mut buffer = vec![0; 512];
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let mut other = reply(&buffer[..length]);
            other[0] ^= 1;
            socket.send_to(&other, client).await.unwrap();
            socket.send_to(b"no DNS", client).await.unwrap();
            socket.send_to(&reply(&buffer[..length]), client).await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask(server, &request), answering);
        assert_eq!(answer.unwrap().message.id, request.id);
    }
}
