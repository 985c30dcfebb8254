//! The envelope of every signed document: `COSE_Sign1` (RFC 9052, section 4.2) with ES256 (RFC 9053, section 2.1). Owns the
//! one verifier, never who may sign what ([`crate::document`]) nor whether a document is still wanted. R-AUTHORITY.
//!
//! ```text
//! 18([                                          tag of COSE_Sign1, required
//!   << {1: -7, 3: content type, 4: key id} >>,  protected: ES256, text, 32 bytes (RFC 9679)
//!   {},                                         unprotected: empty
//!   payload,                                    bytes; never detached
//!   signature                                   r and s, 64 bytes, s in the lower half
//! ])
//! ```
//!
//! Deterministic encoding (RFC 8949, section 4.2.1), no external data, and nothing else: a document has one form.

mod content;

use crate::document::{Audience, ContentType, PAYLOAD_BYTES_MAX, PROVISION_BYTES_MAX};
use crate::json::EncodeError;
use crate::key::{Digest, KEY_ID_BYTES, KeyId, PublicKey, SIGNATURE_BYTES, Signature, sha256};
use crate::reason::Refusal;
use crate::strict;
use core::fmt;
use minicbor::data::{Tag, Type};
use minicbor::encode::Write;
use minicbor::{Decoder, Encoder};

/// Tag of `COSE_Sign1` (RFC 9052, section 2).
const TAG: Tag = Tag::new(18);
/// Label of the algorithm in the protected header (RFC 9052, section 3.1).
const ALG: u8 = 1;
/// Label of the content type.
const CONTENT_TYPE: u8 = 3;
/// Label of the key's name.
const KID: u8 = 4;
/// ECDSA with SHA-256 (RFC 9053, section 2.1).
const ES256: i32 = -7;

/// Most bytes of the protected header, without the head of the byte string that it is in.
const HEADER_BYTES_MAX: usize = 1 + 2 + (1 + 2 + ContentType::BYTES_MAX) + (1 + 2 + KEY_ID_BYTES);

/// Most bytes that the envelope adds to a payload: tag, array, header, empty map, head of the payload, signature.
pub const ENVELOPE_BYTES_MAX: usize = 2 + (2 + HEADER_BYTES_MAX) + 1 + 3 + (2 + SIGNATURE_BYTES);

/// Longest document that comes over MQTT, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + ENVELOPE_BYTES_MAX;

/// Longest signed [`crate::document::Provision`] in bytes: the longest document of all.
pub const PROVISION_DOCUMENT_BYTES_MAX: usize = PROVISION_BYTES_MAX + ENVELOPE_BYTES_MAX;

/// Why something was not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError<E> {
    /// It does not fit into the buffer given for it.
    TooLong,
    /// Whoever holds the key did not sign.
    Signer(E),
}

impl<E: fmt::Display> fmt::Display for SealError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("what is to be signed does not fit into its buffer"),
            Self::Signer(error) => write!(f, "it was not signed: {error}"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for SealError<E> {}

/// What can be in an envelope.
pub trait Document<'b>: Sized {
    /// What it is called in the protected header.
    const CONTENT_TYPE: ContentType;
    /// Reads a payload; refuses every form but the one that [`Document::encode`] writes, where the content is CBOR.
    fn decode(payload: &'b [u8]) -> Result<Self, Refusal>;
    /// Writes the payload into `out`; gives its length in bytes.
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError>;
    /// Whom it is for.
    fn audience(&self) -> Audience;
    /// Grows with every document of its kind; 0 where a nonce stands for it ([`crate::document::Provision`]).
    fn number(&self) -> u32;
}

/// A document whose form is right and of which nothing is proven yet: it gives away its content to nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'b> {
    content_type: ContentType,
    signer: KeyId,
    /// Protected header and payload as they stand in the document, each with the head of its byte string: so they go
    /// into the `Sig_structure`.
    protected: &'b [u8],
    payload_item: &'b [u8],
    payload: &'b [u8],
    signature: Signature,
}

impl<'b> Envelope<'b> {
    /// Reads the envelope. A document that is too long, has another form, algorithm or content type is refused.
    pub fn decode(bytes: &'b [u8]) -> Result<Self, Refusal> {
        if bytes.len() > PROVISION_DOCUMENT_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let mut parts = Decoder::new(bytes);
        let [(protected, header), (payload_item, payload)] =
            read_content(&mut parts).map_err(|_| Refusal::Malformed)?;
        let signature = parts.bytes().map_err(|_| Refusal::Malformed)?;
        let (content_type, signer) = read_header(header)?;
        let document = Self {
            content_type,
            signer,
            protected,
            payload_item,
            payload,
            signature: Signature::new(signature).map_err(|_| match signature.len() {
                SIGNATURE_BYTES => Refusal::Signature,
                _ => Refusal::Malformed,
            })?,
        };
        // What was read must be all there is, in its shortest form.
        if !document.is_written_as(bytes) {
            return Err(Refusal::Malformed);
        }
        if payload.len() > content_type.payload_bytes_max() {
            return Err(Refusal::TooLong);
        }
        Ok(document)
    }

