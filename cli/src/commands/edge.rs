use std::time::SystemTime;

use clap::Subcommand;
use switchyard_proto::v1::{Edge, GetEdgeRequest, ListEdgesResponse, Rejection};

use super::Session;
use crate::{
    failure::Failure,
    names,
    output::{Output, Show, age, clean, moment, or_dash, word},
    wait::Outcome,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists all edges, those that are offline included
    List,
    /// Shows one edge
    Get {
        /// The id of the edge
        #[arg(value_name = "EDGE")]
        name: String,
    },
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List => {
            let (edges, revision) = session.client.all_edges().await?;
            let response = ListEdgesResponse { edges, revision, next_page_token: String::new() };
            session.output.list(&response, &response.edges)?;
            if session.output.is_for_people() {
                rejections(&session.output, &response.edges)?;
            }
        }
        Command::Get { name } => {
            let request = GetEdgeRequest { name: names::edge(&name) };
            let edge = session.client.edges().get_edge(request).await?.into_inner();
            session.output.item(&edge)?;
            if session.output.is_for_people() {
                rejections(&session.output, &[edge])?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// Prints what the edges could not apply, and why: a line each.
pub(super) fn rejections(output: &Output, edges: &[Edge]) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for edge in edges {
        for Rejection { resource, revision, reason } in &edge.rejections {
            let line = format!("{} rejects {resource} (revision {revision}): {reason}", names::id(&edge.name));
            lines.push(clean(&line).into_owned());
        }
    }
    if lines.is_empty() { Ok(()) } else { output.text(&format!("\n{}", lines.join("\n"))) }
}

impl Show for Edge {
    const PLURAL: &'static str = "edges";
    const COLUMNS: &'static [&'static str] =
        &["EDGE", "STATE", "REVISION", "REJECTED", "VERSION", "LAST CONTACT", "ADDRESS"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.name).to_owned(),
            word(self.state().as_str_name(), "EDGE_STATE_"),
            self.acknowledged_revision.to_string(),
            self.rejections.len().to_string(),
            or_dash(&self.version),
            age(self.last_contact_time.as_ref(), now),
            or_dash(&self.peer_address),
        ]
    }

    fn details(&self, now: SystemTime) -> Vec<(&'static str, String)> {
        let persisted = if self.not_persisted { "no: its disk refuses; see its log" } else { "yes" };
        vec![
            ("edge", names::id(&self.name).to_owned()),
            ("state", word(self.state().as_str_name(), "EDGE_STATE_")),
            ("version", or_dash(&self.version)),
            ("address", or_dash(&self.peer_address)),
            ("last contact", moment(self.last_contact_time.as_ref(), now)),
            ("acknowledged revision", self.acknowledged_revision.to_string()),
            ("acknowledged", moment(self.acknowledge_time.as_ref(), now)),
            ("on its disk", persisted.to_owned()),
            ("rejected", self.rejections.len().to_string()),
            ("deltas sent", self.deltas_sent.to_string()),
            ("snapshots sent", self.snapshots_sent.to_string()),
        ]
    }
}
