//! docs/configuration.md says what the code does: its table is generated, its examples are read. To write the table anew:
//! `CONFIGURATION_DOCS=1 cargo test --package protocol --test configuration_docs`.

use protocol::config::{
    CONFIGURATION_BYTES_MAX, CONFIGURATION_STATE_BYTES_MAX, CONFIGURATION_VERSION, Change, FIELDS, NUMBER,
    REFUSAL_TEXT_MAX, merge,
};
use protocol::{Configuration, ConfigurationState, DeviceId, NAME_MAX, Refusal};
use std::fmt::Write;
use std::path::PathBuf;

const BEGIN: &str = "<!-- table -->\n";
const END: &str = "<!-- end of table -->\n";

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md")
}

fn document() -> String {
    let file = file();
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn table() -> String {
    let mut table =
        String::from("| field | unit | range | default | since | why |\n|---|---|---|---|---:|---|\n");
    for field in FIELDS {
        writeln!(table, "{field}").unwrap();
    }
    table
}

#[test]
fn the_table_is_the_one_in_the_code() {
    let document = document();
    let (before, rest) = document.split_once(BEGIN).expect("a mark where the table begins");
    let (there, after) = rest.split_once(END).expect("a mark where the table ends");
    if there == table() {
        return;
    }
    assert!(
        std::env::var_os("CONFIGURATION_DOCS").is_some(),
        "the table in docs/configuration.md is not the one in the code; to write it anew: \
         CONFIGURATION_DOCS=1 cargo test --package protocol --test configuration_docs"
    );
    std::fs::write(file(), format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
}

#[test]
fn each_field_has_a_row_with_six_columns() {
    let table = table();
    let rows: Vec<_> = table.lines().skip(2).collect();
    assert_eq!(rows.len(), FIELDS.len());
    for (row, field) in rows.iter().zip(FIELDS) {
        assert!(row.starts_with(&format!("| `{}` | ", field.name())), "{row}");
        assert_eq!(row.matches('|').count(), 7, "{row}");
    }
    assert!(
        table.contains("| `port` |  | 1 to 65535 | 8883 | 1 | 8883 is IANA's port for MQTT over TLS |\n")
    );
    assert!(table.contains("| `alarm_low_centi_c` | hundredths of °C | -4000 to 8500 | -4000 | 2 | "));
    assert!(table.contains("| `auth` |  | `certificate` or `token` | certificate | 1 | "));
    assert!(table.contains("| none: the factory gives it | 1 | "));
}

#[test]
fn the_examples_are_read_and_merge_as_they_say() {
    let document = document();
    let blocks: Vec<&str> =
        document.split("```json\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    let [factory, group, device, in_force, state] = blocks[..] else { panic!("five examples") };
    let whole = |text: &str| Configuration::decode(text.trim().as_bytes()).unwrap();
    let change = |text: &str| Change::decode(text.trim().as_bytes()).unwrap();
    let merged = merge(&whole(factory), Some(&change(group)), Some(&change(device)));
    assert_eq!(merged, Ok(whole(in_force)));
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    let len = whole(in_force).encode(&mut buffer).unwrap();
    let written = String::from_utf8_lossy(&buffer[..len]);
    assert_eq!(in_force.split(['\n', ' ']).collect::<String>(), written, "as the device writes it");
    let state = ConfigurationState::decode(state.trim().as_bytes()).unwrap();
    assert_eq!(state.last.map(|it| (it.why, it.text.len() > 10)), Some((Refusal::Configuration, true)));
}

#[test]
fn the_sentences_are_those_of_the_code() {
    let document = document();
    let rows: Vec<_> =
        document.lines().filter_map(|line| line.strip_prefix("| `{")?.split_once("}` | ")).collect();
    assert!(rows.len() >= 12, "{}", rows.len());
    for (body, sentence) in rows {
        let error = Change::decode(format!("{{{body}}}").as_bytes()).expect_err(body);
        assert_eq!(format!("{error} |"), sentence);
    }
}

#[test]
fn the_numbers_in_the_text_are_those_of_the_code() {
    let document = document();
    for text in [
        format!("A document has at most {CONFIGURATION_BYTES_MAX} bytes"),
        format!("retained, at most {CONFIGURATION_STATE_BYTES_MAX} bytes"),
        format!("| `v` | version of the schema: 1 or {CONFIGURATION_VERSION} |"),
        format!("| `number` | {} to {}; {} |", NUMBER.min, NUMBER.max, NUMBER.reason),
        format!("| `id` | the device that it is for: 1 to {} of", DeviceId::MAX_LEN),
        format!("| `group` | the group that it is for: 1 to {NAME_MAX} of"),
        format!("cut at {REFUSAL_TEXT_MAX} bytes"),
    ] {
        assert!(document.contains(&text), "docs/configuration.md must say: {text}");
    }
}
