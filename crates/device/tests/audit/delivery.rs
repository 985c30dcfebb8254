//! What is delivered, when, and until when: through a broker that loses, repeats and reorders it, over restarts, and to an
//! operator whose acknowledgements are forged.

use crate::operator::{Operator, Taken};
use crate::world::Platform;
use crate::world::field::{DAY_MS, Field, id, one};
use crate::world::service::{key_of, signed, signed_with};
use device::audit::{RESEND_PERIOD_MS, SEAL_PERIOD_MS, STORE_PERIOD_MS};
use device::{Key, KeyValue, Note};
use fastrand::Rng;
use protocol::audit::Event;
use protocol::config::Authentication;
use protocol::document::{Audience, LogAcknowledgement, Power};
use protocol::{Channel, DeviceId, Failure, Refusal};

/// A device that is connected and has delivered everything, none of which is acknowledged.
pub fn delivered() -> (Field<Platform>, Operator) {
    let (mut field, platform) = Field::provisioned(Authentication::Certificate);
    field.start(platform).unwrap();
    field.await_note(DAY_MS, |note| matches!(note, Note::IdentityReplaced { .. }));
    field.run(10_000);
    let mut operator = Operator::default();
    operator.pump(&field);
    assert!(operator.next() > 3, "{:?}", operator.events());
    (field, operator)
}

fn waiting(field: &mut Field<Platform>) -> u32 {
    let now = field.uptime();
    field.device().state(now).log_waiting
}

#[test]
fn what_was_delivered_is_delivered_again_until_it_is_acknowledged() {
    let (mut field, mut operator) = delivered();
    let pieces = operator.pieces;
    assert_eq!(waiting(&mut field), operator.next());
    field.run(RESEND_PERIOD_MS - 60_000);
    operator.pump(&field);
    assert_eq!(operator.pieces, pieces, "not while it was delivered lately");
    field.run(120_000);
    operator.pump(&field);
    assert!(operator.pieces > pieces, "again after six hours");
    let (pieces, next) = (operator.pieces, operator.next());
    field.restart();
    field.connect();
    field.run(10_000);
    operator.pump(&field);
    assert!(operator.pieces > pieces && operator.next() > next, "and after a restart");
    operator.acknowledge(&mut field);
    assert_eq!(waiting(&mut field), 0);
    let pieces = operator.pieces;
    for _ in 0..3 {
        field.cut_link(Failure::LinkLost);
        field.connect();
        field.run(10_000);
    }
    operator.pump(&field);
    assert_eq!(operator.pieces, pieces, "it has it");
    field.restart();
    field.connect();
    field.run(10_000);
    operator.pump(&field);
    assert_eq!(operator.pieces, pieces + 1, "only what is new since");
}

#[test]
fn an_acknowledgement_that_is_retained_saves_delivering_again() {
    let (mut field, mut operator) = delivered();
    operator.acknowledge(&mut field);
    // It was stored at once, for it was the first: what comes within the hour is not.
    field.send(Channel::LogDesired, b"nonsense");
    field.run(1_000);
    operator.pump(&field);
    operator.acknowledge(&mut field);
    let pieces = operator.pieces;
    field.restart();
    field.connect();
    field.run(10_000);
    let new: Vec<_> = operator.sent(&field);
    assert_eq!(new.len(), 1, "the start of this boot, and nothing that the operator has");
    let keys = field.service.registered.borrow().clone();
    assert!(matches!(operator.take(&new[0], &keys), Taken::New(1..)));
    assert_eq!(operator.pieces, pieces + 1);
}

#[test]
fn how_far_the_operator_has_the_log_is_stored_once_an_hour_and_when_the_device_stops() {
    let (mut field, mut operator) = delivered();
    let writes = |field: &mut Field<Platform>| {
        field.platform().written.borrow().iter().filter(|key| **key == Key::Log).count()
    };
    let before = writes(&mut field);
    for _ in 0..50 {
        field.send(Channel::RootsDesired, b"nonsense");
        let refused = field.service.rotate(&DeviceId::new("dev-2").unwrap());
        field.send(Channel::Command, &refused);
        field.run(10_000);
        operator.pump(&field);
        operator.acknowledge(&mut field);
    }
    assert!(writes(&mut field) <= before + 2, "{}", writes(&mut field));
    field.run(STORE_PERIOD_MS);
    let mut buffer = [0; 64];
    let stored = field.platform().read(Key::Log, &mut buffer).unwrap().unwrap().to_vec();
    let before = writes(&mut field);
    field.tell(device::Event::Shutdown);
    assert!(writes(&mut field) <= before + 1);
    assert!(!stored.is_empty());
}

