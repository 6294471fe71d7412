//! acme-dns: a small name server with an API that sets the TXT record of one name, which `_acme-challenge` names point to.
//!
//! It keeps the last two values and forgets older ones by itself, so that there is nothing to take away.

use hickory_proto::rr::Name;
use serde_json::json;

use super::{
    outgoing::{self, HttpError, Outgoing},
    plain,
};
use crate::model::{BaseUrl, DnsSecret};

/// An account at an acme-dns server.
pub(super) struct Account<'a> {
    pub(super) server: &'a BaseUrl,
    pub(super) username: &'a str,
    pub(super) password: &'a DnsSecret,
    pub(super) subdomain: &'a str,
}

/// Sets the value at the account's name, which `name` must be: where the CNAME of `challenge` leads.
pub(super) async fn present(
    http: &Outgoing,
    account: &Account<'_>,
    challenge: &Name,
    name: &Name,
    value: &str,
) -> Result<(), AcmeDnsError> {
    let Account { server, username, password, subdomain } = account;
    let leads_there = name.iter().next().is_some_and(|label| label.eq_ignore_ascii_case(subdomain.as_bytes()));
    if !leads_there {
        let (challenge, name, subdomain) = (plain(challenge), plain(name), (*subdomain).to_owned());
        return Err(AcmeDnsError::NotDelegated { challenge, name, subdomain });
    }
    let url = server.at(&["update"]);
    let request = http
        .client()
        .post(url.clone())
        .header("X-Api-User", *username)
        .header("X-Api-Key", password.expose())
        .json(&json!({ "subdomain": subdomain, "txt": value }));
    outgoing::send(url, request).await?.success(&[password.expose()])?;
    Ok(())
}

/// Why acme-dns does not have the record now.
#[derive(Debug, thiserror::Error)]
pub enum AcmeDnsError {
    /// The name is not the account's.
    #[error(
        "{challenge} leads to {name}, which is not the name of the acme-dns account {subdomain}; make {challenge} a CNAME to the \
         'fulldomain' that the registration gave"
    )]
    NotDelegated {
        /// The name that the CA asks for.
        challenge: String,
        /// Where its CNAMEs lead.
        name: String,
        /// The account's.
        subdomain: String,
    },
    /// The request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
}
