use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

use clap::{Args, Subcommand};
use nix::ifaddrs::getifaddrs;
use switchyard_proto::v1::{
    CreateInviteRequest, CreateInviteResponse, DeleteEdgeRequest, DeleteInviteRequest, Edge, GetEdgeRequest, Invite,
    ListEdgesResponse, ListInvitesResponse, Rejection, UpdateEdgeRequest,
};
use tokio::net::UdpSocket;

use super::{Change, Session};
use crate::{
    address::Address,
    args::{WriteArgs, duration},
    failure::Failure,
    fields::Sets,
    headings::CHANGE,
    names,
    output::{Output, Show, age, clean, note, or_dash, timestamp, word},
    selection::ListArgs,
    wait::{Outcome, unnamed},
};

/// Certificates that are named when an edge is removed; the rest is counted.
const CERTIFICATES_SHOWN_MAX: usize = 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List all edges, those that are offline included
    #[command(after_help = "Example:\n  switchyard edge list --filter labels.region=eu --filter state=connected")]
    List(ListArgs),
    /// Create a one-time join token and print the command that starts an edge with it
    #[command(after_help = "Example:\n  switchyard edge invite --label region=eu --expires 10m")]
    Invite(InviteArgs),
    /// List invitations
    #[command(after_help = "Example:\n  switchyard edge invites")]
    Invites(ListArgs),
    /// Revoke an invitation
    #[command(after_help = "Example:\n  switchyard edge uninvite k7x2m")]
    Uninvite {
        /// The id of the invitation
        #[arg(value_name = "INVITE")]
        name: String,
    },
    /// Set the labels of an edge, by which domains select it
    #[command(after_help = "Example:\n  switchyard edge label edge-1 region=eu tier-")]
    Label {
        /// The id of the edge
        #[arg(value_name = "EDGE")]
        name: String,
        /// region=eu sets a label, region- takes it away
        #[arg(value_name = "NAME=VALUE|NAME-", required = true)]
        changes: Vec<String>,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Remove an edge from the fleet and refuse it from then on
    #[command(after_help = "Example:\n  switchyard edge remove edge-1")]
    Remove {
        /// The id of the edge
        #[arg(value_name = "EDGE")]
        name: String,
        /// Check everything, change nothing
        #[arg(long, help_heading = CHANGE)]
        dry_run: bool,
    },
    /// Show one edge
    #[command(after_help = "Example:\n  switchyard edge get edge-1")]
    Get {
        /// The id of the edge
        #[arg(value_name = "EDGE")]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// What the edge is labelled with: region=eu; may be given again
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label, add = Sets(&["labels"]))]
    labels: Vec<(String, String)>,
    /// How long it can be used
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration, add = Sets(&["expire_time"]))]
    expires: Duration,
    /// How many edges may join with it
    #[arg(long, value_name = "NUMBER", default_value_t = 1, add = Sets(&["uses"]))]
    uses: u32,
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::List(args) => {
            let (edges, revision) = session.client.all_edges().await?;
            let edges = args.select(edges)?;
            let response = ListEdgesResponse { edges, revision, next_page_token: String::new() };
            session.output.list(&response, &response.edges)?;
            if session.output.is_for_people() {
                rejections(&session.output, &response.edges)?;
            }
        }
        Command::Invite(args) => invite(session, args).await?,
        Command::Invites(args) => {
            let invites = args.select(session.client.all_invites().await?)?;
            let response = ListInvitesResponse { invites, next_page_token: String::new() };
            session.output.list(&response, &response.invites)?;
        }
        Command::Uninvite { name } => {
            let request = DeleteInviteRequest { name: names::invite(&name), validate_only: false };
            let revoked = session.client.invites().delete_invite(request).await;
            let response = revoked.map_err(|status| Failure::of_write(status, "switchyard edge invites"))?.into_inner();
            if session.output.is_for_people() {
                session.output.text(&format!("invitation {name} revoked (revision {})", response.revision))?;
            } else {
                session.output.document(&response)?;
            }
        }
        Command::Label { name, changes, write } => return relabel(session, &name, &changes, write).await,
        Command::Remove { name, dry_run } => remove(session, &name, dry_run).await?,
        Command::Get { name } => {
            let request = GetEdgeRequest { name: names::edge(&name) };
            let edge = session.client.edges().get_edge(request).await?.into_inner();
            session.output.item(&edge)?;
        }
    }
    Ok(Outcome::Done)
}

async fn invite(session: &Session, args: InviteArgs) -> Result<(), Failure> {
    let InviteArgs { labels, expires, uses } = args;
    let end = SystemTime::now().checked_add(expires);
    let end = end.ok_or_else(|| Failure::Usage("--expires: longer than the calendar".to_owned()))?;
    let invite =
        Invite { labels: labels.into_iter().collect(), uses, expire_time: Some(timestamp(end)), ..Invite::default() };
    let request = CreateInviteRequest { invite: Some(invite), validate_only: false };
    let created = session.client.invites().create_invite(request).await;
    let response = created.map_err(|status| Failure::of_write(status, "switchyard edge invites"))?.into_inner();
    if !session.output.is_for_people() {
        return session.output.document(&response);
    }
    let CreateInviteResponse { token, fleet_port, .. } = response;
    note("run this on the machine of the edge; the token in it is not shown again:");
    let host = host(&session.address).await;
    // In a variable: the arguments of a process are visible to all users of its machine.
    session.output.text(&format!(
        "SWITCHYARD_EDGE_TOKEN={token} switchyard-edge-proxy --control-plane https://{host}:{fleet_port}"
    ))
}

