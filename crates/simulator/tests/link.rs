//! One connection against a server that follows a script: acknowledgements find their messages, every end has its name,
//! and what is dropped is silent. R-MQTT-ISOLATION, R-DATA-INTACT.

mod support;

use device::dropped::{PAYLOAD_BYTES_MAX, Why};
use protocol::Failure;
use simulator::mqtt::LinkEvent;
use simulator::port::stopper;
use std::time::Duration;
use support::script::{
    CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBLISH, SUBSCRIBE, Script, UNSUBSCRIBE, connected, fails, next,
    opened,
};
use support::server::CONNACK;
use support::{Authority, configuration, honest_time, loopback, port, provisioned};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

#[tokio::test]
async fn every_refusing_connack_is_named_and_ends_the_attempt() {
    for (code, failure) in [
        (1, Failure::MqttProtocol),
        (2, Failure::MqttIdentifier),
        (3, Failure::MqttUnavailable),
        (4, Failure::MqttCredentials),
        (5, Failure::MqttNotAuthorised),
    ] {
        let (mut link, mut script) = opened(60).await;
        script.send(&[0x20, 2, 0, code]).await;
        fails(&mut link, failure).await;
        assert_eq!(script.packet().await, None);
    }
}

#[tokio::test]
async fn an_answer_that_is_no_connack_is_a_protocol_error() {
    let (mut link, mut script) = opened(60).await;
    script.send(&[0xd0, 0]).await;
    fails(&mut link, Failure::MqttProtocol).await;
}

#[tokio::test]
async fn acknowledgements_in_any_order_carry_the_token_of_their_message() {
    let (mut link, mut script) = connected().await;
    for token in [700, 701, 702] {
        link.publish(token, "device/dev-1/telemetry", &token.to_be_bytes(), false).unwrap();
    }
    let mut messages = Vec::new();
    for token in [700_u16, 701, 702] {
        let message = script.expect(PUBLISH).await;
        assert_eq!(message.last_chunk(), Some(&token.to_be_bytes()));
        messages.push(message);
    }
    for (index, token) in [(1, 701), (2, 702), (0, 700)] {
        script.acknowledge(&messages[index]).await;
        assert_eq!(next(&mut link).await, Some(LinkEvent::Acknowledged(token)));
    }
}

#[tokio::test]
async fn an_acknowledgement_that_nobody_waits_for_or_that_comes_twice_is_dropped_and_counted() {
    let (mut link, mut script) = connected().await;
    let stray = || Some(LinkEvent::Dropped { why: Why::Stray, topic: Vec::new(), bytes: 0 });
    for id in [0, 9] {
        script.send(&[0x40, 2, 0, id]).await;
        assert_eq!(next(&mut link).await, stray());
    }
    link.publish(700, "device/dev-1/telemetry", b"x", false).unwrap();
    let message = script.expect(PUBLISH).await;
    script.acknowledge(&message).await;
    script.acknowledge(&message).await;
    assert_eq!(next(&mut link).await, Some(LinkEvent::Acknowledged(700)));
    assert_eq!(next(&mut link).await, stray());
    // A third byte is no PUBACK.
    script.send(&[0x40, 3, 0, 9, 0]).await;
    fails(&mut link, Failure::MqttProtocol).await;
}

#[tokio::test]
async fn a_subscription_is_granted_only_where_every_topic_is() {
    for (codes, expected) in [([1, 1], true), ([1, 0x80], false)] {
        let (mut link, mut script) = connected().await;
        link.subscribe(["device/dev-1/command".to_owned(), "device/dev-1/config/desired".to_owned()])
            .unwrap();
        let subscribe = script.expect(SUBSCRIBE).await;
        script.send(&[0x90, 4, subscribe[0], subscribe[1], codes[0], codes[1]]).await;
        assert_eq!(next(&mut link).await, Some(LinkEvent::Subscribed { granted: expected }));
    }
}

/// A link that has subscribed to `t`.
async fn subscribed() -> (simulator::mqtt::Link, Script) {
    let (mut link, mut script) = connected().await;
    link.subscribe(["t".to_owned()]).unwrap();
    let subscribe = script.expect(SUBSCRIBE).await;
    script.send(&[0x90, 3, subscribe[0], subscribe[1], 1]).await;
    assert_eq!(next(&mut link).await, Some(LinkEvent::Subscribed { granted: true }));
    (link, script)
}

#[tokio::test]
async fn a_message_arrives_whole_and_one_that_is_too_long_is_dropped_and_acknowledged() {
    let (mut link, mut script) = subscribed().await;
    script.send(b"\x30\x06\0\x01thiy").await;
    let whole =
        |payload: &[u8]| Some(LinkEvent::Message { topic: "t".to_owned(), payload: payload.to_vec() });
    assert_eq!(next(&mut link).await, whole(b"hiy"));
    for (len, taken) in
        [(PAYLOAD_BYTES_MAX, true), (PAYLOAD_BYTES_MAX + 1, false), (11_000, false), (2_000_000, false)]
    {
        let payload = vec![b'x'; len];
        script.publish("t", 7, &payload).await;
        let mut event = next(&mut link).await;
        while event == Some(LinkEvent::Receiving) {
            event = next(&mut link).await;
        }
        let dropped = LinkEvent::Dropped { why: Why::TooLong, topic: b"t".to_vec(), bytes: len as u32 };
        assert_eq!(event, if taken { whole(&payload) } else { Some(dropped) });
        assert_eq!(script.expect(PUBACK).await, [0, 7], "{len} bytes");
    }
    script.send(b"\x30\x06\0\x01thiy").await;
    assert_eq!(next(&mut link).await, whole(b"hiy"));
}

