//! Certificates and keys as messages have them: PEM. They were checked when they came in, and are only taken apart here.

use pem::{EncodeConfig, LineEnding, Pem};

use super::Invalid;
use crate::model::PrivateKey;

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";

pub(super) fn of_certificates(certificates: &[Vec<u8>]) -> String {
    certificates.iter().map(|der| encode(CERTIFICATE, der)).collect()
}

pub(super) fn certificates(text: &str) -> Result<Vec<Vec<u8>>, Invalid> {
    let all = pem::parse_many(text)?;
    if all.is_empty() || all.iter().any(|it| it.tag() != CERTIFICATE) {
        return Err("it has not certificates where they belong".into());
    }
    Ok(all.into_iter().map(Pem::into_contents).collect())
}

pub(super) fn of_key(key: &PrivateKey) -> String {
    encode(PRIVATE_KEY, key.expose_pkcs8())
}

pub(super) fn key(text: &str) -> Result<PrivateKey, Invalid> {
    // Without the parser's words, which may repeat a part of it.
    let key = pem::parse(text).ok().filter(|it| it.tag() == PRIVATE_KEY);
    Ok(PrivateKey::from_pkcs8(key.ok_or("it has not a private key where it belongs")?.into_contents()))
}

fn encode(tag: &str, der: &[u8]) -> String {
    pem::encode_config(&Pem::new(tag, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}
