use clap::Subcommand;
use switchyard_proto::v1::{PurgeSecretRequest, PurgeSecretResponse};

use super::Session;
use crate::{failure::Failure, headings::CHANGE, wait::Outcome};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Delete previous values of a secret for good; its present value stays
    #[command(after_help = "Example:\n  switchyard secret purge services/shop tls.client_certificate.private_key_pem")]
    Purge {
        /// The resource, which may be deleted already: services/shop
        #[arg(value_name = "RESOURCE")]
        resource: String,
        /// The path of the secret: tls.client_certificate.private_key_pem
        #[arg(value_name = "PATH")]
        path: String,
        /// Check everything, change nothing
        #[arg(long, help_heading = CHANGE)]
        dry_run: bool,
    },
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Outcome, Failure> {
    let Command::Purge { resource, path, dry_run } = command;
    let subject = format!("earlier values of {path} of {resource}");
    let request = PurgeSecretRequest { resource, path, validate_only: dry_run };
    let purged = session.client.audit().purge_secret(request).await;
    let response = purged.map_err(|status| Failure::of_write(status, "switchyard audit"))?.into_inner();
    let PurgeSecretResponse { purged, revision } = response;
    if !session.output.is_for_people() {
        session.output.document(&response)?;
    } else if dry_run {
        session.output.text(&format!("{subject} that would be purged: {purged} (dry run: nothing was changed)"))?;
    } else {
        session.output.text(&format!("{subject} purged: {purged} (revision {revision})"))?;
    }
    Ok(Outcome::Done)
}