#[test]
fn an_acknowledgement_that_is_not_the_operators_or_not_true_changes_nothing() {
    let (mut field, operator) = delivered();
    let right = operator.acknowledgement();
    let configuration = key_of(Power::Configuration);
    let other =
        LogAcknowledgement { audience: Audience::Device(DeviceId::new("dev-2").unwrap()), ..right.clone() };
    let mut hash = right.hash;
    hash[31] ^= 1;
    let wrong = LogAcknowledgement { hash, ..right.clone() };
    let early = LogAcknowledgement { number: right.number + 40, ..right.clone() };
    let of_another = LogAcknowledgement { number: right.number - 1, ..right.clone() };
    let everybody = LogAcknowledgement { audience: Audience::All, ..right.clone() };
    let mut torn = signed(&right, Power::Configuration);
    let last = torn.len() - 1;
    torn[last] ^= 1;
    let command = field.service.rotate(&id());
    let forged = [
        (signed_with(&right, &[0x77; 32]), Refusal::UnknownKey),
        (signed(&right, Power::Firmware), Refusal::WrongAuthority),
        (signed(&right, Power::Anchors), Refusal::WrongAuthority),
        (torn, Refusal::Signature),
        (b"nonsense".to_vec(), Refusal::Malformed),
        (command, Refusal::ContentType),
        (signed_with(&other, &configuration), Refusal::OtherDevice),
        (signed_with(&everybody, &configuration), Refusal::Audience),
        (signed_with(&wrong, &configuration), Refusal::Chain),
        (signed_with(&early, &configuration), Refusal::Chain),
        (signed_with(&of_another, &configuration), Refusal::Chain),
    ];
    for (number, (document, refusal)) in forged.iter().enumerate() {
        let (notes, now) = (field.notes.len(), field.uptime());
        let before = field.device().state(now);
        field.send(Channel::LogDesired, document);
        assert_eq!(field.notes.get(notes), Some(&Note::DocumentRefused(*refusal)), "{number}");
        let after = field.device().state(now);
        assert_eq!(after.refused, before.refused + 1, "{number}");
        assert!(after.log_waiting >= before.log_waiting, "{number}");
    }
    // The right one counts; then one for an older record changes nothing, and the same with another hash is refused.
    field.send(Channel::LogDesired, &signed(&right, Power::Configuration));
    let left = waiting(&mut field);
    assert!(left <= 5, "only what the refusals have written: {left}");
    let (record, hash) = operator.records[1].clone();
    let older = LogAcknowledgement { audience: one(), number: record.sequence, hash };
    let notes = field.notes.len();
    field.send(Channel::LogDesired, &signed(&older, Power::Configuration));
    assert_eq!((field.notes.len(), waiting(&mut field)), (notes, left));
    field.send(Channel::LogDesired, &signed(&wrong, Power::Configuration));
    assert_eq!(field.notes.last(), Some(&Note::DocumentRefused(Refusal::Chain)));
    assert!(waiting(&mut field) >= left);
}

/// The broker keeps, loses, repeats and turns round what the device sends, and acknowledges it all the same.
#[test]
fn a_broker_that_loses_repeats_and_reorders_loses_nothing_of_the_log() {
    for seed in 0..12 {
        let mut rng = Rng::with_seed(seed);
        let (mut field, mut operator) = delivered();
        let mut under_way: Vec<Vec<u8>> = Vec::new();
        for round in 0..40 {
            let command = field.service.command(&id(), protocol::document::Action::Report);
            field.send(Channel::Command, &command);
            match rng.u8(0..6) {
                0 => field.cut_link(Failure::LinkLost),
                1 => field.restart(),
                _ => {}
            }
            field.run(rng.u64(1_000..4 * 3_600_000));
            let keys = field.service.registered.borrow().clone();
            for piece in operator.sent(&field) {
                for _ in 0..rng.u8(0..3) {
                    under_way.insert(rng.usize(0..=under_way.len()), piece.clone());
                }
            }
            let honest = round > 35;
            while honest && !under_way.is_empty() || rng.bool() && !under_way.is_empty() {
                let piece = under_way.remove(0);
                if honest || rng.u8(0..3) > 0 {
                    operator.take(&piece, &keys);
                }
            }
            if operator.next() > 0 && rng.u8(0..4) == 0 {
                operator.acknowledge(&mut field);
            }
        }
        operator.acknowledge(&mut field);
        field.connect();
        for _ in 0..3 {
            field.run(RESEND_PERIOD_MS + 60_000);
            let keys = field.service.registered.borrow().clone();
            for piece in operator.sent(&field) {
                // What the broker has lost comes again once it has been quiet for a while.
                operator.take(&piece, &keys);
            }
        }
        operator.acknowledge(&mut field);
        assert_eq!(waiting(&mut field), 0, "seed {seed}");
        let boots = field.device().boot();
        let recorded =
            operator.records.iter().filter(|(it, _)| matches!(it.event, Event::Boot { .. })).count();
        assert_eq!(recorded as u32, boots, "seed {seed}");
        assert!(!operator.has(|event| matches!(event, Event::Lost { .. })), "seed {seed}");
    }
}

