//! The protobuf wire format, field by field, without a schema.

use super::MalformedMessage;

/// The most that groups are nested, as prost has it.
const GROUPS_MAX: usize = 100;
/// The most bytes of a varint.
const VARINT_BYTES_MAX: usize = 10;

/// One field as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    /// All of it, key and length included.
    pub(super) encoded: &'a [u8],
    /// What it holds, if it is of a type that has a length: a string, bytes, a message.
    pub(super) payload: Option<&'a [u8]>,
}

/// The fields of an encoded message, in order.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn read(&mut self) -> Result<Field<'a>, MalformedMessage> {
        let start = self.0;
        let mut rest = start;
        let (number, wire_type) = key(&mut rest)?;
        let payload = skip(number, wire_type, &mut rest, 0)?;
        self.0 = rest;
        Ok(Field { number, encoded: &start[..start.len() - rest.len()], payload })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, MalformedMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Appends a field that has a length.
pub(super) fn put(out: &mut Vec<u8>, number: u32, payload: &[u8]) {
    put_key(out, number);
    put_varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

/// Appends a field that has a length, of what `write` appends.
pub(super) fn put_with<E>(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_key(out, number);
    let start = out.len();
    write(out)?;
    let end = out.len();
    put_varint(out, (end - start) as u64);
    let length_bytes = out.len() - end;
    out[start..].rotate_right(length_bytes);
    Ok(())
}

fn put_key(out: &mut Vec<u8>, number: u32) {
    put_varint(out, u64::from(number << 3 | LENGTH));
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const GROUP_START: u32 = 3;
const GROUP_END: u32 = 4;
const FIXED32: u32 = 5;

fn key(rest: &mut &[u8]) -> Result<(u32, u32), MalformedMessage> {
    let key = u32::try_from(varint(rest)?).map_err(|_| MalformedMessage::Key)?;
    match key >> 3 {
        0 => Err(MalformedMessage::Key),
        number => Ok((number, key & 7)),
    }
}

/// Goes past the value of a field.
fn skip<'a>(
    number: u32,
    wire_type: u32,
    rest: &mut &'a [u8],
    depth: usize,
) -> Result<Option<&'a [u8]>, MalformedMessage> {
    match wire_type {
        VARINT => varint(rest).map(|_| None),
        FIXED64 => take(rest, 8).map(|_| None),
        FIXED32 => take(rest, 4).map(|_| None),
        LENGTH => {
            let length = usize::try_from(varint(rest)?).map_err(|_| MalformedMessage::Truncated)?;
            take(rest, length).map(Some)
        }
        GROUP_START if depth < GROUPS_MAX => loop {
            match key(rest)? {
                (end, GROUP_END) if end == number => return Ok(None),
                (inner, wire_type) => skip(inner, wire_type, rest, depth + 1)?,
            };
        },
        GROUP_START => Err(MalformedMessage::Depth),
        _ => Err(MalformedMessage::Key),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], MalformedMessage> {
    let (taken, after) = rest.split_at_checked(length).ok_or(MalformedMessage::Truncated)?;
    *rest = after;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, MalformedMessage> {
    let mut value = 0;
    for index in 0..VARINT_BYTES_MAX {
        let (&byte, after) = rest.split_first().ok_or(MalformedMessage::Truncated)?;
        *rest = after;
        if index == VARINT_BYTES_MAX - 1 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(MalformedMessage::Varint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<Field<'_>>, MalformedMessage> {
        Fields::of(message).collect()
    }

    #[test]
    fn every_wire_type_is_read_to_its_end() {
        let message = [
            &[0x08, 0x96, 0x01][..],
            &[0x11, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x1a, 2, b'h', b'i'],
            &[0x23, 0x08, 1, 0x24],
            &[0x2d, 1, 2, 3, 4],
        ]
        .concat();
        let fields = all(&message).unwrap();
        assert_eq!(fields.iter().map(|field| field.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(fields[2].payload, Some(&b"hi"[..]));
        assert_eq!(fields.iter().map(|field| field.encoded).collect::<Vec<_>>().concat(), message);
    }

    #[test]
    fn what_is_malformed_is_an_error() {
        for (message, error) in [
            (&[0x08][..], MalformedMessage::Truncated),
            (&[0x1a, 5, b'h'], MalformedMessage::Truncated),
            (&[0x00, 0], MalformedMessage::Key),
            (&[0x0c], MalformedMessage::Key),
            (&[0x0f], MalformedMessage::Key),
            (&[0x23, 0x2c], MalformedMessage::Key),
            (&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], MalformedMessage::Varint),
            (&[0x23; 200], MalformedMessage::Depth),
        ] {
            assert_eq!(all(message), Err(error), "{message:?}");
        }
    }

    #[test]
    fn what_is_put_is_read_again() {
        let mut out = Vec::new();
        put(&mut out, 3, &[7; 200]);
        put_with(&mut out, 4, |out| {
            put(out, 1, b"inner");
            Ok::<_, MalformedMessage>(())
        })
        .unwrap();
        let fields = all(&out).unwrap();
        assert_eq!(fields[0].payload, Some(&[7; 200][..]));
        assert_eq!(all(fields[1].payload.unwrap()).unwrap()[0].payload, Some(&b"inner"[..]));
    }
}
