//! `sensorctl config` without a broker: change files, the table of fields, verdicts, and arguments that are refused.

use protocol::config::{CONFIGURATION_BYTES_MAX, Draft};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with nothing in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn config(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensorctl"));
        command
            .arg("config")
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.config(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str], code: i32, text: &str) {
        let output = self.config(arguments);
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("error: {text}\n"), "{arguments:?}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }
}

#[test]
fn a_change_file_is_begun_edited_and_checked_and_bad_input_loses_nothing() {
    let place = Place::new();
    let new = ["new", "--group", "field-a", "--out", "c.toml"];
    assert_eq!(
        place.done(&[&new[..], &["sample_period_ms=5000"]].concat()),
        "c.toml: 1 field for group field-a\n"
    );
    place.refused(&new, 1, "c.toml exists; it was left as it is: choose another name");
    let said = place.done(&["set", "c.toml", "report_period_ms=30000", "time_servers=a.example,b:1123"]);
    assert_eq!(said, "c.toml: 3 fields for group field-a\n");
    let written = "# A change of the configuration: `sensorctl config fields` lists what can be set.\n\
                   # It takes the place of the change before it as a whole: what it does not name is as without either.\n\
                   v = 2\ngroup = \"field-a\"\nsample_period_ms = 5000\nreport_period_ms = 30000\n\
                   time_servers = [\"a.example\", \"b:1123\"]\n";
    assert_eq!(place.text("c.toml"), written);
    for (arguments, text) in [
        (&["port=0"][..], "c.toml:8: port is 0; it must be from 1 to 65535"),
        (&["prot=8883"], "c.toml:8: prot is no field of the configuration"),
        (&["host=a_b"], "c.toml:8: host has a character other than letters, digits, '-' and '.'"),
        (&["sample_period_ms=fast"], "c.toml:5: sample_period_ms has a value of the wrong type"),
        (
            &["sample_period_ms=40000"],
            "c.toml:6: report_period_ms is 30000; it must not be below sample_period_ms, which is 40000",
        ),
        (
            &["alarm_low_pa=90000", "alarm_high_pa=90100", "alarm_hysteresis_pa=100"],
            "c.toml:8: alarm_low_pa is 90000, alarm_high_pa 90100, alarm_hysteresis_pa 100: low + hysteresis must not be above high - hysteresis",
        ),
    ] {
        place.refused(&[&["set", "c.toml"], arguments].concat(), 2, &format!("{text}\nnothing was written"));
        assert_eq!(place.text("c.toml"), written);
    }
    assert_eq!(place.done(&["set", "c.toml", "time_servers="]), "c.toml: 2 fields for group field-a\n");
    assert_eq!(
        place.done(&["check", "c.toml"]),
        "c.toml: valid for group field-a: 2 fields, 85 of 1400 bytes\n"
    );
    // Held to a whole configuration the rest shows.
    let base =
        Draft::new("dev-1".parse().unwrap(), "broker.example", "time.example").unwrap().check().unwrap();
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    let len = base.encode(&mut buffer).unwrap();
    std::fs::write(place.0.path().join("base.json"), &buffer[..len]).unwrap();
    place.done(&["new", "--id", "dev-1", "--out", "d.json", "report_period_ms=9999"]);
    assert_eq!(
        place.text("d.json"),
        "{\n  \"v\": 2,\n  \"id\": \"dev-1\",\n  \"report_period_ms\": 9999\n}\n"
    );
    place.done(&["check", "d.json"]);
    place.refused(
        &["check", "d.json", "--against", "base.json"],
        1,
        "base.json: with this change it would be refused: report_period_ms is 9999; it must not be below \
         sample_period_ms, which is 10000",
    );
    std::fs::write(place.0.path().join("bad.toml"), "v = 2\nid = \"dev-1\"\n\nport = \n").unwrap();
    let output = place.config(&["check", "bad.toml"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: bad.toml:4: ") && output.status.code() == Some(1), "{stderr}");
    place.refused(&["check", "c.yaml"], 1, "c.yaml: the name of a change file ends in .toml or .json");
}

#[test]
fn arguments_that_say_nothing_or_two_things_are_refused() {
    let place = Place::new();
    place.done(&["new", "--group", "field-a", "--out", "c.toml", "port=8884"]);
    for (arguments, text) in [
        (&["get", "--ca", "ca"][..], "no device is named: give --id, --group or --all"),
        (&["get", "--all"], "--ca is missing: the folder of the authority that the broker belongs to"),
        (
            &["diff", "c.toml", "--group", "field-a"],
            "--ca is missing: the folder of the authority that the broker belongs to",
        ),
    ] {
        place.refused(arguments, 2, text);
    }
    place.refused(
        &["diff", "c.toml", "--id", "dev-1"],
        1,
        "c.toml is for group field-a and the command line says otherwise: leave one of both out",
    );
    for arguments in [
        &["get", "--all", "--id", "dev-1"][..],
        &["new", "--out", "d.toml"],
        &["new", "--group", "", "--out", "d.toml"],
        &["set", "c.toml", "port"],
        &["push", "c.toml"],
        &[],
    ] {
        assert_eq!(place.config(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_fields_are_listed_with_what_they_may_be_and_why() {
    let place = Place::new();
    let table = place.done(&["fields"]);
    assert_eq!(place.done(&["show-schema"]), table);
    for field in protocol::config::FIELDS {
        assert!(table.contains(field.name()), "{}", field.name());
    }
    let row = "keep_alive_s*                    s                 5 to 1200        60\n    NAT tables forget idle TCP \
               connections after minutes; AWS IoT Core allows at most 1200 s\n";
    assert!(table.contains(row), "{table}");
    let fields: Value = serde_json::from_str(&place.done(&["fields", "--json"])).unwrap();
    assert_eq!(fields.as_array().unwrap().len(), protocol::config::FIELDS.len());
    assert_eq!((&fields[1]["field"], &fields[1]["tried_first"]), (&"port".into(), &true.into()));
    for command in ["get", "new", "set", "fields", "check", "diff", "push", "status"] {
        let help = place.done(&[command, "--help"]);
        assert!(help.contains(&format!("Usage: sensorctl config {command}")), "{help}");
    }
}
