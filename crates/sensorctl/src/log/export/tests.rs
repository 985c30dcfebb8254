//! What is exported says what the record says, and nothing a device says gets out of its field.

use super::*;
use crate::log::delivery;
use crate::log::keys::Keys;
use crate::log::specimen::{Dice, Specimen, event, log};
use proptest::prelude::*;
use protocol::audit::Event;

/// Every kind of event, and a whole log.
fn lines() -> (DeviceId, Vec<Line>) {
    let (device, deliveries) = log(2, 90);
    let keys = device.publics();
    let mut lines: Vec<Line> = deliveries
        .iter()
        .flat_map(|bytes| delivery::prove(&device.id, &Keys::Given(&keys), None, bytes).unwrap().lines)
        .collect();
    let mut other = Specimen::new("dev-7", 9);
    let mut dice = Dice::new(1);
    for kind in (1..=34).filter(|kind| *kind != 31) {
        for _ in 0..8 {
            let event =
                if kind == 30 { Event::Lost { first: 7, count: u32::MAX } } else { event(kind, &mut dice) };
            other.push(event);
        }
    }
    let keys = other.publics();
    for bytes in other.deliver(0) {
        lines.extend(delivery::prove(&other.id, &Keys::Given(&keys), None, &bytes).unwrap().lines);
    }
    (device.id, lines)
}

#[test]
fn json_lines_read_back_and_an_altered_one_does_not() {
    let (id, lines) = lines();
    let mut kinds = std::collections::BTreeSet::new();
    for line in &lines {
        kinds.insert(line.record.event.kind());
        let text = json::write(&id, line);
        assert!(!text.contains('\n'));
        assert_eq!(json::read(&text), Some((id.clone(), line.clone())), "{text}");
        let altered = text.replace("\"boot\":1", "\"boot\":2");
        assert!(altered == text || json::read(&altered).is_none());
    }
    assert_eq!(kinds.len(), 34, "every kind of event");
}

