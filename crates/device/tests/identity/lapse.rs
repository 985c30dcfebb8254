//! A certificate that ended while the device lay on a shelf: the ways back, and what is refused on them. R-SECRET-ROTATE,
//! R-REPROVISION, R-AUTHORITY, R-TLS-CLIENT.

use crate::world::Platform;
use crate::world::bench::Bench;
use crate::world::factory::{configuration, provision};
use crate::world::field::{DAY_MS, Field, ID, START_S, one};
use crate::world::service::{Service, key_of, signed_with};
use crate::world::vault::public;
use device::{KeySlot, Note};
use protocol::config::Authentication;
use protocol::document::{Audience, End, IdentityCertificate, KeyUse, Power, RootList};
use protocol::provisioning::{Fault, FromDevice, Life, MESSAGE_BYTES_MAX, ToDevice, VERSION};
use protocol::{Channel, DeviceId, EpochMillis, Failure, KeyId, Refusal};

const DAY_S: u64 = 86_400;

fn after(days: u64) -> EpochMillis {
    EpochMillis::from_seconds(START_S + days * DAY_S)
}

/// A device from the factory with a certificate for ten days, so many days later, switched on. Its service takes certificates
/// that have not ended, which is those of other keys than the factory's, and no tokens.
fn on_the_shelf(days: u64) -> (Field<Platform>, Bench) {
    let mut service = Service::new();
    (service.leaf.from, service.leaf.until) = (after(0), after(10));
    let platform = provision(Platform::blank(7), &service, &configuration(ID, Authentication::Certificate));
    service.leaf.until = after(1_000);
    let mut field = Field::new(service);
    field.now = days * DAY_MS;
    field.answers = days >= 10;
    field.door = Box::new(move |credentials| days < 10 || credentials.slot != KeySlot::ALL[0]);
    field.start(platform).unwrap();
    field.run(60_000);
    (field, Bench::new(START_S + days * DAY_S))
}

fn request(field: &mut Field<Platform>, bench: &mut Bench) -> Vec<u8> {
    bench.renew(field).expect("it asks").expect("it has no certificate yet")
}

/// The new identity that comes into force, or has.
fn replaced(field: &mut Field<Platform>) -> KeyId {
    let found = |field: &Field<Platform>| {
        field.notes.iter().find_map(|note| match note {
            Note::IdentityReplaced { key } => Some(*key),
            _ => None,
        })
    };
    field.run_until(DAY_MS, |field| found(field).is_some());
    found(field).unwrap_or_else(|| panic!("it stays locked out: {:#?}", field.notes))
}

#[test]
fn a_device_whose_certificate_has_ended_gets_a_new_one_over_the_line_and_is_in_service() {
    let (mut field, mut bench) = on_the_shelf(40);
    assert!(field.link.is_none(), "it is locked out");
    let who = ToDevice::Identify { version: VERSION };
    let (old, until_s) = bench.say(&mut field, &who, |answer| match answer {
        FromDevice::Identity {
            life: Life::Provisioned, identity: Some(key), until_s: Some(until), ..
        } => (key, until),
        other => panic!("{other:?}"),
    });
    assert_eq!(until_s, after(10).seconds());
    let asked = request(&mut field, &mut bench);
    let document = field.answer(&asked);
    let new = bench.deliver(&mut field, &document).unwrap();
    assert_eq!(
        bench.commit(&mut field, document.len()),
        Ok(new),
        "and says it again where the answer was lost"
    );
    assert!(field.notes.contains(&Note::CertifiedOnLine { key: new }), "{:#?}", field.notes);
    assert_eq!(replaced(&mut field), new);
    field.settle();
    assert_eq!((field.state().certificate, field.state().certificate_until), (1, after(1_000)));
    assert!(old != new && field.link.is_some());
    // Over the line there is nothing more to get.
    assert_eq!(bench.renew(&mut field), Err(Fault::NotEnded));
    assert_eq!(bench.deliver(&mut field, &document), Err(Fault::Locked));
}

