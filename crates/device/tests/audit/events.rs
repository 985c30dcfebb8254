//! Every event of R-LOG: it happens to a whole device, is recorded, delivered and proven.

use crate::operator::Operator;
use crate::ring::{open, read_all};
use crate::world::Platform;
use crate::world::factory::{configuration, provision};
use crate::world::field::{DAY_MS, Field, ID, id, one};
use crate::world::release::{Release, image};
use crate::world::service::{Ca, key_of, signed};
use crate::world::site::{Misbehaviour, Site};
use crate::world::slots::Memory;
use crate::world::vault::public;
use device::{KeySlot, Note, RootsPlace};
use protocol::audit::Event;
use protocol::config::{Authentication, Change};
use protocol::document::{Action, End, KeyUse, Power};
use protocol::image::Version;
use protocol::topic::topic;
use protocol::{Channel, DeviceId, EpochMillis, Failure, Layer, Refusal, ResetCause};

/// A device in the field, and an operator who has its log so far.
fn device() -> (Field<Platform>, Operator) {
    let mut field = Field::settled();
    let mut operator = Operator::default();
    operator.pump(&field);
    operator.acknowledge(&mut field);
    (field, operator)
}

/// What came in since.
fn new(field: &mut Field<Platform>, operator: &mut Operator) -> Vec<Event> {
    field.connect();
    field.run(60_000);
    let before = operator.events().len();
    operator.pump(field);
    operator.acknowledge(field);
    operator.events()[before..].iter().map(|event| (*event).clone()).collect()
}

#[test]
fn the_first_life_is_told_from_the_factory_on() {
    let (mut field, operator) = device();
    let first = public(&[0; 32].map(|_: u8| 1));
    assert_ne!(first, field.identity());
    let events = operator.events();
    let Event::Provisioned { identity } = events[0] else { panic!("{:?}", events[0]) };
    assert!(field.service.registered.borrow().iter().any(|key| key.id() == *identity));
    let boot = Event::Boot { reset: ResetCause::PowerOn, firmware: "0.1.0".try_into().unwrap() };
    assert_eq!(events[1], &boot);
    assert_eq!(events[2], &Event::ClockSet { by_ms: None });
    assert_eq!(events[3], &Event::KeysMade);
    assert_eq!(events[4], &Event::IdentityReplaced { identity: field.identity().id() });
    assert!(operator.has(|event| *event == Event::IdentityWiped));
    // The factory knows no time and counts no boot.
    let (provisioned, boot) = (&operator.records[0].0, &operator.records[1].0);
    assert_eq!((provisioned.boot, provisioned.time), (0, None));
    assert_eq!((boot.boot, boot.time), (1, None));
    assert_eq!(
        operator.records[2].0.time.map(EpochMillis::seconds),
        Some(field.time().seconds() - field.now / 1_000)
    );
    assert_eq!(field.service.registered.borrow().len(), 2);
    let now = field.uptime();
    assert_eq!(field.device().state(now).log_waiting, 0);
}

#[test]
fn starts_and_steps_of_the_clock_are_recorded() {
    let (mut field, mut operator) = device();
    field.reset = ResetCause::Watchdog;
    field.restart();
    let events = new(&mut field, &mut operator);
    let boot = Event::Boot { reset: ResetCause::Watchdog, firmware: "0.1.0".try_into().unwrap() };
    assert!(events.contains(&boot), "{events:?}");
    field.offset_ms = 2_000;
    field.run(2 * DAY_MS);
    let events = new(&mut field, &mut operator);
    let step = events.iter().find_map(|event| match event {
        Event::ClockSet { by_ms: Some(by) } => Some(*by),
        _ => None,
    });
    assert!(step.is_some_and(|by| (by - 2_000).abs() < 200), "{events:?} {:?}", field.notes);
}

#[test]
fn refused_documents_are_recorded_with_where_they_came_in() {
    let (mut field, mut operator) = device();
    let foreign = field.service.rotate(&DeviceId::new("dev-2").unwrap());
    field.send(Channel::IdentityDesired, b"nonsense");
    field.send(Channel::AuthorityDesired, &foreign);
    let text = topic(&id(), Channel::Telemetry);
    field.tell(device::Event::Message { topic: &text.replace(ID, "dev-2"), payload: b"x" });
    field.send(Channel::LogDesired, b"nonsense");
    let events = new(&mut field, &mut operator);
    let refused = |channel, why| Event::DocumentRefused { channel, why };
    for expected in [
        refused(Some(Channel::IdentityDesired), Refusal::Malformed),
        refused(Some(Channel::AuthorityDesired), Refusal::ContentType),
        refused(None, Refusal::ContentType),
        refused(Some(Channel::LogDesired), Refusal::Malformed),
    ] {
        assert!(events.contains(&expected), "{expected:?} is not in {events:?}");
    }
}

