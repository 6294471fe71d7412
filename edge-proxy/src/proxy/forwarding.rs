//! The headers that change on the way through (RFC 9110, section 7.6; RFC 7239).

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, COOKIE, HOST, UPGRADE},
};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::request_id::{Randomness, is_request_id, is_traceparent};
use crate::{
    connection::{Connection, Transport, Trust},
    peer_auth::VerifiedCertificate,
};

// Text and not `HeaderName`, of which Pingora makes a copy whenever one is inserted.
const FORWARDED: &str = "forwarded";
const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const KEEP_ALIVE: &str = "keep-alive";
const PROXY_CONNECTION: &str = "proxy-connection";
const CLIENT_CERT: &str = "client-cert";
const CLIENT_CERT_CHAIN: &str = "client-cert-chain";
const X_FORWARDED_CLIENT_CERT: &str = "x-forwarded-client-cert";
/// What backends believe as well, and is not set for every request: removed unless it comes from somebody who is trusted.
const OTHER_CLAIMS: [&str; 8] = [
    "x-real-ip",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-ssl",
    CLIENT_CERT,
    CLIENT_CERT_CHAIN,
    X_FORWARDED_CLIENT_CERT,
];
/// What is set for every request.
const OWN_CLAIMS: [&str; 3] = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST];

/// The scheme that the client used, as far as can be believed.
pub(super) fn scheme(request: &RequestHeader, connection: &Connection) -> Transport {
    match connection.trust {
        Trust::Trusted if request.headers.get(X_FORWARDED_PROTO).is_some_and(|v| v == "https") => Transport::Tls,
        Trust::Trusted | Trust::Untrusted => connection.transport,
    }
}

/// The id of a request: that of somebody who is trusted, or a new one.
pub(super) fn request_id(request: &RequestHeader, trust: Trust, randomness: &Randomness) -> HeaderValue {
    let taken = match trust {
        Trust::Trusted => request.headers.get(X_REQUEST_ID).filter(|id| is_request_id(id.as_bytes())),
        Trust::Untrusted => None,
    };
    taken.cloned().unwrap_or_else(|| randomness.request_id())
}

/// Completes what is sent to a backend. The hop-by-hop headers are gone already; the `Host` stays.
pub(super) fn to_backend(
    request: &mut RequestHeader,
    client: Version,
    authority: &str,
    connection: &Connection,
    request_id: &HeaderValue,
    randomness: &Randomness,
) -> Result<()> {
    let proto = match connection.transport {
        Transport::Plain => "http",
        Transport::Tls => "https",
    };
    let host = match request.headers.get(HOST) {
        Some(host) => Some(host.clone()),
        // Over HTTP/2 it is not a header.
        None => HeaderValue::from_str(authority).ok().filter(|host| !host.is_empty()),
    };
    let own = forwarded_element(connection, authority, proto);
    match connection.trust {
        Trust::Untrusted => {
            remove(request, is_claim);
            request.insert_header(X_FORWARDED_FOR, connection.client_text.clone())?;
            request.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(proto))?;
            match host {
                Some(host) => request.insert_header(X_FORWARDED_HOST, host)?,
                None => drop(request.remove_header(X_FORWARDED_HOST)),
            }
            request.insert_header(FORWARDED, own)?;
        }
        Trust::Trusted => {
            append_element(request, X_FORWARDED_FOR, connection.client_text.as_bytes())?;
            if !request.headers.contains_key(X_FORWARDED_PROTO) {
                request.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(proto))?;
            }
            if let (Some(host), false) = (host, request.headers.contains_key(X_FORWARDED_HOST)) {
                request.insert_header(X_FORWARDED_HOST, host)?;
            }
            append_element(request, FORWARDED, own.as_bytes())?;
        }
    }
    if let Some(authenticated) = &connection.authenticated {
        tell_client(request, authenticated.certificate())?;
    }
    request.insert_header(X_REQUEST_ID, request_id.clone())?;
    continue_trace(request, request_id, randomness)?;
    if client == Version::HTTP_2 && request.version != Version::HTTP_2 {
        join_cookies(request)?;
    }
    Ok(())
}

/// Says who the client has proven to be, whatever somebody else says.
fn tell_client(request: &mut RequestHeader, certificate: Option<&VerifiedCertificate>) -> Result<()> {
    remove(request, |name| {
        [CLIENT_CERT, CLIENT_CERT_CHAIN, X_FORWARDED_CLIENT_CERT].iter().any(|own| is_read_as(name, own))
    });
    if let Some(certificate) = certificate {
        request.insert_header(CLIENT_CERT, certificate.client_cert.clone())?;
        request.insert_header(X_FORWARDED_CLIENT_CERT, certificate.forwarded.clone())?;
    }
    Ok(())
}

