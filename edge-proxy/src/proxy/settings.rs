use crate::connection::TrustedNetworks;

/// What holds for all requests of this program.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose forwarding headers are believed.
    pub trusted_networks: TrustedNetworks,
    /// Whether every request is logged.
    pub access_log: AccessLog,
    /// The port that clients reach HTTPS at, for redirects.
    pub https_port: u16,
}

/// Whether every request is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AccessLog {
    /// One line each.
    #[default]
    On,
    /// Nothing, at no cost.
    Off,
}
