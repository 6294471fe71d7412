//! Dynamic updates, delegation, and who must show the record.

use std::{
    net::{TcpListener, UdpSocket},
    time::Duration,
};

use switchyard_control_plane::{
    dns::{DnsError, LookupError, UpdateError},
    model::DnsSettings,
};

use crate::{
    ANOTHER, VALUE,
    bind::{Bind, KEY_NAME, KEY_SECRET, NOBODY, OTHER_SECRET, PRIMARY, SECONDARY, nsupdate},
    record,
};

/// What tests wait for that expect no record: the shortest that lets a server be asked.
const SHORT: Duration = Duration::from_millis(600);

#[tokio::test]
async fn a_record_is_set_beside_others_of_its_name_and_only_it_is_taken_away() {
    let bind = Bind::start().await;
    let (dns, settings) = (bind.dns(), bind.right());
    let name = "_acme-challenge.sub.example.test";
    // A domain and its wildcard, at the same time.
    let (apex, wildcard) = (record("sub.example.test", VALUE), record("sub.example.test", ANOTHER));
    let (first, second) = tokio::join!(dns.present(&settings, &apex), dns.present(&settings, &wildcard));
    first.unwrap();
    second.unwrap();
    assert_eq!(bind.txt(PRIMARY, name).await, [VALUE, ANOTHER, "there before"]);
    dns.present(&settings, &apex).await.unwrap();
    dns.remove(&settings, &apex).await.unwrap();
    assert_eq!(bind.txt(PRIMARY, name).await, [ANOTHER, "there before"]);
    dns.remove(&settings, &apex).await.unwrap();
    dns.remove(&settings, &wildcard).await.unwrap();
    assert_eq!(bind.txt(PRIMARY, name).await, ["there before"]);
}

#[tokio::test]
async fn every_algorithm_of_tsig_keys_works() {
    let bind = Bind::start().await;
    for (name, algorithm) in [("sha384", "hmac-sha384"), ("SHA512.", "hmac-sha512")] {
        let settings = bind.settings(Some((name, algorithm, KEY_SECRET)));
        bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap();
        bind.dns().remove(&settings, &record("example.test", VALUE)).await.unwrap();
        assert!(bind.txt(PRIMARY, "_acme-challenge.example.test").await.is_empty());
    }
}

#[tokio::test]
async fn a_wrong_tsig_key_is_named() {
    let bind = Bind::start().await;
    let present = async |key| {
        let error = bind.dns().present(&bind.settings(Some(key)), &record("example.test", VALUE)).await.unwrap_err();
        let DnsError::Rfc2136(error) = error else { panic!("another error: {error}") };
        error
    };
    let error = present(("nobody", "hmac-sha256", KEY_SECRET)).await;
    assert!(matches!(error, UpdateError::UnknownKey { .. }), "{error}");
    assert!(error.to_string().contains("key nobody ") && error.to_string().contains("BADKEY"), "{error}");
    let error = present((KEY_NAME, "hmac-sha512", KEY_SECRET)).await;
    assert!(matches!(error, UpdateError::UnknownKey { algorithm: "hmac-sha512", .. }), "{error}");
    let error = present((KEY_NAME, "hmac-sha256", OTHER_SECRET)).await;
    assert!(matches!(error, UpdateError::WrongSecret { .. }), "{error}");
    assert!(error.to_string().contains("key switchyard ") && error.to_string().contains("BADSIG"), "{error}");
    assert!(bind.txt(PRIMARY, "_acme-challenge.example.test").await.is_empty());
}

#[tokio::test]
async fn a_key_that_may_not_change_the_zone_is_not_taken_for_a_wrong_one() {
    let bind = Bind::start().await;
    let settings = bind.settings(Some(("bystander", "hmac-sha256", KEY_SECRET)));
    let error = bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Rfc2136(UpdateError::RefusedWithKey { .. })), "{error}");
    assert!(error.to_string().contains("key bystander,") && error.to_string().contains("update-policy"), "{error}");
}

