use std::{
    cell::Cell,
    fs::File,
    io::{self, Read},
    path::Path,
};

use switchyard_proto::vocab::limits::CERTIFICATE_CHAIN_BYTES_MAX;

use crate::failure::Failure;

/// Bytes of a file that is read: more than the control plane takes of any, so that it is what refuses.
const FILE_BYTES_MAX: usize = 2 * CERTIFICATE_CHAIN_BYTES_MAX;

/// Reads a PEM file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    File::open(path).and_then(text).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::InvalidData => format!("{error}; PEM is required"),
            _ => error.to_string(),
        };
        Failure::File { path: path.to_owned(), reason }
    })
}

/// What reads files by their names, and the standard input by `-`, once.
pub(crate) fn reader() -> impl Fn(&str) -> io::Result<String> {
    let is_read = Cell::new(false);
    move |name| match name {
        "-" if is_read.replace(true) => Err(io::Error::other("the standard input can be read only once")),
        "-" => text(io::stdin().lock()),
        name => File::open(name).and_then(text),
    }
}

fn text(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => io::Error::new(io::ErrorKind::InvalidData, "not a text"),
        _ => error,
    })?;
    if text.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes; is it the right file?")));
    }
    Ok(text)
}