    /// What it says it is; not proven.
    pub const fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// Whose key it says it was signed with; not proven.
    pub const fn signer(&self) -> KeyId {
        self.signer
    }

    /// Proves that it is a `T` signed with `key`, then reads its content.
    pub fn verify<T: Document<'b>>(&self, key: &PublicKey) -> Result<Verified<T>, Refusal> {
        let payload = self.prove(T::CONTENT_TYPE, key)?;
        Ok(Verified { document: T::decode(payload)?, signer: self.signer })
    }

    /// Proves that it is of this content type and signed with `key`; gives its payload, for a reader that can say more than
    /// a [`Refusal`] about what is wrong with it.
    pub fn prove(&self, content_type: ContentType, key: &PublicKey) -> Result<&'b [u8], Refusal> {
        if self.content_type != content_type {
            return Err(Refusal::ContentType);
        }
        if self.signer != key.id() {
            return Err(Refusal::UnknownKey);
        }
        if !key.verifies(&digest(self.protected, self.payload_item), &self.signature) {
            return Err(Refusal::Signature);
        }
        Ok(self.payload)
    }

    /// True where `bytes` are this document in its one form.
    pub(crate) fn is_written_as(&self, bytes: &[u8]) -> bool {
        strict::is_written_as(bytes, |out| self.write(out))
    }

    /// For the fuzzer.
    pub(crate) fn holds(&self, payload: &[u8]) -> bool {
        self.payload == payload
    }

    fn write<W: Write>(&self, out: &mut Encoder<W>) -> strict::Written<W> {
        write_beginning(self.content_type, &self.signer, out)?;
        out.bytes(self.payload)?.bytes(self.signature.as_bytes())?.ok()
    }
}

/// A byte string: the item with its head, and the string alone.
type Bytes<'b> = (&'b [u8], &'b [u8]);

fn read_bytes<'b>(parts: &mut Decoder<'b>) -> Result<Bytes<'b>, minicbor::decode::Error> {
    let from = parts.position();
    let string = parts.bytes()?;
    let item = parts.input().get(from..parts.position());
    Ok((item.unwrap_or_default(), string))
}

/// Protected header and payload. That tag, array and unprotected header are the right ones is checked afterwards, with
/// everything else, by writing them again.
fn read_content<'b>(parts: &mut Decoder<'b>) -> Result<[Bytes<'b>; 2], minicbor::decode::Error> {
    parts.tag()?;
    parts.array()?;
    let protected = read_bytes(parts)?;
    parts.map()?;
    Ok([protected, read_bytes(parts)?])
}

/// The protected header: exactly algorithm, content type and key id. Order and shortest form are checked afterwards.
fn read_header(header: &[u8]) -> Result<(ContentType, KeyId), Refusal> {
    let malformed = |_| Refusal::Malformed;
    let mut entries = Decoder::new(header);
    let label = |entries: &mut Decoder<'_>, wanted: u8| match entries.u8() {
        Ok(label) if label == wanted => Ok(()),
        _ => Err(Refusal::Malformed),
    };
    if entries.map().map_err(malformed)? != Some(3) {
        return Err(Refusal::Malformed);
    }
    label(&mut entries, ALG)?;
    // An algorithm may be a text as well (RFC 9052, section 3.1); none of those is ours.
    if entries.datatype().map_err(malformed)? == Type::String {
        return Err(Refusal::Algorithm);
    }
    if entries.int().map_err(malformed)? != ES256.into() {
        return Err(Refusal::Algorithm);
    }
    label(&mut entries, CONTENT_TYPE)?;
    let content_type = match entries.datatype().map_err(malformed)? {
        Type::String => ContentType::from_wire(entries.str().map_err(malformed)?),
        // A number of CoAP's registry: none of those is ours.
        _ => entries.u16().map(|_| None).map_err(malformed)?,
    };
    let content_type = content_type.ok_or(Refusal::ContentType)?;
    label(&mut entries, KID)?;
    let id = entries.bytes().map_err(malformed)?.try_into().map_err(|_| Refusal::Malformed)?;
    Ok((content_type, KeyId(id)))
}

fn write_header<W: Write>(
    content_type: ContentType,
    signer: &KeyId,
    out: &mut Encoder<W>,
) -> strict::Written<W> {
    out.map(3)?.u8(ALG)?.i32(ES256)?.u8(CONTENT_TYPE)?.str(content_type.as_str())?;
    out.u8(KID)?.bytes(&signer.0)?.ok()
}

