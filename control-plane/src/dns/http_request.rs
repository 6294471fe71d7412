//! Any HTTP endpoint that follows the conventions of lego's provider
//! [`httpreq`](https://go-acme.github.io/lego/dns/httpreq/).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hickory_proto::rr::Name;
use serde_json::json;

use super::{
    Change, Record,
    outgoing::{self, HttpError, Outgoing},
};
use crate::model::{BaseUrl, DnsSecret, HookMode};

/// An endpoint, and as whom it is spoken to.
pub(super) struct Endpoint<'a> {
    pub(super) url: &'a BaseUrl,
    pub(super) mode: HookMode,
    pub(super) user: Option<(&'a str, &'a DnsSecret)>,
}

/// Tells the endpoint to set the record at `name`, or to take it away.
pub(super) async fn tell(
    http: &Outgoing,
    endpoint: &Endpoint<'_>,
    change: Change,
    name: &Name,
    record: &Record<'_>,
) -> Result<(), HttpError> {
    let url = endpoint.url.at(&[change.word()]);
    let body = match endpoint.mode {
        HookMode::Default => json!({ "fqdn": name.to_ascii(), "value": record.value }),
        HookMode::Raw => {
            json!({ "domain": record.domain, "token": record.token, "keyAuth": record.key_authorization })
        }
    };
    let mut request = http.client().post(url.clone()).json(&body);
    let (mut password, mut basic) = ("", String::new());
    if let Some((username, secret)) = endpoint.user {
        request = request.basic_auth(username, Some(secret.expose()));
        password = secret.expose();
        basic = STANDARD.encode(format!("{username}:{password}"));
    }
    // The encoded pair first: it may hold the password's own letters by jitter.
    outgoing::send(url, request).await?.success(&[&basic, password])
}
