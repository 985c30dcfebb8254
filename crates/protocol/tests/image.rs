//! Images as this crate makes them, and everything that is almost one.

mod samples;

use proptest::prelude::*;
use protocol::image::{Content, Header, Image, Version, key_hash, tlv};
use protocol::key::{Digest, sha256};
use protocol::{Signature, UpdateFault, Uuid};
use samples::images::{CLASS, VENDOR, accepted, sealed};
use samples::{key, public, sign};

const VERSION: Version = Version { major: 1, minor: 2, revision: 3, build: 4 };

fn content(body: &[u8]) -> Content<'_> {
    Content {
        vendor: Some(VENDOR),
        class: Some(CLASS),
        security_counter: Some(7),
        header_size: 64,
        ..Content::new(body, VERSION)
    }
}

/// A TLV.
fn value(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value].concat()
}

fn list(magic: u16, tlvs: &[Vec<u8>]) -> Vec<u8> {
    let tlvs = tlvs.concat();
    [&magic.to_le_bytes()[..], &(tlvs.len() as u16 + 4).to_le_bytes(), &tlvs].concat()
}

fn protected(tlvs: &[Vec<u8>]) -> Vec<u8> {
    list(0x6908, tlvs)
}

/// The TLVs of vendor and class.
fn class() -> Vec<u8> {
    [value(tlv::VENDOR, &VENDOR.0), value(tlv::CLASS, &CLASS.0)].concat()
}

/// An image with this header, these bytes where the protected TLVs stand, and the unprotected ones that `rest` makes of the
/// hash of all that.
fn assembled(header: &Header, protected: &[u8], rest: impl FnOnce(&Digest) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = header.encode().to_vec();
    bytes.resize(header.header_size.into(), 0);
    bytes.resize(header.body_end() as usize, 0xb0);
    bytes.extend_from_slice(protected);
    let hash = sha256(&[&bytes]);
    bytes.extend_from_slice(&rest(&hash));
    bytes
}

fn header(protected: &[u8]) -> Header {
    Header { header_size: 32, protected_size: protected.len() as u16, body_size: 100, version: VERSION }
}

/// The three unprotected TLVs of a genuine image.
fn genuine(hash: &Digest) -> [Vec<u8>; 3] {
    let signature = p256::ecdsa::Signature::from_slice(sign(&key(1), hash).as_bytes()).unwrap().to_der();
    [
        value(tlv::SHA256, hash),
        value(tlv::KEY_HASH, &key_hash(&public(&key(1)))),
        value(tlv::ECDSA, signature.as_bytes()),
    ]
}

/// What is said of an image with these protected TLVs.
fn with_protected(protected: &[u8]) -> Result<Image, UpdateFault> {
    accepted(&assembled(&header(protected), protected, |hash| list(0x6907, &genuine(hash))), &public(&key(1)))
}

/// What is said of an image with the unprotected TLVs that `rest` makes of the genuine ones.
fn with_unprotected(rest: impl FnOnce([Vec<u8>; 3]) -> Vec<u8>) -> Result<Image, UpdateFault> {
    let protected = protected(&[class()]);
    accepted(&assembled(&header(&protected), &protected, |hash| rest(genuine(hash))), &public(&key(1)))
}

#[test]
fn an_image_reads_back_as_it_was_made() {
    let body = [0xb0; 1000];
    let image = accepted(&sealed(&content(&body), &key(1)), &public(&key(1))).expect("genuine");
    assert_eq!(image.header.body_size, 1000);
    assert_eq!(image.header.header_size, 64);
    assert_eq!((image.header.version, image.header.version.build), (VERSION, 4));
    assert_eq!(image.tlvs.class, Some(CLASS));
    assert_eq!(image.tlvs.security_counter, Some(7));
    assert_eq!(image.tlvs.vendor, Some(VENDOR));
    assert_eq!(image.hashed_bytes(), 64 + 1000 + 4 + 8 + 20 + 20);
}

