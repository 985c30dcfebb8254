//! Documents that another COSE implementation might take and that are none here: each by its name, each with a signature that
//! is right for what stands in it.

mod samples;

#[path = "strict/payloads.rs"]
mod payloads;

use protocol::Refusal;
use protocol::document::ContentType;
use protocol::signed::Envelope;
use samples::{Parts, Size, key, public, sealed, sign, to_be_signed, verified_as};

const TYPE: ContentType = ContentType::Command;

/// A document item by item, each as it stands in the bytes.
struct Items {
    tag: Vec<u8>,
    array: Vec<u8>,
    protected: Vec<u8>,
    unprotected: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    end: Vec<u8>,
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let head: &[u8] = &match bytes.len() {
        len @ 0..=23 => vec![0x40 | len as u8],
        len @ 24..=255 => vec![0x58, len as u8],
        len => vec![0x59, (len >> 8) as u8, len as u8],
    };
    [head, bytes].concat()
}

fn text(text: &str) -> Vec<u8> {
    let mut item = string(text.as_bytes());
    item[0] |= 0x20;
    item
}

fn payload() -> Vec<u8> {
    Parts::of(&sealed(TYPE, Size::Small, &key(1))).payload
}

fn kid() -> Vec<u8> {
    string(&public(&key(1)).id().0)
}

/// The entries of the protected header, in order.
fn entries() -> [Vec<u8>; 3] {
    [vec![0x01, 0x26], [&[0x03][..], &text(TYPE.as_str())].concat(), [&[0x04][..], &kid()].concat()]
}

fn with_header(header: &[u8]) -> Items {
    let signature = sign(&key(1), &to_be_signed(header, &payload()));
    Items {
        tag: vec![0xd2],
        array: vec![0x84],
        protected: string(header),
        unprotected: vec![0xa0],
        payload: string(&payload()),
        signature: string(signature.as_bytes()),
        end: Vec::new(),
    }
}

fn right() -> Items {
    with_header(&[&[0xa3][..], &entries().concat()].concat())
}

impl Items {
    fn bytes(&self) -> Vec<u8> {
        let Self { tag, array, protected, unprotected, payload, signature, end } = self;
        [tag, array, protected, unprotected, payload, signature, end].map(Vec::as_slice).concat()
    }
}

fn refused(name: &str, bytes: &[u8], refusal: Refusal) {
    assert_eq!(Envelope::decode(bytes).map(|_| ()), Err(refusal), "{name}");
    assert_eq!(verified_as(TYPE, bytes, &public(&key(1))).map(|_| ()), Err(refusal), "{name}");
}

#[test]
fn the_document_from_which_the_others_differ_is_right() {
    assert_eq!(right().bytes(), sealed(TYPE, Size::Small, &key(1)));
    assert!(verified_as(TYPE, &right().bytes(), &public(&key(1))).is_ok());
}

#[test]
fn other_tags_and_other_arrays_are_refused() {
    for (name, items) in [
        ("no tag", Items { tag: vec![], ..right() }),
        ("COSE_Sign", Items { tag: vec![0xd8, 0x62], ..right() }),
        ("COSE_Mac0", Items { tag: vec![0xd1], ..right() }),
        ("a web token around it", Items { tag: vec![0xd8, 0x3d, 0xd2], ..right() }),
        ("self-described CBOR around it", Items { tag: vec![0xd9, 0xd9, 0xf7, 0xd2], ..right() }),
        ("the tag twice", Items { tag: vec![0xd2, 0xd2], ..right() }),
        ("a tag longer than needed", Items { tag: vec![0xd8, 0x12], ..right() }),
        ("an array longer than needed", Items { array: vec![0x98, 0x04], ..right() }),
        ("an array without length", Items { array: vec![0x9f], end: vec![0xff], ..right() }),
        ("three elements", Items { array: vec![0x83], signature: vec![], ..right() }),
        ("five elements", Items { array: vec![0x85], end: vec![0xa0], ..right() }),
        ("five elements stated", Items { array: vec![0x85], ..right() }),
        ("a map", Items { array: vec![0xa2], ..right() }),
        ("a byte after it", Items { end: vec![0x00], ..right() }),
        ("a break after it", Items { end: vec![0xff], ..right() }),
        ("itself after it", Items { end: right().bytes(), ..right() }),
    ] {
        refused(name, &items.bytes(), Refusal::Malformed);
    }
}

