//! A service that speaks MQTT badly: what of it ends the connection, and by which name, and what is passed over. The cases are
//! data (`hostile_broker.json`), so that every port is tried with the same ones; here over the real TLS connection.
//!
//! Each case sends its bytes `at` one point (instead of CONNACK, instead of SUBACK, or once the device has subscribed to one
//! topic, `@command`): `send` in hexadecimal, where `61*5` is a byte five times, `@subscribe` the packet identifier of the
//! SUBSCRIBE, `@topics` how many topics it has and `@codes-length` two more; or one message, `publish`, with QoS 1 where it has
//! an `id`, and a payload of so many bytes. `verdict` is the failure's name, or `stays`: then what has an identifier is
//! acknowledged, and so is a good message behind it. R-DATA-INTACT.

mod support;

use protocol::Failure;
use serde::Deserialize;
use simulator::mqtt::LinkEvent;
use support::script::{PUBACK, SUBSCRIBE, Script, fails, next, opened};
use support::server::CONNACK;

const COMMAND: &str = "device/dev-1/command";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    at: Point,
    #[serde(default)]
    send: String,
    publish: Option<Message>,
    #[serde(default)]
    acknowledged: Vec<u8>,
    verdict: String,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Point {
    Connack,
    Suback,
    Running,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    topic: String,
    times: Option<usize>,
    id: Option<u8>,
    payload: usize,
}

/// The bytes of a case, where the SUBSCRIBE had this identifier.
fn bytes(case: &Case, subscribe: [u8; 2]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in case.send.split_whitespace() {
        let word = word.replace("@topics", "1").replace("@codes-length", "03");
        if word == "@subscribe" {
            bytes.extend(subscribe);
            continue;
        }
        let (byte, times) = word.split_once('*').unwrap_or((&word, "1"));
        let byte = u8::from_str_radix(byte, 16).unwrap();
        bytes.extend(vec![byte; times.parse().unwrap()]);
    }
    if let Some(Message { topic, times, id, payload }) = &case.publish {
        let topic = if topic == "@command" { COMMAND.to_owned() } else { topic.repeat(times.unwrap_or(1)) };
        let mut rest = [&(topic.len() as u16).to_be_bytes(), topic.as_bytes()].concat();
        rest.extend(id.map(|id| [0, id]).into_iter().flatten());
        rest.resize(rest.len() + payload, b'x');
        bytes.push(if id.is_some() { 0x32 } else { 0x30 });
        let mut remaining = rest.len();
        while remaining >= 0x80 {
            bytes.push(remaining as u8 | 0x80);
            remaining >>= 7;
        }
        bytes.push(remaining as u8);
        bytes.extend(rest);
    }
    bytes
}

async fn meets(case: &Case) {
    let (mut link, mut script): (_, Script) = opened(60).await;
    if case.at == Point::Connack {
        script.send(&bytes(case, [0, 1])).await;
    } else {
        script.send(&CONNACK).await;
        assert!(matches!(next(&mut link).await, Some(LinkEvent::Connected { .. })));
        link.subscribe([COMMAND.to_owned()]).unwrap();
        let asked = script.expect(SUBSCRIBE).await;
        let id = [asked[0], asked[1]];
        if case.at == Point::Running {
            script.send(&[0x90, 3, id[0], id[1], 1]).await;
            assert_eq!(next(&mut link).await, Some(LinkEvent::Subscribed { granted: true }));
        }
        script.send(&bytes(case, id)).await;
    }
    if case.verdict != "stays" {
        return fails(&mut link, Failure::from_wire(&case.verdict).expect("a failure's name")).await;
    }
    script.publish(COMMAND, 0x77, b"good").await;
    let good = LinkEvent::Message { topic: COMMAND.to_owned(), payload: b"good".to_vec() };
    loop {
        match next(&mut link).await {
            Some(event) if event == good => break,
            Some(LinkEvent::Failed(failure)) => panic!("{}: {failure:?}", case.name),
            Some(_) => {}
            None => panic!("{}: the connection is gone", case.name),
        }
    }
    let of_message = case.publish.as_ref().and_then(|message| message.id);
    for id in case.acknowledged.iter().copied().chain(of_message).chain([0x77]) {
        assert_eq!(script.expect(PUBACK).await, [0, id], "{}", case.name);
    }
}

#[tokio::test]
async fn what_breaks_the_form_ends_the_connection_by_name_and_what_is_odd_is_passed_over() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("hostile_broker.json")).unwrap();
    assert!(cases.len() > 40);
    for case in &cases {
        println!("{}", case.name);
        meets(case).await;
    }
}
