//! Cloudflare, by [version 4 of its API](https://developers.cloudflare.com/api/resources/dns/).

use hickory_proto::rr::Name;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::{
    outgoing::{self, HttpError, Outgoing},
    plain,
};
use crate::model::{BaseUrl, DnsSecret};

/// How long others may keep the record, in seconds: the least that every plan allows is 60.
const TTL_SECONDS: u32 = 120;
/// How many names upwards a zone is looked for.
const LABELS_MAX: usize = 32;
/// Records of one name that are looked at.
const RECORDS_MAX: usize = 100;
/// What the API says when a record is there already: an identical one, in its older words and its newer ones.
const ALREADY_THERE: [u64; 2] = [81057, 81058];
/// What the API says when a record is not there any more.
const NOT_THERE: u64 = 81044;
/// What the API says of tokens that it does not know, cannot read, or that may not do that.
const TOKEN_REFUSED: [u64; 5] = [1000, 6003, 9103, 9109, 10000];

/// An account, as far as its token lets one in.
pub(super) struct Cloudflare<'a> {
    pub(super) http: &'a Outgoing,
    pub(super) api: &'a BaseUrl,
    pub(super) token: &'a DnsSecret,
}

impl Cloudflare<'_> {
    /// Sets a TXT record beside those that are there. It is no error if it is there already.
    pub(super) async fn present(&self, name: &Name, value: &str) -> Result<(), CloudflareError> {
        let zone = self.zone(name).await?;
        let url = self.api.at(&["zones", &zone, "dns_records"]);
        let record = json!({ "type": "TXT", "name": plain(name), "content": quoted(value), "ttl": TTL_SECONDS });
        match self.call(Method::POST, url, Some(record)).await {
            Err(CloudflareError::Api { code, .. }) if ALREADY_THERE.contains(&code) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Takes away the TXT records at `name` that say `value`.
    pub(super) async fn remove(&self, name: &Name, value: &str) -> Result<(), CloudflareError> {
        let zone = self.zone(name).await?;
        let mut url = self.api.at(&["zones", &zone, "dns_records"]);
        let name = plain(name);
        url.query_pairs_mut()
            .append_pair("type", "TXT")
            .append_pair("name", &name)
            .append_pair("per_page", &RECORDS_MAX.to_string());
        let records = self.call(Method::GET, url, None).await?;
        let records = records.as_array().map(Vec::as_slice).unwrap_or_default();
        // What was asked for is checked again here: nothing else may be taken away.
        let ours = records.iter().take(RECORDS_MAX).filter(|record| {
            let text = |field: &str| record[field].as_str().unwrap_or_default();
            text("type") == "TXT"
                && text("name").eq_ignore_ascii_case(&name)
                && (text("content") == value || text("content") == quoted(value))
        });
        for id in ours.filter_map(|record| record["id"].as_str()) {
            let url = self.api.at(&["zones", &zone, "dns_records", id]);
            match self.call(Method::DELETE, url, None).await {
                Err(CloudflareError::Api { code: NOT_THERE, .. }) => {}
                result => drop(result?),
            }
        }
        Ok(())
    }

    /// The id of the zone that `name` is in: the nearest one upwards that the token may see.
    async fn zone(&self, name: &Name) -> Result<String, CloudflareError> {
        let mut next = name.clone();
        for _ in 0..LABELS_MAX {
            // Nobody's zone is a top-level domain.
            if next.num_labels() < 2 {
                break;
            }
            let candidate = plain(&next);
            next = next.base_name();
            // Nor can a name be one that no host can have, as `_acme-challenge` and what is under it.
            if candidate.contains('_') {
                continue;
            }
            let mut url = self.api.at(&["zones"]);
            url.query_pairs_mut().append_pair("name", &candidate);
            let zones = self.call(Method::GET, url, None).await?;
            let mut zones = zones.as_array().map(Vec::as_slice).unwrap_or_default().iter();
            let zone =
                zones.find(|zone| zone["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(&candidate)));
            if let Some(id) = zone.and_then(|zone| zone["id"].as_str()).filter(|id| !id.is_empty()) {
                return Ok(id.to_owned());
            }
        }
        Err(CloudflareError::NoZone(plain(name)))
    }

    /// Calls the API, and returns the `result` of its answer.
    async fn call(&self, method: Method, url: Url, body: Option<Value>) -> Result<Value, CloudflareError> {
        let token = self.token.expose();
        let mut request = self.http.client().request(method, url.clone()).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = outgoing::send(url, request).await?;
        let success = answer.success(&[token]);
        // Errors are explained in the body, whatever the status.
        let mut said = match answer.json(&[token]) {
            Ok(said) => said,
            Err(error) => return Err(success.err().unwrap_or(error).into()),
        };
        if let Some(error) = said["errors"].as_array().and_then(|errors| errors.first()) {
            let code = error["code"].as_u64().unwrap_or_default();
            let message = outgoing::excerpt(error["message"].as_str().unwrap_or_default().as_bytes(), 300, &[token]);
            return Err(match TOKEN_REFUSED.contains(&code) {
                true => CloudflareError::Token { code, message },
                false => CloudflareError::Api { code, message },
            });
        }
        success?;
        if said["success"] != true {
            return Err(answer.unexpected(&[token]).into());
        }
        Ok(said.get_mut("result").map(Value::take).unwrap_or_default())
    }
}

/// A TXT record's content as zone files write it, which is what the API wants.
fn quoted(value: &str) -> String {
    format!("\"{value}\"")
}

/// Why Cloudflare does not have the record now.
#[derive(Debug, thiserror::Error)]
pub enum CloudflareError {
    /// The token sees no zone that the name is in.
    #[error(
        "the Cloudflare token sees no zone that {0} is in; give it the permissions Zone:Read and DNS:Edit for that zone, and \
         check that the zone is in this account"
    )]
    NoZone(String),
    /// The token is refused.
    #[error(
        "Cloudflare refuses the token (error {code}: {message}); use an API token, not the global key, with the permissions \
         Zone:Read and DNS:Edit"
    )]
    Token {
        /// Cloudflare's number for it.
        code: u64,
        /// Cloudflare's words for it.
        message: String,
    },
    /// Another error.
    #[error("Cloudflare refuses the change (error {code}: {message}); look that number up in its documentation")]
    Api {
        /// Cloudflare's number for it.
        code: u64,
        /// Cloudflare's words for it.
        message: String,
    },
    /// The request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
}
