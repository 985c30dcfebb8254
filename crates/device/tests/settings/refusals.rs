//! Documents that are not taken: each is refused by name, said, and changes nothing.

use crate::bench::{BOUND_MS, Bench, GROUP, MINUTE_MS, Meeting, change, json, sealed};
use crate::world::Platform;
use crate::world::field::ID;
use crate::world::service::{key_of, signed_with};
use device::Note;
use protocol::config::CONFIGURATION_BYTES_MAX;
use protocol::document::{Audience, End, PAYLOAD_BYTES_MAX, Power, Retirement};
use protocol::{DeviceId, Failure, Layer, Refusal};

const GOOD: &str = r#""dead_band_pa":9"#;

/// A device that has one change of each layer in force.
fn bench() -> Bench<Platform> {
    let mut bench = Bench::running(21);
    bench.publish(Layer::Group, &change(Layer::Group, 10, r#""report_period_ms":7200000"#));
    bench.publish(Layer::Device, &change(Layer::Device, 10, r#""dead_band_pa":3"#));
    bench.run(2 * MINUTE_MS);
    bench.notes.clear();
    bench
}

struct Expected<'t> {
    layer: Option<Layer>,
    number: u32,
    why: Refusal,
    text: &'t str,
}

fn refused(bench: &mut Bench<Platform>, document: &[u8], expected: &Expected<'_>, what: &str) {
    let (kept, running) = (bench.stored(), bench.configuration());
    let before = bench.state();
    let calls = bench.calls.len();
    let Expected { layer, number, why, text } = *expected;
    bench.send(Layer::Device, document);
    assert_eq!(bench.notes.last(), Some(&Note::ConfigurationRefused { layer, number, why }), "{what}");
    let state = bench.state();
    let counted = if why == Refusal::Replayed { (0, 1) } else { (1, 0) };
    assert_eq!((state.refused - before.refused, state.replayed - before.replayed), counted, "{what}");
    let last = state.last.clone().expect("it says what was refused");
    assert_eq!((last.layer, last.number, last.why, last.failure), (layer, number, why, None), "{what}");
    assert!(last.text.contains(text) && last.text.is_empty() == text.is_empty(), "{what}: {}", last.text);
    assert_eq!((bench.stored(), bench.configuration()), (kept, running), "{what}");
    assert_eq!((state.group, state.device, state.values), (before.group, before.device, before.values));
    assert_eq!(bench.calls.len(), calls, "{what}: no other connection");
}

/// The document with another payload, and the signature of the former.
fn with_payload(document: &[u8], former: &str, payload: &str) -> Vec<u8> {
    let at = document.windows(former.len()).position(|bytes| bytes == former.as_bytes()).unwrap();
    let head = if former.len() < 256 { 2 } else { 3 };
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let (before, after) = (&document[..at - head], &document[at + former.len()..]);
    [before, &[0x59, high, low], payload.as_bytes(), after].concat()
}

#[test]
fn every_near_miss_is_refused_by_its_name_and_changes_nothing() {
    let mut bench = bench();
    let good = change(Layer::Device, 11, GOOD);
    let payload = json(Layer::Device, 11, GOOD);
    let with = |power| signed_with(&crate::bench::Payload(payload.clone().into_bytes()), &key_of(power));
    let unproven = |why| Expected { layer: None, number: 0, why, text: "" };
    let cut = &good[..good.len() - 1];
    let mut altered = good.clone();
    let at = good.windows(2).position(|pair| pair == b":9").unwrap() + 1;
    altered[at] = b'8';
    let mut signature = good.clone();
    *signature.last_mut().unwrap() ^= 1;
    let stranger = signed_with(&crate::bench::Payload(payload.clone().into_bytes()), &[0x66; 32]);
    let retirement = Retirement {
        audience: Audience::Device(DeviceId::new(ID).unwrap()),
        number: 99,
        end: End::Blank,
        identity: bench.device().identity(),
        expires_s: u64::MAX,
    };
    let long = format!("{payload}{}", " ".repeat(CONFIGURATION_BYTES_MAX));
    let longest = format!("{payload}{}", " ".repeat(PAYLOAD_BYTES_MAX));
    for (what, document, why) in [
        ("the bare payload", payload.clone().into_bytes(), Refusal::Malformed),
        ("cut", cut.to_vec(), Refusal::Malformed),
        ("altered", altered, Refusal::Signature),
        ("another signature", signature, Refusal::Signature),
        ("nobody's key", stranger, Refusal::UnknownKey),
        ("the firmware's authority", with(Power::Firmware), Refusal::WrongAuthority),
        ("the anchors' authority", with(Power::Anchors), Refusal::WrongAuthority),
        ("the factory", with(Power::Factory), Refusal::WrongAuthority),
        ("another document", signed_with(&retirement, &key_of(Power::Configuration)), Refusal::ContentType),
        ("long and altered", with_payload(&good, &payload, &long), Refusal::Signature),
        ("too long", with_payload(&good, &payload, &longest), Refusal::TooLong),
    ] {
        refused(&mut bench, &document, &unproven(why), what);
    }
    let long_text = format!("the configuration has {} bytes; at most 1400 are allowed", long.len());
    for (what, payload, text) in [
        ("no JSON", "xxxx".to_owned(), "is no JSON object"),
        ("an unknown field", payload.replace("dead_band_pa", "dead_band_pas"), "dead_band_pas is no field"),
        (
            "out of range",
            payload.replace(":9", ":80001"),
            "dead_band_pa is 80001; it must be from 0 to 80000 Pa",
        ),
        ("a wrong type", payload.replace(":9", ":\"9\""), "dead_band_pa has a value of the wrong type"),
        ("no number", payload.replace("\"number\":11,", ""), "number is missing"),
        ("twice", payload.replace("\"v\"", "\"dead_band_pa\":9,\"v\""), "dead_band_pa is there twice"),
        ("another version", payload.replace("\"v\":2", "\"v\":3"), "v is 3"),
        ("a field of a later version", payload.replace("\"v\":2", "\"v\":1"), "dead_band_pa is no field"),
        ("no audience", payload.replace(&format!("\"id\":\"{ID}\","), ""), "id and group are missing"),
        ("text at the end", format!("{payload}x"), "is no JSON object"),
        ("a byte order mark", format!("\u{feff}{payload}"), "begins with a byte order mark"),
        ("blanks", long.clone(), &long_text),
        (
            "a name that hides",
            payload.replace("dead_band_pa", "dead\u{200b}_pa"),
            "dead<U+200B>_pa is no field",
        ),
        (
            "a name that turns around",
            payload.replace("dead_band_pa", "\u{202e}_pa"),
            "<U+202E>_pa is no field",
        ),
    ] {
        // Proven, and not valid: its layer and its number are said as far as it names them.
        let layer = Some(Layer::Device).filter(|_| payload.contains("\"id\"") && what != "no JSON");
        let number = if payload.contains("\"number\":11") { 11 } else { 0 };
        let expected = Expected { layer, number, why: Refusal::Configuration, text };
        bench.reasons.clear();
        refused(&mut bench, &sealed(&payload), &expected, what);
        let said = bench.state().last.expect("the refusal").text;
        assert_eq!(bench.reasons, [said.as_str()], "{what}: the log says the same");
    }
    for (what, payload, why) in [
        ("another device", payload.replace(ID, "dev-2"), Refusal::OtherDevice),
        ("another group", json(Layer::Group, 11, GOOD).replace(GROUP, "south"), Refusal::OtherGroup),
    ] {
        refused(&mut bench, &sealed(&payload), &unproven(why), what);
    }
    // The genuine one is still taken.
    bench.send(Layer::Device, &good);
    assert_eq!(bench.configuration().dead_band_pa, 9);
}

#[test]
fn an_older_number_is_refused_and_a_used_one_with_another_content_is_a_replay() {
    let mut bench = bench();
    for layer in [Layer::Group, Layer::Device] {
        let expected = |number, why| Expected { layer: Some(layer), number, why, text: "" };
        refused(&mut bench, &change(layer, 9, GOOD), &expected(9, Refusal::Older), "older");
        refused(&mut bench, &change(layer, 1, GOOD), &expected(1, Refusal::Older), "much older");
        refused(&mut bench, &change(layer, 10, GOOD), &expected(10, Refusal::Replayed), "another content");
        bench.send(layer, &change(layer, 11, r#""dead_band_centi_c":1"#));
        refused(&mut bench, &change(layer, 10, GOOD), &expected(10, Refusal::Older), "older now");
    }
}

#[test]
fn the_factorys_number_is_where_the_devices_own_begin() {
    let mut bench = Bench::running(22);
    let expected = |number, why| Expected { layer: Some(Layer::Device), number, why, text: "" };
    refused(&mut bench, &change(Layer::Device, 5, GOOD), &expected(5, Refusal::Replayed), "the factory's");
    refused(&mut bench, &change(Layer::Device, 4, GOOD), &expected(4, Refusal::Older), "older");
    bench.send(Layer::Group, &change(Layer::Group, 1, GOOD));
    bench.send(Layer::Device, &change(Layer::Device, 6, GOOD));
    assert_eq!(bench.state().device.unwrap().number, 6);
}

#[test]
fn what_fits_alone_and_not_with_the_others_is_refused_with_the_sentence_and_uses_up_no_number() {
    let mut bench = bench();
    // The group reports every two hours.
    let long = r#""sample_period_ms":10000000"#;
    let text = "report_period_ms is 7200000; it must not be below sample_period_ms, which is 10000000";
    let expected = Expected { layer: Some(Layer::Device), number: 12, why: Refusal::Configuration, text };
    refused(&mut bench, &change(Layer::Device, 12, long), &expected, "report and sample");
    // The broker has it still: that is not said again and again.
    bench.publish(Layer::Device, &change(Layer::Device, 12, long));
    for _ in 0..3 {
        bench.cut_link();
        bench.run(MINUTE_MS);
    }
    assert_eq!(bench.state().refused, 1);
    // Once the group's fits, it does, and is asked for again by the device itself.
    bench.publish(Layer::Group, &change(Layer::Group, 11, r#""report_period_ms":20000000"#));
    let state = bench.state();
    assert_eq!((state.device.unwrap().number, state.values.sample_period_ms), (12, 10_000_000));
    assert_eq!(bench.configuration().report_period_ms, 20_000_000);
}

#[test]
fn another_change_has_to_wait_for_the_trial_and_is_taken_after_it() {
    for good in [true, false] {
        for fields in [r#""port":8885"#, r#""dead_band_centi_c":77"#] {
            let mut bench = bench();
            bench.network = Box::new(move |call| match (call.host.as_str(), good) {
                ("other.example", false) => Meeting::Fails(Failure::Dns),
                _ => Meeting::Serves,
            });
            // A dead time server keeps the trial open while there is a connection.
            bench.clocks = Box::new(|server| (server.host != "dead.example").then_some(0));
            let servers = r#""host":"other.example","time_servers":["dead.example"]"#;
            bench.publish(Layer::Group, &change(Layer::Group, 11, servers));
            if good {
                bench.run_until(BOUND_MS, |bench| bench.link.is_some());
                bench.publish(Layer::Device, &change(Layer::Device, 11, fields));
                let waits = Note::ConfigurationRefused {
                    layer: Some(Layer::Device),
                    number: 11,
                    why: Refusal::Unexpected,
                };
                assert_eq!(bench.notes.last(), Some(&waits));
                bench.clocks = Box::new(|_| Some(0));
            } else {
                bench
                    .retained
                    .push((crate::bench::topic_of(Layer::Device), change(Layer::Device, 11, fields)));
            }
            assert_eq!(bench.await_verdict(2 * BOUND_MS), good);
            bench.run(30 * MINUTE_MS);
            let state = bench.state();
            assert_eq!(state.device.map(|held| held.number), Some(11), "{fields}: {:#?}", bench.notes);
            assert_eq!(state.group.map(|held| held.number), Some(if good { 11 } else { 10 }));
        }
    }
}

#[test]
fn who_sends_what_is_refused_does_not_make_the_device_talk() {
    let mut bench = bench();
    bench.states.clear();
    for _ in 0..1_000 {
        bench.send(Layer::Device, &change(Layer::Device, 9, GOOD));
        bench.run(1_000);
    }
    assert!(bench.states.len() <= 18, "{}", bench.states.len());
    assert_eq!(bench.state().refused, 1_000);
}