#[test]
fn what_is_retained_and_comes_again_is_not_recorded() {
    let (mut field, mut operator) = device();
    let key = field.service.authority(one(), Power::Firmware, public(&[0x61; 32]));
    field.retained.push((Channel::AuthorityDesired, key));
    field.cut_link(Failure::LinkLost);
    let events = new(&mut field, &mut operator);
    let replaced = Event::AuthorityReplaced { power: Power::Firmware, key: public(&[0x61; 32]).id() };
    assert_eq!(events, [replaced]);
    for _ in 0..5 {
        field.cut_link(Failure::LinkLost);
        assert_eq!(new(&mut field, &mut operator), []);
    }
}

#[test]
fn refused_peers_are_recorded_and_a_network_that_fails_is_not() {
    let (mut field, mut operator) = device();
    for failure in Failure::ALL {
        field.door = Box::new(|_| false);
        field.refusal = *failure;
        field.cut_link(Failure::LinkLost);
        let attempts = field.attempts.len();
        field.run_until(DAY_MS, |field| field.attempts.len() > attempts);
        field.door = Box::new(|_| true);
        let events = new(&mut field, &mut operator);
        let network = [
            Failure::Dns,
            Failure::Refused,
            Failure::Unreachable,
            Failure::ConnectTimeout,
            Failure::MqttUnavailable,
            Failure::SubscribeTimeout,
            Failure::AckTimeout,
            Failure::KeepAlive,
            Failure::MqttDisconnect,
            Failure::PeerClosed,
            Failure::LinkLost,
            Failure::Requested,
        ];
        let expected = Event::PeerRefused { why: *failure };
        assert_eq!(events.contains(&expected), !network.contains(failure), "{failure:?}: {events:?}");
        // So that none of them is only counted.
        field.run(7 * 3_600_000);
    }
}

#[test]
fn roots_and_authorities_are_recorded() {
    let (mut field, mut operator) = device();
    let (old, other) =
        (field.service.ca.root.clone(), Ca::new("new", EpochMillis::from_seconds(2_100_000_000)).root);
    let list = field.service.roots_list(one(), &[&old, &other]);
    let number = field.service.number;
    field.door = Box::new(|credentials| credentials.roots == RootsPlace::A);
    field.send(Channel::RootsDesired, &list);
    field.run(DAY_MS);
    let events = new(&mut field, &mut operator);
    assert!(events.contains(&Event::RootsUndone { number }), "{events:?}");
    field.door = Box::new(|_| true);
    let list = field.service.roots_list(one(), &[&old, &other]);
    field.send(Channel::RootsDesired, &list);
    field.run(DAY_MS);
    let events = new(&mut field, &mut operator);
    assert!(events.contains(&Event::RootsReplaced { number: number + 1 }), "{events:?}");
    for power in [Power::Firmware, Power::Anchors] {
        let key = public(&[power as u8 + 0x30; 32]);
        let document = field.service.authority(one(), power, key);
        field.send(Channel::AuthorityDesired, &document);
        let events = new(&mut field, &mut operator);
        assert!(events.contains(&Event::AuthorityReplaced { power, key: key.id() }), "{events:?}");
    }
}

#[test]
fn identities_that_are_refused_are_recorded() {
    let (mut field, mut operator) = device();
    let used = field.link.unwrap().slot;
    field.door = Box::new(move |credentials| credentials.slot == used);
    let command = field.service.command(&id(), Action::Rotate);
    field.send(Channel::Command, &command);
    field.await_note(DAY_MS, |note| *note == Note::IdentityRefused);
    field.door = Box::new(|_| true);
    let events = new(&mut field, &mut operator);
    let number = field.service.number;
    for expected in [
        Event::Commanded { number, action: Action::Rotate },
        Event::KeysMade,
        Event::PeerRefused { why: Failure::TlsClientRejected },
        Event::IdentityRefused,
    ] {
        // The number of a command is the service's, which has since answered a request.
        let found = events.iter().any(|event| match (event, &expected) {
            (Event::Commanded { action: one, .. }, Event::Commanded { action: other, .. }) => one == other,
            _ => *event == expected,
        });
        assert!(found, "{expected:?} is not in {events:?}");
    }
    let former = field.identity().id();
    field.await_note(2 * DAY_MS, |note| matches!(note, Note::IdentityReplaced { .. }));
    let now: Vec<_> = KeySlot::ALL.into_iter().filter_map(|slot| field.key(slot, KeyUse::Identity)).collect();
    field.door = {
        let old = KeySlot::ALL
            .into_iter()
            .find(|slot| field.key(*slot, KeyUse::Identity).is_some_and(|key| key.id() == former));
        Box::new(move |credentials| Some(credentials.slot) == old)
    };
    assert!(now.len() >= 2);
    field.cut_link(Failure::LinkLost);
    field.await_note(DAY_MS, |note| matches!(note, Note::IdentityFellBack { .. }));
    field.door = Box::new(|_| true);
    let events = new(&mut field, &mut operator);
    assert!(events.contains(&Event::IdentityFellBack { identity: former }), "{events:?}");
}

