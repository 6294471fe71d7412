use http::{Version, header::HOST};
use pingora_http::RequestHeader;

/// The host and port that a request is for, as the client wrote them.
///
/// In HTTP/2 this is `:authority`, in HTTP/1.1 the `Host` header; Pingora has refused an absolute request target that
/// says something else (RFC 9112, section 3.2). An HTTP/1.0 request may be for none.
pub(super) fn authority(request: &RequestHeader) -> Result<&str, BadRequest> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadRequest::SeveralHosts);
    }
    let host = match host {
        Some(value) => Some(value.to_str().map_err(|_| BadRequest::Host)?),
        None => None,
    };
    let target = request.uri.authority().map(|authority| authority.as_str());
    let authority = match (request.version, target, host) {
        (Version::HTTP_2, Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => {
            return Err(BadRequest::SeveralHosts);
        }
        (_, Some(target), _) => target,
        (_, None, Some(host)) => host,
        (Version::HTTP_09 | Version::HTTP_10, None, None) => return Ok(""),
        (_, None, None) => return Err(BadRequest::NoHost),
    };
    if authority.bytes().all(is_authority_byte) { Ok(authority) } else { Err(BadRequest::Host) }
}

/// The same of a request that was found to have one; nothing is checked again.
pub(super) fn checked_authority(request: &RequestHeader) -> &str {
    let target = request.uri.authority().map(|authority| authority.as_str());
    target.or_else(|| request.headers.get(HOST)?.to_str().ok()).unwrap_or_default()
}

/// What a host and a port consist of. Percent-encoding and user information are not for the web (RFC 9110, section 4.2).
fn is_authority_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'[' | b']')
}

/// Refuses line ends that Pingora's parser lets through and a backend, or a proxy in front, might not see. `raw` is the
/// header as Pingora read it: spaces in the target, which it lets through as well, are percent-encoded by then, so that
/// backends find nothing in them to disagree about.
pub(super) fn check_line_ends(raw: &[u8]) -> Result<(), BadRequest> {
    let bare = memchr::memchr_iter(b'\n', raw).any(|at| at > 0 && raw[at - 1] != b'\r');
    if bare { Err(BadRequest::LineEnd) } else { Ok(()) }
}

/// Why a request is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("the request does not say which host it is for")]
    NoHost,
    #[error("the request names more than one host")]
    SeveralHosts,
    #[error("the host of the request is not a host")]
    Host,
    #[error("the header of the request has lines that end without a carriage return")]
    LineEnd,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, target: &str, hosts: &[&str]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.set_uri(target.parse().unwrap());
        request.set_version(version);
        for host in hosts {
            request.append_header(HOST, *host).unwrap();
        }
        request
    }

    fn of(version: Version, target: &str, hosts: &[&str]) -> Result<String, BadRequest> {
        authority(&request(version, target, hosts)).map(str::to_owned)
    }

    #[test]
    fn the_host_comes_from_where_the_version_puts_it() {
        assert_eq!(of(Version::HTTP_11, "/", &["shop.example:81"]).unwrap(), "shop.example:81");
        assert_eq!(of(Version::HTTP_2, "https://a.example/", &[]).unwrap(), "a.example");
        assert_eq!(of(Version::HTTP_2, "https://a.example/", &["A.example"]).unwrap(), "a.example");
        assert_eq!(of(Version::HTTP_10, "/", &[]).unwrap(), "");
    }

    #[test]
    fn ambiguous_and_missing_hosts_are_refused() {
        let http11 = Version::HTTP_11;
        assert_eq!(of(http11, "/", &[]), Err(BadRequest::NoHost));
        assert_eq!(of(http11, "/", &["a.example", "a.example"]), Err(BadRequest::SeveralHosts));
        assert_eq!(of(Version::HTTP_2, "https://a.example/", &["b.example"]), Err(BadRequest::SeveralHosts));
        for host in ["user@shop.example", "shop example", "shop.example/", "\"shop.example", "shop,a"] {
            assert_eq!(of(http11, "/", &[host]), Err(BadRequest::Host), "{host}");
        }
    }

    #[test]
    fn a_line_that_ends_without_a_carriage_return_is_refused() {
        assert_eq!(check_line_ends(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(()));
        assert_eq!(check_line_ends(b"GET / HTTP/1.1\nHost: a\r\n\r\n"), Err(BadRequest::LineEnd));
        assert_eq!(check_line_ends(b"GET / HTTP/1.1\r\nHost: a\n\r\n"), Err(BadRequest::LineEnd));
    }
}
