extern crate std;
use super::value::number_fault;
use super::*;
use std::string::ToString;

#[test]
fn what_the_parser_would_not_see_in_a_number_is_seen() {
    for (text, fault) in [
        ("1", None),
        ("-1,", None),
        ("0}", None),
        ("9223372036854775807", None),
        ("-9223372036854775808", None),
        ("9223372036854775808", Some(FieldFault::TooManyDigits)),
        ("-9223372036854775809 ", Some(FieldFault::TooManyDigits)),
        ("1.0", Some(FieldFault::NotWhole)),
        ("-1.5,", Some(FieldFault::NotWhole)),
        ("1e3", Some(FieldFault::NotWhole)),
        ("1E3", Some(FieldFault::NotWhole)),
        ("99999999999999999999.5", Some(FieldFault::NotWhole)),
        ("007", Some(FieldFault::WrongType)),
        ("-00", Some(FieldFault::WrongType)),
        ("1-2", Some(FieldFault::WrongType)),
        ("1+2", Some(FieldFault::WrongType)),
        ("-0", None),
        ("", None),
        ("-", None),
        ("+5", None),
        ("--5", None),
        (".5", None),
        ("e5", None),
        ("null", None),
        ("\"1.5\"", None),
        ("1,1.5", None),
    ] {
        assert_eq!(number_fault(text.as_bytes()), fault, "{text}");
    }
}

#[test]
fn a_level_covers_itself_and_what_is_more_important() {
    use LogLevel::{Error, Info, Warning};
    assert_eq!(LogLevel::ALL, [Error, Warning, Info]);
    for (level, covered) in [(Error, 1), (Warning, 2), (Info, 3)] {
        assert_eq!(LogLevel::ALL.iter().filter(|it| level.covers(**it)).count(), covered);
        assert!(level.covers(level) && level.covers(Error) && Info.covers(level));
    }
}

#[test]
fn a_text_is_cut_between_two_characters() {
    assert_eq!(cut(&"short").as_str(), "short");
    let long = "°".repeat(REFUSAL_TEXT_MAX);
    assert_eq!(cut(&long).as_str(), "°".repeat(REFUSAL_TEXT_MAX / 2));
    assert_eq!(cut(&std::format!("x{long}")).len(), REFUSAL_TEXT_MAX - 1);
    assert_eq!(cut(&std::format_args!("{}{}", "a".repeat(159), "°b")).as_str(), "a".repeat(159));
    assert_eq!(cut(&"\u{1b}[2J \u{9b}\n\" ]").as_str(), "<U+001B>?2J <U+009B><U+000A>\" ]");
    assert_eq!(cut(&"a".repeat(160)).to_string(), "a".repeat(160));
}
