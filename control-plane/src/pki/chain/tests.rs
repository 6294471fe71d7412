use std::time::Duration;

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair as RsaKeyPair, KeySize},
};
use pem::Pem;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PKCS_RSA_SHA256, SanType,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use switchyard_proto::{
    resource::{UploadField, certificate_pem, certificates_pem},
    vocab::limits::{CERTIFICATE_CHAIN_BYTES_MAX, PRIVATE_KEY_BYTES_MAX},
};
use time::OffsetDateTime;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate, and what can be signed with it.
struct Made {
    der: Vec<u8>,
    params: CertificateParams,
    key: KeyPair,
}

impl Made {
    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// Valid for a day around [`NOW`].
fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (at(Duration::ZERO) - DAY, at(DAY));
    params
}

fn at(later: Duration) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW.0 / 1_000).unwrap() + later
}

fn make(params: CertificateParams, key: KeyPair, issuer: Option<&Made>) -> Made {
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, &issuer.issuer()),
        None => params.self_signed(&key),
    };
    Made { der: certificate.unwrap().der().to_vec(), params, key }
}

fn authority(name: &str, issuer: Option<&Made>) -> Made {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    make(params, KeyPair::generate().unwrap(), issuer)
}

fn leaf_params(names: &[&str]) -> CertificateParams {
    let mut params = params("leaf");
    params.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    params
}

fn leaf(issuer: &Made) -> Made {
    make(leaf_params(&["shop.example", "*.shop.example"]), KeyPair::generate().unwrap(), Some(issuer))
}

fn pem(chain: &[&Made]) -> String {
    chain.iter().map(|made| certificate_pem(&made.der)).collect()
}

fn refused(chain: &[&Made], key: &Made) -> InvalidCertificate {
    upload(&pem(chain), &key.key_pem(), NOW).unwrap_err()
}

#[test]
fn a_whole_chain_is_accepted_and_says_what_it_is_for() {
    let root = authority("root", None);
    let intermediate = authority("intermediate", Some(&root));
    let leaf = leaf(&intermediate);
    for chain in [vec![&leaf, &intermediate], vec![&leaf, &intermediate, &root]] {
        let (accepted, key) = upload(&pem(&chain), &leaf.key_pem(), NOW).unwrap();
        let names: Vec<_> = accepted.dns_names.iter().map(HostPattern::as_str).collect();
        assert_eq!(names, ["shop.example", "*.shop.example"]);
        assert_eq!(accepted.issuer, "CN=intermediate");
        assert_eq!((accepted.not_before, accepted.not_after), (Timestamp(NOW.0 - 86_400_000), NOW.plus(DAY)));
        assert_eq!(accepted.certificates, chain.iter().map(|made| made.der.clone()).collect::<Vec<_>>());
        assert_eq!(key.expose_pkcs8(), leaf.key.serialize_der());
        assert_eq!(certificates_pem(&accepted.certificates), pem(&chain));
    }
}

#[test]
fn a_chain_out_of_order_or_with_a_gap_is_refused() {
    let root = authority("root", None);
    let intermediate = authority("intermediate", Some(&root));
    let leaf = leaf(&intermediate);
    assert_eq!(refused(&[&leaf, &root], &leaf), InvalidCertificate::Order { position: 1 });
    assert_eq!(refused(&[&leaf, &root, &intermediate], &leaf), InvalidCertificate::Order { position: 1 });
    assert_eq!(refused(&[&leaf, &intermediate, &leaf], &leaf), InvalidCertificate::Order { position: 2 });
    // The issuer's name is right, its key is not.
    let impostor = authority("intermediate", Some(&root));
    assert_eq!(refused(&[&leaf, &impostor], &leaf), InvalidCertificate::Order { position: 1 });
}

#[test]
fn a_lone_certificate_is_incomplete_only_if_it_says_where_its_issuer_is() {
    let root = authority("root", None);
    let straight_from_root = leaf(&root);
    assert!(upload(&pem(&[&straight_from_root]), &straight_from_root.key_pem(), NOW).is_ok());

    // AuthorityInfoAccess with caIssuers at `http://a` (RFC 5280, section 4.2.2.1).
    let access = [&[0x30, 0x16, 0x30, 0x14, 6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, 8][..], b"http://a"].concat();
    let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
    let mut params = leaf_params(&["shop.example"]);
    params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, access)];
    let from_intermediate = make(params.clone(), KeyPair::generate().unwrap(), Some(&root));
    assert_eq!(refused(&[&from_intermediate], &from_intermediate), InvalidCertificate::Incomplete);
    assert!(upload(&pem(&[&from_intermediate, &root]), &from_intermediate.key_pem(), NOW).is_ok());

    let self_signed = make(params, KeyPair::generate().unwrap(), None);
    assert!(upload(&pem(&[&self_signed]), &self_signed.key_pem(), NOW).is_ok());
}

#[test]
fn what_is_not_valid_now_is_refused() {
    let root = authority("root", None);
    let leaf = leaf(&root);
    let chain = pem(&[&leaf, &root]);
    let error = |at| upload(&chain, &leaf.key_pem(), at).unwrap_err();
    assert_eq!(error(NOW.plus(2 * DAY)), InvalidCertificate::Expired { position: 1 });
    assert_eq!(error(Timestamp(NOW.0 - 172_800_000)), InvalidCertificate::NotYetValid { position: 1 });

    let mut expired = params("old");
    expired.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    expired.not_after = at(Duration::ZERO) - Duration::from_secs(1);
    let expired = make(expired, KeyPair::generate().unwrap(), None);
    let leaf = self::leaf(&expired);
    assert_eq!(refused(&[&leaf, &expired], &leaf), InvalidCertificate::Expired { position: 2 });
}

