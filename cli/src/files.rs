use std::{fs::File, io::Read, path::Path};

use switchyard_proto::vocab::limits::CERTIFICATE_CHAIN_BYTES_MAX;

use crate::failure::Failure;

/// Bytes of a file that is read: more than the control plane takes of any, so that it is what refuses.
const FILE_BYTES_MAX: usize = 2 * CERTIFICATE_CHAIN_BYTES_MAX;

/// Reads a PEM file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let refused = |reason: String| Failure::File { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| refused(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => refused("not a text; PEM is required".to_owned()),
        _ => refused(error.to_string()),
    })?;
    if text.len() > FILE_BYTES_MAX {
        return Err(refused(format!("larger than {FILE_BYTES_MAX} bytes; is it the right file?")));
    }
    Ok(text)
}
