use super::*;
use crate::config::difference::outlook;
use crate::config::fleet::Fleet;
use crate::config::samples::{base, in_force, state};
use protocol::config::{FIELDS, merge};
use protocol::{Configuration, DeviceId};

#[path = "../../../../protocol/tests/samples/configurations.rs"]
mod configurations;

fn toml(text: &str) -> ChangeFile {
    ChangeFile::read(Path::new("change.toml"), text.as_bytes().to_vec()).unwrap()
}

fn json(text: &str) -> Result<ChangeFile, FileError> {
    ChangeFile::read(Path::new("change.json"), text.as_bytes().to_vec())
}

fn refused(file: &ChangeFile) -> String {
    file.change(None).unwrap_err().to_string()
}

const FILE: &str = r#"# Hall 7 is watched closely while it is rebuilt.
v = 2
group = "field-a"   # until March

# in milliseconds
sample_period_ms = 5_000  # was 10000
report_period_ms = 30000
"#;

#[test]
fn a_file_is_the_change_that_its_fields_say_whatever_else_is_in_it() {
    let (change, number) = toml(FILE).change(None).unwrap();
    let document = r#"{"v":2,"number":1,"group":"field-a","sample_period_ms":5000,"report_period_ms":30000}"#;
    assert_eq!((change, number), (Change::decode(document.as_bytes()).unwrap(), None));
    let numbered = json("{\"v\":2,\"number\":9,\n \"id\":\"dev-1\",\n \"time_servers\":[\"a\", \"b\"]\n}");
    let (change, number) = numbered.unwrap().change(None).unwrap();
    assert_eq!((change.number, number, change.fields().count()), (9, Some(9), 1));
    // A file for nobody is for whoever is named, and one for somebody for nobody else.
    let anyone = toml("v = 2\nport = 8884");
    assert!(refused(&anyone).contains("id and group are missing"));
    let dev_1 = Audience::Device("dev-1".parse().unwrap());
    assert_eq!(anyone.change(Some(&dev_1)).unwrap().0.audience, dev_1);
    let error = toml(FILE).change(Some(&dev_1)).unwrap_err().to_string();
    assert_eq!(
        error,
        "change.toml is for group field-a and the command line says otherwise: leave one of both out"
    );
}

#[test]
fn an_error_is_the_devices_own_sentence_and_names_the_line() {
    for (line, sentence) in [
        ("port = 0", "port is 0; it must be from 1 to 65535"),
        ("prot = 8883", "prot is no field of the configuration"),
        ("port = \"8883\"", "port has a value of the wrong type"),
        ("port = 8883.5", "port must be a whole number, without a fraction or an exponent"),
        ("host = 1979-05-27", "host has a value of the wrong type"),
        ("time_servers = [\"a\", 1]", "time_servers has a value of the wrong type"),
        ("[port]\na = 1", "port has a value of the wrong type"),
        (
            "report_period_ms = 4999",
            "report_period_ms is 4999; it must not be below sample_period_ms, which is 5000",
        ),
    ] {
        let file = toml(&format!("v = 2\ngroup = \"a\"\nsample_period_ms = 5000\n# here\n{line}\n"));
        assert_eq!(refused(&file), format!("change.toml:5: {sentence}"));
    }
    let twice = toml("v = 2\nid = \"a\"\nport = 1\nport = 2\n");
    assert!(refused(&twice).starts_with("change.toml:4: duplicate key"), "{}", refused(&twice));
    let twice = json("{\"v\":2,\"id\":\"a\",\n\"port\":1,\n\"port\":2}").unwrap();
    assert_eq!(refused(&twice), "change.json:3: port is there twice");
    let cut = json("{\"v\":2,\n\"id\":\"a\",\n").unwrap();
    assert!(refused(&cut).starts_with("change.json:3: something other than"), "{}", refused(&cut));
    assert!(refused(&toml("v = 2\nid = ")).starts_with("change.toml:2: "));
    assert!(matches!(ChangeFile::read(Path::new("a.yaml"), vec![]), Err(FileError::Ending(_))));
    assert!(matches!(ChangeFile::read(Path::new("a.toml"), vec![0xff]), Err(FileError::NoText(_))));
}