#[test]
fn an_image_without_a_class_is_for_no_device() {
    let body = [1; 10];
    let image = sealed(&Content::new(&body, VERSION), &key(1));
    assert_eq!(accepted(&image, &public(&key(1))), Err(UpdateFault::ImageClass));
    let right = content(&body);
    for other in [
        Content { class: Some(Uuid([0; 16])), ..right },
        Content { vendor: Some(Uuid([0; 16])), ..right },
        Content { class: None, ..right },
        Content { vendor: None, ..right },
        Content { vendor: Some(CLASS), class: Some(VENDOR), ..right },
    ] {
        assert_eq!(accepted(&sealed(&other, &key(1)), &public(&key(1))), Err(UpdateFault::ImageClass));
    }
}

#[test]
fn an_image_of_another_key_is_refused() {
    let image = sealed(&content(&[1; 10]), &key(2));
    assert_eq!(accepted(&image, &public(&key(1))), Err(UpdateFault::ImageKey));
    // Signed with another key under the right key's name.
    let content = content(&[1; 10]);
    let mut out = vec![0; content.bytes_max()];
    let len = content.seal(&public(&key(1)), &mut out, |digest| Ok::<_, ()>(sign(&key(2), digest))).unwrap();
    assert_eq!(accepted(&out[..len], &public(&key(1))), Err(UpdateFault::ImageSignature));
}

#[test]
fn an_image_with_any_bit_altered_is_refused() {
    let image = sealed(&content(&[0xb0; 70]), &key(1));
    let hashed = Image::decode(&image).unwrap().hashed_bytes() as usize;
    for bit in 0..image.len() * 8 {
        let mut altered = image.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let fault = accepted(&altered, &public(&key(1))).expect_err("altered");
        if (Header::BYTES..hashed - 52).contains(&(bit / 8)) {
            assert_eq!(fault, UpdateFault::ImageHash, "bit {bit}");
        }
    }
}

#[test]
fn an_image_that_is_cut_off_anywhere_is_truncated() {
    let image = sealed(&content(&[0xb0; 70]), &key(1));
    for len in 0..image.len() {
        assert_eq!(Image::decode(&image[..len]), Err(UpdateFault::Truncated), "{len} bytes");
    }
}

#[test]
fn nothing_beyond_the_image_is_read_and_its_end_is_known() {
    let mut slot = sealed(&content(&[0xb0; 70]), &key(1));
    let len = slot.len() as u32;
    slot.resize(4096, 0xff);
    let mut furthest = 0;
    let image = Image::read(slot.len() as u32, |offset, buffer| {
        furthest = furthest.max(offset + buffer.len() as u32);
        buffer.copy_from_slice(&slot[offset as usize..][..buffer.len()]);
        Ok(())
    });
    assert_eq!((image.unwrap().bytes(), furthest), (len, len));
    assert_eq!(accepted(&slot, &public(&key(1))), Err(UpdateFault::ImageSize));
}

#[test]
fn a_failure_of_the_flash_is_handed_on() {
    let read = |_, _: &mut [u8]| Err(UpdateFault::Storage);
    assert_eq!(Image::read(1000, read), Err(UpdateFault::Storage));
}

