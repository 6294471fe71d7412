use pingora_proxy::Session;
use switchyard_proto::vocab::normalize_host;

use super::{
    Proxy,
    answer::Answer,
    authority::{authority, check_line_ends},
    connection_policy::{ConnectionPolicy, connection_policy},
    forwarding,
    phases::Context,
    redirect::https_location,
};
use crate::{
    connection::{Connection, Transport},
    snapshot::Token,
};

impl Proxy {
    /// Finds the route of a request, or what it is answered instead.
    pub(super) fn decide(&self, session: &Session, connection: &Connection, context: &mut Context) -> Option<Answer> {
        let request = session.req_header();
        let raw_http1 = session.as_downstream().as_http1().map(|http1| http1.get_headers_raw_bytes());
        context.header_bytes = raw_http1.as_ref().map(|raw| raw.len() as u64);
        let checked = raw_http1.map_or(Ok(()), |raw| check_line_ends(&raw));
        let authority = checked.and_then(|()| authority(request));
        let authority = match authority {
            Ok(authority) => authority,
            Err(refused) => return Some(Answer::BadRequest(refused)),
        };
        let Some(host) = normalize_host(authority) else { return Some(Answer::UnknownHost) };
        let path = request.uri.path_and_query().map_or(request.raw_path(), |path| path.as_str().as_bytes());
        let challenge = Token::of_path(path);
        let snapshot = self.live.load();
        if let Some(token) = challenge
            && let Some(answer) = snapshot.challenge(&host).and_then(|challenge| challenge.key_authorization(token))
        {
            // Before any rule of the domain: a CA comes without TLS and without a certificate.
            return Some(Answer::Challenge(answer));
        }
        let route = snapshot.route(&host);
        let Some(route) = route else { return Some(Answer::UnknownHost) };
        let plain = forwarding::scheme(request, connection) == Transport::Plain;
        let domain = route.domain();
        let connection_policy = connection_policy(domain, connection, &host, plain);
        // Who is sent to HTTPS must find a certificate there; one on demand is ordered when he comes.
        let is_https_served = || domain.is_on_demand() || snapshot.certificate(&host).is_some();
        let to_https = match connection_policy {
            ConnectionPolicy::Refused => return Some(Answer::Misdirected),
            ConnectionPolicy::OverTls if !is_https_served() => return Some(Answer::NoCertificate),
            ConnectionPolicy::OverTls => true,
            // A backend may speak with a CA itself: what it is asked over plain HTTP is not redirected.
            ConnectionPolicy::Open => {
                plain && domain.settings.http_to_https && challenge.is_none() && is_https_served()
            }
        };
        if to_https {
            if let Some(location) = https_location(&host, self.settings.https_port, path) {
                return Some(Answer::Redirect(location));
            }
            if connection_policy == ConnectionPolicy::OverTls {
                return Some(Answer::Misdirected);
            }
        }
        let attempts = route.target().map(|target| self.rotation.begin(target.pool_index));
        context.route = Some(route);
        if attempts.is_none() {
            return Some(Answer::NoBackend);
        }
        context.attempts = attempts;
        None
    }
}
