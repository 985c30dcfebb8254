use super::*;
use crate::authority::{self, file as ca_file};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;
use x509_parser::prelude::{FromDer, X509Certificate};

fn authority() -> (TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    authority::init(folder.path(), &["localhost".into()], 365).unwrap();
    let authority = Authority::open(folder.path()).unwrap();
    (folder, authority)
}

fn wanted() -> Wanted {
    Wanted { host: "localhost".into(), ..Wanted::default() }
}

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_enrolled_device_reads_back_and_its_files_are_as_promised() {
    let (ca, authority) = authority();
    let out = ca.path().join("dev-1");
    let wanted = Wanted {
        port: Some(1_234),
        time_servers: vec!["time.example".into(), "10.0.0.1:1123".into()],
        sample_period_ms: Some(100),
        report_period_ms: Some(500),
        keep_alive_s: Some(20),
        update_start_min: Some(120),
        update_length_min: Some(180),
        update_deadline_h: Some(48),
        update_spread_s: Some(0),
        ..wanted()
    };
    let configuration = wanted.configuration(id("dev-1")).unwrap();
    device(&authority, &configuration, 30, &out).unwrap();
    assert_eq!(names(&out), ["config.json", "device.crt", "device.key", "roots.crt"]);
    assert_eq!(fs::metadata(out.join(file::KEY)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o700);
    let text = fs::read(out.join(file::CONFIGURATION)).unwrap();
    assert_eq!(Configuration::decode(&text).as_ref(), Ok(&configuration), "as the device reads it");
    let enrolled = Enrolled::open(&out).unwrap();
    assert_eq!(enrolled.configuration, configuration);
    assert_eq!((configuration.keep_alive_s, configuration.sample_period_ms), (20, 100));
    assert_eq!((configuration.update_start_min, configuration.update_length_min), (120, 180));
    assert_eq!((configuration.update_deadline_h, configuration.update_spread_s), (48, 0));
    assert_eq!(configuration.service(), ("localhost", 1_234));
    assert_eq!(configuration.time_servers[1].to_string(), "10.0.0.1:1123");
    let root = fs::read(ca.path().join(ca_file::ROOT)).unwrap();
    assert_eq!(fs::read(out.join(file::ROOTS)).unwrap(), root);
    let (_, leaf) = X509Certificate::from_der(&enrolled.chain[0]).unwrap();
    assert_eq!(leaf.subject().to_string(), "CN=dev-1");
    let (begin, end) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    assert_eq!(end - begin, 31 * 86_400, "30 days and the one before");
}

#[test]
fn without_a_time_server_the_service_is_asked() {
    let configuration = wanted().configuration(id("dev-1")).unwrap();
    assert_eq!(configuration.time_servers[0].to_string(), "localhost:123");
}

#[test]
fn every_bad_field_is_refused_with_the_words_of_the_schema() {
    let servers = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let bad = [
        (
            Wanted { host: "bad host".into(), ..wanted() },
            "host has a character other than letters, digits, '-' and '.'",
        ),
        (Wanted { host: String::new(), ..wanted() }, "host is empty"),
        (Wanted { port: Some(0), ..wanted() }, "port is 0; it must be from 1 to 65535"),
        (Wanted { port: Some(65_536), ..wanted() }, "port is 65536; it must be from 1 to 65535"),
        (
            Wanted { time_servers: servers(&["a", "b:0"]), ..wanted() },
            "time_servers: what follows the ':' must be a port from 1 to 65535",
        ),
        (
            Wanted { time_servers: servers(&["a", "b", "c", "d", "e"]), ..wanted() },
            "time_servers has 5 entries; it must have from 1 to 4",
        ),
        (
            Wanted { sample_period_ms: Some(1), ..wanted() },
            "sample_period_ms is 1; it must be from 50 to 86400000 ms",
        ),
        (
            Wanted { sample_period_ms: Some(90_000), ..wanted() },
            "report_period_ms is 60000; it must not be below sample_period_ms, which is 90000",
        ),
        (Wanted { keep_alive_s: Some(0), ..wanted() }, "keep_alive_s is 0; it must be from 5 to 1200 s"),
    ];
    for (wanted, text) in bad {
        assert_eq!(wanted.configuration(id("dev-1")).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_fleet_gets_numbered_folders_and_distinct_keys() {
    let (ca, authority) = authority();
    let out = ca.path().join("fleet");
    let mut heard = Vec::new();
    fleet(&authority, &wanted(), ("dev-", 10), 30, &out, |id| heard.push(id.to_string())).unwrap();
    assert_eq!(names(&out), heard);
    assert_eq!((heard.first().unwrap().as_str(), heard.last().unwrap().as_str()), ("dev-01", "dev-10"));
    let keys: std::collections::BTreeSet<_> =
        heard.iter().map(|name| fs::read(out.join(name).join(file::KEY)).unwrap()).collect();
    assert_eq!(keys.len(), 10);
    assert_eq!(Enrolled::open(&out.join("dev-07")).unwrap().configuration.id, id("dev-07"));
}

#[test]
fn a_fleet_that_cannot_be_whole_leaves_nothing() {
    let (ca, authority) = authority();
    let out = ca.path().join("fleet");
    let before = names(ca.path());
    let long = "x".repeat(31);
    let mut done = 0;
    let refused = |prefix: &str, count, out: &Path| {
        fleet(&authority, &wanted(), (prefix, count), 30, out, |_| ()).unwrap_err()
    };
    assert!(matches!(refused("a/", 2, &out), EnrolError::Id(..)));
    assert!(matches!(refused(&long, 10, &out), EnrolError::Id(..)));
    assert!(matches!(refused("a", 0, &out), EnrolError::Count(0)));
    assert!(matches!(refused("a", FLEET_MAX + 1, &out), EnrolError::Count(_)));
    let error = fleet(&authority, &wanted(), ("a", 5), 0, &out, |_| done += 1).unwrap_err();
    assert!(error.to_string().starts_with("days is 0"), "{error}");
    assert_eq!((done, names(ca.path())), (0, before));
}

#[test]
fn a_folder_that_exists_is_refused_and_kept() {
    let (ca, authority) = authority();
    let out = ca.path().join("dev-1");
    let configuration = wanted().configuration(id("dev-1")).unwrap();
    device(&authority, &configuration, 30, &out).unwrap();
    let key = fs::read(out.join(file::KEY)).unwrap();
    let error = device(&authority, &configuration, 30, &out).unwrap_err();
    assert!(matches!(error, EnrolError::Folder(FolderError::Exists(_))), "{error}");
    assert_eq!(fs::read(out.join(file::KEY)).unwrap(), key);
}

fn enrolled() -> (TempDir, PathBuf) {
    let (ca, authority) = authority();
    let out = ca.path().join("dev-1");
    device(&authority, &wanted().configuration(id("dev-1")).unwrap(), 30, &out).unwrap();
    (ca, out)
}

#[test]
fn an_unusable_file_is_named_with_its_fault() {
    for (name, text, fault) in [
        (file::KEY, "no key", "device.key cannot be used: it holds no private key in PEM form"),
        (file::CHAIN, "", "device.crt cannot be used: it holds no certificate in PEM form"),
        (file::ROOTS, "", "roots.crt cannot be used: it holds no certificate in PEM form"),
        (file::CONFIGURATION, "{}", "config.json cannot be used: v is missing"),
    ] {
        let (_ca, out) = enrolled();
        fs::write(out.join(name), text).unwrap();
        let error = Enrolled::open(&out).unwrap_err().to_string();
        assert!(error.contains(fault), "{error}");
        fs::remove_file(out.join(name)).unwrap();
        let error = Enrolled::open(&out).unwrap_err().to_string();
        assert!(error.starts_with("cannot read") && error.contains(name), "{error}");
    }
}

#[test]
fn a_key_of_another_device_is_refused() {
    let ((_one, out), (_two, other)) = (enrolled(), enrolled());
    fs::copy(other.join(file::KEY), out.join(file::KEY)).unwrap();
    let error = Enrolled::open(&out).unwrap_err().to_string();
    assert!(error.contains("device.key cannot be used: it does not go with device.crt"), "{error}");
}
