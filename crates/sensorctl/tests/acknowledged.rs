//! Mosquitto acknowledges what its access list forbids, and grants subscriptions that it delivers nothing to: no program says that
//! something was done because of that.

mod service;

use service::Service;

/// The end of a program with a certificate that may do nothing of the kind.
fn refused(service: &Service, operator: &str, words: &[&str]) -> (Option<i32>, String) {
    let port = service.port.to_string();
    service.ends(&[words, &["--ca", "ca", "--operator", operator, "--port", &port]].concat())
}

#[test]
fn a_command_that_the_broker_does_not_keep_is_not_said_to_be_kept() {
    let service = Service::new();
    service.device("dev-1");
    service.operator("firmware");
    let report = ["command", "report", "--id", "dev-1", "--authority", "powers"];
    for more in [&["--no-wait"][..], &["--timeout", "1s"]] {
        let (code, said) = refused(&service, "firmware", &[&report[..], more].concat());
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("acknowledged 1 messages and does not give them back, first device/dev-1/command"),
            "{said}"
        );
        assert!(!said.contains("the broker keeps it"), "{said}");
    }
    let port = service.port.to_string();
    let said = service.sensorctl(&[&report[..], &["--no-wait", "--ca", "ca", "--port", &port]].concat());
    assert!(said.contains("the broker keeps it for 1 devices: it was read back"), "{said}");
}

#[test]
fn a_command_that_the_broker_still_keeps_is_not_said_to_be_taken_back() {
    let service = Service::new();
    service.device("dev-1");
    service.operator("reader");
    let port = service.port.to_string();
    let withdraw = ["command", "withdraw", "--id", "dev-1"];
    let own = ["--ca", "ca", "--port", &port];
    let report = ["command", "report", "--id", "dev-1", "--authority", "powers", "--no-wait"];
    service.sensorctl(&[&report[..], &own].concat());
    let (code, said) = refused(&service, "reader", &withdraw);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 topics were NOT cleared, first device/dev-1/command"), "{said}");
    // Who may neither write nor read hears nothing: that is no proof.
    service.sensorctl(&["ca", "operator", "--ca", "ca", "--name", "nobody", "--out", "nobody"]);
    let (code, said) = refused(&service, "nobody", &withdraw);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("1 topics were NOT cleared") && !said.contains("taken back"), "{said}");
    let said = service.sensorctl(&[&withdraw[..], &own].concat());
    assert!(said.contains("taken back for 1 devices"), "{said}");
    // Once more, where nothing is kept any more.
    let said = service.sensorctl(&[&withdraw[..], &own].concat());
    assert!(said.contains("taken back for 1 devices"), "{said}");
}

#[test]
fn a_document_that_the_broker_does_not_keep_is_not_said_to_be_kept() {
    let service = Service::new();
    service.device("dev-1");
    service.operator("reader");
    let broker = format!("localhost:{}", service.port);
    let document = ["document", "roots", "--root", "ca/ca.crt", "--id", "dev-1", "--authority", "powers"];
    let publish = ["--publish", &broker, "--ca", "ca"];
    let (code, said) = service.ends(&[&document[..], &publish, &["--operator", "reader"]].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("first device/dev-1/roots/desired"), "{said}");
    let said = service.sensorctl(&[&document[..], &publish].concat());
    assert!(said.contains("kept for them by the broker"), "{said}");
}

#[test]
fn reading_where_nothing_comes_is_not_said_to_be_a_fleet_of_none() {
    let service = Service::new();
    service.device("dev-1");
    service.operator("config");
    for (words, filter) in [
        (&["firmware", "status"][..], "device/+/firmware/state"),
        (&["config", "get", "--all"], "device/+/config/state"),
        (&["config", "get", "--id", "dev-1"], "device/dev-1/config/state"),
    ] {
        let (code, said) = refused(&service, "config", words);
        assert_eq!(code, Some(5), "{said}");
        let words = format!(
            "nothing came from {filter}: no device has said anything there yet, or the broker does not"
        );
        assert!(said.contains(&words), "{said}");
    }
}