/// An independent reading of CEF: seven fields, then keys and values.
fn read_cef(text: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (mut header, mut field, mut rest) = (Vec::new(), String::new(), text.chars());
    while header.len() < 7 {
        match rest.next().expect("seven fields") {
            '\\' => field.push(rest.next().unwrap()),
            '|' => header.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    // A key is what stands between a blank and an `=` that is not escaped.
    let (mut fields, mut current): (Vec<(String, String)>, String) = (Vec::new(), String::new());
    while let Some(character) = rest.next() {
        match character {
            '\\' => match rest.next().unwrap() {
                'n' => current.push('\n'),
                'r' => current.push('\r'),
                other => current.push(other),
            },
            '=' => {
                let key = current.rsplit(' ').next().unwrap().to_owned();
                let before = current[..current.len() - key.len()].trim_end_matches(' ').to_owned();
                if let Some((_, value)) = fields.last_mut() {
                    *value = before;
                }
                fields.push((key, String::new()));
                current = String::new();
            }
            other => current.push(other),
        }
    }
    if let Some((_, value)) = fields.last_mut() {
        *value = current;
    }
    (header, fields)
}

/// An independent reading of RFC 5424: what stands before the structured data, its parameters, the text.
fn read_syslog(text: &str) -> (Vec<String>, Vec<(String, String, String)>, String) {
    let mut parts = text.splitn(7, ' ');
    let header = parts.by_ref().take(6).map(str::to_owned).collect();
    let mut rest = parts.next().unwrap().chars().peekable();
    let mut parameters = Vec::new();
    while rest.next_if_eq(&'[').is_some() {
        let mut id = String::new();
        while let Some(character) = rest.next_if(|character| !" ]".contains(*character)) {
            id.push(character);
        }
        while rest.next_if_eq(&' ').is_some() {
            let (mut name, mut value) = (String::new(), String::new());
            while let Some(character) = rest.next_if(|character| *character != '=') {
                name.push(character);
            }
            assert_eq!((rest.next(), rest.next()), (Some('='), Some('"')));
            loop {
                match rest.next().unwrap() {
                    '\\' => value.push(rest.next().unwrap()),
                    '"' => break,
                    other => value.push(other),
                }
            }
            parameters.push((id.clone(), name, value));
        }
        assert_eq!(rest.next(), Some(']'));
    }
    (header, parameters, rest.skip(1).collect())
}

#[test]
fn cef_and_syslog_say_what_the_record_says() {
    let (id, lines) = lines();
    for line in &lines {
        let record = &line.record;
        let text = cef::write(&id, line);
        let (header, fields) = read_cef(&text);
        assert_eq!(
            (header[0].as_str(), header[5].as_str()),
            ("CEF:0", super::super::describe::name(&record.event))
        );
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        assert_eq!(field("deviceExternalId").as_deref(), Some("dev-7"));
        assert_eq!(field("externalId"), Some(record.sequence.to_string()));
        assert_eq!(field("cn1"), Some(record.boot.to_string()));
        assert_eq!(field("rt"), record.time.map(|time| time.0.to_string()));
        assert_eq!(field("cs2"), Some(base16ct::lower::encode_string(&line.hash)));
        assert_eq!(field("msg"), Some(super::super::describe::sentence(&record.event)));
        let details = super::super::describe::texts(&record.event);
        let wanted: Vec<String> = details.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(field("cs3"), Some(wanted.join(" ")), "{text}");

        let text = syslog::write(&id, line);
        let (header, parameters, message) = read_syslog(&text);
        let time = record.time.map_or("-".to_owned(), |time| time.to_string());
        assert_eq!(
            header[1..],
            [
                time,
                "dev-7".into(),
                "sensor".into(),
                record.boot.to_string(),
                super::super::describe::name(&record.event).into()
            ]
        );
        assert!(header[0].starts_with("<1") && header[0].ends_with(">1"), "{text}");
        assert_eq!(message, super::super::describe::sentence(&record.event));
        let found: Vec<String> = parameters
            .iter()
            .filter(|(element, _, _)| element == "event@32473")
            .map(|(_, name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn a_line_looks_as_the_manuals_say() {
    let mut device = Specimen::new("dev-7", 1);
    device.time = 1_795_000_000_000;
    for kind in [1, 15] {
        let event = event(kind, &mut Dice::new(3));
        device.push(event);
    }
    let keys = device.publics();
    let delivery = delivery::prove(&device.id, &Keys::Given(&keys), None, &device.deliver(0)[0]).unwrap();
    let cef = cef::write(&device.id, &delivery.lines[0]);
    assert!(
        cef.starts_with(
            "CEF:0|sensor.example|secure-sensor|0.1.0|1|boot|1|deviceExternalId=dev-7 externalId=0 "
        ),
        "{cef}"
    );
    assert!(cef.contains(r" cs3=reset\="), "{cef}");
    let syslog = syslog::write(&device.id, &delivery.lines[0]);
    assert!(syslog.starts_with("<110>1 2026-11-1"), "{syslog}");
    assert!(
        syslog.contains("[record@32473 sequence=\"0\" boot=\"1\" clock=\"synchronised\" hash=\""),
        "{syslog}"
    );
}

proptest! {
    #[test]
    fn no_text_gets_out_of_its_field(text in "\\PC{0,40}|[\\\\|=\\]\"\\[ \n\r\u{0}\u{1b}\u{85}\u{2028}a]{0,30}") {
        let line_ends = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{0}', '\u{1b}'];
        let mut header = String::from("CEF:0|a|b|c|d|");
        cef::header(&mut header, &text);
        header.push_str("|5|k=v msg=");
        cef::value(&mut header, &text);
        prop_assert!(!header.contains(line_ends));
        let (fields, values) = read_cef(&header);
        prop_assert_eq!(fields.len(), 7);
        prop_assert_eq!(fields[6].as_str(), "5");
        prop_assert_eq!(values.len(), 2);
        let plain = |text: &str| !text.chars().any(|character| character.is_control() || "\u{2028}\u{2029}".contains(character));
        if plain(&text) {
            prop_assert_eq!(&fields[5], &text);
            prop_assert_eq!(&values[1].1, &text);
        }
        let mut syslog = String::from("<110>1 - a b 1 c [x a=\"");
        syslog::value(&mut syslog, &text);
        syslog.push_str("\" b=\"1\"] end");
        prop_assert!(!syslog.contains(line_ends));
        let (_, parameters, message) = read_syslog(&syslog);
        prop_assert_eq!((parameters.len(), message.as_str()), (2, "end"));
        if plain(&text) {
            prop_assert_eq!(&parameters[0].2, &text);
        }
    }

    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in ".{0,300}") {
        prop_assert!(json::read(&text).is_none());
    }
}