#[test]
fn a_device_in_the_trial_says_so_and_asks_anew_where_the_certificate_does_not_work() {
    let (mut field, mut bench) = on_the_shelf(40);
    field.door = Box::new(|_| false);
    field.refusal = Failure::Unreachable;
    let asked = request(&mut field, &mut bench);
    let document = field.answer(&asked);
    let new = bench.deliver(&mut field, &document).unwrap();
    // On the bench there is no service: it keeps what it has.
    field.run(DAY_MS);
    assert_eq!(bench.renew(&mut field), Ok(Err(new)));
    field.restart();
    assert_eq!(Bench::new(bench.now_s).renew(&mut field), Ok(Err(new)), "over a restart too");
    // A service that does not take it.
    field.refusal = Failure::TlsClientRejected;
    field.run(DAY_MS);
    let again = request(&mut field, &mut bench);
    assert_ne!(again, asked);
    field.door = Box::new(|credentials| credentials.slot != KeySlot::ALL[0]);
    let answer = field.answer(&again);
    assert_eq!(bench.deliver(&mut field, &document), Err(Fault::Document(Refusal::Replayed)), "other keys");
    assert_eq!(bench.renew(&mut field).map(|asked| asked.is_ok()), Ok(true));
    let newer = bench.deliver(&mut field, &answer).unwrap();
    assert_eq!(replaced(&mut field), newer);
}

#[test]
fn a_certificate_from_the_line_that_has_ended_too_is_asked_for_anew() {
    let (mut field, mut bench) = on_the_shelf(40);
    field.door = Box::new(|_| false);
    field.refusal = Failure::Unreachable;
    field.service.leaf.until = after(60);
    let asked = request(&mut field, &mut bench);
    let document = field.answer(&asked);
    let new = bench.deliver(&mut field, &document).unwrap();
    assert_eq!(bench.renew(&mut field), Ok(Err(new)));
    let platform = field.power_cut();
    field.now += 30 * DAY_MS;
    field.start(platform).unwrap();
    let mut bench = Bench::new(START_S + 70 * DAY_S);
    assert!(matches!(bench.renew(&mut field), Ok(Ok(_))));
}

#[test]
fn who_asks_without_end_makes_the_device_make_keys_once() {
    let (mut field, mut bench) = on_the_shelf(40);
    let first = request(&mut field, &mut bench);
    let before = field.snapshot();
    for _ in 0..100 {
        assert_eq!(request(&mut field, &mut bench), first);
        assert_eq!(bench.deliver(&mut field, b"nonsense"), Err(Fault::Document(Refusal::Malformed)));
    }
    field.restart();
    assert_eq!(request(&mut field, &mut Bench::new(bench.now_s)), first, "over a restart too");
    assert_eq!(field.snapshot(), before, "nothing is written");
}

#[test]
fn a_device_whose_certificate_has_not_ended_takes_none_from_the_line() {
    let (mut field, mut bench) = on_the_shelf(9);
    assert!(field.link.is_some());
    // What its clock says counts, whatever it is told.
    bench.now_s += 1_000 * DAY_S;
    assert_eq!(bench.renew(&mut field), Err(Fault::NotEnded));
    assert_eq!(bench.part(&mut field, 0, b"x"), Err(Fault::Locked));
    assert_eq!(bench.commit(&mut field, 1), Err(Fault::Locked));
    // A request that was given before the certificate was there is of no use then.
    let (mut field, mut bench) = on_the_shelf(40);
    let asked = request(&mut field, &mut bench);
    let document = field.answer(&asked);
    field.retained.push((Channel::IdentityDesired, document.clone()));
    field.door = Box::new(|_| true);
    replaced(&mut field);
    assert_eq!(bench.deliver(&mut field, &document), Err(Fault::NotEnded));
}

