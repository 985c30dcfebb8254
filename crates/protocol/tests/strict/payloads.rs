//! Commands and what belongs to the log, with contents and in forms that they do not have.

use super::*;

/// A command for `d` with this expiry and this action, as they stand in the bytes.
fn command(expires: &[u8], action: &[u8]) -> Vec<u8> {
    [&[0xa4, 0x01, 0x82, 0x01, 0x61, 0x64, 0x02, 0x01, 0x03][..], expires, &[0x04], action].concat()
}

fn command_taken(name: &str, payload: Vec<u8>) {
    let bytes = Parts::new(TYPE, payload, &key(1)).write();
    assert!(verified_as(TYPE, &bytes, &public(&key(1))).is_ok(), "{name}");
}

#[test]
fn actions_in_another_form_and_unknown_ones_are_refused() {
    let now: &[u8] = &[0x01];
    let wide = [&[0x1b][..], &[0xff; 8]].concat();
    command_taken("the last second", command(&wide, &[0x82, 0x01, 0x80]));
    for (name, action) in [
        ("report", &[0x82, 0x01, 0x80][..]),
        ("reboot", &[0x82, 0x03, 0x80]),
        ("rotate", &[0x82, 0x04, 0x80]),
        ("send the log from 0", &[0x82, 0x05, 0x81, 0x00]),
        ("send the log from the last number", &[0x82, 0x05, 0x81, 0x1a, 0xff, 0xff, 0xff, 0xff]),
    ] {
        command_taken(name, command(now, action));
    }
    for (name, action) in [
        ("number 0", &[0x82, 0x00, 0x80][..]),
        ("number 6", &[0x82, 0x06, 0x80]),
        ("number 255", &[0x82, 0x18, 0xff, 0x80]),
        ("number 2^32 + 1", &[0x82, 0x1b, 0, 0, 0, 1, 0, 0, 0, 1, 0x80]),
        ("a negative number", &[0x82, 0x20, 0x80]),
        ("a name", &[0x82, 0x66, b'r', b'e', b'p', b'o', b'r', b't', 0x80]),
        ("a number alone", &[0x01]),
        ("an array of the number alone", &[0x81, 0x01]),
        ("nothing", &[0x80]),
        ("null", &[0xf6]),
        ("a third element", &[0x83, 0x01, 0x80, 0x00]),
        ("an element too many in a report", &[0x82, 0x01, 0x81, 0x00]),
        ("null in a report", &[0x82, 0x01, 0x81, 0xf6]),
        ("null in place of the elements", &[0x82, 0x01, 0xf6]),
        ("a map in place of the elements", &[0x82, 0x01, 0xa0]),
        ("elements without length", &[0x82, 0x01, 0x9f, 0xff]),
        ("an array without length", &[0x9f, 0x01, 0x80, 0xff]),
        ("an array longer than needed", &[0x98, 0x02, 0x01, 0x80]),
        ("a number longer than needed", &[0x82, 0x18, 0x01, 0x80]),
        ("an element too many in a reboot", &[0x82, 0x03, 0x81, 0x00]),
        ("an element too many in a rotation", &[0x82, 0x04, 0x81, 0x00]),
        ("no record to send the log from", &[0x82, 0x05, 0x80]),
        ("null to send the log from", &[0x82, 0x05, 0x81, 0xf6]),
        ("a record beyond 32 bits", &[0x82, 0x05, 0x81, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("a record below 0", &[0x82, 0x05, 0x81, 0x20]),
        ("a record longer than needed", &[0x82, 0x05, 0x81, 0x18, 0x00]),
        ("two records", &[0x82, 0x05, 0x82, 0x00, 0x00]),
    ] {
        payload_refused(TYPE, name, command(now, action));
    }
    for (name, expires) in [
        ("negative", &[0x20][..]),
        ("longer than needed", &[0x18, 0x01]),
        ("a fraction", &[0xf9, 0x3c, 0x00]),
        ("a text", &[0x61, 0x31]),
        ("a date", &[0xc1, 0x01]),
        ("null", &[0xf6]),
    ] {
        payload_refused(TYPE, name, command(expires, &[0x82, 0x01, 0x80]));
    }
    payload_refused(TYPE, "no action", vec![0xa3, 0x01, 0x82, 0x01, 0x61, 0x64, 0x02, 0x01, 0x03, 0x01]);
}

#[test]
fn bursts_outside_their_bounds_and_in_another_form_are_refused() {
    let burst = |samples: &[u8], period: &[u8]| {
        command(&[0x01], &[&[0x82, 0x02, 0x82][..], samples, period].concat())
    };
    let (one, fifty) = (&[0x01][..], &[0x18, 50][..]);
    let (most, longest) = (&[0x19, 0x02, 0x00][..], &[0x19, 0xea, 0x60][..]);
    for (samples, period) in [(one, fifty), (one, longest), (most, fifty), (most, longest)] {
        command_taken("a burst", burst(samples, period));
    }
    for (name, payload) in [
        ("no sample", burst(&[0x00], fifty)),
        ("513 samples", burst(&[0x19, 0x02, 0x01], fifty)),
        ("65536 samples", burst(&[0x1a, 0, 1, 0, 0], fifty)),
        ("-1 samples", burst(&[0x20], fifty)),
        ("no period", burst(one, &[0x00])),
        ("49 ms", burst(one, &[0x18, 49])),
        ("60001 ms", burst(one, &[0x19, 0xea, 0x61])),
        ("2^32 ms", burst(one, &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0])),
        ("a period longer than needed", burst(one, &[0x19, 0, 50])),
        ("samples longer than needed", burst(&[0x18, 0x01], fifty)),
        ("null samples", burst(&[0xf6], fifty)),
        ("a null period", burst(one, &[0xf6])),
        ("no period at all", command(&[0x01], &[0x82, 0x02, 0x81, 0x01])),
        ("neither", command(&[0x01], &[0x82, 0x02, 0x80])),
        ("a third", command(&[0x01], &[0x82, 0x02, 0x83, 0x01, 0x18, 50, 0x00])),
        ("a null third", command(&[0x01], &[0x82, 0x02, 0x83, 0x01, 0x18, 50, 0xf6])),
    ] {
        payload_refused(TYPE, name, payload);
    }
}

#[test]
fn hashes_of_another_length_are_refused() {
    let head = [0x01, 0x82, 0x01, 0x61, 0x64, 0x02, 0x01, 0x03];
    let acknowledgement = |hash: &[u8]| [&[0xa3][..], &head, hash].concat();
    let delivery = |hash: &[u8], entries: &[u8]| [&[0xa4][..], &head, hash, &[0x04], entries].concat();
    let right = string(&[7; 32]);
    let acknowledged = Parts::new(ContentType::LogAcknowledgement, acknowledgement(&right), &key(1)).write();
    assert!(verified_as(ContentType::LogAcknowledgement, &acknowledged, &public(&key(1))).is_ok());
    let delivered = Parts::new(ContentType::Log, delivery(&right, &[0x40]), &key(1)).write();
    assert!(verified_as(ContentType::Log, &delivered, &public(&key(1))).is_ok());
    for (name, hash) in [
        ("none", string(&[])),
        ("31 bytes", string(&[7; 31])),
        ("33 bytes", string(&[7; 33])),
        ("a text", text(&"7".repeat(32))),
        ("an array", [&[0x98, 0x20][..], &[7; 32]].concat()),
        ("null", vec![0xf6]),
    ] {
        payload_refused(ContentType::LogAcknowledgement, name, acknowledgement(&hash));
        payload_refused(ContentType::Log, name, delivery(&hash, &[0x40]));
    }
    for (name, entries) in [("a text", &[0x60][..]), ("an array", &[0x80]), ("null", &[0xf6])] {
        payload_refused(ContentType::Log, name, delivery(&right, entries));
    }
}
