use std::net::SocketAddr;

use http::Extensions;
use tonic::transport::server::Connected;

use crate::listen::{Admission, Connection};

/// What a call knows of its connection.
#[derive(Clone, Debug)]
pub struct ConnectInfo {
    /// Where it comes from.
    pub(super) peer: SocketAddr,
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
        ConnectInfo { peer: self.peer(), admission: self.admission().clone() }
    }
}