#[test]
fn an_edit_changes_what_it_names_and_leaves_the_rest_as_people_wrote_it() {
    let mut file = toml(FILE);
    file.set("sample_period_ms", Some("7000")).unwrap();
    file.set("time_servers", Some("a.example, b:1123")).unwrap();
    file.set("report_period_ms", None).unwrap();
    file.set("alarm_low_centi_c", Some("-500")).unwrap();
    assert_eq!(
        file.text(),
        r#"# Hall 7 is watched closely while it is rebuilt.
v = 2
group = "field-a"   # until March

# in milliseconds
sample_period_ms = 7000  # was 10000
time_servers = ["a.example", "b:1123"]
alarm_low_centi_c = -500
"#
    );
    assert_eq!(file.change(None).unwrap().0.fields().count(), 3);
    // Comments of a field that goes stay.
    file.set("sample_period_ms", None).unwrap();
    assert!(file.text().contains("# in milliseconds\ntime_servers"), "{}", file.text());
    let mut last = toml("v = 2\n# the only one\nport = 1\n# the end\n");
    last.set("port", None).unwrap();
    assert_eq!(last.text(), "v = 2\n# the only one\n# the end\n");
    last.set("port", Some("2")).unwrap();
    assert_eq!(last.text(), "v = 2\n# the only one\n# the end\nport = 2\n");

    let mut file = json("{\"v\":2, \"id\":\"dev-1\",\"port\":1}").unwrap();
    file.set("host", Some("a.example")).unwrap();
    file.set("port", Some("2")).unwrap();
    assert_eq!(
        file.text(),
        "{\n  \"v\": 2,\n  \"id\": \"dev-1\",\n  \"port\": 2,\n  \"host\": \"a.example\"\n}\n"
    );
    file.set("port", None).unwrap();
    assert!(!file.text().contains("port"));
    for name in ["", "a b", "a\nb", "a.b", "\"a"] {
        assert!(matches!(file.set(name, Some("1")), Err(FileError::Name(_))), "{name}");
    }
}

#[test]
fn what_does_not_fit_a_field_is_refused_by_name_and_never_guessed() {
    for (name, value) in
        [("port", "88 83"), ("port", "0x10"), ("port", "1e3"), ("port", "007"), ("port", "--1")]
    {
        let mut file = toml("v = 2\ngroup = \"a\"\n");
        file.set(name, Some(value)).unwrap();
        assert_eq!(refused(&file), "change.toml:3: port has a value of the wrong type", "{value}");
    }
    let mut file = toml("v = 2\ngroup = \"a\"\n");
    file.set("auth", Some("password")).unwrap();
    assert_eq!(refused(&file), "change.toml:3: auth must be \"certificate\" or \"token\"");
}

#[test]
fn a_file_is_begun_only_where_there_is_none_and_written_whole() {
    let temporary = tempfile::tempdir().unwrap();
    for name in ["a.toml", "a.json"] {
        let path = temporary.path().join(name);
        let audience = Audience::Group("field-a".try_into().unwrap());
        let mut file = ChangeFile::begin(&path, &audience).unwrap();
        assert!(!path.exists());
        file.set("port", Some("1883")).unwrap();
        file.save().unwrap();
        let (change, _) = ChangeFile::open(&path).unwrap().change(None).unwrap();
        assert_eq!((change.audience.clone(), change.fields().count()), (audience.clone(), 1));
        assert!(matches!(ChangeFile::begin(&path, &audience), Err(FileError::Exists(_))));
    }
}

/// What the tool says to a file, without the place.
fn verdict(bytes: &[u8]) -> Result<Change, String> {
    let file = ChangeFile::read(Path::new("change.json"), bytes.to_vec());
    let change = file.and_then(|file| file.change(None));
    change.map(|(change, _)| change).map_err(|error| match error.verdict() {
        Some(verdict) => verdict.to_string(),
        None => format!("the tool alone: {error}"),
    })
}

