//! The ends of an identity: a device that is told to forget is blank and holds nothing of what it knew, comes back with new
//! keys or never; and one that is revoked is kept out by the broker, and no other. R-REPROVISION, R-DESTROY, R-AUTHORITY,
//! R-TLS-CLIENT.

use endtoend::client::{Client, options};
use endtoend::mosquitto::Mosquitto;
use endtoend::operator::{Book, Operator};
use endtoend::pki::client_config;
use endtoend::search::{Search, Secret};
use endtoend::site::{Program, Site};
use endtoend::{handbook, programs, vaults};
use protocol::identity_state::Life;
use protocol::{DeviceId, IdentityState, KeyId};
use std::fs;

const STATE: &str = "device/dev-1/identity/state";

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).expect("an id")
}

/// The one identity of a device that the registry has in force.
fn identity(site: &Site, device: &str) -> KeyId {
    let registry = site.registry();
    let keys: Vec<_> = registry.in_force(&id(device)).map(|identity| identity.key.id()).collect();
    let [key] = keys.as_slice() else { panic!("{device}: {keys:?}") };
    *key
}

/// What the device has said last of its life, and with which key.
fn life(book: &Book) -> Option<(Life, String)> {
    let said = book.messages.iter().rev().find(|(topic, _)| topic == STATE)?;
    let state = IdentityState::decode(&said.1).expect("a state of the identity");
    Some((state.life, state.key.as_str().to_owned()))
}

/// Every key of the device in its flash, as it is and as it lies there.
fn secrets(site: &Site) -> Vec<Secret> {
    vaults::keys(&site.flash(1)).iter().flat_map(|key| [key.secret("dev-1"), key.sealed("dev-1")]).collect()
}