#[test]
fn records_wait_for_the_service_while_it_is_away() {
    let (mut field, platform) = Field::provisioned(Authentication::Certificate);
    field.door = Box::new(|_| false);
    field.start(platform).unwrap();
    for _ in 0..5 {
        field.run(DAY_MS);
        field.restart();
    }
    assert!(field.published.is_empty());
    let held = waiting(&mut field);
    assert!(held > 6, "{held}");
    field.door = Box::new(|_| true);
    field.connect();
    field.run(60_000);
    let mut operator = Operator::default();
    operator.pump(&field);
    let refused = |event: &Event| *event == Event::PeerRefused { why: Failure::TlsClientRejected };
    assert!(operator.has(refused) && operator.next() >= held);
}

#[test]
fn the_log_can_be_asked_for_again_from_any_record_on() {
    let (mut field, mut operator) = delivered();
    operator.acknowledge(&mut field);
    field.run(10_000);
    operator.pump(&field);
    let all = operator.next();
    for from in [0, 2, all - 1, all + 100] {
        let mut again = Operator { first: from.min(all), ..Operator::default() };
        again.sent(&field);
        field.device().send_log_from(from);
        field.run(10_000);
        let keys = field.service.registered.borrow().clone();
        for piece in again.sent(&field) {
            again.take(&piece, &keys);
        }
        assert_eq!(again.next(), all, "from {from}");
        assert_eq!(again.records[..], operator.records[again.first as usize..], "from {from}");
    }
}

#[test]
fn asking_for_records_that_are_not_there_yet_does_not_stop_the_log() {
    for acknowledged in [false, true] {
        let (mut field, mut operator) = delivered();
        if acknowledged {
            operator.acknowledge(&mut field);
        }
        // A boot in which nothing is delivered before it is asked for.
        field.restart();
        field.connect();
        field.device().send_log_from(u32::MAX);
        let command = field.service.command(&id(), protocol::document::Action::SendLog { from: u32::MAX });
        field.send(Channel::Command, &command);
        field.run(10_000);
        operator.pump(&field);
        let events = operator.events();
        assert!(matches!(events.last(), Some(Event::Commanded { .. })), "{acknowledged}: {events:?}");
    }
}

#[test]
fn the_chain_is_sealed_once_a_day_and_every_64_records() {
    let (mut field, mut operator) = delivered();
    assert_eq!(operator.seals, 0);
    field.run(SEAL_PERIOD_MS);
    operator.pump(&field);
    assert_eq!(operator.seals, 1, "{:?}", operator.events());
    // The former identity is wiped by then.
    field.run(2 * SEAL_PERIOD_MS);
    operator.pump(&field);
    let (seals, next) = (operator.seals, operator.next());
    assert_eq!(seals, 2, "{:?}", operator.events());
    field.run(3 * SEAL_PERIOD_MS);
    operator.pump(&field);
    assert_eq!((operator.seals, operator.next()), (seals, next), "what is sealed is not sealed again");
    let seals = operator.seals;
    for _ in 0..70 {
        field.restart();
        field.connect();
        field.run(3_000);
    }
    operator.pump(&field);
    assert!(operator.seals > seals);
}

#[test]
fn a_device_without_a_partition_has_no_log_and_runs() {
    let (mut field, platform) = Field::provisioned(Authentication::Certificate);
    platform.log.borrow_mut().layout = None;
    field.start(platform).unwrap();
    field.await_note(DAY_MS, |note| matches!(note, Note::IdentityReplaced { .. }));
    field.run(DAY_MS);
    assert!(field.published.iter().all(|(channel, _)| *channel != Channel::Log));
    assert_eq!(waiting(&mut field), 0);
    let acknowledgement = LogAcknowledgement { audience: one(), number: 0, hash: [0; 32] };
    field.send(Channel::LogDesired, &signed(&acknowledgement, Power::Configuration));
    assert_eq!(field.notes.last(), Some(&Note::DocumentRefused(Refusal::Chain)));
}

#[test]
fn a_log_that_fails_does_not_stop_the_device_and_says_so() {
    let (mut field, _) = delivered();
    let now = field.uptime();
    let errors = field.device().state(now).storage_errors;
    field.platform().log.borrow_mut().fails = Some(0);
    field.send(Channel::RootsDesired, b"nonsense");
    assert!(field.notes.iter().any(|note| matches!(note, Note::LogFailed(_))), "{:?}", field.notes.last());
    assert_eq!(field.device().state(now).storage_errors, errors + 1);
    field.run(DAY_MS);
    let mut operator = Operator::default();
    operator.pump(&field);
    let kind = Event::StorageFailed.kind();
    assert!(operator.has(|event| *event == Event::Repeated { kind, count: 1 }), "{:?}", operator.events());
}
