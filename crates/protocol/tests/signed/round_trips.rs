//! Whatever is written reads back as it was.

use super::*;
use proptest::prelude::*;
use std::fmt::Debug;

fn device_id() -> impl Strategy<Value = DeviceId> {
    "[A-Za-z0-9_-]{1,32}".prop_filter_map("the operator's", |text| DeviceId::new(&text).ok())
}

fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9._+/@-]{0,32}".prop_map(|text| Name::try_from(text.as_str()).unwrap())
}

fn audience() -> impl Strategy<Value = Audience> {
    prop_oneof![device_id().prop_map(Audience::Device), name().prop_map(Audience::Group), Just(Audience::All)]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Report),
        (1..=BURST_SAMPLES_MAX, 50..=BURST_PERIOD_MS_MAX)
            .prop_map(|(samples, period_ms)| Action::Burst { samples, period_ms }),
        Just(Action::Reboot),
        Just(Action::Rotate),
        any::<u32>().prop_map(|from| Action::SendLog { from }),
    ]
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..40),
        (1..=max, any::<u8>()).prop_map(|(len, b)| vec![b; len])
    ]
}

fn certificates(max: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(bytes(protocol::document::CERTIFICATE_BYTES_MAX), 1..=max)
}

fn borrowed<const MAX: usize>(list: &[Vec<u8>]) -> Certificates<'_, MAX> {
    Certificates(list.iter().map(Vec::as_slice).collect())
}

fn reads_back<'b, T: Document<'b> + PartialEq + Debug>(document: &T, out: &'b mut Vec<u8>) {
    let signer = key(1);
    *out = sealed_with(document, &signer);
    let verified = Envelope::decode(out).unwrap().verify::<T>(&public(&signer)).unwrap();
    assert_eq!(&*verified, document);
    assert_eq!(verified.number(), document.number());
    assert_eq!(verified.audience(), document.audience());
    assert_eq!(&verified.into_inner(), document);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn lists_of_roots_and_certificates_read_back_as_written(
        audience in audience(), id in device_id(), number: u32, roots in certificates(ROOTS_MAX), chain in certificates(CHAIN_MAX),
        identity: [u8; 32],
    ) {
        let document = RootList { audience, number, roots: borrowed(&roots) };
        reads_back(&document, &mut Vec::new());
        let audience = Audience::Device(id);
        let document = IdentityCertificate { audience, number, identity: KeyId(identity), chain: borrowed(&chain) };
        reads_back(&document, &mut Vec::new());
    }

    #[test]
    fn authority_keys_and_commands_read_back_as_written(
        audience in audience(), id in device_id(), number: u32, identity: [u8; 32], expires_s: u64, action in action(),
        power in prop::sample::select(&[Power::Firmware, Power::Configuration, Power::Anchors][..]), key in 1u8..200,
        end in prop::sample::select(&[End::Blank, End::Destroyed][..]),
    ) {
        let key = public(&samples::key(key));
        reads_back(&AuthorityKey { audience: audience.clone(), number, power, key }, &mut Vec::new());
        reads_back(&Command { audience, number, expires_s, action }, &mut Vec::new());
        let audience = Audience::Device(id);
        reads_back(&Retirement { audience, number, end, identity: KeyId(identity), expires_s }, &mut Vec::new());
    }

    #[test]
    fn requests_and_provisions_read_back_as_written(
        id in device_id(), number: u32, group in name(), nonce: [u8; 16], identity: [u8; 32],
        roots in certificates(ROOTS_MAX), chain in certificates(CHAIN_MAX), configuration in bytes(protocol::config::CONFIGURATION_BYTES_MAX),
        identity_csr in bytes(320), tls_csr in bytes(320),
    ) {
        let audience = Audience::Device(id);
        let request =
            RenewalRequest { audience: audience.clone(), number, identity_csr: &identity_csr, tls_csr: &tls_csr };
        reads_back(&request, &mut Vec::new());
        let provision = Provision {
            audience, nonce, group, identity: KeyId(identity), chain: borrowed(&chain), roots: borrowed(&roots),
            firmware: public(&key(1)), configuration_key: public(&key(2)), anchors: public(&key(3)),
            configuration: &configuration,
        };
        reads_back(&provision, &mut Vec::new());
    }

    #[test]
    fn logs_and_their_acknowledgements_read_back_as_written(
        id in device_id(), number: u32, hash: [u8; 32], entries in prop::collection::vec(any::<u8>(), 0..1_100),
    ) {
        let audience = Audience::Device(id);
        let delivery = LogDelivery { audience: audience.clone(), number, previous: hash, entries: &entries };
        reads_back(&delivery, &mut Vec::new());
        reads_back(&LogAcknowledgement { audience, number, hash }, &mut Vec::new());
    }

    #[test]
    fn configurations_read_back_as_written(id in device_id(), number in 1..u32::MAX, size in prop::sample::select(&Size::BOTH[..])) {
        let mut change: Change = samples::configuration(size);
        (change.audience, change.number) = (Audience::Device(id), number);
        reads_back(&change, &mut Vec::new());
    }

    #[test]
    fn bytes_after_the_payload_or_changed_in_it_are_refused_even_where_the_key_signed_them(
        at: prop::sample::Index, bit in 0u8..8, after: Option<u8>,
    ) {
        let signer = key(1);
        let parts = Parts::of(&sealed(ContentType::AuthorityKey, Size::Small, &signer));
        let mut payload = parts.payload.clone();
        match after {
            Some(byte) => payload.push(byte),
            None => *at.get_mut(&mut payload) ^= 1 << bit,
        }
        let bytes = Parts::new(ContentType::AuthorityKey, payload.clone(), &signer).write();
        let envelope = Envelope::decode(&bytes).unwrap();
        // Another value may be one, but then it is written as it was read.
        match envelope.verify::<AuthorityKey>(&public(&signer)) {
            Err(refusal) => prop_assert_eq!(refusal, Refusal::Payload),
            Ok(document) => {
                let mut again = vec![0; PAYLOAD_BYTES_MAX];
                let len = document.encode(&mut again).unwrap();
                prop_assert_eq!(&again[..len], &payload[..]);
            }
        }
    }
}