#[tokio::test]
async fn an_unsigned_update_that_is_refused_asks_for_a_key() {
    let bind = Bind::start().await;
    let error = bind.dns().present(&bind.settings(None), &record("example.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Rfc2136(UpdateError::RefusedWithoutKey { .. })), "{error}");
    assert!(error.to_string().contains("give a TSIG key"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_have_the_zone_or_is_only_secondary_is_named() {
    let bind = Bind::start().await;
    let DnsSettings::Rfc2136 { mut server, tsig } = bind.right() else { panic!("another provider") };
    server.set_ip(SECONDARY.into());
    let settings = DnsSettings::Rfc2136 { server, tsig };
    let error = bind.dns().present(&settings, &record("example.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Rfc2136(UpdateError::NoZone { .. })), "{error}");
    assert!(error.to_string().contains("_acme-challenge.example.test"), "{error}");
    let error = bind.dns().present(&settings, &record("two.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Rfc2136(_)) && error.to_string().contains("127.0.0.2"), "{error}");
}

#[tokio::test]
async fn a_delegation_by_cnames_is_followed_to_the_zone_that_may_be_changed() {
    let bind = Bind::start().await;
    let record = record("delegating.test", VALUE);
    bind.dns().present(&bind.right(), &record).await.unwrap();
    assert_eq!(bind.txt(PRIMARY, "0123abcd.acme.test").await, [VALUE]);
    bind.dns().remove(&bind.right(), &record).await.unwrap();
    assert!(bind.txt(PRIMARY, "0123abcd.acme.test").await.is_empty());
}

#[tokio::test]
async fn cnames_in_a_circle_are_an_error_that_names_them() {
    let bind = Bind::start().await;
    let error = bind.dns().present(&bind.right(), &record("circle.delegating.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Lookup(LookupError::CnameLoop { .. })), "{error}");
    assert!(error.to_string().contains("_acme-challenge.circle.delegating.test"), "{error}");
}

#[tokio::test]
async fn a_record_that_is_there_counts_when_the_secondary_server_has_it_too() {
    let bind = Bind::start().await;
    bind.dns().present(&bind.right(), &record("two.test", VALUE)).await.unwrap();
    for server in [PRIMARY, SECONDARY] {
        assert_eq!(bind.txt(server, "_acme-challenge.two.test").await, [VALUE]);
    }
}

#[tokio::test]
async fn a_name_server_that_is_late_is_waited_for() {
    let bind = Bind::start().await;
    let name = "_acme-challenge.stuck.test";
    let (dns, settings) = (bind.dns(), bind.right());
    let record = record("stuck.test", VALUE);
    let present = dns.present(&settings, &record);
    tokio::pin!(present);
    // The other one gets it only when the first has it, and nobody is content by then.
    loop {
        tokio::select! {
            result = &mut present => panic!("not waited for: {result:?}"),
            values = bind.txt(PRIMARY, name) => if !values.is_empty() { break },
        }
    }
    nsupdate(bind.secondary_port, &format!("update add {name} 60 TXT {VALUE}")).await;
    present.await.unwrap();
    assert_eq!(bind.txt(SECONDARY, name).await, [VALUE]);
}

#[tokio::test]
async fn a_name_server_that_does_not_show_the_record_is_named() {
    let bind = Bind::start().await;
    let dns = bind.dns().with_propagation_max(SHORT);
    let error = dns.present(&bind.right(), &record("stuck.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::NotShown(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("ns2.stuck.test (127.0.0.2:") && text.contains("does not have it yet"), "{text}");
    assert!(!text.contains("ns1"), "{text}");
}

#[tokio::test]
async fn a_name_server_that_cannot_be_reached_is_named() {
    let bind = Bind::start().await;
    let dns = bind.dns().with_propagation_max(SHORT);
    let error = dns.present(&bind.right(), &record("gone.test", VALUE)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("ns3.gone.test (127.0.0.3:") && text.contains("cannot be reached"), "{text}");
    assert!(!text.contains("ns1"), "{text}");
}

#[tokio::test]
async fn a_name_server_that_says_nothing_is_named() {
    let bind = Bind::start().await;
    let _udp = UdpSocket::bind((NOBODY, bind.port)).unwrap();
    let _tcp = TcpListener::bind((NOBODY, bind.port)).unwrap();
    let dns = bind.dns().with_propagation_max(SHORT);
    let error = dns.present(&bind.right(), &record("gone.test", VALUE)).await.unwrap_err();
    assert!(error.to_string().contains("ns3.gone.test (it has not answered in time)"), "{error}");
}

#[tokio::test]
async fn more_values_than_fit_into_one_packet_are_all_seen() {
    let bind = Bind::start().await;
    let mut name = "update add _acme-challenge.example.test 60 TXT ".to_owned();
    for number in 10..40 {
        bind.nsupdate(&format!("{name}{number}{}", &ANOTHER[2..])).await;
    }
    bind.dns().present(&bind.right(), &record("example.test", VALUE)).await.unwrap();
    name = "_acme-challenge.example.test".to_owned();
    assert_eq!(bind.txt(PRIMARY, &name).await.len(), 31);
}

#[tokio::test]
async fn a_zone_without_usable_name_servers_is_named_before_anything_is_changed() {
    let bind = Bind::start().await;
    let error = bind.dns().present(&bind.right(), &record("lame.test", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Lookup(LookupError::NoServers { .. })), "{error}");
    assert!(error.to_string().contains("zone lame.test ") && error.to_string().contains("NS records"), "{error}");
    assert!(bind.txt(PRIMARY, "_acme-challenge.lame.test").await.is_empty());
}

#[tokio::test]
async fn a_name_that_the_resolver_cannot_look_up_is_named() {
    let bind = Bind::start().await;
    let error = bind.dns().present(&bind.right(), &record("private.corp", VALUE)).await.unwrap_err();
    assert!(matches!(error, DnsError::Lookup(_)), "{error}");
    assert!(
        error.to_string().contains("_acme-challenge.private.corp") && error.to_string().contains("resolver"),
        "{error}"
    );
}
