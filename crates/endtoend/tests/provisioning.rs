//! From two blank devices and a blank authority to a fleet in service with one command, and afterwards the private keys of
//! the devices are nowhere but in their vaults: searched for by value, in every file, in what every program wrote, and in
//! the memory of `sensorctl`. R-PROVISION, R-INITIAL-SECRET, R-SECRET-STORE, R-SECRET-ROTATE, R-TLS-CLIENT.

use device::KeySlot;
use device::identity::GRACE_S;
use endtoend::mosquitto::Mosquitto;
use endtoend::operator::{Book, Operator};
use endtoend::search::{Search, Secret, memory};
use endtoend::site::{Program, Site};
use endtoend::{programs, vaults};
use p256::SecretKey;
use p256::pkcs8::DecodePrivateKey;
use protocol::DeviceId;
use protocol::document::KeyUse;
use rustix::pipe::{fcntl_setpipe_size, pipe};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

/// Smallest size of a pipe.
const PIPE_BYTES: usize = 4096;

/// The authority's key as a file holds it: what a search that is not blind finds.
fn key_in(site: &Site, file: &str) -> Secret {
    let pem = fs::read_to_string(site.path(file)).expect("a key in PEM");
    let key = SecretKey::from_pkcs8_pem(&pem).expect("a private key");
    Secret { name: file.to_owned(), scalar: key.to_bytes().into() }
}

/// Provisions two blank devices with the one command, and gives the program's memory at its end. Its output is a pipe that is
/// full already, so that it is held up just before it ends: all that it ever had of secrets has gone through its memory.
async fn provision(site: &Site, words: &str) -> Vec<u8> {
    let (from, to) = pipe().expect("a pipe");
    fcntl_setpipe_size(&to, PIPE_BYTES).expect("a small pipe");
    let (mut from, mut to) = (File::from(from), File::from(to));
    to.write_all(&[b'\n'; PIPE_BYTES]).expect("room in a pipe");
    let mut program = site.start_sensorctl_into("provision", words, to.into());
    program.until_said(": provisioned", 2).await;
    let held = memory(program.child());
    let mut filling = [0; PIPE_BYTES];
    from.read_exact(&mut filling).expect("what the pipe was filled with");
    let ended = program.ended().await;
    let mut table = String::new();
    from.read_to_string(&mut table).expect("the rest of the output");
    assert!(ended.status.success() && table.ends_with("2 of 2 done\n"), "{table}{}", ended.stderr);
    fs::write(site.path("said/provision.out"), &table).expect("a log");
    held
}

