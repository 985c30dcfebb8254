//! The documentation says what the code does.

use protocol::{config, hello, state, telemetry};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

#[test]
fn the_table_of_the_configuration_is_the_one_in_the_code() {
    for bound in config::BOUNDS {
        let config::Bound { field, unit, min, max, default, reason } = bound;
        let row = format!("| `{field}` | {unit} | {min} | {max} | {default} | {reason} |");
        assert!(DOCUMENT.contains(&row), "docs/protocol.md must have this row:\n{row}");
    }
    let rows =
        DOCUMENT.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 7).count();
    assert_eq!(rows, config::BOUNDS.len());
}

#[test]
fn the_lengths_of_the_messages_are_those_in_the_code() {
    for (channel, max) in [
        ("hello", hello::HELLO_BYTES_MAX),
        ("state", state::STATE_BYTES_MAX),
        ("telemetry", telemetry::BATCH_BYTES_MAX),
    ] {
        let row = DOCUMENT.lines().find(|line| line.starts_with(&format!("| `{channel}`")));
        assert!(row.is_some_and(|row| row.contains(&format!("| {max} B |"))), "{channel}: {max} B");
    }
}

#[test]
fn the_examples_are_accepted() {
    let blocks: Vec<&str> =
        DOCUMENT.split("```json\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    let [batch, configuration] = blocks[..] else { panic!("two examples") };
    protocol::Batch::decode(batch.trim().as_bytes()).unwrap();
    protocol::Configuration::decode(configuration.trim().as_bytes()).unwrap();
}