#[test]
fn anything_in_the_unprotected_header_is_refused() {
    for (name, unprotected) in [
        ("the algorithm", vec![0xa1, 0x01, 0x26]),
        ("the key", [&[0xa1, 0x04][..], &kid()].concat()),
        ("something unknown", vec![0xa1, 0x18, 0x63, 0x00]),
        ("a map longer than needed", vec![0xb8, 0x00]),
        ("a map without length", vec![0xbf, 0xff]),
        ("nothing", vec![0xf6]),
        ("an array", vec![0x80]),
        ("a string", vec![0x40]),
    ] {
        refused(name, &Items { unprotected, ..right() }.bytes(), Refusal::Malformed);
    }
}

#[test]
fn detached_payloads_and_payloads_in_another_form_are_refused() {
    let whole = payload();
    let (first, second) = whole.split_at(3);
    let mut in_pieces = vec![0x5f];
    in_pieces.extend([string(first), string(second)].concat());
    in_pieces.push(0xff);
    for (name, item) in [
        ("detached", vec![0xf6]),
        ("undefined", vec![0xf7]),
        ("in pieces", in_pieces),
        ("in one piece", [&[0x5f][..], &string(&whole), &[0xff]].concat()),
        ("a length longer than needed", [&[0x58, whole.len() as u8][..], &whole].concat()),
        ("a length of eight bytes", [&[0x5b, 0, 0, 0, 0, 0, 0, 0, whole.len() as u8][..], &whole].concat()),
        ("not in a string", whole.clone()),
        ("in a tag", [&[0xd8, 0x18][..], &string(&whole)].concat()),
        ("longer than the document", vec![0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ] {
        refused(name, &Items { payload: item, ..right() }.bytes(), Refusal::Malformed);
    }
    let as_text = [&[0x60 | whole.len() as u8][..], &whole].concat();
    refused("a text", &Items { payload: as_text, ..right() }.bytes(), Refusal::Malformed);
}

#[test]
fn signatures_in_another_form_and_numbers_outside_the_group_are_refused() {
    let right_one = Parts::of(&right().bytes()).signature;
    let der = p256::ecdsa::Signature::from_slice(&right_one).unwrap().to_der();
    let longer = [&right_one[..], &[0]].concat();
    for (name, item) in [
        ("a byte short", string(&right_one[..63])),
        ("a byte long", string(&longer)),
        ("empty", string(&[])),
        ("DER", string(der.as_bytes())),
        ("missing", vec![0xf6]),
        ("a length longer than needed", [&[0x59, 0x00, 0x40][..], &right_one].concat()),
        ("in one piece", [&[0x5f][..], &string(&right_one), &[0xff]].concat()),
        ("an array of two", [&[0x82][..], &string(&right_one[..32]), &string(&right_one[32..])].concat()),
    ] {
        refused(name, &Items { signature: item, ..right() }.bytes(), Refusal::Malformed);
    }
    let order = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (r, s) = right_one.split_at(32);
    for (name, r, s) in [
        ("r is 0", &[0; 32][..], s),
        ("s is 0", r, &[0; 32][..]),
        ("both are 0", &[0; 32], &[0; 32]),
        ("r is the order", &order, s),
        ("s is the order", r, &order),
        ("both are the largest", &[0xff; 32], &[0xff; 32]),
    ] {
        refused(name, &Items { signature: string(&[r, s].concat()), ..right() }.bytes(), Refusal::Signature);
    }
}

#[test]
fn other_algorithms_are_refused_by_their_name() {
    let [_, content_type, kid] = entries();
    for (name, algorithm) in [
        ("ES384", vec![0x38, 0x22]),
        ("ES512", vec![0x38, 0x23]),
        ("ES256K", vec![0x38, 0x2e]),
        ("ESP256", vec![0x28]),
        ("EdDSA", vec![0x27]),
        ("HMAC", vec![0x05]),
        ("a reserved number", vec![0x00]),
        ("7 instead of -7", vec![0x07]),
        ("the largest number", vec![0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("ES256 as a text", text("ES256")),
        ("none", text("none")),
        ("an empty text", text("")),
    ] {
        let header = [&[0xa3, 0x01][..], &algorithm, &content_type, &kid].concat();
        refused(name, &with_header(&header).bytes(), Refusal::Algorithm);
    }
}

#[test]
fn other_content_types_are_refused_by_their_name() {
    let [algorithm, _, kid] = entries();
    for (name, content_type) in [
        ("CoAP's application/json", vec![0x18, 0x32]),
        ("CoAP's text", vec![0x00]),
        ("somebody else's", text("application/cose")),
        ("none", text("")),
        ("in capitals", text(&TYPE.as_str().to_uppercase())),
        ("with a parameter", text(&format!("{};v=1", TYPE.as_str()))),
        ("with a blank", text(&format!(" {}", TYPE.as_str()))),
    ] {
        let header = [&[0xa3][..], &algorithm, &[0x03], &content_type, &kid].concat();
        refused(name, &with_header(&header).bytes(), Refusal::ContentType);
    }
}

#[test]
fn headers_with_more_less_or_something_else_in_them_are_refused() {
    let [algorithm, content_type, kid_entry] = entries();
    let id = public(&key(1)).id().0;
    let header = |head: &[u8], entries: &[&[u8]]| [head, &entries.concat()].concat();
    let (alg, typ, kid) = (&algorithm[..], &content_type[..], &kid_entry[..]);
    let long_kid = [&[0x04][..], &string(&[&id[..], &[0]].concat())].concat();
    let short_kid = [&[0x04][..], &string(&id[..31])].concat();
    let kid_as_text = [&[0x04][..], &text(&"k".repeat(32))].concat();
    let wide_text = [&[0x03, 0x79, 0x00, TYPE.as_str().len() as u8][..], TYPE.as_str().as_bytes()].concat();
    let text_in_pieces = [&[0x03, 0x7f][..], &text(TYPE.as_str()), &[0xff]].concat();
    let wide_kid = [&[0x04, 0x59, 0x00, 0x20][..], &id].concat();
    for (name, header) in [
        ("empty", vec![]),
        ("an empty map", vec![0xa0]),
        ("no algorithm", header(&[0xa2], &[typ, kid])),
        ("no content type", header(&[0xa2], &[alg, kid])),
        ("no key", header(&[0xa2], &[alg, typ])),
        ("something critical", header(&[0xa4], &[alg, &[0x02, 0x81, 0x04], typ, kid])),
        ("an IV", header(&[0xa4], &[alg, typ, kid, &[0x05, 0x40]])),
        ("a type as well", header(&[0xa4], &[alg, typ, kid, &[0x10, 0x00]])),
        ("something private", header(&[0xa4], &[alg, typ, kid, &[0x61, 0x78, 0x00]])),
        ("the algorithm twice", header(&[0xa4], &[alg, alg, typ, kid])),
        ("the algorithm in place of the key", header(&[0xa3], &[alg, typ, alg])),
        ("the key twice", header(&[0xa4], &[alg, typ, kid, kid])),
        ("another order", header(&[0xa3], &[typ, alg, kid])),
        ("the key first", header(&[0xa3], &[kid, alg, typ])),
        ("the last two exchanged", header(&[0xa3], &[alg, kid, typ])),
        ("more entries stated", header(&[0xa4], &[alg, typ, kid])),
        ("fewer entries stated", header(&[0xa2], &[alg, typ, kid])),
        ("a map longer than needed", header(&[0xb8, 0x03], &[alg, typ, kid])),
        ("a map without length", header(&[0xbf], &[alg, typ, kid, &[0xff]])),
        ("an array", header(&[0x83], &[&alg[1..], &typ[1..], &kid[1..]])),
        ("a byte after it", header(&[0xa3], &[alg, typ, kid, &[0x00]])),
        ("an algorithm longer than needed", header(&[0xa3], &[&[0x01, 0x38, 0x06], typ, kid])),
        ("a label longer than needed", header(&[0xa3], &[&[0x18, 0x01, 0x26], typ, kid])),
        ("labels as texts", header(&[0xa3], &[&[0x63, 0x61, 0x6c, 0x67, 0x26], typ, kid])),
        ("the algorithm null", header(&[0xa3], &[&[0x01, 0xf6], typ, kid])),
        ("the algorithm a fraction", header(&[0xa3], &[&[0x01, 0xf9, 0xc7, 0x00], typ, kid])),
        ("a content type longer than needed", header(&[0xa3], &[alg, &wide_text, kid])),
        ("a content type in pieces", header(&[0xa3], &[alg, &text_in_pieces, kid])),
        ("a content type that is no UTF-8", header(&[0xa3], &[alg, &[0x03, 0x61, 0xff], kid])),
        ("a content type of bytes", header(&[0xa3], &[alg, &[0x03, 0x41, 0x61], kid])),
        ("a negative content type", header(&[0xa3], &[alg, &[0x03, 0x20], kid])),
        ("a key of 33 bytes", header(&[0xa3], &[alg, typ, &long_kid])),
        ("a key of 31 bytes", header(&[0xa3], &[alg, typ, &short_kid])),
        ("a key as a text", header(&[0xa3], &[alg, typ, &kid_as_text])),
        ("a key longer than needed", header(&[0xa3], &[alg, typ, &wide_kid])),
        ("no key but null", header(&[0xa3], &[alg, typ, &[0x04, 0xf6]])),
    ] {
        refused(name, &with_header(&header).bytes(), Refusal::Malformed);
    }
    let whole = header(&[0xa3], &[alg, typ, kid]);
    let wide = [&[0x59, 0x00, whole.len() as u8][..], &whole].concat();
    refused("a header longer than needed", &Items { protected: wide, ..right() }.bytes(), Refusal::Malformed);
    refused("a header in no string", &Items { protected: whole, ..right() }.bytes(), Refusal::Malformed);
}

/// What RFC 9052 leaves open and is never used here.
#[test]
fn a_signature_over_external_data_or_for_another_context_is_refused() {
    let header = Parts::of(&right().bytes()).protected;
    for (name, context, external) in
        [("external data", "Signature1", &b"x"[..]), ("COSE_Sign", "Signature", b""), ("a MAC", "MAC0", b"")]
    {
        let structure =
            [&[0x84][..], &text(context), &string(&header), &string(external), &string(&payload())].concat();
        let signature = sign(&key(1), &protocol::key::sha256(&[&structure]));
        let bytes = Items { signature: string(signature.as_bytes()), ..right() }.bytes();
        assert_eq!(verified_as(TYPE, &bytes, &public(&key(1))), Err(Refusal::Signature), "{name}");
    }
}

fn payload_refused(content_type: ContentType, name: &str, payload: Vec<u8>) {
    let bytes = Parts::new(content_type, payload, &key(1)).write();
    assert_eq!(
        verified_as(content_type, &bytes, &public(&key(1))),
        Err(Refusal::Payload),
        "{content_type:?}: {name}"
    );
}

#[test]
fn payloads_in_another_form_are_refused_even_where_the_key_signed_them() {
    for content_type in ContentType::ALL.into_iter().filter(|it| *it != ContentType::Configuration) {
        let right = Parts::of(&sealed(content_type, Size::Small, &key(1))).payload;
        let (head, entries) = right.split_first().unwrap();
        let count = head & 0x1f;
        let forged = |name, head: &[u8], end: &[u8]| {
            payload_refused(content_type, name, [head, entries, end].concat());
        };
        forged("an unknown key", &[head + 1], &[0x17, 0x00]);
        forged("an unknown key with nothing", &[head + 1], &[0x17, 0xf6]);
        forged("an unknown text as key", &[head + 1], &[0x61, 0x78, 0x00]);
        forged("the number twice", &[head + 1], &[0x02, 0x01]);
        forged("the audience twice", &[head + 1], &[0x01, 0x81, 0x03]);
        forged("a map longer than needed", &[0xb8, count], &[]);
        forged("a map without length", &[0xbf], &[0xff]);
        forged("a byte after it", &[*head], &[0x00]);
        forged("fewer entries stated", &[head - 1], &[]);
        forged("more entries stated", &[head + 1], &[]);
        forged("a tag", &[0xd9, 0xd9, 0xf7, *head], &[]);
        forged("a label longer than needed", &[*head, 0x18], &[]);
        payload_refused(content_type, "nothing", vec![]);
        payload_refused(content_type, "an empty map", vec![0xa0]);
        payload_refused(content_type, "null", vec![0xf6]);
        payload_refused(content_type, "an array", vec![0x80]);
    }
}

#[test]
fn audiences_and_numbers_in_another_form_are_refused() {
    let audience = [0x82, 0x01, 0x61, 0x64];
    let rest = [0x03, 0x01, 0x04, 0x82, 0x01, 0x80];
    let command =
        |audience: &[u8], number: &[u8]| [&[0xa4, 0x01][..], audience, &[0x02], number, &rest].concat();
    assert_eq!(command(&audience, &[0x01]), payload());
    for (name, audience) in [
        ("an unknown kind", &[0x81, 0x04][..]),
        ("a device without id", &[0x81, 0x01]),
        ("a device with an empty id", &[0x82, 0x01, 0x60]),
        ("a device with a bad id", &[0x82, 0x01, 0x61, 0x2f]),
        ("the operator", &[0x82, 0x01, 0x68, 0x6f, 0x70, 0x65, 0x72, 0x61, 0x74, 0x6f, 0x72]),
        ("all with something", &[0x82, 0x03, 0x60]),
        ("a group with blanks", &[0x82, 0x02, 0x61, 0x20]),
        ("a kind longer than needed", &[0x82, 0x18, 0x01, 0x61, 0x64]),
        ("an id longer than needed", &[0x82, 0x01, 0x78, 0x01, 0x64]),
        ("an array without length", &[0x9f, 0x01, 0x61, 0x64, 0xff]),
        ("an array longer than needed", &[0x98, 0x02, 0x01, 0x61, 0x64]),
        ("an id alone", &[0x61, 0x64]),
        ("null", &[0xf6]),
    ] {
        payload_refused(TYPE, name, command(audience, &[0x01]));
    }
    for (name, number) in [
        ("longer than needed", &[0x18, 0x01][..]),
        ("longer than needed by four", &[0x1a, 0, 0, 0, 1]),
        ("negative", &[0x20]),
        ("too large", &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("a fraction", &[0xf9, 0x3c, 0x00]),
        ("a text", &[0x61, 0x31]),
        ("true", &[0xf5]),
        ("null", &[0xf6]),
        ("a big number", &[0xc2, 0x41, 0x01]),
    ] {
        payload_refused(TYPE, name, command(&audience, number));
    }
    payload_refused(TYPE, "another order", [&[0xa4, 0x02, 0x01, 0x01][..], &audience, &rest].concat());
}

#[test]
fn too_many_certificates_too_long_ones_and_points_off_the_curve_are_refused() {
    let roots = |count: u8, len: usize| {
        let list = (0..count).flat_map(|_| string(&vec![0x30; len])).collect::<Vec<_>>();
        [&[0xa3, 0x01, 0x81, 0x03, 0x02, 0x01, 0x03, 0x80 | count][..], &list].concat()
    };
    let verified = |payload| {
        let bytes = Parts::new(ContentType::Roots, payload, &key(1)).write();
        verified_as(ContentType::Roots, &bytes, &public(&key(1)))
    };
    assert!(verified(roots(3, 1024)).is_ok());
    payload_refused(ContentType::Roots, "four roots", roots(4, 8));
    payload_refused(ContentType::Roots, "a root of 1025 bytes", roots(1, 1025));
    payload_refused(ContentType::Roots, "an empty root", roots(1, 0));
    payload_refused(ContentType::Roots, "no root", roots(0, 0));

    let right = Parts::of(&sealed(ContentType::AuthorityKey, Size::Small, &key(1))).payload;
    let point = right.len() - 65;
    for (name, at, byte) in [
        ("compressed", point, 0x02),
        ("hybrid", point, 0x06),
        ("off the curve", point + 64, !right[point + 64]),
    ] {
        let mut payload = right.clone();
        payload[at] = byte;
        payload_refused(ContentType::AuthorityKey, name, payload);
    }
    let mut infinity = right.clone();
    infinity[point..].fill(0);
    payload_refused(ContentType::AuthorityKey, "the point at infinity", infinity);
}