/// Whether a header would be believed that is not set here. What is set replaces what came, but not under names that backends may
/// read as the same.
fn is_claim(name: &str) -> bool {
    // Most names are told apart by this alone.
    name.starts_with(['x', 'c'])
        && (OTHER_CLAIMS.iter().any(|claim| is_read_as(name, claim))
            || OWN_CLAIMS.iter().any(|claim| name != *claim && is_read_as(name, claim)))
}

/// Whether a backend may take one name for the other: where headers become variables (RFC 3875, section 4.1.18), `_` is `-`.
fn is_read_as(name: &str, other: &str) -> bool {
    name.len() == other.len()
        && name.bytes().zip(other.bytes()).all(|(byte, other)| byte == other || (byte == b'_' && other == b'-'))
}

fn remove(request: &mut RequestHeader, is_unwanted: impl Fn(&str) -> bool) {
    if request.headers.keys().any(|name| is_unwanted(name.as_str())) {
        let unwanted: Vec<_> = request.headers.keys().filter(|name| is_unwanted(name.as_str())).cloned().collect();
        for name in unwanted {
            request.remove_header(&name);
        }
    }
}

/// Removes from an answer what is between the backend and this edge, and says which request it is for.
pub(super) fn to_client(response: &mut ResponseHeader, request_id: &HeaderValue) -> Result<()> {
    response.insert_header(X_REQUEST_ID, request_id.clone())?;
    if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    if let Some(nominated) = response.remove_header(&CONNECTION) {
        for name in nominated.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if let Ok(name) = HeaderName::from_bytes(name)
                && !is_framing(&name)
            {
                response.remove_header(&name);
            }
        }
    }
    response.remove_header(&UPGRADE);
    for name in [KEEP_ALIVE, PROXY_CONNECTION] {
        if has(&response.headers, name) {
            response.remove_header(name);
        }
    }
    Ok(())
}

/// Whether there is a header that mostly is not there: a look at the few names costs less than a search in the map.
fn has(headers: &HeaderMap, name: &str) -> bool {
    headers.keys().any(|present| present == name)
}

/// What says how long a message is; Pingora deals with it, whatever a backend nominates.
fn is_framing(name: &HeaderName) -> bool {
    *name == http::header::CONTENT_LENGTH || *name == http::header::TRANSFER_ENCODING
}

/// One hop as RFC 7239, section 4 writes it.
fn forwarded_element(connection: &Connection, authority: &str, proto: &str) -> HeaderValue {
    let client = connection.client_text.as_bytes();
    let mut element = Vec::with_capacity("for=\"[]\";host=\"\";proto=https".len() + client.len() + authority.len());
    if connection.client.is_ipv6() {
        element.extend_from_slice(b"for=\"[");
        element.extend_from_slice(client);
        element.extend_from_slice(b"]\"");
    } else {
        element.extend_from_slice(b"for=");
        element.extend_from_slice(client);
    }
    if !authority.is_empty() {
        // A token has no colon and no brackets.
        let quote: &[u8] = if authority.contains([':', '[']) { b"\"" } else { b"" };
        element.extend_from_slice(b";host=");
        element.extend_from_slice(quote);
        element.extend_from_slice(authority.as_bytes());
        element.extend_from_slice(quote);
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(proto.as_bytes());
    HeaderValue::from_maybe_shared(Bytes::from(element)).expect("a checked authority is visible ASCII")
}

/// Appends an element to a list, in one line, which more backends understand than several.
fn append_element(request: &mut RequestHeader, name: &'static str, element: &[u8]) -> Result<()> {
    let joined = join(request, name, b", ", Some(element));
    request.insert_header(name, joined)
}

/// One line of the crumbs that HTTP/2 may have made of it (RFC 9113, section 8.2.3).
fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    if request.headers.get_all(COOKIE).iter().nth(1).is_none() {
        return Ok(());
    }
    let joined = join(request, COOKIE.as_str(), b"; ", None);
    request.insert_header(COOKIE, joined)
}

