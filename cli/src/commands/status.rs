use serde::Serialize;
use switchyard_proto::v1::{Domain, Edge};

use super::{Session, edge};
use crate::{failure::Failure, wait::Outcome};

/// The fleet in one document. Numbers of 64 bits are strings, as in the JSON of the messages.
#[derive(Debug, Serialize)]
struct Status {
    revision: String,
    edges: Vec<Edge>,
    domains: Vec<Domain>,
}

pub(super) async fn run(session: &Session) -> Result<Outcome, Failure> {
    let (edges, revision) = session.client.all_edges().await?;
    let domains = session.client.all_domains().await?;
    let status = Status { revision: revision.to_string(), edges, domains };
    let output = &session.output;
    if !output.is_for_people() {
        output.document(&status)?;
        return Ok(Outcome::Done);
    }
    output.text(&format!("revision {revision}\n\nedges"))?;
    output.table(&status.edges)?;
    edge::rejections(output, &status.edges)?;
    output.text("\ndomains")?;
    output.table(&status.domains)?;
    Ok(Outcome::Done)
}
