//! What a signed document is: it reads back as written, and nothing that differs from it in anything is taken for it.

mod samples;

#[path = "signed/round_trips.rs"]
mod round_trips;

use protocol::config::Change;
use protocol::document::{
    Action, Audience, AuthorityKey, BURST_PERIOD_MS_MAX, BURST_SAMPLES_MAX, CHAIN_MAX, Certificates, Command,
    ContentType, End, IdentityCertificate, LOG_PAYLOAD_BYTES_MAX, LogAcknowledgement, LogDelivery,
    PAYLOAD_BYTES_MAX, PROVISION_BYTES_MAX, Power, Provision, ROOTS_MAX, RenewalRequest, Retirement,
    RootList,
};
use protocol::signed::{
    DOCUMENT_BYTES_MAX, Document, ENVELOPE_BYTES_MAX, Envelope, PROVISION_DOCUMENT_BYTES_MAX, SealError, seal,
};
use protocol::{DeviceId, KeyId, Name, PublicKey, Refusal, Signature};
use samples::{Parts, Size, key, key_of, public, sealed, sealed_with, sign, verified_as};

/// Each content type with the bytes of a document of it.
fn documents(size: Size) -> impl Iterator<Item = (ContentType, Vec<u8>, PublicKey)> {
    ContentType::ALL.into_iter().map(move |content_type| {
        let key = key_of(content_type.power());
        (content_type, sealed(content_type, size, &key), public(&key))
    })
}

#[test]
fn every_document_is_believed_with_its_key_and_names_its_signer() {
    for size in Size::BOTH {
        for (content_type, bytes, key) in documents(size) {
            let envelope = Envelope::decode(&bytes).unwrap();
            assert_eq!((envelope.content_type(), envelope.signer()), (content_type, key.id()));
            let number = match (content_type, size) {
                (ContentType::Provision, _) => 0,
                (_, Size::Small) => 1,
                (_, Size::Longest) => u32::MAX,
            };
            assert_eq!(verified_as(content_type, &bytes, &key), Ok((key.id(), number)), "{content_type:?}");
        }
    }
}

