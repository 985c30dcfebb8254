//! The factory state: order, verification as a whole, one commit, and a lock afterwards. R-PROVISION, R-INITIAL-SECRET.

#[path = "provisioning/document.rs"]
mod document;
mod world;

use device::provisioning::{
    About, AdoptError, Development, Document, Factory, KEYS_PER_START, Locked, Standing, adopt, standing,
};
use device::{Device, Key, KeySlot, RootsPlace, StartError, Uptime};
use protocol::config::Authentication;
use protocol::document::KeyUse;
use protocol::provisioning::{Fault, FromDevice, Life, MESSAGE_BYTES_MAX, PART_BYTES_MAX, ToDevice, VERSION};
use protocol::x509::Csr;
use protocol::{DeviceId, Refusal};
use std::collections::HashMap;
use world::Platform;
use world::factory::{configuration, deliver, encoded, provision, room, say};
use world::field::{Field, ID};
use world::service::{Ca, Service, about, certificates};
use world::vault::{Keys, public};

type Line = Factory<Platform, Box<Document>>;
type Content = (HashMap<Key, Vec<u8>>, Keys);

const BEGIN: &str = ID;

fn blank() -> (Platform, Line) {
    let platform = Platform::blank(3);
    (platform.clone(), Factory::new(platform, about(), room()))
}

fn begin(id: &str) -> ToDevice<'static> {
    ToDevice::Begin { id: DeviceId::new(id).unwrap() }
}

fn begun(id: &str) -> (Platform, Line) {
    let (platform, mut line) = blank();
    assert_eq!(fault(&mut line, &begin(id)), None);
    (platform, line)
}

fn fault(line: &mut Line, message: &ToDevice<'_>) -> Option<Fault> {
    say(line, message, |answer| match answer {
        FromDevice::Refused { why } => Some(why),
        _ => None,
    })
}

fn taken(line: &mut Line, offset: usize, bytes: &[u8]) -> Result<u32, Fault> {
    say(line, &ToDevice::Part { offset: offset as u32, bytes }, |answer| match answer {
        FromDevice::Taken { len } => Ok(len),
        FromDevice::Refused { why } => Err(why),
        other => panic!("{other:?}"),
    })
}

fn content(platform: &Platform) -> Content {
    (platform.store.borrow().clone(), platform.keys.borrow().clone())
}

