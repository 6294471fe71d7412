use std::collections::BTreeSet;

use clap::Args;
use switchyard_proto::v1::{Backend, BackendState, Domain, GetDomainRequest, SwitchDomainRequest};
use tonic::Status;

use super::{Session, domain};
use crate::{
    args::{EtagArg, WriteArgs},
    failure::{Failure, is_unknown_outcome},
    fields::Sets,
    force::ForceArgs,
    names,
    wait::Outcome,
};

#[derive(Debug, Args)]
pub(crate) struct SwitchArgs {
    /// The host name
    #[arg(value_name = "DOMAIN")]
    name: String,
    /// The tag to move to; may be left out when exactly two are in use among the active backends of the domain's service
    #[arg(long, value_name = "TAG", conflicts_with = "back", add = Sets(&["tag"]))]
    to: Option<String>,
    /// Move back to the tag that was active before
    #[arg(long)]
    back: bool,
    #[command(flatten)]
    force: ForceArgs,
    #[command(flatten)]
    etag: EtagArg,
    #[command(flatten)]
    write: WriteArgs,
}

/// Reads the domain first and then names tag and etag, so that neither a retry nor somebody else's switch can make this
/// one go to another tag than was meant.
pub(super) async fn run(session: &Session, args: SwitchArgs) -> Result<Outcome, Failure> {
    let SwitchArgs { name, to, back, force, etag, write } = args;
    let name = names::domain(&name);
    let before = session.client.domains().get_domain(GetDomainRequest { name: name.clone() }).await?.into_inner();
    let tag = match to {
        Some(tag) => tag,
        None if back => previous_tag(&before)?,
        None => other_tag(&before, &session.client.all_backends().await?)?,
    };
    let request = SwitchDomainRequest {
        name,
        tag: tag.clone(),
        etag: if etag.etag.is_empty() { before.etag.clone() } else { etag.etag },
        force: false,
        validate_only: write.dry_run,
    };
    let send =
        async |force| session.client.domains().switch_domain(SwitchDomainRequest { force, ..request.clone() }).await;
    let (after, began) = force.send(|status| refused(status, &before.name, &tag), send).await?;
    let done = if before.active_tag == after.active_tag {
        format!("left on tag {}, where it was", after.active_tag)
    } else {
        format!("switched from tag {} to {}", before.active_tag, after.active_tag)
    };
    session.finish(domain::change(&after, &done, began), &write).await
}

/// The tag that was active before the last switch.
fn previous_tag(domain: &Domain) -> Result<String, Failure> {
    if domain.previous_tag.is_empty() {
        let id = names::id(&domain.name);
        return Err(Failure::Usage(format!("{id} has not been switched yet: say where to with --to TAG")));
    }
    Ok(domain.previous_tag.clone())
}

/// The one tag other than the domain's that active backends of its service carry.
fn other_tag(domain: &Domain, backends: &[Backend]) -> Result<String, Failure> {
    let active = backends.iter().filter(|it| it.service == domain.service && it.state() == BackendState::Active);
    let tags: BTreeSet<&str> = active.flat_map(|backend| &backend.tags).map(String::as_str).collect();
    let others: Vec<&str> = tags.iter().copied().filter(|tag| *tag != domain.active_tag).collect();
    match others[..] {
        [other] if tags.len() == 2 => Ok(other.to_owned()),
        _ => {
            let service = names::id(&domain.service);
            let in_use =
                if tags.is_empty() { "none".to_owned() } else { tags.into_iter().collect::<Vec<_>>().join(", ") };
            let id = names::id(&domain.name);
            Err(Failure::Usage(format!(
                "{id} is on tag {}, and it is not clear where to switch it: say it with --to TAG (tags of the active \
                 backends of service {service}: {in_use})",
                domain.active_tag
            )))
        }
    }
}

/// The failure of a switch to `tag`, with what to do then.
fn refused(status: Status, name: &str, tag: &str) -> Failure {
    let id = names::id(name);
    let hint = match status.code() {
        // With the tag spelled out, unlike perhaps in the command that was given: then it is safe to repeat.
        code if is_unknown_outcome(code) => Some(format!(
            "it is not known whether the switch was made; `switchyard switch {id} --to {tag}` can be repeated safely"
        )),
        _ => return Failure::of_write(status, &domain::look(name)),
    };
    Failure::Api { status: Box::new(status), hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fields::Fields, report::Report};

    fn domain(tag: &str) -> Domain {
        Domain {
            name: "domains/shop.example".to_owned(),
            service: "services/shop".to_owned(),
            active_tag: tag.to_owned(),
            ..Domain::default()
        }
    }

    fn backend(service: &str, tags: &[&str], state: BackendState) -> Backend {
        Backend {
            service: format!("services/{service}"),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            state: state.into(),
            ..Backend::default()
        }
    }

    #[test]
    fn with_two_tags_in_use_the_other_one_is_meant() {
        let backends = [
            backend("shop", &["a"], BackendState::Active),
            backend("shop", &["b", "a"], BackendState::Active),
            backend("shop", &["c"], BackendState::Draining),
            backend("else", &["d"], BackendState::Active),
        ];
        assert_eq!(other_tag(&domain("a"), &backends).unwrap(), "b");
        assert_eq!(other_tag(&domain("b"), &backends).unwrap(), "a");
        assert!(matches!(other_tag(&domain("c"), &backends), Err(Failure::Usage(_))));
    }

    #[test]
    fn with_any_other_number_of_tags_it_must_be_said() {
        let one = [backend("shop", &["a"], BackendState::Active)];
        let three = [backend("shop", &["a", "b", "c"], BackendState::Active)];
        for backends in [&[][..], &one, &three] {
            let failure = other_tag(&domain("a"), backends).unwrap_err();
            assert!(failure.to_string().contains("--to"), "{failure}");
        }
    }

    #[test]
    fn an_unknown_outcome_names_the_command_that_is_safe_to_repeat() {
        let failure = refused(Status::unavailable("gone"), "domains/shop.example", "b");
        let [hint] = &Report::new(&failure, &Fields::default()).lines()[1..] else { panic!("one line") };
        assert!(hint.contains("switchyard switch shop.example --to b"), "{hint}");
    }
}