#[test]
fn every_document_with_any_bit_flipped_is_refused() {
    for (content_type, mut bytes, key) in documents(Size::Small) {
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(verified_as(content_type, &bytes, &key).is_err(), "{content_type:?}, bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(verified_as(content_type, &bytes, &key).is_ok());
    }
}

#[test]
fn every_document_cut_short_or_with_bytes_after_it_is_refused() {
    for (content_type, mut bytes, key) in documents(Size::Small) {
        for len in 0..bytes.len() {
            let refusal = verified_as(content_type, &bytes[..len], &key).unwrap_err();
            assert_eq!(refusal, Refusal::Malformed, "{content_type:?}, {len} bytes");
        }
        for after in [0, 0xa0, 0xd2, 0xff] {
            bytes.push(after);
            assert_eq!(verified_as(content_type, &bytes, &key), Err(Refusal::Malformed), "{content_type:?}");
            bytes.pop();
        }
    }
}

#[test]
fn every_document_is_refused_with_every_other_key() {
    for (content_type, bytes, right) in documents(Size::Small) {
        for power in Power::ALL {
            let other = public(&key_of(power));
            let expected = if other == right { Ok((right.id(), 0)) } else { Err(Refusal::UnknownKey) };
            let found = verified_as(content_type, &bytes, &other).map(|(signer, _)| (signer, 0));
            assert_eq!(found, expected, "{content_type:?} with the key of {power}");
        }
    }
}

/// Somebody names a key that the device knows and signs with their own.
#[test]
fn every_document_that_names_another_key_than_it_was_signed_with_is_refused() {
    let attacker = key(99);
    for (content_type, bytes, right) in documents(Size::Small) {
        let parts = Parts::of(&bytes);
        let forged = Parts { signature: sign(&attacker, &parts.digest()).as_bytes().to_vec(), ..parts };
        assert_eq!(verified_as(content_type, &forged.write(), &right), Err(Refusal::Signature));
    }
}

#[test]
fn a_document_of_one_type_is_never_another() {
    for (content_type, bytes, key) in documents(Size::Small) {
        for other in ContentType::ALL.into_iter().filter(|other| *other != content_type) {
            assert_eq!(
                verified_as(other, &bytes, &key),
                Err(Refusal::ContentType),
                "{content_type:?} as {other:?}"
            );
        }
    }
}

/// Even where one key signs a payload under the name of another type: the payloads are told apart as well.
#[test]
fn a_payload_under_the_name_of_another_type_is_refused() {
    let signer = key(1);
    for (content_type, bytes, _) in documents(Size::Small) {
        for other in ContentType::ALL.into_iter().filter(|other| *other != content_type) {
            let forged = Parts::of(&bytes).with_content_type(other, &signer);
            let refusal = verified_as(other, &forged.write(), &public(&signer)).unwrap_err();
            let expected = match other {
                ContentType::Configuration => Refusal::Configuration,
                _ => Refusal::Payload,
            };
            assert_eq!(refusal, expected, "{content_type:?} as {other:?}");
        }
    }
}

#[test]
fn every_document_with_the_other_signature_of_the_pair_is_refused() {
    for (content_type, bytes, key) in documents(Size::Small) {
        let parts = Parts::of(&bytes);
        let low = p256::ecdsa::Signature::from_slice(&parts.signature).unwrap();
        let high = p256::ecdsa::Signature::from_scalars(low.r().to_bytes(), (-*low.s()).to_bytes()).unwrap();
        // It is a signature that anybody else would take.
        assert_eq!(high.normalize_s(), low);
        let forged = Parts { signature: high.to_bytes().to_vec(), ..parts };
        assert_eq!(verified_as(content_type, &forged.write(), &key), Err(Refusal::Signature));
    }
}

#[test]
fn the_longest_documents_fit_into_the_sizes_that_are_stated_for_them() {
    for (content_type, bytes, _) in documents(Size::Longest) {
        let max = if content_type == ContentType::Provision {
            PROVISION_DOCUMENT_BYTES_MAX
        } else {
            DOCUMENT_BYTES_MAX
        };
        assert!(bytes.len() <= max, "{content_type:?}: {} of {max}", bytes.len());
    }
    // Not far too large either: this is RAM.
    let longest = |content_type| sealed(content_type, Size::Longest, &key(1)).len();
    assert!(DOCUMENT_BYTES_MAX - longest(ContentType::Roots) < 128);
    assert!(LOG_PAYLOAD_BYTES_MAX + ENVELOPE_BYTES_MAX - longest(ContentType::Log) < 32);
    assert!(PROVISION_DOCUMENT_BYTES_MAX - longest(ContentType::Provision) < 256);
}

#[test]
fn the_envelope_adds_no_more_than_is_stated() {
    for (content_type, bytes, _) in documents(Size::Longest) {
        let added = bytes.len() - Parts::of(&bytes).payload.len();
        assert!(added <= ENVELOPE_BYTES_MAX, "{content_type:?}: {added}");
    }
    let added = |content_type| Parts::new(content_type, vec![0; 300], &key(1)).write().len() - 300;
    assert_eq!(added(ContentType::LogAcknowledgement), ENVELOPE_BYTES_MAX, "the longest name");
}

#[test]
fn no_name_of_a_content_type_is_longer_than_is_stated_and_none_is_there_twice() {
    for content_type in ContentType::ALL {
        assert!(content_type.as_str().len() <= ContentType::BYTES_MAX, "{content_type:?}");
        assert_eq!(ContentType::from_wire(content_type.as_str()), Some(content_type));
    }
    let longest = ContentType::ALL.map(|content_type| content_type.as_str().len()).into_iter().max();
    assert_eq!(longest, Some(ContentType::BYTES_MAX));
}

#[test]
fn documents_that_are_too_long_are_refused_before_anything_is_read() {
    assert_eq!(Envelope::decode(&vec![0; PROVISION_DOCUMENT_BYTES_MAX + 1]), Err(Refusal::TooLong));
    let signer = key(1);
    for (content_type, max) in ContentType::ALL.map(|it| (it, it.payload_bytes_max())) {
        let long = Parts::new(content_type, vec![0; max + 1], &signer).write();
        assert_eq!(Envelope::decode(&long).unwrap_err(), Refusal::TooLong, "{content_type:?}");
        let longest = Parts::new(content_type, vec![0; max], &signer).write();
        assert!(Envelope::decode(&longest).is_ok(), "{content_type:?}");
    }
    assert_eq!(ContentType::Provision.payload_bytes_max(), PROVISION_BYTES_MAX);
    assert_eq!(ContentType::Roots.payload_bytes_max(), PAYLOAD_BYTES_MAX);
}

#[test]
fn a_document_is_sealed_into_a_buffer_of_its_length_and_into_no_shorter_one() {
    let signer = key(1);
    for size in Size::BOTH {
        let document = samples::roots(size);
        let whole = sealed_with(&document, &signer);
        for len in (0..whole.len()).rev().take(200).chain(0..8) {
            let mut asked = false;
            let short = seal(&document, public(&signer).id(), &mut vec![0; len], |digest| {
                asked = true;
                Ok::<_, ()>(sign(&signer, digest))
            });
            assert_eq!(short, Err(SealError::TooLong), "{len} of {}", whole.len());
            assert!(!asked, "a signature was made for nothing");
        }
        let mut exact = vec![0; whole.len()];
        let len =
            seal(&document, public(&signer).id(), &mut exact, |digest| Ok::<_, ()>(sign(&signer, digest)));
        assert_eq!((len, exact), (Ok(whole.len()), whole));
    }
}

#[test]
fn a_signer_that_fails_is_named() {
    let failed = seal(&samples::command(Size::Small), KeyId([0; 32]), &mut [0; 512], |_| Err("no key"));
    assert_eq!(failed, Err(SealError::Signer("no key")));
    assert_eq!(failed.unwrap_err().to_string(), "it was not signed: no key");
}

#[test]
fn what_is_for_one_device_is_refused_for_a_group_and_for_all() {
    let signer = key(1);
    let group = Audience::Group(Name::try_from("group-1").unwrap());
    for audience in [group, Audience::All] {
        let mut one = [
            sealed_with(
                &IdentityCertificate { audience: audience.clone(), ..samples::certificate(Size::Small) },
                &signer,
            ),
            sealed_with(
                &Retirement { audience: audience.clone(), ..samples::retirement(Size::Small) },
                &signer,
            ),
            sealed_with(
                &Provision { audience: audience.clone(), ..samples::provision(Size::Small) },
                &signer,
            ),
            sealed_with(
                &RenewalRequest { audience: audience.clone(), ..samples::renewal_request(Size::Small) },
                &signer,
            ),
            sealed_with(&LogDelivery { audience: audience.clone(), ..samples::log(Size::Small) }, &signer),
            sealed_with(
                &LogAcknowledgement {
                    audience: audience.clone(),
                    ..samples::log_acknowledgement(Size::Small)
                },
                &signer,
            ),
        ]
        .into_iter();
        for content_type in [
            ContentType::Certificate,
            ContentType::Retirement,
            ContentType::Provision,
            ContentType::RenewalRequest,
            ContentType::Log,
            ContentType::LogAcknowledgement,
        ] {
            let refused = verified_as(content_type, &one.next().unwrap(), &public(&signer));
            assert_eq!(refused, Err(Refusal::Audience), "{content_type:?} for {audience:?}");
        }
        let many =
            sealed_with(&Command { audience: audience.clone(), ..samples::command(Size::Small) }, &signer);
        assert!(verified_as(ContentType::Command, &many, &public(&signer)).is_ok());
        let many = sealed_with(&RootList { audience, ..samples::roots(Size::Small) }, &signer);
        assert!(verified_as(ContentType::Roots, &many, &public(&signer)).is_ok());
    }
}

#[test]
fn lists_that_are_empty_and_powers_that_no_document_may_replace_are_refused() {
    let signer = key(1);
    let refused = |content_type, bytes: Vec<u8>| {
        assert_eq!(
            verified_as(content_type, &bytes, &public(&signer)),
            Err(Refusal::Payload),
            "{content_type:?}"
        );
    };
    let none = Certificates::<ROOTS_MAX>::default();
    let no_chain = Certificates::<CHAIN_MAX>::default();
    let size = Size::Small;
    refused(
        ContentType::Roots,
        sealed_with(&RootList { roots: none.clone(), ..samples::roots(size) }, &signer),
    );
    refused(
        ContentType::Certificate,
        sealed_with(&IdentityCertificate { chain: no_chain.clone(), ..samples::certificate(size) }, &signer),
    );
    let provision = samples::provision(size);
    refused(
        ContentType::Provision,
        sealed_with(&Provision { chain: no_chain, ..provision.clone() }, &signer),
    );
    refused(ContentType::Provision, sealed_with(&Provision { roots: none, ..provision.clone() }, &signer));
    refused(ContentType::Provision, sealed_with(&Provision { configuration: b"", ..provision }, &signer));
    let request = samples::renewal_request(size);
    refused(
        ContentType::RenewalRequest,
        sealed_with(&RenewalRequest { tls_csr: b"", ..request.clone() }, &signer),
    );
    let long = [0; protocol::document::CSR_BYTES_MAX + 1];
    refused(
        ContentType::RenewalRequest,
        sealed_with(&RenewalRequest { identity_csr: &long, ..request }, &signer),
    );
    for power in Power::ALL {
        let document = AuthorityKey { power, ..samples::authority_key(size) };
        let found =
            verified_as(ContentType::AuthorityKey, &sealed_with(&document, &signer), &public(&signer));
        let replaceable = matches!(power, Power::Firmware | Power::Configuration | Power::Anchors);
        assert_eq!(found.is_ok(), replaceable, "{power}");
        assert!(replaceable || found == Err(Refusal::Payload), "{power}");
    }
}

#[test]
fn a_configuration_with_blanks_is_taken_and_one_that_is_none_is_named() {
    let signer = key(1);
    let text = samples::configuration_json(Size::Small);
    let spaced = Parts::new(ContentType::Configuration, text.replace(',', ",\n ").into_bytes(), &signer);
    assert!(verified_as(ContentType::Configuration, &spaced.write(), &public(&signer)).is_ok());
    for bad in [text.replace("\"v\":2", "\"v\":3"), format!("{text}x"), text.replace('}', ",\"x\":1}")] {
        let parts = Parts::new(ContentType::Configuration, bad.clone().into_bytes(), &signer);
        assert_eq!(
            verified_as(ContentType::Configuration, &parts.write(), &public(&signer)),
            Err(Refusal::Configuration),
            "{bad}"
        );
    }
}

#[test]
fn a_signature_is_only_ever_in_the_lower_half() {
    let signer = key(1);
    let signature = sign(&signer, &[7; 32]);
    assert!(Signature::new(signature.as_bytes()).is_ok());
}
