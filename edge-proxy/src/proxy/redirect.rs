use http::HeaderValue;

/// The default port of HTTPS.
const HTTPS_PORT: u16 = 443;

/// Where a request for `host` over plain HTTP is sent: the same path and query over TLS. `None` if that cannot be
/// written in a header.
pub(super) fn https_location(host: &str, https_port: u16, path_and_query: &[u8]) -> Option<HeaderValue> {
    let mut location = Vec::with_capacity("https://:65535".len() + host.len() + path_and_query.len());
    location.extend_from_slice(b"https://");
    location.extend_from_slice(host.as_bytes());
    if https_port != HTTPS_PORT {
        location.extend_from_slice(format!(":{https_port}").as_bytes());
    }
    // `*` and an absolute target name no path.
    if path_and_query.starts_with(b"/") {
        location.extend_from_slice(path_and_query);
    } else {
        location.push(b'/');
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(location)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_are_kept_and_the_port_is_replaced() {
        let location = |port, path: &[u8]| https_location("shop.example", port, path).unwrap();
        assert_eq!(location(443, b"/a?b=%20c"), "https://shop.example/a?b=%20c");
        assert_eq!(location(8443, b"/"), "https://shop.example:8443/");
        assert_eq!(location(443, b"//evil.example/"), "https://shop.example//evil.example/");
        assert_eq!(location(443, b"*"), "https://shop.example/");
    }
}