#[test]
fn a_device_without_a_clock_believes_the_line_that_its_certificate_has_ended_and_no_more() {
    let mut service = Service::new();
    (service.leaf.from, service.leaf.until) = (after(0), after(10));
    let platform = provision(Platform::blank(7), &service, &configuration(ID, Authentication::Certificate));
    let mut field = Field::new(service);
    field.offset_ms = -40 * 365 * DAY_MS as i64;
    field.start(platform).unwrap();
    let mut early = Bench::new(after(10).seconds() - 1);
    assert_eq!(early.renew(&mut field), Err(Fault::NotEnded));
    let mut bench = Bench::new(after(10).seconds());
    let asked = request(&mut field, &mut bench);
    // By the time that was said the certificate must be good.
    field.service.leaf.until = after(10);
    let ended = field.answer(&asked);
    assert_eq!(bench.deliver(&mut field, &ended), Err(Fault::Document(Refusal::Certificate)));
    field.service.leaf.until = after(300);
    let good = field.answer(&asked);
    assert!(bench.deliver(&mut field, &good).is_ok());
    let ended = |note: &Note| matches!(note, Note::CertificateEnded { .. });
    assert!(!field.notes.iter().any(ended), "what the line says is not said as the device's own");
}

#[test]
fn what_is_not_the_answer_to_its_request_is_refused_by_name() {
    let (mut field, mut bench) = on_the_shelf(40);
    let asked = request(&mut field, &mut bench);
    let key = field.service.registered.borrow()[0];
    let before = field.snapshot();
    let refused = |field: &mut Field<Platform>, bench: &mut Bench, document: &[u8], why: Refusal| {
        request(field, bench);
        assert_eq!(bench.deliver(field, document), Err(Fault::Document(why)));
        assert_eq!(field.snapshot(), before, "{why:?} changes nothing");
    };
    for (power, why) in [
        (Power::Factory, Refusal::WrongAuthority),
        (Power::Anchors, Refusal::WrongAuthority),
        (Power::Firmware, Refusal::WrongAuthority),
        (Power::Device, Refusal::UnknownKey),
    ] {
        let document = field.service.answer_with(&asked, &key, power, |_| {});
        refused(&mut field, &mut bench, &document, why);
    }
    let changed = |field: &mut Field<Platform>, change: fn(&mut IdentityCertificate<'_>)| {
        field.service.answer_with(&asked, &key, Power::Configuration, change)
    };
    let other = |document: &mut IdentityCertificate<'_>| {
        document.audience = Audience::Device(DeviceId::new("dev-2").unwrap());
    };
    let document = changed(&mut field, other);
    refused(&mut field, &mut bench, &document, Refusal::OtherDevice);
    let document = changed(&mut field, |document| document.number = 0);
    refused(&mut field, &mut bench, &document, Refusal::Replayed);
    let stranger = |document: &mut IdentityCertificate<'_>| document.identity = public(&[0x77; 32]).id();
    let document = changed(&mut field, stranger);
    refused(&mut field, &mut bench, &document, Refusal::Unexpected);
    field.service.leaf.until = after(40);
    let document = changed(&mut field, |_| {});
    refused(&mut field, &mut bench, &document, Refusal::Certificate);
    field.service.leaf.until = after(1_000);
    let good = changed(&mut field, |_| {});
    let mut torn = good.clone();
    *torn.last_mut().unwrap() ^= 1;
    refused(&mut field, &mut bench, &torn, Refusal::Signature);
    // Another document of the same power, or of another one, is none for this line.
    let rotate = field.service.rotate(&DeviceId::new(ID).unwrap());
    refused(&mut field, &mut bench, &rotate, Refusal::ContentType);
    let root = field.service.ca.root.clone();
    let roots = RootList { audience: one(), number: 9, roots: crate::world::service::certificates(&[&root]) };
    let roots = signed_with(&roots, &key_of(Power::Anchors));
    refused(&mut field, &mut bench, &roots, Refusal::ContentType);
    request(&mut field, &mut bench);
    assert!(bench.deliver(&mut field, &good).is_ok(), "and the good one is taken");
    replaced(&mut field);
    // The same once more, on a device whose new certificate has ended too.
    let platform = field.power_cut();
    field.now += 2_000 * DAY_MS;
    field.start(platform).unwrap();
    bench = Bench::new(START_S + 2_040 * DAY_S);
    request(&mut field, &mut bench);
    assert_eq!(bench.deliver(&mut field, &good), Err(Fault::Document(Refusal::Replayed)));
}