/// Everything before the payload.
fn write_beginning<W: Write>(
    content_type: ContentType,
    signer: &KeyId,
    out: &mut Encoder<W>,
) -> strict::Written<W> {
    let header = strict::length(|counted| write_header(content_type, signer, counted));
    out.tag(TAG)?.array(4)?.bytes_len(header as u64)?;
    write_header(content_type, signer, out)?;
    out.map(0)?.ok()
}

/// SHA-256 of the `Sig_structure` (RFC 9052, section 4.4) over two byte strings with their heads, in the order `context`,
/// `body_protected`, `external_aad` (empty), `payload`. Taken in parts: the payload is not copied.
pub(crate) fn digest(protected: &[u8], payload: &[u8]) -> Digest {
    sha256(&[b"\x84\x6aSignature1", protected, b"\x40", payload])
}

/// Writes `document`, signed with the key named `signer`, into `out`; gives its length in bytes. `sign` gets the SHA-256
/// digest of the `Sig_structure`.
///
/// The content is taken as it is: whoever made it by hand finds out with [`Envelope::decode`] and [`Envelope::verify`]
/// whether a device would accept it.
pub fn seal<'b, T: Document<'b>, E>(
    document: &T,
    signer: KeyId,
    out: &mut [u8],
    sign: impl FnOnce(&Digest) -> Result<Signature, E>,
) -> Result<usize, SealError<E>> {
    let written = write_payload(document, &signer, out).ok_or(SealError::TooLong)?;
    let (beginning, rest) = out.split_at_mut(written);
    let [(protected, _), (payload, _)] =
        read_content(&mut Decoder::new(beginning)).map_err(|_| SealError::TooLong)?;
    // Room for the signature before anybody is asked for it.
    let room = rest.get_mut(..2 + SIGNATURE_BYTES).ok_or(SealError::TooLong)?;
    let signature = sign(&digest(protected, payload)).map_err(SealError::Signer)?;
    Encoder::new(room).bytes(signature.as_bytes()).map_err(|_| SealError::TooLong)?;
    Ok(written + 2 + SIGNATURE_BYTES)
}

/// Writes everything but the signature. The payload is written where it will stand if its head is of the longest kind, then
/// moved to where it belongs.
fn write_payload<'b, T: Document<'b>>(document: &T, signer: &KeyId, out: &mut [u8]) -> Option<usize> {
    const LONGEST_HEAD: usize = 3;
    let beginning = strict::length(|counted| write_beginning(T::CONTENT_TYPE, signer, counted));
    let provisional = beginning + LONGEST_HEAD;
    let len = document.encode(out.get_mut(provisional..)?).ok()?;
    if len > T::CONTENT_TYPE.payload_bytes_max() {
        return None;
    }
    let mut encoder = Encoder::new(&mut *out);
    write_beginning(T::CONTENT_TYPE, signer, &mut encoder).ok()?;
    encoder.bytes_len(len as u64).ok()?;
    let begins = beginning + strict::length(|counted| counted.bytes_len(len as u64)?.ok());
    out.copy_within(provisional..provisional + len, begins);
    Some(begins + len)
}

/// A document of which it is proven who signed it. Only [`Envelope::verify`] makes one.
///
/// ```compile_fail,E0451
/// # use protocol::{KeyId, document::Command, signed::Verified};
/// fn believe(document: Command, signer: KeyId) -> Verified<Command> {
///     Verified { document, signer }
/// }
/// ```
///
/// Nor can another document be put into one, or one be made from nothing:
///
/// ```compile_fail,E0594
/// # use protocol::{document::Command, signed::Verified};
/// fn alter(verified: &mut Verified<Command>) {
///     verified.number = 7;
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use protocol::{document::Command, signed::Verified};
/// fn need_default<T: Default>() {}
/// need_default::<Verified<Command>>();
/// ```
///
/// ```compile_fail,E0277
/// # use protocol::{document::Command, signed::Verified};
/// fn need_from<T: From<Command>>() {}
/// need_from::<Verified<Command>>();
/// ```
///
/// ```compile_fail,E0277
/// # use protocol::{document::Command, signed::Verified};
/// fn need_decode<T: for<'b> minicbor::Decode<'b, ()>>() {}
/// need_decode::<Verified<Command>>();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    document: T,
    signer: KeyId,
}

impl<T> Verified<T> {
    /// The key that it was signed with.
    pub const fn signer(&self) -> KeyId {
        self.signer
    }

    /// The document; the proof is gone.
    pub fn into_inner(self) -> T {
        self.document
    }
}

impl<T> core::ops::Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.document
    }
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("content_type", &self.content_type)
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}
