//! The fuzzer's seeds for what is signed and for the factory's line are what the code writes: a change of a form shows here. To
//! write them anew: `UPDATE_SEEDS=1 cargo test --package protocol --test seeds`.

mod samples;
mod suit_cases;
mod update_cases;

use protocol::document::{CSR_BYTES_MAX, ContentType, KeyUse, NONCE_BYTES};
use protocol::provisioning::frame::{FRAME_BYTES_MAX, encode_frame};
use protocol::provisioning::{Fault, FromDevice, Life, MESSAGE_BYTES_MAX, PART_BYTES_MAX, ToDevice, VERSION};
use protocol::state::Alarm;
use protocol::{
    ClockQuality, DeviceId, EncodeError, EpochMillis, Failure, KeyId, Name, Refusal, ResetCause, State,
};
use samples::{Parts, Size, key_of, sealed};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds")
}

fn documents(seeds: &mut Seeds) {
    for content_type in ContentType::ALL {
        for (size, suffix) in [(Size::Small, ""), (Size::Longest, "-longest")] {
            let (_, name) = content_type.as_str().split_once("sensor.").expect("one of ours");
            let name = format!("{}{suffix}", name.replace('+', "-"));
            let bytes = sealed(content_type, size, &key_of(content_type.power()));
            seeds.insert(("document", name.clone()), Parts::of(&bytes).payload);
            seeds.insert(("envelope", name), bytes);
        }
    }
}

/// A state as it begins, and the longest of its parts.
fn states(seeds: &mut Seeds) {
    let unset = State::new(Name::try_from("0.1.0").unwrap(), 1, ResetCause::PowerOn);
    let mut synchronised = unset.clone();
    synchronised.t = Some(EpochMillis(1_790_000_000_000));
    synchronised.clock = ClockQuality::Synchronised;
    synchronised.last_failure = Some(Failure::TlsExpired);
    synchronised.alarms.push(Alarm::TemperatureHigh).unwrap();
    synchronised.alarms.push(Alarm::PressureLow).unwrap();
    for (name, it) in [("unset", unset), ("synchronised", synchronised)] {
        seeds.insert(("state", name.into()), message(|out| it.encode(out)));
    }
}

fn message(encode: impl FnOnce(&mut [u8]) -> Result<usize, EncodeError>) -> Vec<u8> {
    let mut out = vec![0; MESSAGE_BYTES_MAX];
    let len = encode(&mut out).expect("a message fits");
    out.truncate(len);
    out
}

fn messages(seeds: &mut Seeds) {
    let id = DeviceId::new("dev-1").unwrap();
    let part = [0x5a; PART_BYTES_MAX];
    for (name, it) in [
        ("identify", ToDevice::Identify { version: VERSION }),
        ("begin", ToDevice::Begin { id }),
        ("inject", ToDevice::Inject { key: KeyUse::Identity, scalar: &[1; 32] }),
        ("part", ToDevice::Part { offset: 256, bytes: &part }),
        ("commit", ToDevice::Commit { len: 5000 }),
        ("renew", ToDevice::Renew { now_s: 1_800_000_000 }),
    ] {
        seeds.insert(("message", name.into()), message(|out| it.encode(out)));
    }
    let identity = |life, identity| FromDevice::Identity {
        version: VERSION,
        life,
        firmware: Name::try_from("0.1.0").unwrap(),
        board: Name::try_from("native_sim").unwrap(),
        serial: Name::try_from("00ff").unwrap(),
        factory: KeyId([4; 32]),
        identity,
        until_s: identity.map(|_| 1_800_000_000),
    };
    let csr = [0x30; CSR_BYTES_MAX];
    for (name, it) in [
        ("blank", identity(Life::Blank, None)),
        ("locked", identity(Life::Provisioned, Some(KeyId([5; 32])))),
        (
            "requests",
            FromDevice::Requests { nonce: [6; NONCE_BYTES], identity_csr: &csr, tls_csr: &csr[..9] },
        ),
        ("taken", FromDevice::Taken { len: 512 }),
        ("provisioned", FromDevice::Provisioned { identity: KeyId([5; 32]) }),
        ("renewal", FromDevice::Renewal { request: &csr }),
        ("refused", FromDevice::Refused { why: Fault::Document(Refusal::Signature) }),
        ("entropy", FromDevice::Refused { why: Fault::Entropy }),
    ] {
        seeds.insert(("message", name.into()), message(|out| it.encode(out)));
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0; FRAME_BYTES_MAX];
    let len = encode_frame(message, &mut out).expect("a frame fits");
    out.truncate(len);
    out
}

fn frames(seeds: &mut Seeds) {
    let identify = frame(&seeds[&("message", "identify".into())]);
    let requests = frame(&seeds[&("message", "requests".into())]);
    let log = b"[00:00:00.100,000] <inf> sensor: no identity\r\n";
    for (name, bytes) in [
        ("one", identify.clone()),
        ("two", [&identify[..], &requests].concat()),
        ("log-between", [&log[..], &identify, log, &requests, log].concat()),
        ("broken-off", [&requests[..100], &identify].concat()),
        ("overlong", [&vec![b'x'; FRAME_BYTES_MAX + 1][..], &identify].concat()),
        ("longest", frame(&[1; MESSAGE_BYTES_MAX])),
        ("zeros", frame(&[0; MESSAGE_BYTES_MAX])),
        ("nothing", vec![0, 1, 1, 1, 1, 1, 0]),
    ] {
        seeds.insert(("frames", name.into()), bytes);
    }
}

/// Ours, and the IETF's examples inside and outside the subset.
fn manifests(seeds: &mut Seeds) {
    for (name, bytes) in [
        ("smallest", suit_cases::sealed(&suit_cases::smallest())),
        ("release", suit_cases::sealed(&suit_cases::release())),
        ("fullest", suit_cases::sealed(&suit_cases::fullest())),
        ("example1", suit_cases::vector("manifest-37/example1")),
        ("example2", suit_cases::vector("manifest-37/example2")),
        ("example3", suit_cases::vector("manifest-37/example3")),
        ("metadata", suit_cases::vector("libcsuit/update-management-10-example3")),
    ] {
        seeds.insert(("manifest", name.into()), bytes);
    }
}

#[test]
fn the_seeds_are_what_the_code_writes() {
    let mut seeds = Seeds::new();
    documents(&mut seeds);
    states(&mut seeds);
    messages(&mut seeds);
    frames(&mut seeds);
    manifests(&mut seeds);
    for (target, name, bytes) in update_cases::seeds() {
        seeds.insert((target, name.into()), bytes);
    }
    let update = std::env::var_os("UPDATE_SEEDS").is_some();
    for ((target, name), bytes) in &seeds {
        let path = folder().join(target).join(name);
        if update {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        let there = std::fs::read(&path).unwrap_or_default();
        assert!(there == *bytes, "{target}/{name} differs; UPDATE_SEEDS=1 writes it anew");
    }
    for target in
        ["document", "envelope", "state", "message", "frames", "manifest", "image", "block", "patch"]
    {
        let count = seeds.keys().filter(|(of, _)| *of == target).count();
        assert_eq!(std::fs::read_dir(folder().join(target)).unwrap().count(), count, "{target}");
    }
}
