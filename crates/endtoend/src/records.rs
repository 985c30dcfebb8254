//! A recorded stream as TLS records (RFC 8446, section 5.1). Owns their framing, never what is in them.

/// Bytes of a record before its content: type, version, length.
pub const HEADER: usize = 5;

/// Longest content of a record in bytes: 2^14 and what encryption may add.
pub const CONTENT_MAX: usize = 16_384 + 256;

/// `change_cipher_spec`: in TLS 1.3 only there for old middleboxes.
pub const CHANGE_CIPHER_SPEC: u8 = 20;
/// `alert`, in clear.
pub const ALERT: u8 = 21;
/// `handshake`, in clear.
pub const HANDSHAKE: u8 = 22;
/// `application_data`: encrypted, whatever it is.
pub const APPLICATION_DATA: u8 = 23;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its type.
    pub kind: u8,
    /// The whole of it, header and content.
    pub bytes: &'a [u8],
}

/// The records of a stream, and the beginning of one that was cut; an error tells where it is no TLS.
pub fn split(stream: &[u8]) -> Result<(Vec<Record<'_>>, &[u8]), String> {
    let mut records = Vec::new();
    let mut rest = stream;
    while let Some(&[kind, major, minor, high, low]) = rest.first_chunk::<HEADER>() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let known = (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind);
        if !known || major != 3 || !(1..=3).contains(&minor) || len > CONTENT_MAX {
            let at = stream.len() - rest.len();
            return Err(format!("no TLS record at byte {at}: {:02x?}", rest.first_chunk::<HEADER>()));
        }
        let Some((bytes, behind)) = rest.split_at_checked(HEADER + len) else { break };
        records.push(Record { kind, bytes });
        rest = behind;
    }
    Ok((records, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart_and_plain_text_is_none() {
        let stream = [22, 3, 1, 0, 2, 1, 2, 23, 3, 3, 0, 0, 23, 3, 3, 0, 9, 1];
        let (records, rest) = split(&stream).unwrap();
        assert_eq!(records.iter().map(|r| (r.kind, r.bytes.len())).collect::<Vec<_>>(), [(22, 7), (23, 5)]);
        assert_eq!(rest, [23, 3, 3, 0, 9, 1]);
        // CONNECT of MQTT 3.1.1.
        assert!(split(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2]).is_err());
    }
}
