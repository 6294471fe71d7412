use std::net::SocketAddr;

use http::Extensions;
use rustls_pki_types::CertificateDer;
use tonic::transport::server::Connected;

use crate::listen::{Admission, Connection};

/// What a call knows of its connection.
#[derive(Clone, Debug)]
pub struct ConnectInfo {
    /// Where it comes from.
    pub(super) peer: SocketAddr,
    /// The certificate that the other side has proven to have.
    pub(super) certificate: Option<CertificateDer<'static>>,
    /// What lets it live on.
    pub(super) admission: Admission,
}

impl ConnectInfo {
    /// The connection that a call came on.
    pub(super) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        ConnectInfo { peer: self.peer(), certificate: self.certificate().cloned(), admission: self.admission().clone() }
    }
}