/// Where edges reach the control plane: as this command does; if that is on this machine, by the address that this machine has
/// for others.
async fn host(api: &Address) -> String {
    if !api.is_loopback() {
        return api.host().to_owned();
    }
    let outward: io::Result<SocketAddr> = async {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).await?;
        // Sends nothing: the kernel only chooses a route. The address is for documentation (RFC 5737).
        socket.connect(("192.0.2.1", 9)).await?;
        socket.local_addr()
    }
    .await;
    match outward {
        Ok(address) => address.ip().to_string(),
        Err(_) => interface_address().map_or_else(|| api.host().to_owned(), |address| address.to_string()),
    }
}

/// An address of this machine for others where no route leads to everybody.
fn interface_address() -> Option<Ipv4Addr> {
    let addresses = getifaddrs().ok()?.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    addresses.into_iter().find(|address| !address.is_loopback() && !address.is_link_local())
}

async fn relabel(session: &Session, name: &str, changes: &[String], write: WriteArgs) -> Result<Outcome, Failure> {
    let name = names::edge(name);
    let mut edge = session.client.edges().get_edge(GetEdgeRequest { name: name.clone() }).await?.into_inner();
    for change in changes {
        match change.strip_suffix('-').filter(|rest| !rest.contains('=')) {
            Some(gone) => drop(edge.labels.remove(gone)),
            None => {
                let (label, value) = label(change).map_err(Failure::Usage)?;
                edge.labels.insert(label, value);
            }
        }
    }
    let edge = Edge { name, labels: edge.labels, ..Edge::default() };
    let request = UpdateEdgeRequest { edge: Some(edge), update_mask: None, validate_only: write.dry_run };
    let began = Instant::now();
    let updated = session.client.edges().update_edge(request).await;
    let edge = updated.map_err(|status| Failure::of_write(status, "switchyard edge list"))?.into_inner();
    let subject = format!("edge {}", names::id(&edge.name));
    let revision = edge.revision;
    session.finish(Change { message: &edge, subject, done: "labelled", revision, began }, &write).await
}

async fn remove(session: &Session, name: &str, dry_run: bool) -> Result<(), Failure> {
    let request = DeleteEdgeRequest { name: names::edge(name), validate_only: dry_run };
    let removed = session.client.edges().delete_edge(request).await;
    let response = removed.map_err(|status| Failure::of_write(status, "switchyard edge list"))?.into_inner();
    if !session.output.is_for_people() {
        return session.output.document(&response);
    }
    let done = if dry_run { "would be removed (dry run: nothing was changed)" } else { "removed and locked out" };
    session.output.text(&format!("edge {name} {done}"))?;
    if !dry_run {
        note("its key is not accepted again, and the invitation that it joined with is closed");
    }
    if !response.certificates.is_empty() {
        note("it had the private keys of these certificates; if it is not in your hands, issue them anew:");
        for certificate in response.certificates.iter().take(CERTIFICATES_SHOWN_MAX) {
            session.output.text(&clean(names::id(certificate)))?;
        }
        let more = response.certificates.len().saturating_sub(CERTIFICATES_SHOWN_MAX);
        if more > 0 {
            let all = if dry_run {
                "--output json names all"
            } else {
                "`switchyard certificate list` has those of all edges"
            };
            note(&format!("and {more} more: {all}"));
        }
    }
    Ok(())
}

/// `region=eu`
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a label is NAME=VALUE, as in region=eu")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `region=eu,role=edge`
pub(super) fn label_text(labels: &BTreeMap<String, String>) -> String {
    let texts: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    or_dash(&texts.join(","))
}

impl Show for Invite {
    const PLURAL: &'static str = "invites";
    const COLUMNS: &'static [&'static str] = &["ID", "LABELS", "USES LEFT", "EXPIRES", "AGE"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.name).to_owned(),
            label_text(&self.labels),
            self.uses.to_string(),
            age(self.expire_time.as_ref(), now),
            age(self.create_time.as_ref(), now),
        ]
    }
}

/// Prints what the edges could not apply, and why: a line each.
pub(super) fn rejections(output: &Output, edges: &[Edge]) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for edge in edges {
        for Rejection { resource, revision, reason } in &edge.rejections {
            let line = format!("{} rejects {resource} (revision {revision}): {reason}", names::id(&edge.name));
            lines.push(clean(&line).into_owned());
        }
        match unnamed(edge.rejections_total, &edge.rejections) {
            0 => {}
            more => lines.push(clean(&format!("{} rejects {more} more", names::id(&edge.name))).into_owned()),
        }
    }
    if lines.is_empty() { Ok(()) } else { output.text(&format!("\n{}", lines.join("\n"))) }
}

impl Show for Edge {
    const PLURAL: &'static str = "edges";
    const COLUMNS: &'static [&'static str] =
        &["EDGE", "STATE", "LABELS", "REVISION", "REJECTED", "VERSION", "LAST CONTACT", "ADDRESS"];

    fn row(&self, now: SystemTime) -> Vec<String> {
        vec![
            names::id(&self.name).to_owned(),
            word(self.state().as_str_name(), "EDGE_STATE_"),
            label_text(&self.labels),
            self.acknowledged_revision.to_string(),
            self.rejections_total.max(self.rejections.len() as u64).to_string(),
            or_dash(&self.version),
            age(self.last_contact_time.as_ref(), now),
            or_dash(&self.peer_address),
        ]
    }
}