/// Waits until both have connected with the factory's identity, replaced it on that connection, and report with the new one.
/// Gives their ids: which of them got which is chance.
async fn until_in_service(devices: &mut [Program; 2], operator: &mut Operator) -> Vec<DeviceId> {
    let mut ids = Vec::new();
    for device in devices {
        device.until_said("is in force", 1).await;
        let said = device.stdout();
        let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
        assert!(at("connected to the service") < at("keys of a new identity are made"), "{said}");
        assert_eq!(said[..at("is in force")].matches("connected to the service").count(), 2, "{said}");
        let id = said.split("ready device id=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let id = DeviceId::new(id.expect("its id")).expect("an id");
        let samples = |book: &Book| book.ledger.device(&id).map_or(0, |device| device.counts().samples);
        let before = samples(&operator.book());
        operator.until("telemetry with the new identity", |book| samples(book) > before + 10).await;
        ids.push(id);
    }
    ids
}

/// What to search for: every private key of both devices, and apart from that the factory's, open and as they lie in the
/// vault. Four keys are in each vault, for the factory's are kept for a while; they are the registered ones.
fn secrets(site: &Site, ids: &[DeviceId]) -> (Vec<Secret>, Vec<Secret>) {
    let registry = site.registry();
    let (mut all, mut sealed) = (Vec::new(), Vec::new());
    for (number, id) in (1..).zip(ids) {
        let kept = vaults::keys(&site.flash(number));
        let registered: Vec<_> = registry.in_force(id).collect();
        assert_eq!((kept.len(), registered.len()), (4, 2), "{id}");
        for key in &kept {
            let identity = registered[usize::from(key.slot.number())];
            let known = if key.usage == KeyUse::Identity { identity.key } else { identity.tls };
            assert_eq!(key.public(), known, "{id} has another key in its vault than in the registry");
            all.push(key.secret(id.as_str()));
            if key.slot == KeySlot::ALL[0] {
                sealed.push(key.sealed(id.as_str()));
            }
        }
    }
    (all, sealed)
}

/// The search is not blind: it finds keys that are known to be there, in files and in memory.
fn assert_sees(site: &Site, broker: &Path, provisioner: &[u8], registrar: &[u8]) {
    let (authority, factory) = (key_in(site, "ca/ca.key"), key_in(site, "authority/factory.key"));
    let (found, _) = Search::new([&authority, &factory]).find_below(&[site.folder(), broker]);
    let files: BTreeSet<_> = found.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(files, ["authority/factory.key", "ca/ca.key"].map(|name| site.path(name)).into());
    for memory in [provisioner, registrar] {
        assert!(
            !Search::new([&authority]).find(memory).is_empty(),
            "who issues certificates has the key for it"
        );
    }
}

#[tokio::test]
async fn one_command_provisions_two_blank_devices_and_their_keys_are_nowhere_but_in_their_vaults() {
    let site = Site::new(programs!()).await;
    let broker = Mosquitto::start(&site.pki()).await;
    let mut operator = Operator::start(&site.pki(), broker.port()).await;
    let (mut time, time_port) = site.time_server(0).await;
    let mut devices = [site.device(1, ""), site.device(2, "")];
    for device in &mut devices {
        device.until_said("ready blank device", 1).await;
    }
    let mut renew = site.renew(&site.operator("ca", "renew").await, broker.port()).await;
    let words = site.provisioning(broker.port(), time_port) + " --line tty1 --line tty2 --id-prefix dev-";
    let provisioner = provision(&site, &words).await;
    println!("both are provisioned");
    let ids = until_in_service(&mut devices, &mut operator).await;
    println!("both have replaced the factory's identity");
    let registrar = memory(renew.child());

    let (all, sealed) = secrets(&site, &ids);
    let folders = [site.folder(), broker.folder()];
    let search = Search::new(&all);
    let (found, files) = search.find_below(&folders);
    println!(
        "searched {files} files, {} and {} MiB of memory",
        provisioner.len() >> 20,
        registrar.len() >> 20
    );
    assert!(found.is_empty() && files > 30, "{files} files: {found:?}");
    for memory in [&provisioner, &registrar] {
        assert_eq!(search.find(memory).into_iter().collect::<Vec<_>>(), [""; 0]);
    }
    assert_sees(&site, broker.folder(), &provisioner, &registrar);
    // The factory's keys lie sealed in the vaults, two in each.
    let (found, _) = Search::new(&sealed).find_below(&folders);
    assert_eq!(found.len(), 4, "{found:?}");

    // After the time of grace they are not even that. A day passes while the devices are switched off.
    for device in &mut devices {
        device.stop().await;
    }
    time.stop().await;
    let ahead = (GRACE_S + 3600) * 1000;
    let words = format!("time-server --port {time_port} --offset-ms {ahead}");
    let mut time = site.start_simulator("time-later", &words);
    time.number("ready time-server port=").await;
    for (number, device) in (1..).zip(&mut devices) {
        *device = site.device(number, "");
    }
    for (number, device) in (1..).zip(&mut devices) {
        device.until_said("the former identity is wiped", 1).await;
        device.stop().await;
        let left: Vec<_> = vaults::keys(&site.flash(number)).iter().map(|key| key.slot).collect();
        assert_eq!(left, [KeySlot::ALL[1]; 2], "device {number}");
    }
    let (found, _) = Search::new(sealed.iter().chain(&all)).find_below(&folders);
    assert!(found.is_empty(), "{found:?}");
    let ran = renew.stop().await;
    assert!(ran.stdout.contains("2 certificates issued, 0 requests refused"), "{}", ran.stdout);
}