#[test]
fn configurations_and_commands_are_recorded() {
    let (mut field, mut operator) = device();
    let change = |number: u32, field: &str| {
        let json = format!("{{\"v\":2,\"number\":{number},\"id\":\"{ID}\",{field}}}");
        signed(&Change::decode(json.as_bytes()).expect("a change"), Power::Configuration)
    };
    field.send(Channel::ConfigDesired, &change(10, "\"log_level\":\"error\""));
    let events = new(&mut field, &mut operator);
    assert!(events.contains(&Event::Configured { layer: Layer::Device, number: 10 }), "{events:?}");
    // Another host, which nobody reaches.
    field.door = Box::new(|_| false);
    field.send(Channel::ConfigDesired, &change(11, "\"host\":\"nowhere.example\""));
    field.run(700_000);
    field.door = Box::new(|_| true);
    field.run(DAY_MS / 4);
    let events = new(&mut field, &mut operator);
    assert!(events.contains(&Event::ConfigurationUndone { layer: Layer::Device, number: 11 }), "{events:?}");
    let again = change(9, "\"log_level\":\"info\"");
    field.send(Channel::ConfigDesired, &again);
    let events = new(&mut field, &mut operator);
    let refused = Event::DocumentRefused { channel: Some(Channel::ConfigDesired), why: Refusal::Older };
    assert!(events.contains(&refused), "{events:?}");
    let command = field.service.command(&id(), Action::SendLog { from: 0 });
    let number = field.service.number;
    let pieces = operator.pieces;
    field.send(Channel::Command, &command);
    let events = new(&mut field, &mut operator);
    assert!(events.contains(&Event::Commanded { number, action: Action::SendLog { from: 0 } }), "{events:?}");
    assert!(operator.pieces > pieces + 1, "all of it came again");
    let expired = protocol::document::Command {
        audience: one(),
        number: number + 1,
        expires_s: 1,
        action: Action::Reboot,
    };
    field.send(Channel::Command, &signed(&expired, Power::Configuration));
    let events = new(&mut field, &mut operator);
    assert!(events.contains(&Event::CommandRefused { why: Refusal::Expired }), "{events:?}");
}

#[test]
fn the_end_of_a_life_is_the_last_that_is_delivered_and_the_next_life_goes_on() {
    for end in [End::Blank, End::Destroyed] {
        let (mut field, mut operator) = device();
        let identity = field.identity();
        let document = field.service.retire(&id(), end, identity.id());
        field.send(Channel::Command, &document);
        assert_eq!(field.ended, Some(end));
        let keys = field.service.registered.borrow().clone();
        let last = operator.sent(&field).pop().expect("the last delivery");
        operator.take(&last, &keys);
        let events = operator.events();
        let [.., Event::Retired { end: said }, Event::Seal { identity: sealed, .. }] = events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((*said, *sealed), (end, identity.id()), "signed with the key that is gone now");
        // The last word is that the life is over.
        assert_eq!(field.published.last().map(|(channel, _)| *channel), Some(Channel::IdentityState));
        let mut platform = field.device.take().unwrap().into_platform();
        assert!(platform.keys.borrow().is_empty());
        let found = read_all(&open(&mut platform), &mut platform);
        assert_eq!(found.len(), operator.records.len(), "nothing is left that was not delivered");
        if end == End::Destroyed {
            continue;
        }
        let service = core::mem::replace(&mut field.service, crate::world::service::Service::new());
        let next = provision(platform, &service, &configuration(ID, Authentication::Certificate));
        let mut life = Field::new(service);
        life.now = field.now;
        life.start(next).unwrap();
        life.connect();
        life.run(60_000);
        let from = operator.records.len();
        operator = Operator { records: operator.records, ..Operator::default() };
        operator.pump(&life);
        let events = &operator.events()[from..];
        assert!(matches!(events[0], Event::Provisioned { .. }), "{events:?}");
        assert!(matches!(events[1], Event::Boot { .. }), "{events:?}");
    }
}

