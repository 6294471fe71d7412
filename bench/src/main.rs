//! Measures the programs: side by side with other proxies, and how long a change takes. `make bench`,
//! `make bench-changes` and `make bench-certificates` run it; what they found is in `RESULTS.md`.
//!
//! Loads go to loopback addresses only, and everything that is started here ends here.

mod certificates;
mod changes;
mod cores;
mod machine;
mod meter;
mod proxies;
mod report;
mod statistics;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Measures Switchyard")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The edge beside other proxies: requests, CPU, latency, memory
    Proxies(proxies::Args),
    /// From a domain to its certificate from a CA, with one name and with many
    Certificates(certificates::Args),
    /// From a change to traffic, with few domains and with many, with one edge and with many
    Changes(changes::Args),
}

/// On one thread, so that it shares its core with the load and not with what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    switchyard_tests::install_crypto_provider();
    switchyard_tests::process::hide_logs();
    match Args::parse().what {
        What::Proxies(args) => proxies::run(args).await,
        What::Certificates(args) => certificates::run(args).await,
        What::Changes(args) => changes::run(args).await,
    }
}