/// Begins, and gives the signed document that `make` makes of the requests.
fn requested(line: &mut Line, make: impl FnOnce(&FromDevice<'_>) -> Vec<u8>) -> Vec<u8> {
    say(line, &begin(BEGIN), |requests| make(&requests))
}

fn good(service: &Service, requests: &FromDevice<'_>) -> Vec<u8> {
    service.provision(requests, &encoded(&configuration(ID, Authentication::Certificate)), |_| {})
}

#[test]
fn a_blank_device_is_provisioned_and_starts() {
    let (platform, mut line) = blank();
    let about = about();
    let who = ToDevice::Identify { version: VERSION };
    let blank = say(&mut line, &who, |answer| {
        matches!(answer, FromDevice::Identity { version: VERSION, life: Life::Blank, identity: None, until_s: None, ref firmware,
            ref board, ref serial, factory } if *firmware == about.firmware && *board == about.board
            && *serial == about.serial && factory == about.factory.id())
    });
    assert!(blank);
    assert_eq!(standing(&mut platform.clone()), Ok(Standing::Blank));

    let service = Service::new();
    let (document, identity) = say(&mut line, &begin(ID), |requests| {
        let FromDevice::Requests { nonce, identity_csr, tls_csr } = requests else { panic!("{requests:?}") };
        assert!(nonce.iter().any(|byte| *byte != 0));
        let (identity, tls) = (Csr::decode(identity_csr).unwrap(), Csr::decode(tls_csr).unwrap());
        assert!(identity.id.as_str() == ID && tls.id == identity.id && identity.key != tls.key);
        (good(&service, &requests), identity.key.id())
    });
    assert!(!line.is_provisioned());
    for (number, bytes) in document.chunks(PART_BYTES_MAX).enumerate() {
        let from = number * PART_BYTES_MAX;
        assert_eq!(taken(&mut line, from, bytes), Ok((from + bytes.len()) as u32));
    }
    let commit = ToDevice::Commit { len: document.len() as u32 };
    for _ in 0..2 {
        let answer = say(
            &mut line,
            &commit,
            |answer| matches!(answer, FromDevice::Provisioned { identity: id } if id == identity),
        );
        assert!(answer, "and says it again where the answer was lost");
    }
    assert!(line.is_provisioned());
    let known = say(
        &mut line,
        &who,
        |answer| matches!(answer, FromDevice::Identity { life: Life::Provisioned, identity: Some(id), .. } if id == identity),
    );
    assert!(known);
    assert_eq!(standing(&mut platform.clone()), Ok(Standing::Provisioned));
    let mut field = Field::new(service);
    field.start(platform).unwrap();
    field.connect();
}

#[test]
fn a_provisioned_device_takes_nothing_from_the_line() {
    let service = Service::new();
    let (platform, mut line) = blank();
    let first = requested(&mut line, |requests| good(&service, requests));
    deliver(&mut line, &first).unwrap();
    let before = content(&platform);
    let identity = public(&before.1[&(0, false)]).id();
    let messages = [
        begin("dev-2"),
        begin(ID),
        ToDevice::Inject { key: KeyUse::Identity, scalar: &[7; 32] },
        ToDevice::Part { offset: 0, bytes: &[0; 16] },
        ToDevice::Commit { len: 0 },
    ];
    for message in &messages[..4] {
        assert_eq!(fault(&mut line, message), Some(Fault::Locked), "{message:?}");
    }
    for (identity, life) in [(Some(identity), Life::Provisioned), (None, Life::Destroyed)] {
        let locked = Locked::new(about(), identity);
        for message in &messages {
            let mut answer = [0; MESSAGE_BYTES_MAX];
            let answer = locked_answer(&locked, message, &mut answer);
            assert_eq!(answer, FromDevice::Refused { why: Fault::Locked }, "{message:?}");
        }
        let mut answer = [0; MESSAGE_BYTES_MAX];
        match locked_answer(&locked, &ToDevice::Identify { version: VERSION }, &mut answer) {
            FromDevice::Identity { life: said, identity: id, .. } => assert_eq!((said, id), (life, identity)),
            other => panic!("{other:?}"),
        }
        let other = ToDevice::Identify { version: VERSION + 1 };
        let mut answer = [0; MESSAGE_BYTES_MAX];
        let refused = FromDevice::Refused { why: Fault::Message };
        assert_eq!(locked_answer(&locked, &other, &mut answer), refused);
        let mut answer = [0; MESSAGE_BYTES_MAX];
        let len = locked.message(b"nonsense", &mut answer);
        assert_eq!(FromDevice::decode(&answer[..len]), Ok(refused));
    }
    assert_eq!(content(&platform), before);
}

fn locked_answer<'o>(
    locked: &Locked,
    message: &ToDevice<'_>,
    out: &'o mut [u8; MESSAGE_BYTES_MAX],
) -> FromDevice<'o> {
    let mut line = [0; MESSAGE_BYTES_MAX];
    let len = message.encode(&mut line).unwrap();
    let len = locked.message(&line[..len], out);
    FromDevice::decode(&out[..len]).unwrap()
}

#[test]
fn messages_out_of_order_are_refused() {
    let (platform, mut line) = blank();
    let part = ToDevice::Part { offset: 0, bytes: &[1; 16] };
    assert_eq!(fault(&mut line, &part), Some(Fault::Order));
    assert_eq!(fault(&mut line, &ToDevice::Commit { len: 0 }), Some(Fault::Order));
    assert_eq!(fault(&mut line, &ToDevice::Identify { version: 0 }), Some(Fault::Message));
    assert_eq!(content(&platform), Content::default());

    let (_, mut line) = begun(ID);
    assert_eq!(fault(&mut line, &ToDevice::Commit { len: 1 }), Some(Fault::Order), "nothing is there yet");
    assert_eq!(taken(&mut line, 1, &[1; 16]), Err(Fault::Order), "a gap");
    assert_eq!(taken(&mut line, 0, &[1; 16]), Ok(16));
    assert_eq!(taken(&mut line, 17, &[1; 16]), Err(Fault::Order), "a gap");
    assert_eq!(fault(&mut line, &ToDevice::Commit { len: 15 }), Some(Fault::Order));
    assert_eq!(fault(&mut line, &ToDevice::Commit { len: 17 }), Some(Fault::Order));
    assert_eq!(fault(&mut line, &ToDevice::Commit { len: 16 }), Some(Fault::Document(Refusal::Malformed)));
    // A new beginning forgets what came.
    assert_eq!(fault(&mut line, &begin(ID)), None);
    assert_eq!(taken(&mut line, 16, &[1; 16]), Err(Fault::Order));
    let mut answer = [0; MESSAGE_BYTES_MAX];
    for nonsense in [&b""[..], b"\xff", b"nonsense"] {
        let len = line.message(nonsense, &mut answer);
        assert_eq!(FromDevice::decode(&answer[..len]), Ok(FromDevice::Refused { why: Fault::Message }));
    }
}