#[test]
fn headers_of_other_kinds_of_images_are_refused() {
    let right = header(&[]).encode();
    assert_eq!(Header::decode(&right), Ok(header(&[])));
    assert_eq!(Header::decode(&right[..31]), Err(UpdateFault::Truncated));
    let refused = |name: &str, at: usize, bytes: &[u8]| {
        let mut header = right;
        header[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(Header::decode(&header), Err(UpdateFault::ImageForm), "{name}");
    };
    refused("erased flash", 0, &[0xff; 32]);
    refused("zeros", 0, &[0; 32]);
    refused("the first version of the header", 0, &[0x3c]);
    refused("big endian", 0, &[0x96, 0xf3, 0xb8, 0x3d]);
    refused("a load address", 4, &[0, 0, 0, 0x20]);
    for bit in 0..32 {
        refused("a flag", 16, &(1_u32 << bit).to_le_bytes());
    }
    refused("padding", 28, &[1]);
    refused("a header of 31 bytes", 8, &[31, 0]);
    refused("no header", 8, &[0, 0]);
    refused("no body", 12, &[0; 4]);
    refused("sizes beyond 32 bits", 12, &[0xff; 4]);
    refused("sizes just beyond 32 bits", 12, &(u32::MAX - 35).to_le_bytes());
}

#[test]
fn a_body_larger_than_what_is_there_is_truncated() {
    for body_size in [101, 4096, u32::MAX - 36] {
        let bytes = assembled(&header(&[]), &[], |hash| list(0x6907, &genuine(hash)));
        let header = Header { body_size, ..header(&[]) };
        let bytes = [&header.encode()[..], &bytes[32..]].concat();
        assert!(matches!(Image::decode(&bytes), Err(UpdateFault::Truncated | UpdateFault::ImageForm)));
    }
}

#[test]
fn protected_tlvs_are_the_known_ones_once_each() {
    let counter = || value(tlv::SECURITY_COUNTER, &[1, 0, 0, 0]);
    assert!(with_protected(&protected(&[counter(), class()])).is_ok());
    assert!(with_protected(&protected(&[class(), counter()])).is_ok());
    let hash = value(tlv::SHA256, &[0; 32]);
    for (name, bytes) in [
        ("an empty list", protected(&[])),
        ("the class twice", protected(&[class(), class()])),
        ("the counter twice", protected(&[counter(), class(), counter()])),
        ("a short class", protected(&[value(tlv::CLASS, &CLASS.0[..15])])),
        ("a long class", protected(&[value(tlv::CLASS, &[0; 17])])),
        ("an empty class", protected(&[value(tlv::CLASS, &[])])),
        ("a short counter", protected(&[class(), value(tlv::SECURITY_COUNTER, &[1, 0, 0])])),
        ("a long counter", protected(&[class(), value(tlv::SECURITY_COUNTER, &[1; 8])])),
        ("a hash", protected(&[class(), hash])),
        ("a key hash", protected(&[class(), value(tlv::KEY_HASH, &key_hash(&public(&key(1))))])),
        ("another vendor's TLV", protected(&[class(), value(0x00a1, &CLASS.0)])),
        ("the class with another upper byte", protected(&[value(0x0175, &CLASS.0)])),
        ("a dependency", protected(&[class(), value(0x40, &[0; 12])])),
        ("a boot record", protected(&[class(), value(0x60, &[0; 40])])),
        ("a long unknown one", protected(&[class(), value(0x00ff, &[0; 5000])])),
        ("the unprotected magic", list(0x6907, &[class()])),
        ("another magic", list(0x6909, &[class()])),
    ] {
        assert_eq!(with_protected(&bytes), Err(UpdateFault::ImageForm), "{name}");
    }
    // The class where nobody signs it.
    let unprotected =
        with_unprotected(|[hash, key, signature]| list(0x6907, &[hash, key, signature, class()]));
    assert_eq!(unprotected, Err(UpdateFault::ImageForm));
    assert_eq!(with_protected(&[]), Err(UpdateFault::ImageClass));
}

#[test]
fn lists_of_other_sizes_than_their_heads_say_are_refused() {
    let right = protected(&[class()]);
    let size_of_head = |size: u16| {
        let mut bytes = right.clone();
        bytes[2..4].copy_from_slice(&size.to_le_bytes());
        bytes
    };
    for size in [0, 4, 23, 24, 43, 45, 0xffff] {
        assert_eq!(with_protected(&size_of_head(size)), Err(UpdateFault::ImageForm), "{size}");
    }
    let len_of_value = |len: u16| {
        let mut bytes = right.clone();
        bytes[6..8].copy_from_slice(&len.to_le_bytes());
        bytes
    };
    // Ends early, reaches into the next list, reaches beyond everything.
    for len in [0, 12, 13, 15, 17, 20, 0xffff] {
        assert_eq!(with_protected(&len_of_value(len)), Err(UpdateFault::ImageForm), "{len}");
    }
    for size in 1..=3 {
        let bytes = [&right[..], &vec![0; size]].concat();
        assert_eq!(with_protected(&bytes), Err(UpdateFault::ImageForm), "{size} bytes behind the list");
    }
    // The header knows of no protected list, or of one that is not there.
    let other_header = |protected_size: u16| {
        let header = Header { protected_size, ..header(&right) };
        let bytes = assembled(&header, &right, |hash| list(0x6907, &genuine(hash)));
        accepted(&bytes, &public(&key(1)))
    };
    for size in [0, 1, 4, 24, 43, 45] {
        assert_eq!(other_header(size), Err(UpdateFault::ImageForm), "{size}");
    }
    assert_eq!(other_header(0xffff), Err(UpdateFault::Truncated));
    assert!(other_header(44).is_ok());
}

/// Makes the bytes behind an image's content of the genuine unprotected TLVs.
type Rest = fn([Vec<u8>; 3]) -> Vec<u8>;

#[test]
fn unprotected_tlvs_are_hash_key_and_signature_once_each() {
    assert!(with_unprotected(|tlvs| list(0x6907, &tlvs)).is_ok());
    assert!(with_unprotected(|[hash, key, signature]| list(0x6907, &[key, signature, hash])).is_ok());
    let form: [(&str, Rest); 14] = [
        ("an empty list", |_| list(0x6907, &[])),
        ("no hash", |[_, key, signature]| list(0x6907, &[key, signature])),
        ("the signature before its key", |[hash, key, signature]| list(0x6907, &[hash, signature, key])),
        ("a signature without a key", |[hash, _, signature]| list(0x6907, &[hash, signature])),
        ("two hashes", |[hash, key, signature]| list(0x6907, &[hash.clone(), hash, key, signature])),
        ("two keys", |[hash, key, signature]| list(0x6907, &[hash, key.clone(), key, signature])),
        ("two signatures", |[hash, key, signature]| list(0x6907, &[hash, key, signature.clone(), signature])),
        ("a second pair", |[hash, key, signature]| {
            list(0x6907, &[hash, key.clone(), signature.clone(), key, signature])
        }),
        ("the protected magic", |tlvs| list(0x6908, &tlvs)),
        ("a short hash", |[_, key, signature]| list(0x6907, &[value(tlv::SHA256, &[0; 31]), key, signature])),
        ("SHA-384", |[_, key, signature]| list(0x6907, &[value(0x11, &[0; 48]), key, signature])),
        ("an RSA signature", |[hash, key, _]| list(0x6907, &[hash, key, value(0x20, &[0; 256])])),
        ("an Ed25519 signature", |[hash, key, _]| list(0x6907, &[hash, key, value(0x24, &[0; 64])])),
        ("a counter", |[hash, key, signature]| {
            list(0x6907, &[hash, key, signature, value(tlv::SECURITY_COUNTER, &[0; 4])])
        }),
    ];
    for (name, rest) in form {
        assert_eq!(with_unprotected(rest), Err(UpdateFault::ImageForm), "{name}");
    }
    let named: [(&str, Rest, UpdateFault); 4] = [
        ("no key, no signature", |[hash, ..]| list(0x6907, &[hash]), UpdateFault::ImageUnsigned),
        ("no signature", |[hash, key, _]| list(0x6907, &[hash, key]), UpdateFault::ImageUnsigned),
        (
            "another hash",
            |[_, key, signature]| list(0x6907, &[value(tlv::SHA256, &[0; 32]), key, signature]),
            UpdateFault::ImageHash,
        ),
        (
            "another key",
            |[hash, _, signature]| list(0x6907, &[hash, value(tlv::KEY_HASH, &[0; 32]), signature]),
            UpdateFault::ImageKey,
        ),
    ];
    for (name, rest, fault) in named {
        assert_eq!(with_unprotected(rest), Err(fault), "{name}");
    }
}

#[test]
fn signatures_in_other_forms_are_refused() {
    let with_signature = |der: &[u8]| {
        let der = der.to_vec();
        with_unprotected(|[hash, key, _]| list(0x6907, &[hash, key, value(tlv::ECDSA, &der)]))
    };
    let mut der = Vec::new();
    assert!(
        with_unprotected(|tlvs| {
            der = tlvs[2][4..].to_vec();
            list(0x6907, &tlvs)
        })
        .is_ok()
    );
    assert!(with_signature(&der).is_ok());
    for (name, bytes) in [
        ("empty", vec![]),
        ("r and s without DER", sign(&key(1), &[1; 32]).as_bytes().to_vec()),
        ("padded with zeros to 72 bytes", [&der[..], &vec![0; 72 - der.len()]].concat()),
        ("cut off", der[..der.len() - 1].to_vec()),
        ("s = 0", vec![0x30, 6, 2, 1, 1, 2, 1, 0]),
        ("r = 0", vec![0x30, 6, 2, 1, 0, 2, 1, 1]),
        ("r and s = 1", vec![0x30, 6, 2, 1, 1, 2, 1, 1]),
    ] {
        assert_eq!(with_signature(&bytes), Err(UpdateFault::ImageSignature), "{name}");
    }
    assert_eq!(with_signature(&[0x30; 73]), Err(UpdateFault::ImageForm));
}

#[test]
fn a_signature_with_s_in_the_upper_half_is_taken_as_mcuboot_does() {
    let high = |hash: &Digest| {
        let low = p256::ecdsa::Signature::from_slice(sign(&key(1), hash).as_bytes()).unwrap();
        let (r, s) = low.split_scalars();
        p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap()
    };
    let protected = protected(&[class()]);
    let bytes = assembled(&header(&protected), &protected, |hash| {
        let high = high(hash);
        assert!(Signature::new(&high.to_bytes()).is_err());
        let [hash, key, _] = genuine(hash);
        list(0x6907, &[hash, key, value(tlv::ECDSA, high.to_der().as_bytes())])
    });
    assert!(accepted(&bytes, &public(&key(1))).is_ok());
}

#[test]
fn content_that_is_no_image_or_has_no_room_is_not_sealed() {
    let body = [1; 10];
    let right = content(&body);
    let seal = |content: &Content<'_>, room: usize| {
        let mut out = vec![0; room];
        content.seal(&public(&key(1)), &mut out, |digest| Ok::<_, ()>(sign(&key(1), digest))).is_ok()
    };
    assert!(seal(&right, right.bytes_max()));
    assert!(!seal(&right, right.bytes_max() - 1));
    assert!(!seal(&right, 0));
    assert!(!seal(&Content { header_size: 31, ..right }, 1000));
    assert!(!seal(&Content { body: &[], ..right }, 1000));
}

proptest! {
    #[test]
    fn a_header_reads_back_as_written(bytes in any::<[u8; 32]>(), sizes: (u16, u16, u32)) {
        let version = Version { major: bytes[0], minor: bytes[1], revision: 5, build: sizes.2 };
        let header = Header { header_size: sizes.0, protected_size: sizes.1, body_size: sizes.2 / 2, version };
        if let Ok(read) = Header::decode(&header.encode()) {
            prop_assert_eq!(read, header);
            prop_assert_eq!(read.version.build, sizes.2);
        }
        if let Ok(read) = Header::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn what_is_behind_a_header_is_read_or_refused_without_a_panic(
        tail in prop::collection::vec(any::<u8>(), 0..400), protected_size in 0..64_u16, body_size in 1..64_u32,
    ) {
        let header = Header { header_size: 32, protected_size, body_size, version: VERSION };
        let bytes = [&header.encode()[..], &tail].concat();
        if let Ok(image) = Image::decode(&bytes) {
            prop_assert!(image.bytes() as usize <= bytes.len() && image.hashed_bytes() < image.bytes());
        }
    }
}
