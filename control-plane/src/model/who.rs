use std::net::SocketAddr;

use switchyard_proto::vocab::EdgeId;

/// Who makes a change, and by which door. Every use case takes one; history and audit come from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name people know them by.
    pub name: String,
    /// Where they came in.
    pub door: Door,
}

impl Actor {
    /// The program itself: bootstrap, renewals.
    pub fn system() -> Self {
        Self { name: "system".into(), door: Door::System }
    }
}

/// Where a change came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The gRPC API.
    Grpc,
    /// The seed file.
    Seed,
    /// A timer or the first start.
    System,
}

impl Door {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Seed => "seed",
            Self::System => "system",
        }
    }
}

/// Which edge makes a call, and from where. Every fleet call takes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeIdentity {
    /// Its id, which it has proven.
    pub id: EdgeId,
    /// Where its connection comes from.
    pub peer: SocketAddr,
}