#[test]
fn ten_thousand_documents_get_the_devices_verdict_from_the_tool() {
    let (mut valid, mut fits, mut added) = (0, 0, 0);
    for seed in 0..10_000 {
        let bytes = configurations::change(seed, "dev-1", "field-a", 7);
        let (tool, device) = (verdict(&bytes), Change::decode(&bytes).map_err(|error| error.to_string()));
        let text = String::from_utf8_lossy(&bytes);
        if tool != device {
            // The tool gives a number to a file that has none.
            assert_eq!(device, Err("number is missing".to_owned()), "{seed}: {text}\ntool {tool:?}");
            added += 1;
            continue;
        }
        let Ok(change) = tool else { continue };
        valid += 1;
        // Held to what a device runs on, both say the same again.
        let factory = configurations::configuration(seed + 10_000, "dev-1");
        let factory = Configuration::decode(&factory).unwrap_or_else(|_| base("dev-1"));
        let merged = match change.audience {
            Audience::Group(_) => merge(&factory, Some(&change), None),
            _ => merge(&factory, None, Some(&change)),
        };
        let mut said = state("dev-1");
        said.values = factory;
        let refused = outlook(&said, &Fleet::default(), &change).refused;
        assert_eq!(refused, merged.err().map(|error| error.to_string()), "{seed}: {text}");
        fits += usize::from(refused.is_none());
    }
    assert!(valid > 4_000 && fits > 2_000 && added < 500, "{valid} {fits} {added}");
}

#[test]
fn the_same_change_in_toml_is_the_same_document() {
    let mut compared = 0;
    for seed in 0..2_000 {
        let Ok(change) = Change::decode(&configurations::change(seed, "dev-1", "field-a", 7)) else {
            continue;
        };
        let mut file = ChangeFile::begin(Path::new("nowhere/change.toml"), &change.audience).unwrap();
        file.set("number", Some("7")).unwrap();
        for (name, value) in crate::config::fields::named(&change) {
            file.set(&name, Some(&crate::config::fields::text(&value))).unwrap();
        }
        let (read, number) = file.change(None).unwrap();
        assert_eq!((in_force(&read), number), (in_force(&change), Some(7)), "{}", file.text());
        compared += 1;
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn every_field_can_be_set_from_a_command_line_in_both_forms() {
    let id: DeviceId = "dev-1".parse().unwrap();
    for path in ["nowhere/a.toml", "nowhere/a.json"] {
        for field in FIELDS {
            for good in configurations::good(*field) {
                let value: serde_json::Value = serde_json::from_str(&good).unwrap();
                let mut file = ChangeFile::begin(Path::new(path), &Audience::Device(id.clone())).unwrap();
                file.set(field.name(), Some(&crate::config::fields::text(&value))).unwrap();
                let change = file.change(None).unwrap_or_else(|error| panic!("{error}: {}", file.text())).0;
                let document = format!(r#"{{"v":2,"number":1,"id":"dev-1","{}":{good}}}"#, field.name());
                assert_eq!(change, Change::decode(document.as_bytes()).unwrap(), "{}", file.text());
            }
        }
    }
}

#[test]
fn a_file_without_a_number_gets_the_devices_words_for_what_stands_around_its_object() {
    let said = |bytes: &[u8], name: &str| {
        let file = ChangeFile::read(Path::new(name), bytes.to_vec());
        file.and_then(|file| file.change(None)).map(|_| ()).map_err(|error| error.to_string())
    };
    let json = r#"{"v":2,"id":"dev-1","dead_band_pa":9}"#;
    assert_eq!(said(json.as_bytes(), "a.json"), Ok(()));
    for (bytes, sentence) in [
        (
            format!("{json}x"),
            "is no JSON object: JSON has non-whitespace trailing characters after the value.",
        ),
        (format!("{json}{}", " ".repeat(1_400)), "bytes; at most 1400 are allowed"),
        (format!("{}{json}", " ".repeat(1_400)), "bytes; at most 1400 are allowed"),
        (format!("\u{feff}{json}"), "begins with a byte order mark"),
        (json.replace("_band", "\u{202e}"), "dead<U+202E>_pa is no field"),
    ] {
        let why = said(bytes.as_bytes(), "a.json").unwrap_err();
        assert!(why.contains(sentence) && why.is_ascii(), "{why}");
    }
    let toml = "\u{feff}v = 2\nid = \"dev-1\"\n";
    assert!(said(toml.as_bytes(), "a.toml").unwrap_err().contains("begins with a byte order mark"));
    let blanks = format!("v = 2\nid = \"dev-1\"\n# {}\n", " ".repeat(2_000));
    assert_eq!(said(blanks.as_bytes(), "a.toml"), Ok(()));
}
