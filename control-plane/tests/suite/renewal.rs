use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use switchyard_control_plane::{
    clock::{Clock, SystemClock},
    config::{OrderSettings, Orders, Settings},
    model::Timestamp,
    server::Server,
};
use switchyard_proto::{
    fleet::v1::sync_request,
    v1::{
        CertificateSource, CreateDomainRequest, CreateInviteRequest, CreateIssuerRequest, Domain, DomainTls,
        GetCertificateRequest, GetEdgeRequest, GetIssuanceRequest, Issuance, IssuanceState, Issuer,
        certificate_service_client::CertificateServiceClient, domain_service_client::DomainServiceClient,
        edge_service_client::EdgeServiceClient, invite_service_client::InviteServiceClient,
        issuer_service_client::IssuerServiceClient,
    },
};
use switchyard_tests::{
    ari_ca::{AriCa, AriOptions, Window},
    eventually::eventually,
    fleet_client::Member,
    install_crypto_provider,
    pebble::{Pebble, PebbleOptions},
};
use tempfile::TempDir;

use crate::{
    edge::{FakeEdge, open_on},
    support::{Authorized, channel, settings},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The machine's clock, put forward.
#[derive(Debug, Default)]
struct AheadClock(AtomicI64);

impl AheadClock {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for AheadClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0.load(Ordering::SeqCst))
    }
}

/// A control plane whose clock is a test's, and one domain.
struct Orderer {
    server: Server,
    clock: Arc<AheadClock>,
    certificates: CertificateServiceClient<Authorized>,
    _dir: TempDir,
}

impl Orderer {
    async fn start(directory: String, root_pem: &str) -> Self {
        install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(AheadClock::default());
        let orders = Orders::On(OrderSettings {
            retry_pause: Duration::from_millis(100),
            dns_server: None,
            dns_port: 53,
            hook_dir: None,
        });
        let settings = Settings { orders, ..settings(dir.path()) };
        let server = Server::start_by(settings, clock.clone()).await.unwrap();
        let channel = channel(server.admin, dir.path());
        first_edge(&server, &channel).await;
        let issuer =
            Issuer { name: "issuers/ca".to_owned(), directory, root_ca_pem: root_pem.to_owned(), ..Issuer::default() };
        let create = CreateIssuerRequest { issuer: Some(issuer), validate_only: false };
        IssuerServiceClient::new(channel.clone()).create_issuer(create).await.unwrap();
        let tls = DomainTls { certificate_source: CertificateSource::Acme.into(), ..DomainTls::default() };
        let domain = Domain {
            name: "domains/shop.test".to_owned(),
            active_tag: "a".to_owned(),
            tls: Some(tls),
            ..Domain::default()
        };
        let create = CreateDomainRequest { domain: Some(domain), validate_only: false };
        DomainServiceClient::new(channel.clone()).create_domain(create).await.unwrap();
        Self { server, clock, certificates: CertificateServiceClient::new(channel), _dir: dir }
    }

    async fn issuance(&self) -> Issuance {
        let request = GetIssuanceRequest { domain: "domains/shop.test".to_owned() };
        self.certificates.clone().get_issuance(request).await.unwrap().into_inner()
    }

    /// Awaits a certificate that is newer than the one of `revision`.
    async fn issued(&self, revision: u64) -> Issuance {
        let issued = eventually("there is a new certificate", async || {
            let issuance = self.issuance().await;
            let is_new = issuance.state() == IssuanceState::Issued && issuance.certificate_revision > revision;
            if is_new { Ok(issuance) } else { Err(anyhow::anyhow!("{issuance:?}")) }
        });
        issued.await.unwrap()
    }

    /// Awaits what the CA has said about the first certificate.
    async fn planned(&self) -> Issuance {
        let planned = eventually("the CA has suggested a window", async || {
            let issuance = self.issuance().await;
            if issuance.window_start_time.is_some() { Ok(issuance) } else { Err(anyhow::anyhow!("{issuance:?}")) }
        });
        planned.await.unwrap()
    }

    /// From when and until when the certificate is valid, in seconds since 1970.
    async fn validity(&self) -> (i64, i64) {
        let request = GetCertificateRequest { name: "certificates/acme-shop.test".to_owned() };
        let certificate = self.certificates.clone().get_certificate(request).await.unwrap().into_inner();
        (certificate.not_before_time.unwrap().seconds, certificate.not_after_time.unwrap().seconds)
    }
}