fn join(request: &RequestHeader, name: &str, separator: &[u8], last: Option<&[u8]>) -> HeaderValue {
    let values = request.headers.get_all(name).iter().map(HeaderValue::as_bytes).chain(last);
    let mut joined = Vec::new();
    for value in values {
        if !joined.is_empty() {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(value);
    }
    HeaderValue::from_maybe_shared(Bytes::from(joined)).expect("values of headers, joined, are one")
}

/// Continues the trace of a request, or begins one; its id is then that of the request.
fn continue_trace(request: &mut RequestHeader, request_id: &HeaderValue, randomness: &Randomness) -> Result<()> {
    let mut parents = request.headers.iter().filter(|(name, _)| *name == TRACEPARENT).map(|(_, parent)| parent);
    let continued = parents.next().is_some_and(|parent| is_traceparent(parent.as_bytes())) && parents.next().is_none();
    if !continued {
        request.insert_header(TRACEPARENT, randomness.traceparent(request_id))?;
        if has(&request.headers, TRACESTATE) {
            request.remove_header(TRACESTATE);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;
    use crate::connection::TrustedNetworks;

    fn connection(client: &str, trusted: &str, transport: Transport) -> Connection {
        let trusted = TrustedNetworks::new(trusted.split_whitespace().map(|net| net.parse().unwrap()).collect());
        Connection::new(client.parse().unwrap(), &trusted, transport)
    }

    fn forwarded(connection: &Connection, sent: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in sent {
            request.append_header(*name, *value).unwrap();
        }
        let randomness = Randomness::new([RandomState::new(), RandomState::new()]);
        let id = request_id(&request, connection.trust, &randomness);
        to_backend(&mut request, Version::HTTP_2, "shop.example:81", connection, &id, &randomness).unwrap();
        request
    }

    fn value<'a>(request: &'a RequestHeader, name: &str) -> &'a str {
        let mut values = request.headers.get_all(name).iter();
        let first = values.next().map_or("", |value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} comes once");
        first
    }

    const CLAIMS: &[(&str, &str)] = &[
        ("host", "shop.example:81"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-for", "192.0.2.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "other.example"),
        ("forwarded", "for=192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
        ("x-request-id", "theirs"),
    ];

    #[test]
    fn what_anybody_claims_is_replaced() {
        let request = forwarded(&connection("198.51.100.7", "", Transport::Plain), CLAIMS);
        assert_eq!(value(&request, "x-forwarded-for"), "198.51.100.7");
        assert_eq!(value(&request, "x-forwarded-proto"), "http");
        assert_eq!(value(&request, "x-forwarded-host"), "shop.example:81");
        assert_eq!(value(&request, "forwarded"), "for=198.51.100.7;host=\"shop.example:81\";proto=http");
        assert_eq!(value(&request, "x-real-ip"), "");
        assert_ne!(value(&request, "x-request-id"), "theirs");
        assert_eq!(value(&request, "host"), "shop.example:81");
    }

    #[test]
    fn what_a_trusted_network_claims_is_kept_and_continued() {
        let request = forwarded(&connection("::ffff:10.1.2.3", "10.0.0.0/8", Transport::Plain), CLAIMS);
        assert_eq!(value(&request, "x-forwarded-for"), "192.0.2.1, 192.0.2.2, 10.1.2.3");
        assert_eq!(value(&request, "x-forwarded-proto"), "https");
        assert_eq!(value(&request, "x-forwarded-host"), "other.example");
        let hops = "for=192.0.2.1, for=10.1.2.3;host=\"shop.example:81\";proto=http";
        assert_eq!(value(&request, "forwarded"), hops);
        assert_eq!(value(&request, "x-real-ip"), "192.0.2.1");
        assert_eq!(value(&request, "x-request-id"), "theirs");
    }

    #[test]
    fn an_ipv6_client_is_quoted_where_it_must_be() {
        let request = forwarded(&connection("2001:db8::1", "", Transport::Tls), &[]);
        assert_eq!(value(&request, "x-forwarded-for"), "2001:db8::1");
        assert!(value(&request, "forwarded").starts_with("for=\"[2001:db8::1]\";"));
        assert_eq!(value(&request, "x-forwarded-host"), "shop.example:81");
    }

    #[test]
    fn a_trace_is_continued_or_begun() {
        let connection = connection("198.51.100.7", "", Transport::Tls);
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let continued = forwarded(&connection, &[("traceparent", parent), ("tracestate", "a=b")]);
        assert_eq!((value(&continued, "traceparent"), value(&continued, "tracestate")), (parent, "a=b"));
        let begun = forwarded(&connection, &[("traceparent", "nonsense"), ("tracestate", "a=b")]);
        assert!(is_traceparent(value(&begun, "traceparent").as_bytes()));
        assert_eq!(value(&begun, "tracestate"), "");
    }

    #[test]
    fn cookie_crumbs_become_one_line() {
        let connection = connection("198.51.100.7", "", Transport::Tls);
        let request = forwarded(&connection, &[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(value(&request, "cookie"), "a=1; b=2");
    }

    #[test]
    fn an_answer_loses_what_its_connection_header_names() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("connection", "close, X-Hop, Content-Length"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("content-length", "3"),
            ("x-kept", "1"),
        ] {
            response.append_header(name, value).unwrap();
        }
        to_client(&mut response, &HeaderValue::from_static("id")).unwrap();
        let mut names: Vec<_> = response.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x-kept", "x-request-id"]);
    }
}
