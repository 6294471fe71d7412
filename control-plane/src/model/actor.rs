use std::net::{IpAddr, SocketAddr};

use switchyard_proto::vocab::EdgeId;

use super::{Access, EdgeKey};

/// Who makes a change, and by which origin. Every use case takes one; history and audit come from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name people know them by.
    pub name: String,
    /// Where they came in.
    pub origin: Origin,
    /// What they may do.
    pub access: Access,
    /// Where their call came from, if there was one.
    pub address: Option<IpAddr>,
    /// The method that they called, if they did.
    pub method: Option<&'static str>,
}

impl Actor {
    /// The program itself: bootstrap, renewals.
    pub fn system() -> Self {
        Self::without_call("system", Origin::System)
    }

    /// Somebody who came in by another origin than a call.
    pub fn without_call(name: &str, origin: Origin) -> Self {
        Self { name: name.into(), origin, access: Access::EVERYTHING, address: None, method: None }
    }
}

/// Where a change came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The gRPC API.
    Grpc,
    /// The seed file.
    Seed,
    /// A timer or the first start.
    System,
    /// The listener for edges.
    Fleet,
}

impl Origin {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Seed => "seed",
            Self::System => "system",
            Self::Fleet => "fleet",
        }
    }

    /// The origin that a word stands for; see [`Origin::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Grpc, Self::Seed, Self::System, Self::Fleet].into_iter().find(|origin| origin.as_str() == word)
    }
}

/// Which edge makes a call, and from where. Every fleet call takes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeIdentity {
    /// Its id, which it has proven.
    pub id: EdgeId,
    /// The key that it proved itself by.
    pub key: EdgeKey,
    /// Where its connection comes from.
    pub peer: SocketAddr,
}