#[tokio::test]
async fn a_retired_device_is_blank_and_comes_back_with_new_keys_and_a_destroyed_one_never() {
    let site = Site::new(programs!()).await;
    let broker = Mosquitto::start(&site.pki()).await;
    let mut operator = Operator::start(&site.pki(), broker.port()).await;
    site.operator("ca", "command").await;
    let (_time, time_port) = site.time_server(0).await;
    let mut device = site.device(1, "");
    device.until_said("ready blank device", 1).await;
    let provision = site.provisioning(broker.port(), time_port) + " --line tty1 --id dev-1";
    site.sensorctl("provision", &provision).await;
    // Nobody answers its request for a certificate: it has the factory's identity, and another one that is to come.
    device.until_said("keys of a new identity are made", 1).await;
    let before = secrets(&site);
    assert_eq!(before.len(), 8, "two keys in two slots, open and sealed");
    let first = identity(&site, "dev-1");

    // Without the right authority nothing happens: with none, with a stranger's, with another power's.
    let retire = |powers: &str, end: &str| {
        format!(
            "command decommission --end {end} --authority {powers} --registry registry.jsonl --id dev-1 --ca ca --operator \
             ca-operator.command --port {} --yes --no-wait",
            broker.port()
        )
    };
    for strangers in ["foreign", "mixed"] {
        site.sensorctl(strangers, &format!("authority init --out {strangers}")).await;
    }
    for half in ["key", "pub"] {
        let from = site.path("authority").join(format!("configuration.{half}"));
        fs::copy(from, site.path("mixed").join(format!("anchors.{half}"))).expect("half a key");
    }
    {
        let own = site.pki().client("operator.sign");
        let mut anybody = Client::connect(options("operator.sign", broker.port(), client_config(own)))
            .await
            .expect("it gets in");
        anybody.publish("device/dev-1/command", r#"{"end":"blank"}"#, false).await.expect("PUBACK");
    }
    device.until_said("(malformed)", 1).await;
    site.sensorctl("retire-foreign", &retire("foreign", "blank")).await;
    device.until_said("(unknown_key)", 1).await;
    site.sensorctl("retire-mixed", &retire("mixed", "blank")).await;
    device.until_said("(wrong_authority)", 1).await;
    assert_eq!(vaults::keys(&site.flash(1)).len(), 4);
    assert_eq!(life(&operator.book()), Some((Life::Provisioned, first.to_string())));
    println!("refused without the right authority");

    // With it, the device says that it is blank, and is.
    site.sensorctl("retire", &retire("authority", "blank")).await;
    operator.until("its last words", |book| life(book).is_some_and(|(life, _)| life == Life::Blank)).await;
    device.until_said("the secrets are wiped: the device is blank", 1).await;
    device.until_said("stopped after", 1).await;
    let (found, files) = Search::new(&before).find_below(&[site.folder(), broker.folder()]);
    assert!(found.is_empty() && files > 20, "{files} files: {found:?}");
    assert_eq!(vaults::keys(&site.flash(1)).len(), 0);
    let connections = device.stdout().matches("connected to the service").count();

    // Off and on again it is still blank. It takes the factory's word: the same command, once the old identity is revoked.
    device.stop().await;
    let mut device = site.device(1, "");
    device.until_said("ready blank device", 2).await;
    let refused = site.try_sensorctl("provision-again", &provision).await;
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(device.stdout().matches("connected to the service").count(), connections);
    site.sensorctl("revoke", "revoke --ca ca --registry registry.jsonl --id dev-1").await;
    site.sensorctl("provision", &provision).await;
    device.until_said("connected to the service", connections + 1).await;
    let second = identity(&site, "dev-1");
    assert_ne!(first, second);
    operator.until("its new life", |book| life(book) == Some((Life::Provisioned, second.to_string()))).await;
    println!("blank, and back with new keys");

    // The command that ended its first life does not end the second.
    let replayed = "a document from the service was refused: its number was already used (replayed)";
    let count = device.stdout().matches(replayed).count();
    let sent = operator.book();
    let sent =
        sent.messages.iter().rev().find(|(topic, _)| topic == "device/dev-1/command").expect("the command");
    {
        let own = site.pki().client("operator.sign");
        let mut anybody = Client::connect(options("operator.sign", broker.port(), client_config(own)))
            .await
            .expect("it gets in");
        anybody.publish_bytes("device/dev-1/command", &sent.1, false).await.expect("PUBACK");
    }
    device.until_said(replayed, count + 1).await;

    // Destroyed is for ever.
    device.until_said("keys of a new identity are made", 2).await;
    let before = secrets(&site);
    assert_eq!(before.len(), 8);
    site.sensorctl("destroy", &retire("authority", "destroyed")).await;
    operator
        .until("its last words", |book| life(book).is_some_and(|(life, _)| life == Life::Destroyed))
        .await;
    let ran = device.ended().await;
    assert!(ran.status.success(), "{ran:?}");
    let (found, _) = Search::new(&before).find_below(&[site.folder(), broker.folder()]);
    assert!(found.is_empty(), "{found:?}");
    let ran = site.device(1, "").ended().await;
    assert!(!ran.status.success() && ran.stderr.contains("it never works again"), "{ran:?}");
    site.sensorctl("revoke-again", "revoke --ca ca --registry registry.jsonl --id dev-1").await;
    let mut device = site.device(1, "");
    let again = site.try_sensorctl("provision-destroyed", &provision).await;
    assert!(!again.status.success(), "{again:?}");
    assert!(device.ended().await.stderr.contains("it never works again"));
}

#[tokio::test]
async fn the_documented_end_of_a_device_works_word_for_word_for_one_that_has_renewed() {
    const END: &str = "The end of an identity, and of a device";
    let site = Site::new(programs!()).await;
    // As the document calls it.
    std::os::unix::fs::symlink(site.path("authority"), site.path("powers")).expect("another name");
    let broker = Mosquitto::start(&site.pki()).await;
    let port = broker.port();
    let own = site.operator("ca", "renew").await;
    let mut renew = site.renew(&own, port).await;
    let (_time, time_port) = site.time_server(0).await;
    let mut device = site.device(1, "");
    device.until_said("ready blank device", 1).await;
    site.sensorctl("provision", &(site.provisioning(port, time_port) + " --line tty1 --id dev-7")).await;
    // Every device renews at its first connection.
    renew.until_said("dev-7", 1).await;
    let in_force =
        || site.registry().in_force(&id("dev-7")).map(|identity| identity.key.id()).collect::<Vec<_>>();
    let mut operator = Operator::start(&site.pki(), port).await;
    let newest = |book: &Book| {
        let said = book.identities.get(&id("dev-7"))?;
        (said.certificate > 0).then(|| said.key.as_str().to_owned())
    };
    operator.until("the new identity in force", |book| newest(book).is_some()).await;
    let used = newest(&operator.book()).expect("a key");
    assert_eq!(in_force().len(), 2, "the factory's and the new one");

    let mut commands = handbook::commands(END, port);
    assert_eq!(commands.len(), 3, "{commands:?}");
    let revoke = commands.pop().expect("the last one");
    // The other way round is refused, with the right advice, and nothing is done.
    for name in ["command", "revoke"] {
        let words = handbook::command("Keys", &format!("ca operator --ca ca --name {name} "), port);
        site.sensorctl("programs", &words).await;
    }
    let refused = site.try_sensorctl("too-early", &revoke).await;
    assert!(
        !refused.status.success() && refused.stderr.contains("sensorctl command decommission"),
        "{refused:?}"
    );
    assert_eq!(in_force().len(), 2);
    let shown = site.sensorctl("show", &commands[0]).await;
    let line = shown.lines().find(|line| line.ends_with("IN USE")).expect("the identity in use");
    assert!(line.contains(&used), "{shown}");
    // There is no terminal to ask at.
    site.sensorctl("decommission", &format!("{} --yes", commands[1])).await;
    device.until_said("the secrets are wiped: the device is blank", 1).await;
    device.until_said("stopped after", 1).await;
    site.sensorctl("revoke", &revoke).await;
    assert_eq!(in_force(), []);
    // Nothing is kept of it: who comes anew hears nothing.
    drop(operator);
    let own = client_config(site.pki().operator());
    let mut anew = Client::connect(options("operator", port, own)).await.expect("it gets in");
    anew.subscribe("device/#").await.expect("SUBACK");
    anew.publish("device/dev-8/command", "end", false).await.expect("PUBACK");
    let kept = anew.messages_before("end").await.expect("a connection");
    assert!(kept.iter().all(|(topic, _)| !topic.starts_with("device/dev-7/")), "{kept:?}");
}

/// Two devices in service, `dev-1` and `dev-2`, and their time server.
async fn two_devices(site: &Site, port: u16, more: &str) -> ([Program; 2], Program) {
    let (time, time_port) = site.time_server(0).await;
    let mut devices = [site.device(1, ""), site.device(2, "")];
    for device in &mut devices {
        device.until_said("ready blank device", 1).await;
    }
    let lines = "--line tty1 --id dev-1 --line tty2 --id dev-2";
    site.sensorctl("provision", &format!("{} {lines} {more}", site.provisioning(port, time_port))).await;
    for device in &mut devices {
        device.until_said("connected to the service", 1).await;
    }
    (devices, time)
}

/// Off and on again, so that it has to connect anew.
async fn restart(site: &Site, devices: &mut [Program; 2]) {
    for (number, device) in (1..).zip(devices) {
        device.stop().await;
        *device = site.device(number, "");
    }
}

#[tokio::test]
async fn mosquitto_keeps_a_revoked_device_out_and_no_other() {
    let site = Site::new(programs!()).await;
    // Without a name the list is written and nobody is revoked.
    fs::write(site.path("registry.jsonl"), "").expect("an empty registry");
    let write = "revoke --ca ca --registry registry.jsonl";
    let list = || fs::read_to_string(site.path("ca/ca.crl")).expect("a list");
    site.sensorctl("list", write).await;
    let broker = Mosquitto::with_list(&site.pki(), &list()).await;
    let (mut devices, _time) = two_devices(&site, broker.port(), "").await;
    println!("both get in with an empty list");

    site.sensorctl("revoke", &format!("{write} --id dev-1")).await;
    broker.put("ca.crl", &list());
    broker.reload();
    restart(&site, &mut devices).await;
    devices[1].until_said("connected to the service", 2).await;
    devices[0].until_said("(tls_client_rejected)", 3).await;
    assert_eq!(devices[0].stdout().matches("connected to the service").count(), 1);
    assert!(broker.log().contains("certificate verify failed"), "{}", broker.log());
    println!("the revoked one is out");

    // A list of somebody else is none: nobody gets in, which is what the configuration says of it.
    site.sensorctl("other", "ca init --out other").await;
    site.sensorctl("other-list", "revoke --ca other --registry registry.jsonl").await;
    broker.put("ca.crl", &fs::read_to_string(site.path("other/ca.crl")).expect("a list"));
    broker.reload();
    restart(&site, &mut devices).await;
    devices[1].until_said("(tls_client_rejected)", 3).await;
    assert_eq!(devices[1].stdout().matches("connected to the service").count(), 2);
}

#[tokio::test]
async fn the_token_door_keeps_a_revoked_device_out_and_no_other() {
    let site = Site::new(programs!()).await;
    fs::write(site.path("registry.jsonl"), "").expect("an empty registry");
    let mut broker = site.start_simulator("broker", "broker --ca ca --registry registry.jsonl");
    let port = broker.number("token_port=").await;
    let (mut devices, _time) = two_devices(&site, port, "--auth token").await;
    site.sensorctl("revoke", "revoke --ca ca --registry registry.jsonl --id dev-1").await;
    restart(&site, &mut devices).await;
    devices[1].until_said("connected to the service", 2).await;
    devices[0].until_said("(mqtt_not_authorised)", 2).await;
    broker
        .until_said("refused \"dev-1\": no identity key is registered for it, or each one is revoked", 2)
        .await;
    assert_eq!(devices[0].stdout().matches("connected to the service").count(), 1);
    assert!(!broker.stderr().contains("dev-2"), "{}", broker.stderr());
}