/// An edge joins, acknowledges what there is, and goes away: from then on certificates are ordered.
async fn first_edge(server: &Server, channel: &Authorized) {
    let invite = CreateInviteRequest { invite: None, validate_only: false };
    let token = InviteServiceClient::new(channel.clone()).create_invite(invite).await.unwrap().into_inner().token;
    let member = Member::join(server.fleet, &token, "edge-1").await.unwrap();
    let mut edge = FakeEdge::default();
    let mut stream = open_on(member.connect(server.fleet).unwrap()).await.unwrap();
    stream.say(sync_request::Message::Hello(edge.hello())).await;
    edge.receive(&mut stream).await;
    edge.acknowledge(&stream).await;
    let edges = EdgeServiceClient::new(channel.clone());
    let acknowledged = eventually("its acknowledgement is there", async || {
        let request = GetEdgeRequest { name: "edges/edge-1".to_owned() };
        let edge = edges.clone().get_edge(request).await?.into_inner();
        if edge.acknowledged_revision > 0 { Ok(()) } else { Err(anyhow::anyhow!("{edge:?}")) }
    });
    acknowledged.await.unwrap();
}

fn seconds(time: &Option<pbjson_types::Timestamp>) -> i64 {
    time.as_ref().unwrap().seconds
}

#[tokio::test]
async fn without_a_word_of_the_ca_a_certificate_is_replaced_at_two_thirds_of_its_life() {
    for days in [90, 45, 6] {
        let options = PebbleOptions {
            validations_always_valid: true,
            validity_seconds: Some(days * 24 * 60 * 60),
            ..PebbleOptions::default()
        };
        let pebble = Pebble::start(options).await.unwrap();
        let orderer = Orderer::start(pebble.directory(), pebble.root_pem()).await;
        let first = orderer.issued(0).await;
        let (begin, end) = orderer.validity().await;
        let (lifetime, planned) = (end - begin, seconds(&first.renew_time) - begin);
        assert!((lifetime * 2 / 3 - lifetime / 20 - 2..=lifetime * 2 / 3).contains(&planned), "{days} days: {first:?}");
        let until = Duration::from_secs(u64::try_from(seconds(&first.renew_time) - begin).unwrap());
        orderer.clock.advance(until + Duration::from_secs(60));
        let second = orderer.issued(first.certificate_revision).await;
        assert!(second.certificate_revision > first.certificate_revision, "{second:?}");
        orderer.server.end().await;
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_in_the_window_that_its_ca_suggests() {
    let at = |days| SystemTime::now() + days * DAY;
    let options = AriOptions { window: Window::Between(at(10), at(12)), ..AriOptions::default() };
    let ca = AriCa::start(options).await.unwrap();
    let orderer = Orderer::start(ca.directory(), ca.root_pem()).await;
    let first = orderer.planned().await;
    let (from, until) = (seconds(&first.window_start_time), seconds(&first.window_end_time));
    assert!((from..=until).contains(&seconds(&first.renew_time)), "{first:?}");
    assert!((until - from - 2 * 24 * 60 * 60).abs() <= 1, "{first:?}");
    assert_eq!(ca.orders().len(), 1);
    assert!(ca.orders()[0]["replaces"].is_null());

    orderer.clock.advance(12 * DAY);
    orderer.issued(first.certificate_revision).await;
    let orders = ca.orders();
    assert_eq!(orders.len(), 2, "{orders:?}");
    assert!(orders[1]["replaces"].is_string(), "{orders:?}");

    // The CA has something against all its certificates: they are replaced when it is asked the next time.
    let second = orderer.issuance().await;
    ca.set_window(Window::Past, 6 * 60 * Duration::from_secs(60)).unwrap();
    orderer.clock.advance(DAY);
    orderer.issued(second.certificate_revision).await;
    orderer.server.end().await;
}

#[tokio::test]
async fn a_ca_that_does_not_echo_what_is_replaced_is_ordered_from_once() {
    let options = AriOptions { window: Window::Open, repeats_replaces: false, ..AriOptions::default() };
    let ca = AriCa::start(options).await.unwrap();
    ca.set_window(Window::Own, 6 * 60 * Duration::from_secs(60)).unwrap();
    let orderer = Orderer::start(ca.directory(), ca.root_pem()).await;
    let first = orderer.issued(0).await;
    ca.set_window(Window::Past, 6 * 60 * Duration::from_secs(60)).unwrap();
    orderer.clock.advance(DAY);
    orderer.issued(first.certificate_revision).await;
    let orders = ca.orders();
    assert_eq!(orders.len(), 2, "{orders:?}");
    orderer.server.end().await;
}