#[test]
fn parts_that_are_repeated_or_overlap_make_the_same_document() {
    let service = Service::new();
    let (platform, mut line) = blank();
    let document = requested(&mut line, |requests| good(&service, requests));
    let mut sent = 0;
    for step in [100, 256, 256, 1, 200].into_iter().cycle() {
        let from = sent.min(document.len());
        let part = &document[from..(from + step).min(document.len())];
        if part.is_empty() {
            break;
        }
        // Lost and repeated, then once more from a bit before.
        for _ in 0..2 {
            assert_eq!(taken(&mut line, from, part), Ok((from + part.len()) as u32));
        }
        let back = from.saturating_sub(30);
        let overlapping = &document[back..from + part.len().min(226)];
        assert_eq!(taken(&mut line, back, overlapping), Ok((back + overlapping.len()) as u32));
        sent = back + overlapping.len();
    }
    assert_eq!(fault(&mut line, &ToDevice::Commit { len: document.len() as u32 }), None);
    assert_eq!(standing(&mut platform.clone()), Ok(Standing::Provisioned));
}

#[test]
fn a_document_that_is_too_long_is_refused_when_it_is() {
    let (platform, mut line) = begun(ID);
    let before = content(&platform);
    let room = room().len();
    let mut at = 0;
    while at + PART_BYTES_MAX <= room {
        assert_eq!(taken(&mut line, at, &[1; PART_BYTES_MAX]), Ok((at + PART_BYTES_MAX) as u32));
        at += PART_BYTES_MAX;
    }
    let rest = room - at;
    assert_eq!(taken(&mut line, at, &[1; PART_BYTES_MAX][..=rest]), Err(Fault::Document(Refusal::TooLong)));
    if rest > 0 {
        assert_eq!(taken(&mut line, at, &[1; PART_BYTES_MAX][..rest]), Ok(room as u32));
    }
    assert_eq!(taken(&mut line, room, &[1]), Err(Fault::Document(Refusal::TooLong)));
    assert_eq!(taken(&mut line, u32::MAX as usize, &[1]), Err(Fault::Order));
    assert_eq!(content(&platform), before);
}

#[test]
fn beginning_again_keeps_the_keys_of_this_start_and_makes_a_new_number() {
    let (platform, mut line) = blank();
    let service = Service::new();
    let old = requested(&mut line, |requests| good(&service, requests));
    let first = platform.keys.borrow().clone();
    let fresh = say(&mut line, &begin(ID), |requests| match requests {
        FromDevice::Requests { nonce, .. } => nonce,
        other => panic!("{other:?}"),
    });
    let second = platform.keys.borrow().clone();
    assert_eq!((first.len(), &second), (2, &first));
    assert!(fresh != [0; 16]);
    assert_eq!(deliver(&mut line, &old), Err(Fault::Document(Refusal::Replayed)));
    let new = requested(&mut line, |requests| good(&service, requests));
    assert_eq!(deliver(&mut line, &new), Ok(()));
}