#[test]
fn what_the_operator_has_of_the_log_of_another_id_is_delivered_again_under_the_new_one() {
    for (next, known) in [(ID, true), ("dev-9", false)] {
        let (mut field, operator) = device();
        operator.acknowledge(&mut field);
        let acknowledged = operator.next();
        let identity = field.identity();
        let document = field.service.retire(&id(), End::Blank, identity.id());
        field.send(Channel::Command, &document);
        let mut platform = field.device.take().unwrap().into_platform();
        let service = crate::world::service::Service::new();
        platform = provision(platform, &service, &configuration(next, Authentication::Certificate));
        let mut life = Field::new(service);
        life.now = field.now;
        life.start(platform).unwrap();
        for _ in 0..2 {
            let now = life.uptime();
            let waiting = life.device().state(now).log_waiting;
            let ring = open(life.platform());
            assert_eq!(waiting, ring.next() - if known { acknowledged } else { 0 }, "{next}");
            life.restart();
        }
    }
}

#[test]
fn a_life_that_ends_with_a_long_log_delivers_the_newest_of_it() {
    let (mut field, mut operator) = device();
    field.door = Box::new(|_| false);
    field.cut_link(Failure::LinkLost);
    for _ in 0..60 {
        field.restart();
        field.run(1_000);
    }
    field.door = Box::new(|_| true);
    let identity = field.identity();
    let document = field.service.retire(&id(), End::Destroyed, identity.id());
    // It comes at once, before anything of the log.
    field.retained.insert(0, (Channel::Command, document));
    operator.sent(&field);
    field.run_until(DAY_MS, |field| field.ended.is_some());
    assert_eq!(field.ended, Some(End::Destroyed));
    let sent = operator.sent(&field);
    let envelope = protocol::signed::Envelope::decode(sent.last().expect("the last delivery")).unwrap();
    let document = envelope.verify::<protocol::document::LogDelivery<'_>>(&identity).unwrap();
    let records: Vec<_> = protocol::audit::Entries::new(document.entries).map(Result::unwrap).collect();
    assert!(records.len() > 6 && document.number > operator.next() + 30, "{}", document.number);
    assert!(matches!(records.last().unwrap().record.as_ref().unwrap().event, Event::Seal { .. }));
}

#[test]
fn every_step_of_an_update_is_recorded() {
    let (one, two, three) = (Version::new(1, 0, 0), Version::new(1, 1, 0), Version::new(1, 2, 0));
    let platform = Platform::governed(1);
    platform.configure(|draft| {
        draft.update_spread_s = 0;
        (draft.sample_period_ms, draft.report_period_ms) = (10_000, 60_000);
    });
    *platform.slots.borrow_mut() = Memory::new(128 * 1024, 4_096, 8, &image(one, 40_000));
    *platform.log.borrow_mut() =
        crate::world::log::Memory::new(device::platform::LogLayout { size: 32_768, sector: 4_096, word: 4 });
    let mut site = Site::new(platform.clone());
    site.start();
    site.run(60_000);
    site.release(&Release::new(7, two, image(two, 40_777)), 1);
    site.await_version(600_000, two);
    // One that is withdrawn, and one that does not prove itself.
    site.asked.clear();
    site.release(&Release::new(8, three, image(three, 40_100)), 2);
    assert!(site.run_until(600_000, |site| !site.asked.is_empty()));
    site.publish(&crate::world::release::MANIFEST(), b"");
    site.run(60_000);
    site.misbehaviour.insert((1, 2, 0), Misbehaviour::NoSensor);
    site.release(&Release::new(9, three, image(three, 40_100)), 3);
    site.run(3_600_000);
    let mut platform = platform;
    let ring = open(&mut platform);
    let found = read_all(&ring, &mut platform);
    let events: Vec<_> = found.values().map(|(record, _)| record.event.clone()).collect();
    let has = |wanted: &dyn Fn(&Event) -> bool, what: &str| {
        assert!(events.iter().any(wanted), "{what}: {events:#?}");
    };
    has(&|event| *event == Event::UpdateNoticed { version: two, sequence: 7 }, "noticed");
    has(&|event| matches!(event, Event::UpdateDownloaded { .. }), "downloaded");
    has(&|event| *event == Event::UpdateInstalling { version: two }, "installing");
    has(&|event| *event == Event::UpdateConfirmed { version: two }, "confirmed");
    has(&|event| *event == Event::UpdateWithdrawn, "withdrawn");
    has(&|event| matches!(event, Event::UpdateUndone { .. }), "undone");
    has(&|event| matches!(event, Event::UpdateReverted { .. }), "reverted");
    let _keys = key_of(Power::Firmware);
}
