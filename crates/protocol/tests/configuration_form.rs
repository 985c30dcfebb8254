//! The form of a configuration and of a change, apart from their fields: version, number, audience, length, and what is no
//! JSON.

#[path = "samples/configurations.rs"]
mod samples;

use protocol::Configuration;
use protocol::config::{CONFIGURATION_BYTES_MAX, CONFIGURATION_VERSION, Change, FIELD_NAME_MAX, NUMBER};
use protocol::document::Audience;
use samples::{Member, nothing, object, whole, with, without};

const FOR_DEVICE: &str = "id:\"dev-1\"";
const FOR_GROUP: &str = "group:\"field-a\"";

fn verdict(document: &str) -> Result<Configuration, String> {
    Configuration::decode(document.as_bytes()).map_err(|error| error.to_string())
}

fn change(members: &[Member]) -> Result<Change, String> {
    Change::decode(object(members).as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn other_versions_are_refused_by_number_before_what_they_bring() {
    for v in ["0", "3", "-1", "257", "258", "4294967298", "9223372036854775807"] {
        let sentence = format!("v is {v}; this program knows the versions 1 to 2 of the configuration");
        let document = with(&with(&whole(CONFIGURATION_VERSION), "v", v), "brand_new", "1");
        assert_eq!(verdict(&object(&document)), Err(sentence.clone()));
        let members = with(&with(&nothing(FOR_DEVICE), "v", v), "brand_new", "1");
        assert_eq!(change(&members), Err(sentence));
    }
    let whole = whole(CONFIGURATION_VERSION);
    for (v, sentence) in [
        ("2.0", "v must be a whole number, without a fraction or an exponent"),
        ("2e0", "v must be a whole number, without a fraction or an exponent"),
        ("99999999999999999999", "v is a number with too many digits"),
        ("\"2\"", "v has a value of the wrong type"),
        ("02", "v has a value of the wrong type"),
        ("null", "v has a value of the wrong type"),
    ] {
        assert_eq!(verdict(&object(&with(&whole, "v", v))), Err(sentence.into()));
    }
}

#[test]
fn number_and_audience_are_held_to_their_rules() {
    let unknown_type = |name| format!("{name} has a value of the wrong type");
    for (name, value, sentence) in [
        ("number", "0", "number is 0; it must be from 1 to 4294967295".into()),
        ("number", "-1", "number is -1; it must be from 1 to 4294967295".into()),
        ("number", "4294967296", "number is 4294967296; it must be from 1 to 4294967295".into()),
        ("number", "1.5", "number must be a whole number, without a fraction or an exponent".into()),
        ("number", "99999999999999999999", "number is a number with too many digits".into()),
        ("number", "null", unknown_type("number")),
        ("number", "\"1\"", unknown_type("number")),
        ("id", "null", unknown_type("id")),
        ("id", "5", unknown_type("id")),
        ("id", "\"\"", "id: a device id has at least 1 character".into()),
        ("id", "\"a/b\"", "id: a device id has only A-Z a-z 0-9 - _; character 2 is another".into()),
        ("id", "\"Operator\"", "id: operator is no device's id: it is the operator's name".into()),
        ("id", "\"123456789012345678901234567890123\"", "id: a device id has at most 32 characters".into()),
    ] {
        let document = with(&whole(CONFIGURATION_VERSION), name, value);
        assert_eq!(verdict(&object(&document)), Err(sentence.clone()));
        assert_eq!(change(&with(&nothing(FOR_DEVICE), name, value)), Err(sentence));
    }
    let group = "group: a name has at most 32 of A-Z a-z 0-9 . _ - + / @, and at least one";
    for (value, sentence) in [
        ("\"\"", group),
        ("\"a b\"", group),
        ("\"a\\u0041\"", group),
        ("\"123456789012345678901234567890123\"", group),
        ("null", "group has a value of the wrong type"),
        ("1", "group has a value of the wrong type"),
        ("[]", "group has a value of the wrong type"),
    ] {
        assert_eq!(change(&with(&nothing(FOR_GROUP), "group", value)), Err(sentence.into()));
    }
    for number in [NUMBER.min, NUMBER.max] {
        let it = change(&with(&nothing(FOR_GROUP), "number", &number.to_string())).unwrap();
        assert_eq!(i64::from(it.number), number);
        assert!(verdict(&object(&with(&whole(1), "number", &number.to_string()))).is_ok());
    }
    let it = change(&nothing(FOR_GROUP)).unwrap();
    assert_eq!(it.audience, Audience::Group("field-a".try_into().unwrap()));
    let it = change(&nothing(FOR_DEVICE)).unwrap();
    assert_eq!(it.audience, Audience::Device("dev-1".parse().unwrap()));
}

#[test]
fn a_change_needs_its_version_its_number_and_exactly_one_audience() {
    let nothing = nothing(FOR_DEVICE);
    assert_eq!(change(&without(&nothing, "v")), Err("v is missing".into()));
    assert_eq!(change(&without(&nothing, "number")), Err("number is missing".into()));
    assert_eq!(
        change(&without(&nothing, "id")),
        Err("id and group are missing: a change says for which device or which group it is".into())
    );
    assert_eq!(
        change(&with(&nothing, "group", "\"field-a\"")),
        Err("id and group are both there: a change is for one device or for one group".into())
    );
    for (name, value) in &nothing {
        let twice = format!("{},\"{name}\":{value}}}", object(&nothing).trim_end_matches('}'));
        let error = Change::decode(twice.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("{name} is there twice"));
    }
    let group = "{\"v\":2,\"number\":1,\"group\":\"a\",\"group\":\"a\"}";
    assert_eq!(Change::decode(group.as_bytes()).unwrap_err().to_string(), "group is there twice");
}

#[test]
fn what_is_no_json_object_is_refused_and_so_is_every_cut() {
    let document = object(&whole(CONFIGURATION_VERSION));
    let members = object(&nothing(FOR_DEVICE));
    for bytes in [document.as_bytes(), members.as_bytes()] {
        for cut in 0..bytes.len() {
            assert!(Configuration::decode(&bytes[..cut]).is_err(), "{cut}");
            assert!(Change::decode(&bytes[..cut]).is_err(), "{cut}");
        }
    }
    for text in ["", "[]", "null", "5", "\"v\"", "{", "{5:1}", "{,}", "{\"v\"", "{v:2}"] {
        for error in [
            Configuration::decode(text.as_bytes()).unwrap_err(),
            Change::decode(text.as_bytes()).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(
                text.starts_with("the configuration is no JSON object: ")
                    || text == "v has a value of the wrong type",
                "{text}"
            );
        }
    }
    assert!(verdict(&format!("{document} x")).unwrap_err().contains("trailing characters"));
    assert!(verdict(&format!("{document}{document}")).unwrap_err().contains("trailing characters"));
    assert!(verdict(&document.replacen("2,", "2 ", 1)).unwrap_err().contains("follows the value of v"));
    assert!(verdict(&document.replace('}', ",}")).unwrap_err().contains("follows the value of log_level"));
    assert!(verdict(&format!(" \r\n\t{} ", document.replace(',', " ,\n").replace(':', " :\t"))).is_err());
    let spaced = document.replace(",\"", " ,\n\"").replace("\":", "\"\t: ");
    assert_eq!(verdict(&format!(" {spaced}\r\n")), verdict(&document));
}

#[test]
fn a_document_that_is_too_long_is_refused_at_the_first_byte_too_many() {
    for (document, decode) in [
        (
            object(&whole(CONFIGURATION_VERSION)),
            (|bytes| Configuration::decode(bytes).err()) as fn(&[u8]) -> _,
        ),
        (object(&nothing(FOR_GROUP)), |bytes| Change::decode(bytes).err()),
    ] {
        let padded = |len| format!("{document}{}", " ".repeat(len - document.len()));
        assert_eq!(decode(padded(CONFIGURATION_BYTES_MAX).as_bytes()), None);
        let error = decode(padded(CONFIGURATION_BYTES_MAX + 1).as_bytes()).unwrap();
        assert_eq!(error.to_string(), "the configuration has 1401 bytes; at most 1400 are allowed");
    }
}

#[test]
fn an_unknown_name_is_shown_short_and_harmless() {
    let named = |name: &str| {
        let mut members = nothing(FOR_DEVICE);
        members.push((name.into(), "1".into()));
        change(&members).unwrap_err()
    };
    for (name, shown) in [
        ("\u{1b}[2Jv".into(), "<U+001B>?2Jv".into()),
        ("a[b,]{c}\u{7f}\\".to_string() + "n", "a?b,??c?<U+007F>?n".into()),
        ("é".repeat(200), "<U+00E9>".repeat(FIELD_NAME_MAX / 8)),
        ("po\u{200b}rt\u{202e}".into(), "po<U+200B>rt<U+202E>".into()),
        ("x".repeat(41), "x".repeat(40)),
        ("x".repeat(40), "x".repeat(40)),
        (String::new(), String::new()),
    ] {
        assert_eq!(named(&name), format!("{shown} is no field of the configuration"));
    }
}

#[test]
fn a_change_for_everybody_or_without_a_number_is_not_written() {
    let mut change = change(&nothing(FOR_GROUP)).unwrap();
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    assert!(change.encode(&mut buffer).is_ok());
    change.number = 0;
    assert!(change.encode(&mut buffer).is_err());
    change.number = 1;
    for audience in [Audience::All, Audience::Group("".try_into().unwrap())] {
        change.audience = audience;
        assert!(change.encode(&mut buffer).is_err());
    }
}
