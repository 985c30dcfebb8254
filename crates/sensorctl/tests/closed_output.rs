//! Nobody reads what a command prints, or what it complains of: it does what it was asked for all the same.

mod fake;
mod service;

use fake::Fake;
use protocol::Channel;
use protocol::document::{LogAcknowledgement, Power};
use protocol::topic::topic;
use rumqttc::{Event, Packet, QoS};
use sensorctl::authority::crl::Written;
use sensorctl::powers;
use service::{PATIENCE, Service};
#[path = "../src/log/specimen.rs"]
#[allow(dead_code, reason = "the unit tests use all of it")]
mod specimen;
use specimen::Specimen;
use std::fs::File;
use std::process::{Command, ExitStatus, Stdio};

/// The writing end of a pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// The command with its output, and what it complains of, going nowhere.
fn unread(service: &Service, arguments: &[&str]) -> Command {
    let mut command = service.command(arguments);
    command.stdout(closed()).stderr(closed());
    command
}

fn run(service: &Service, arguments: &[&str]) -> ExitStatus {
    unread(service, arguments).status().unwrap()
}

#[test]
fn a_command_that_acts_does_all_of_it_where_nobody_reads() {
    let service = Service::new();
    let ids = ["dev-1", "dev-2", "dev-3"];
    for id in ids {
        service.device(id);
    }
    let revoke = ["revoke", "--ca", "ca", "--registry", "registry.jsonl"];
    let named = ids.iter().flat_map(|id| ["--id", id]);
    assert!(run(&service, &revoke.into_iter().chain(named).collect::<Vec<_>>()).success());
    assert_eq!(service.registry().active().count(), 0);
    assert_eq!(Written::read(&service.path("ca/ca.crl")).unwrap().serials.len(), 3);

    let done = |arguments: &[&str], files: &[&str]| {
        assert!(run(&service, arguments).success(), "{arguments:?}");
        for file in files {
            assert!(service.path(file).exists(), "{arguments:?}: {file} is missing");
        }
    };
    done(&["ca", "init", "--out", "other"], &["other/ca.crt", "other/operator.key"]);
    done(&["ca", "operator", "--ca", "ca", "--name", "log", "--out", "log-op"], &["log-op/operator.crt"]);
    done(&["ca", "broker", "--renew", "--ca", "ca"], &[]);
    done(&["authority", "init", "--out", "keys"], &["keys/factory.pub", "keys/factory.key"]);
    done(&["config", "new", "--group", "hall-7", "--out", "c.toml", "port=8884"], &["c.toml"]);
    done(&["config", "set", "c.toml", "port=8885"], &[]);
    assert!(std::fs::read_to_string(service.path("c.toml")).unwrap().contains("8885"));
    done(
        &["device", "enrol", "--ca", "ca", "--id", "dev-4", "--host", "localhost", "--out", "dev-4"],
        &["dev-4/device.crt"],
    );
    let roots = ["document", "roots", "--root", "ca/ca.crt", "--authority", "powers"];
    done(&[&roots[..], &["--id", "a", "--id", "b", "--out", "roots"]].concat(), &["roots/b.roots.cose"]);
    done(&["firmware", "key", "--out", "image"], &["image/image.pub"]);

    let fake = Fake::new(powers::public(&service.path("powers"), Power::Factory).unwrap());
    fake.listen(&service.path("line"));
    let provision = [
        "provision",
        "--ca",
        "ca",
        "--authority",
        "powers",
        "--registry",
        "registry.jsonl",
        "--host",
        "localhost",
    ];
    done(&[&provision[..], &["--id", "dev-5", "--line", "unix:line"]].concat(), &[]);
    assert_eq!(service.registry().active().count(), 1);
}

#[test]
fn a_command_that_fails_where_nobody_reads_says_so_with_its_exit_code() {
    let service = Service::new();
    assert_eq!(run(&service, &["revoke", "--ca", "no", "--registry", "registry.jsonl"]).code(), Some(1));
    assert_eq!(run(&service, &["ca", "init", "--out", "ca"]).code(), Some(1));
    assert_eq!(
        run(&service, &["document", "roots", "--root", "ca/ca.crt", "--authority", "powers", "--out", "a"])
            .code(),
        Some(2)
    );
    // The verdict of a command that checks is the same.
    std::fs::write(service.path("c.toml"), "v = 2\ngroup = \"a\"\nport = 0\n").unwrap();
    let read = service.output(&["config", "check", "c.toml"]).status.code();
    assert!(read != Some(0) && run(&service, &["config", "check", "c.toml"]).code() == read);
    // What only shows ends in peace.
    service.device("dev-1");
    assert_eq!(run(&service, &["registry", "list", "--registry", "registry.jsonl"]).code(), Some(0));
}

#[test]
fn an_output_that_is_full_is_told_when_everything_is_done() {
    let service = Service::new();
    service.device("dev-1");
    let revoke = ["revoke", "--ca", "ca", "--registry", "registry.jsonl", "--id", "dev-1"];
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = service.command(&revoke).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot write to the standard output"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(Written::read(&service.path("ca/ca.crl")).unwrap().serials.len(), 1);
}

#[test]
fn a_program_that_runs_goes_on_where_nobody_reads_any_more() {
    let service = Service::new();
    let device = service.device("dev-1");
    let mut log = Specimen::new("dev-1", 1);
    log.keys = vec![device.identity.clone()];
    log.live(20);
    let port = service.port.to_string();
    let follow = [
        "log",
        "follow",
        "--ca",
        "ca",
        "--registry",
        "registry.jsonl",
        "--store",
        "store",
        "--authority",
        "powers",
    ];
    let mut child = unread(&service, &[&follow[..], &["--port", &port]].concat()).spawn().unwrap();
    let (client, mut connection) = service.connect(&device);
    let on = topic(&device.id, Channel::Log).as_str().to_owned();
    let deliveries = log.deliver(0);
    // Nobody knows when it listens: a device delivers again what was not acknowledged.
    let until = std::time::Instant::now() + PATIENCE;
    let acknowledged = 'heard: loop {
        assert!(std::time::Instant::now() < until, "it was never acknowledged");
        for bytes in &deliveries {
            client.publish(on.clone(), QoS::AtLeastOnce, false, bytes.clone()).unwrap();
        }
        let pause = std::time::Instant::now() + std::time::Duration::from_secs(2);
        while let Ok(event) =
            connection.recv_timeout(pause.saturating_duration_since(std::time::Instant::now()))
        {
            if let Event::Incoming(Packet::Publish(message)) = event.unwrap() {
                let said: LogAcknowledgement = service.verify(Power::Configuration, &message.payload);
                if said.number as usize + 1 == log.records.len() {
                    break 'heard said.number;
                }
            }
        }
    };
    assert!(service.path("store/dev-1.log").exists() && acknowledged > 0);
    assert!(child.try_wait().unwrap().is_none(), "it runs on");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