#[test]
fn messages_of_the_factory_are_refused_by_a_device_in_service_as_before() {
    let (mut field, mut bench) = on_the_shelf(40);
    request(&mut field, &mut bench);
    let fault = |field: &mut Field<Platform>, bench: &mut Bench, message: &ToDevice<'_>| {
        bench.say(field, message, |answer| match answer {
            FromDevice::Refused { why } => Some(why),
            _ => None,
        })
    };
    let begin = ToDevice::Begin { id: DeviceId::new(ID).unwrap() };
    assert_eq!(fault(&mut field, &mut bench, &begin), Some(Fault::Locked));
    let inject = ToDevice::Inject { key: KeyUse::Identity, scalar: &[7; 32] };
    assert_eq!(fault(&mut field, &mut bench, &inject), Some(Fault::Locked));
    let other = ToDevice::Identify { version: VERSION + 1 };
    assert_eq!(fault(&mut field, &mut bench, &other), Some(Fault::Message));
    assert_eq!(bench.part(&mut field, 1, b"x"), Err(Fault::Order), "a gap");
    assert_eq!(bench.commit(&mut field, 7), Err(Fault::Order));
    for nonsense in [&b""[..], b"nonsense", &[0xff; MESSAGE_BYTES_MAX]] {
        let refused = bench.raw(&mut field, nonsense, |answer| {
            matches!(answer, FromDevice::Refused { why: Fault::Message })
        });
        assert!(refused);
    }
}

#[test]
fn a_device_whose_life_is_over_or_who_obeys_nobody_asks_for_nothing() {
    let mut field = Field::new(Service::new());
    field.start(Platform::seeded(7)).unwrap();
    let mut bench = Bench::new(u64::MAX);
    assert_eq!(bench.renew(&mut field), Err(Fault::Locked), "a development device has no authority");

    let (mut field, mut bench) = on_the_shelf(40);
    field.door = Box::new(|_| true);
    (field.acknowledges, field.answers) = (false, false);
    field.connect();
    let key = field.service.registered.borrow()[0].id();
    let document = field.service.retire(&DeviceId::new(ID).unwrap(), End::Destroyed, key);
    field.send(Channel::Command, &document);
    assert_eq!(bench.renew(&mut field), Err(Fault::Locked));
}

#[test]
fn a_device_whose_certificate_has_ended_says_when_and_proves_itself_with_a_token_until_it_has_a_new_one() {
    let (mut field, _) = on_the_shelf(40);
    let ended = Note::CertificateEnded { until: after(10) };
    field.run(DAY_MS);
    assert!(field.attempts.len() > 3 && field.link.is_none());
    assert_eq!(field.notes.iter().filter(|note| **note == ended).count(), 1, "once in a boot");
    let key = field.service.registered.borrow()[0];
    for attempt in &field.attempts {
        let at = EpochMillis(START_S * 1000 + attempt.at);
        let token = attempt.password.as_ref().expect("a token");
        let token = protocol::token::verify(token, &key, "broker.example", at).unwrap();
        assert_eq!(token.subject().as_str(), ID);
    }
    // The service opens a door for tokens: the ordinary renewal does the rest.
    field.door = Box::new(|_| true);
    let from = field.attempts.len();
    replaced(&mut field);
    field.settle();
    let with_token: Vec<bool> =
        field.attempts[from..].iter().map(|attempt| attempt.password.is_some()).collect();
    assert_eq!(with_token, [true, false], "then with the new certificate");
    assert_eq!(field.state().certificate_until, after(1_000));
}

#[test]
fn a_certificate_that_has_not_ended_is_never_replaced_by_a_token() {
    let (mut field, _) = on_the_shelf(9);
    field.answers = false;
    field.run(DAY_MS / 2);
    assert!(!field.attempts.is_empty() && field.attempts.iter().all(|attempt| attempt.password.is_none()));
    // It ends while the device is connected: the next connection knows.
    field.run(2 * DAY_MS);
    field.cut_link(Failure::LinkLost);
    field.run(DAY_MS / 10);
    assert!(field.attempts.last().unwrap().password.is_some());
}