#[test]
fn a_key_that_is_not_the_first_certificates_is_refused() {
    let root = authority("root", None);
    let leaf = leaf(&root);
    let error = refused(&[&leaf, &root], &root);
    assert_eq!((error.clone(), error.field()), (InvalidCertificate::KeyMismatch, UploadField::PrivateKey));
}

#[test]
fn every_usual_kind_and_form_of_key_is_accepted() {
    let root = authority("root", None);
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa = PrivatePkcs8KeyDer::from(AsDer::as_der(&rsa).unwrap().as_ref().to_vec());
    let rsa = KeyPair::from_pkcs8_der_and_sign_algo(&rsa, &PKCS_RSA_SHA256).unwrap();
    let p256 = KeyPair::generate().unwrap();
    // PKCS #8 wraps the older forms: behind a header of fixed length for a key of this kind.
    let pkcs1 = ("RSA PRIVATE KEY", rsa.serialize_der()[26..].to_vec());
    let sec1_start = p256.serialize_der().windows(3).position(|bytes| bytes == [2, 1, 1]).unwrap() - 2;
    let sec1 = ("EC PRIVATE KEY", p256.serialize_der()[sec1_start..].to_vec());
    let pkcs8 = |key: &KeyPair| ("PRIVATE KEY", key.serialize_der());
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let again = |key: &KeyPair| KeyPair::from_pem(&key.serialize_pem()).unwrap();
    for (key, (label, der)) in [
        (again(&rsa), pkcs1),
        (again(&p256), sec1),
        (again(&p256), pkcs8(&p256)),
        (again(&p384), pkcs8(&p384)),
        (again(&ed25519), pkcs8(&ed25519)),
        (again(&rsa), pkcs8(&rsa)),
    ] {
        let leaf = make(leaf_params(&["shop.example"]), key, Some(&root));
        let key_pem = pem::encode(&Pem::new(label, der));
        let (_, kept) = upload(&pem(&[&leaf, &root]), &key_pem, NOW).unwrap_or_else(|error| panic!("{label}: {error}"));
        let kept = PrivateKeyDer::Pkcs8(kept.expose_pkcs8().into());
        let public = any_supported_type(&kept).unwrap().public_key().unwrap().to_vec();
        assert_eq!(parse_certificate(&leaf.der, 1).unwrap().public_key().raw, public, "{label}");
    }
}

#[test]
fn what_is_no_certificate_or_key_is_refused_by_its_part() {
    let root = authority("root", None);
    let leaf = leaf(&root);
    let (chain, key) = (pem(&[&leaf, &root]), leaf.key_pem());
    let error = |chain: &str, key: &str| upload(chain, key, NOW).unwrap_err();
    assert_eq!(error(" \n", &key), InvalidCertificate::NoChain);
    assert_eq!(error("nothing of the kind", &key), InvalidCertificate::NoChain);
    assert_eq!(error(&key, &key), InvalidCertificate::NoChain);
    assert_eq!(error(&"x".repeat(CERTIFICATE_CHAIN_BYTES_MAX + 1), &key), InvalidCertificate::ChainTooLarge);
    let many = pem(&[&leaf; CERTIFICATE_CHAIN_MAX + 1]);
    assert_eq!(error(&many, &key), InvalidCertificate::ChainTooLong);
    assert!(matches!(error(&chain.replace("-----END", "-----ENDE"), &key), InvalidCertificate::ChainPem(_)));
    let garbage = pem::encode(&Pem::new("CERTIFICATE", "garbage"));
    assert_eq!(error(&garbage, &key), InvalidCertificate::Unreadable { position: 1 });
    assert_eq!(error(&format!("{chain}{garbage}"), &key), InvalidCertificate::Unreadable { position: 3 });
    assert_eq!(error(&chain, ""), InvalidCertificate::NoKey);
    assert_eq!(error(&chain, &chain), InvalidCertificate::KeyPem);
    assert_eq!(error(&chain, &"x".repeat(PRIVATE_KEY_BYTES_MAX + 1)), InvalidCertificate::KeyTooLarge);
    let garbage = pem::encode(&Pem::new("PRIVATE KEY", "garbage"));
    assert_eq!(error(&chain, &garbage), InvalidCertificate::KeyKind);
}

#[test]
fn a_certificate_is_for_host_names() {
    let root = authority("root", None);
    let with = |names| make(names, KeyPair::generate().unwrap(), Some(&root));
    let mut address = leaf_params(&[]);
    address.subject_alt_names = vec![SanType::IpAddress([10, 0, 0, 1].into())];
    let address = with(address);
    assert_eq!(refused(&[&address, &root], &address), InvalidCertificate::NoNames);
    let strange = with(leaf_params(&["a.*.example"]));
    assert!(matches!(refused(&[&strange, &root], &strange), InvalidCertificate::Name { .. }));
    let names: Vec<String> = (0..=CERTIFICATE_NAMES_MAX).map(|number| format!("n{number}.example")).collect();
    let many = with(leaf_params(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(refused(&[&many, &root], &many), InvalidCertificate::TooManyNames);
}
