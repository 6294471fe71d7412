//! From a change to traffic: with few domains and with many, with one edge and with many.

mod many_domains;
mod many_edges;
mod relay;
mod site;

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    cores, machine,
    report::{self, progress},
};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many domains there are
    #[arg(long, value_delimiter = ',', default_value = "100,10000,100000")]
    domains: Vec<usize>,
    /// How many changes are measured
    #[arg(long, default_value_t = 50)]
    changes: usize,
    /// How many simulated edges there are
    #[arg(long, default_value_t = 200)]
    edges: usize,
    /// How many domains these edges have
    #[arg(long, default_value_t = 10_000)]
    domains_of_edges: usize,
    /// The file whose section `changes` is replaced
    #[arg(long)]
    write: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { domains, changes, edges, domains_of_edges, write } = args;
    cores::bind(cores::LOAD)?;
    let mut measured = Vec::new();
    for domains in domains {
        measured.push(many_domains::measure(domains, changes).await?);
    }
    let mut section = format!(
        "Measured {}. SQLite, every commit on disk. A change is a switch of one domain; medians of {changes}, with the \
         smallest and largest value.\n\n{}",
        machine::describe()?,
        many_domains::describe(&measured),
    );
    if edges > 0 {
        section += &many_edges::measure(edges, domains_of_edges, changes).await?.describe();
    }
    match write {
        Some(file) => report::publish(&file, "changes", &section),
        None => {
            progress(&section);
            Ok(())
        }
    }
}
