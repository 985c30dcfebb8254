//! The fuzzer's seeds for the security log are what the code writes: a change of the form of a record shows here, and would make
//! every stored log unreadable. To write them anew: `UPDATE_SEEDS=1 cargo test --package protocol --test log_seeds`.

use protocol::audit::{Event, FIRST, Hash, RECORD_BYTES_MAX, Record, append, hash};
use protocol::document::{Action, End, Power};
use protocol::image::Version;
use protocol::{
    Channel, ClockQuality, EpochMillis, Failure, KeyId, Layer, Refusal, ResetCause, Signature, UpdateFault,
};
use std::path::Path;

fn events() -> Vec<Event> {
    let (identity, version) = (KeyId([3; 32]), Version::new(1, 2, 3));
    vec![
        Event::Provisioned { identity },
        Event::Boot { reset: ResetCause::PowerOn, firmware: "1.2.3".try_into().expect("short") },
        Event::ClockSet { by_ms: None },
        Event::ClockSet { by_ms: Some(-2_500) },
        Event::KeysMade,
        Event::IdentityReplaced { identity },
        Event::IdentityRefused,
        Event::IdentityFellBack { identity },
        Event::IdentityWiped,
        Event::RootsReplaced { number: 4 },
        Event::RootsUndone { number: 5 },
        Event::AuthorityReplaced { power: Power::Firmware, key: identity },
        Event::Configured { layer: Layer::Group, number: 9 },
        Event::ConfigurationUndone { layer: Layer::Device, number: 10 },
        Event::Commanded { number: 11, action: Action::SendLog { from: 2 } },
        Event::CommandRefused { why: Refusal::Expired },
        Event::CertificateEnded { until: EpochMillis::from_seconds(1_800_000_000) },
        Event::CertifiedOnLine { identity: KeyId([7; 32]) },
        Event::DocumentRefused { channel: Some(Channel::RootsDesired), why: Refusal::Signature },
        Event::DocumentRefused { channel: None, why: Refusal::ContentType },
        Event::PeerRefused { why: Failure::TlsName },
        Event::TimeRefused,
        Event::UpdateNoticed { version, sequence: 12 },
        Event::UpdateRefused { why: UpdateFault::Signature },
        Event::UpdateWithdrawn,
        Event::UpdateDownloaded { bytes: 200_000 },
        Event::UpdateInstalling { version },
        Event::UpdateConfirmed { version },
        Event::UpdateUndone { why: UpdateFault::NoSensor },
        Event::UpdateReverted { why: UpdateFault::NoSensor },
        Event::StorageFailed,
        Event::EntropyFailed,
        Event::Repeated { kind: 15, count: 1_000 },
        Event::Lost { first: 3, count: 40 },
        Event::Seal { identity, signature: Signature::new(&[0x21; 64]).expect("a signature") },
        Event::Retired { end: End::Blank },
    ]
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let (mut seeds, mut all): (Vec<_>, Vec<u8>) = (Vec::new(), Vec::new());
    let mut previous: Hash = FIRST;
    for (sequence, event) in (0..).zip(events()) {
        let known = sequence > 2;
        let record = Record {
            sequence,
            boot: 1 + sequence / 10,
            time: known.then_some(EpochMillis(1_795_000_000_000 + u64::from(sequence) * 1_000)),
            clock: if known { ClockQuality::Synchronised } else { ClockQuality::Unset },
            event,
        };
        let mut bytes = [0; RECORD_BYTES_MAX];
        let len = record.encode(&mut bytes).expect("it fits");
        previous = hash(&previous, &bytes[..len]);
        let mut entry = [0; RECORD_BYTES_MAX + 40];
        let written = append(&bytes[..len], &previous, &mut entry).expect("it fits");
        all.extend_from_slice(&entry[..written]);
        let name = Event::name(record.event.kind()).expect("a kind");
        seeds.push((format!("record-{sequence}-{name}"), bytes[..len].to_vec()));
    }
    seeds.push(("entries-cut".into(), all[..all.len() - 5].to_vec()));
    seeds.push(("entries-without-the-first".into(), all[60..].to_vec()));
    seeds.push(("entries".into(), all));
    seeds
}

#[test]
fn the_seeds_are_what_the_code_writes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/log");
    let seeds = seeds();
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("the old seeds go");
        }
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, bytes) in &seeds {
            std::fs::write(folder.join(name), bytes).expect("written");
        }
    }
    for (name, bytes) in &seeds {
        let stored = std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            stored == *bytes,
            "the form of {name} has changed: logs that are stored cannot be read any more"
        );
        protocol::fuzz::log(bytes);
    }
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), seeds.len());
}
