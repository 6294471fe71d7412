use std::sync::Arc;

use switchyard_proto::resource;

use crate::peer_auth::{BackendTls, ClientAuthentication, InvalidBackendTls, InvalidClientAuthentication};

/// What is served for the names of one host pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// As it was received. What edges do not need is not set.
    pub settings: resource::Domain,
    /// How clients prove themselves, ready for use; `None`: they are not asked.
    pub clients: Option<Arc<ClientAuthentication>>,
}

impl Domain {
    /// Makes it ready for use.
    ///
    /// # Errors
    ///
    /// Clients cannot prove themselves so.
    pub fn new(settings: resource::Domain) -> Result<Self, InvalidClientAuthentication> {
        let clients = settings.client_authentication.as_ref();
        let clients = clients.map(|it| ClientAuthentication::new(&settings.host, it)).transpose()?.map(Arc::new);
        Ok(Self { settings, clients })
    }

    /// Whether the control plane is asked for a certificate where there is none, and the handshake waits. Otherwise it is refused.
    pub fn is_on_demand(&self) -> bool {
        self.settings.acme.on_demand.is_some()
    }
}

/// How requests reach a group of backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// As it was received.
    pub settings: resource::Service,
    /// How TLS is spoken to the backends, ready for use; `None`: in the clear.
    pub tls: Option<Arc<BackendTls>>,
}

impl Service {
    /// Makes it ready for use.
    ///
    /// # Errors
    ///
    /// TLS cannot be spoken so.
    pub fn new(settings: resource::Service) -> Result<Self, InvalidBackendTls> {
        let tls = settings.tls.as_ref().map(BackendTls::new).transpose()?.map(Arc::new);
        Ok(Self { settings, tls })
    }
}