#[test]
fn beginning_without_end_writes_one_pair_of_keys_for_each_start() {
    let (platform, mut line) = blank();
    for round in 0..1_000 {
        assert_eq!(fault(&mut line, &begin(["dev-1", "dev-2"][round % 2])), None);
    }
    assert_eq!(platform.imports.get(), 2, "a key for each use");
    // The next start wipes what was left, and makes its own.
    assert_eq!(standing(&mut platform.clone()), Ok(Standing::Blank));
    let mut line = Factory::new(platform.clone(), about(), room());
    for _ in 0..1_000 {
        assert_eq!(fault(&mut line, &begin(ID)), None);
    }
    assert_eq!(platform.imports.get(), 4);
    // Keys from outside, where they are taken at all, are bounded as well; and are never mistaken for the device's own.
    let mut line = Factory::new(platform.clone(), About { injection: true, ..about() }, room());
    let inject = ToDevice::Inject { key: KeyUse::Identity, scalar: &[8; 32] };
    assert_eq!(fault(&mut line, &begin(ID)), None);
    assert_eq!(fault(&mut line, &inject), None);
    let outside = platform.keys.borrow().clone();
    assert_eq!(fault(&mut line, &begin(ID)), None);
    assert!(outside.values().all(|key| platform.keys.borrow().values().all(|other| other != key)));
    let mut taken = 3;
    while fault(&mut line, &inject).is_none() {
        taken += 1;
    }
    assert_eq!(taken, KEYS_PER_START);
    assert_eq!(fault(&mut line, &begin(ID)), Some(Fault::Worn), "before a restart no more");
}

#[test]
fn a_key_from_outside_is_taken_only_where_the_firmware_says_so() {
    let (platform, mut line) = begun(ID);
    let before = content(&platform);
    let inject = ToDevice::Inject { key: KeyUse::Tls, scalar: &[9; 32] };
    assert_eq!(fault(&mut line, &inject), Some(Fault::InjectionDisabled));
    assert_eq!(content(&platform), before);

    let about = About { injection: true, ..about() };
    let platform = Platform::blank(3);
    let mut line = Factory::new(platform.clone(), about, room());
    assert_eq!(fault(&mut line, &inject), Some(Fault::Order), "not before the beginning");
    assert!(platform.keys.borrow().is_empty());
    fault(&mut line, &begin(ID));
    let none = ToDevice::Inject { key: KeyUse::Identity, scalar: &[0; 32] };
    assert_eq!(fault(&mut line, &none), Some(Fault::Vault), "zero is no key");
    let service = Service::new();
    let identity = ToDevice::Inject { key: KeyUse::Identity, scalar: &[8; 32] };
    say(&mut line, &identity, |_| ());
    let document = say(&mut line, &inject, |requests| {
        let FromDevice::Requests { identity_csr, tls_csr, .. } = &requests else { panic!("{requests:?}") };
        assert_eq!(Csr::decode(identity_csr).unwrap().key, public(&[8; 32]));
        assert_eq!(Csr::decode(tls_csr).unwrap().key, public(&[9; 32]));
        good(&service, &requests)
    });
    assert_eq!(deliver(&mut line, &document), Ok(()));
    assert!(!format!("{line:?}").contains("9, 9, 9"));
}

#[test]
fn failures_have_names_and_leave_a_blank_device() {
    let (platform, mut line) = blank();
    let mut failing = platform.clone();
    failing.entropy_fails = true;
    let mut silent = Factory::new(failing, about(), room());
    assert_eq!(fault(&mut silent, &begin(ID)), Some(Fault::Entropy));
    assert_eq!(taken(&mut silent, 0, &[1]), Err(Fault::Order));
    assert_eq!(content(&platform), Content::default());

    let service = Service::new();
    for call in 0.. {
        platform.vault_calls.set(Some(call));
        let answer = fault(&mut line, &begin(ID));
        if platform.vault_calls.take().is_some() {
            assert!(call > 5 && answer.is_none());
            break;
        }
        assert_eq!(answer, Some(Fault::Vault), "{call}");
        assert_eq!(standing(&mut platform.clone()), Ok(Standing::Blank));
        assert_eq!(content(&platform), Content::default(), "{call}");
    }
    for call in 0.. {
        let document = requested(&mut line, |requests| good(&service, requests));
        platform.store_calls.set(Some(call));
        let answer = deliver(&mut line, &document);
        if answer.is_ok() {
            // Behind the commit nothing but the log is written: where that fails, the device is provisioned all the same.
            assert_eq!((call, platform.store_calls.take()), (4, None));
            assert_eq!(standing(&mut platform.clone()), Ok(Standing::Provisioned));
            break;
        }
        assert_eq!((answer, platform.store_calls.take()), (Err(Fault::Storage), None), "{call}");
        // The factory may try again at once, or after a restart.
        if call % 2 == 0 {
            assert_eq!(standing(&mut platform.clone()), Ok(Standing::Blank));
            assert_eq!(content(&platform), Content::default());
        }
    }
}

