//! Why a control plane cannot be spoken to, where the address or a clock is wrong.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use switchyard_process::handshake::Misconnection;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::address::Address;

/// How long an answer may take by which a server is told to speak TLS.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The first byte of a TLS record with an alert (RFC 8446, section 5.1).
const ALERT: u8 = 21;
/// The port for edges.
const FLEET_PORT: u16 = 7443;

/// What to do about a connection to `address` that failed; `None` if nothing more is known than the error says.
pub(crate) async fn of(address: &Address, error: &(dyn Error + 'static)) -> Option<String> {
    if !address.has_tls() {
        return speaks_tls(address).await.then(|| in_the_clear(address));
    }
    let misconnection = Misconnection::of(error)?;
    misconnection.about_clock(SystemTime::now()).or_else(|| {
        Some(match misconnection {
            Misconnection::NotTls => {
                let (host, port) = (address.host(), address.port());
                format!("port {port} does not speak TLS: use http://{host}:{port}")
            }
            _ => with_fleet_port(
                address,
                "its certificate is of a CA that is not trusted here: name the CA with `switchyard login URL --ca-file FILE`",
            ),
        })
    })
}

fn in_the_clear(address: &Address) -> String {
    let (host, port) = (address.host(), address.port());
    with_fleet_port(address, &format!("port {port} speaks TLS: use https://{host}:{port}"))
}

fn with_fleet_port(address: &Address, advice: &str) -> String {
    match address.port() {
        FLEET_PORT => format!("{advice}; port {FLEET_PORT} is usually the one for edges, and that of the API is 7080"),
        _ => advice.to_owned(),
    }
}

/// Whether a server answers what is no TLS with an alert.
async fn speaks_tls(address: &Address) -> bool {
    let probe = async {
        let host = address.host().trim_matches(['[', ']']).to_owned();
        let mut stream = TcpStream::connect((host, address.port())).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        stream.read_u8().await
    };
    matches!(timeout(PROBE_TIMEOUT, probe).await, Ok(Ok(ALERT)))
}