#[tokio::test]
async fn a_topic_that_was_not_subscribed_to_is_dropped_until_it_is_and_after_it_was_released() {
    let (mut link, mut script) = subscribed().await;
    let dropped =
        || Some(LinkEvent::Dropped { why: Why::NotSubscribed, topic: b"firmware/block".to_vec(), bytes: 1 });
    script.publish("firmware/block", 7, b"x").await;
    assert_eq!(next(&mut link).await, dropped());
    assert_eq!(script.expect(PUBACK).await, [0, 7]);
    link.fetch("firmware/block").unwrap();
    let subscribe = script.expect(SUBSCRIBE).await;
    // What is retained may come before the answer.
    script.publish("firmware/block", 8, b"x").await;
    script.send(&[0x90, 3, subscribe[0], subscribe[1], 1]).await;
    let message = LinkEvent::Message { topic: "firmware/block".to_owned(), payload: b"x".to_vec() };
    assert_eq!(next(&mut link).await, Some(message.clone()));
    assert_eq!(script.expect(PUBACK).await, [0, 8]);
    link.release("firmware/block").unwrap();
    let unsubscribe = script.expect(UNSUBSCRIBE).await;
    script.publish("firmware/block", 9, b"x").await;
    assert_eq!(next(&mut link).await, Some(message.clone()), "it was on its way");
    script.send(&[0xb0, 2, unsubscribe[0], unsubscribe[1]]).await;
    script.publish("firmware/block", 10, b"x").await;
    assert_eq!(next(&mut link).await, dropped());

    assert_eq!(script.expect(PUBACK).await, [0, 9]);
    assert_eq!(script.expect(PUBACK).await, [0, 10]);
    // Asked for again before the answer to its release has come: the release that is answered late is the former one's.
    link.fetch("firmware/block").unwrap();
    let first = script.expect(SUBSCRIBE).await;
    script.send(&[0x90, 3, first[0], first[1], 1]).await;
    link.release("firmware/block").unwrap();
    let released = script.expect(UNSUBSCRIBE).await;
    link.fetch("firmware/block").unwrap();
    let again = script.expect(SUBSCRIBE).await;
    script.send(&[0xb0, 2, released[0], released[1]]).await;
    script.send(&[0x90, 3, again[0], again[1], 1]).await;
    script.publish("firmware/block", 11, b"x").await;
    assert_eq!(next(&mut link).await, Some(message));
}

#[tokio::test]
async fn a_service_that_hangs_up_and_one_that_breaks_off_are_told_apart_from_silence() {
    let (mut link, mut script) = connected().await;
    script.0.shutdown().await.unwrap();
    fails(&mut link, Failure::PeerClosed).await;
    let (mut link, script) = connected().await;
    // Without TLS's farewell.
    drop(script);
    fails(&mut link, Failure::PeerClosed).await;
}

#[tokio::test]
async fn an_answered_ping_is_a_sign_of_life_and_an_unanswered_one_ends_the_connection() {
    let (mut link, mut script) = opened(1).await;
    script.send(&CONNACK).await;
    assert!(matches!(next(&mut link).await, Some(LinkEvent::Connected { .. })));
    script.expect(PINGREQ).await;
    script.send(&[0xd0, 0]).await;
    assert_eq!(next(&mut link).await, Some(LinkEvent::Alive));
    script.expect(PINGREQ).await;
    fails(&mut link, Failure::KeepAlive).await;
}

#[tokio::test]
async fn a_dropped_link_hangs_up_at_once() {
    let (link, mut script) = connected().await;
    drop(link);
    assert_eq!(script.packet().await, None);
}

#[tokio::test]
async fn an_orderly_end_says_disconnect_after_what_was_queued() {
    let (link, mut script) = connected().await;
    link.publish(1, "device/dev-1/state", b"{}", true).unwrap();
    link.close().await;
    script.expect(PUBLISH).await;
    script.expect(DISCONNECT).await;
    assert_eq!(script.packet().await, None);
}

#[tokio::test]
async fn a_device_that_is_stopped_takes_its_leave_of_the_service() {
    let authority = Authority::new("ours");
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let time = honest_time().await;
    let configuration =
        configuration("dev-1", "localhost", listener.local_addr().unwrap().port(), &[time.address()]);
    let (port, _reports) = port();
    let (stop, stopped) = stopper();
    let mut machine = provisioned(&authority.credentials("dev-1"), &configuration);
    let running = tokio::spawn(async move { port.run(&mut machine, stopped).await });
    let mut script = Script::accept(&listener, &authority).await;
    script.expect(CONNECT).await;
    script.send(&CONNACK).await;
    script.expect(SUBSCRIBE).await;
    stop.stop();
    script.expect(DISCONNECT).await;
    assert_eq!(script.packet().await, None);
    assert_eq!(running.await.unwrap().unwrap().state.connections, 1);
}

#[tokio::test]
async fn more_messages_than_the_queue_holds_are_an_error_and_no_wait() {
    let (link, _script) = connected().await;
    let refused = (1..100).find_map(|token| link.publish(token, "device/dev-1/state", b"{}", false).err());
    assert_eq!(refused, Some(Failure::LinkLost));
    tokio::time::timeout(Duration::from_secs(60), link.close()).await.expect("no wait for a full queue");
}