#[test]
fn power_that_fails_after_any_message_leaves_a_blank_device_or_a_provisioned_one() {
    let mut provisioned = 0;
    for messages in 0.. {
        let service = Service::new();
        let (platform, mut line) = blank();
        let mut sent = 0;
        let mut budget = |line: &mut Line, message: &ToDevice<'_>| {
            sent += 1;
            sent <= messages && fault(line, message).is_none()
        };
        let mut all = false;
        if messages > 0 {
            let document = requested(&mut line, |requests| good(&service, requests));
            let parts = document.chunks(PART_BYTES_MAX).enumerate();
            let parts: Vec<_> = parts.map(|(number, part)| (number * PART_BYTES_MAX, part)).collect();
            all = parts
                .into_iter()
                .all(|(at, bytes)| budget(&mut line, &ToDevice::Part { offset: at as u32, bytes }))
                && budget(&mut line, &ToDevice::Commit { len: document.len() as u32 });
        }
        drop(line);
        let mut platform = platform;
        if all {
            assert_eq!(standing(&mut platform), Ok(Standing::Provisioned));
            provisioned += 1;
            break;
        }
        assert_eq!(standing(&mut platform), Ok(Standing::Blank), "{messages}");
        assert_eq!(content(&platform), Content::default(), "nothing is left after {messages}");
        let error =
            Device::start(platform.clone(), world::boot_info(device::Policy::default()), Uptime(0)).err();
        assert_eq!(error, Some(StartError::Blank));
        provision(platform, &service, &configuration(ID, Authentication::Certificate));
    }
    assert_eq!(provisioned, 1);
}

#[test]
fn the_longest_of_everything_fits() {
    let id = "d".repeat(32);
    let mut service = Service::new();
    service.ca = Ca::new(&"r".repeat(64), service.leaf.until);
    let platform = Platform::blank(3);
    let bytes = encoded(&configuration(&id, Authentication::Certificate));
    let mut line = Factory::new(platform.clone(), about(), room());
    let document = say(&mut line, &begin(&id), |requests| {
        service.provision(&requests, &bytes, |it| {
            it.group = "g".repeat(protocol::NAME_MAX).as_str().try_into().unwrap();
        })
    });
    deliver(&mut line, &document).unwrap();
    let mut field = Field::new(service);
    field.start(platform).unwrap();
    field.await_note(60_000, |note| matches!(note, device::Note::IdentityReplaced { .. }));
}

#[test]
fn a_development_device_gets_only_what_belongs_together() {
    let service = Service::new();
    let tls = [0x21; 32];
    let configuration = configuration(ID, Authentication::Certificate);
    for (id, key, usable) in [(ID, tls, true), ("dev-2", tls, false), (ID, [0x22; 32], false)] {
        let mut platform = Platform::blank(1);
        let leaf = service.ca.issue(id, &public(&key), service.leaf);
        let development = Development {
            chain: certificates(&[&leaf]),
            roots: certificates(&[&service.ca.root]),
            configuration: &configuration,
            tls: &tls,
            firmware: None,
            configuration_key: None,
            group: protocol::Name::EMPTY,
        };
        let adopted = adopt(&mut platform, &development);
        let expected = if usable { Standing::Provisioned } else { Standing::Blank };
        assert_eq!(adopted, if usable { Ok(()) } else { Err(AdoptError::Refused(Refusal::Certificate)) });
        assert_eq!(standing(&mut platform), Ok(expected));
        let slots = [Key::Chain(KeySlot::ALL[0]), Key::Roots(RootsPlace::A)];
        assert!(slots.iter().all(|key| platform.store.borrow().contains_key(key) == usable));
    }
}
