//! Against Mosquitto with the documented configuration: a device reads and writes below its own prefix and nowhere
//! else, and who cannot prove to be one does not get in. R-MQTT-ISOLATION, R-TLS-CLIENT.
//!
//! Mosquitto acknowledges a forbidden PUBLISH and grants a forbidden SUBSCRIBE; what counts is what arrives. Each test
//! therefore sends something that is allowed behind what is not, and looks at what came before it.

use endtoend::HOST;
use endtoend::client::{Client, Message, options};
use endtoend::mosquitto::Mosquitto;
use endtoend::pki::{Pki, client_config};
use protocol::Channel;
use rumqttc::{LastWill, MqttOptions, QoS};
use simulator::tls::Credentials;

/// What a device reads; it writes the rest.
const READ: [&str; 6] =
    ["config/desired", "log/desired", "roots/desired", "authority/desired", "identity/desired", "command"];
const NOTHING: [Message; 0] = [];

struct Scene {
    pki: Pki,
    broker: Mosquitto,
}

impl Scene {
    async fn new() -> Self {
        let pki = Pki::new();
        let broker = Mosquitto::start(&pki).await;
        Self { pki, broker }
    }

    fn with(&self, client_id: &str, credentials: Credentials) -> MqttOptions {
        options(client_id, self.broker.port(), client_config(credentials))
    }

    fn device(&self, id: &str) -> MqttOptions {
        self.with(id, self.pki.client(id))
    }

    async fn join(&self, id: &str) -> Client {
        Client::connect(self.device(id)).await.expect("a device with a valid certificate gets in")
    }

    /// An operator who hears everything.
    async fn operator(&self) -> Client {
        let options = self.with("operator", self.pki.operator());
        let mut operator = Client::connect(options).await.expect("the operator gets in");
        assert!(operator.subscribe("device/#").await.unwrap());
        operator
    }

    /// Fails where `options` get in, or where nobody would.
    async fn refuses(&self, options: MqttOptions) {
        let error = Client::connect(options).await.err().expect("it is not let in");
        println!("refused: {error}");
        let log = self.broker.log();
        assert!(!log.contains("New client connected"), "{log}");
        self.join("a").await;
        assert!(self.broker.log().contains("New client connected"));
    }
}

fn message(topic: &str, payload: &str) -> Message {
    (topic.to_owned(), payload.as_bytes().to_vec())
}

#[tokio::test]
async fn what_a_device_publishes_under_anothers_prefix_reaches_nobody() {
    let scene = Scene::new().await;
    let mut operator = scene.operator().await;
    let (mut attacker, mut victim) = (scene.join("a").await, scene.join("b").await);
    victim.subscribe("device/b/config/desired").await.unwrap();
    victim.subscribe("device/b/command").await.unwrap();

    let elsewhere = ["device/b", "device/b/other", "device/a/other", "device/a", "device/hello"];
    let anothers = Channel::ALL.map(|channel| format!("device/b/{}", channel.as_str()));
    for topic in anothers.iter().map(String::as_str).chain(elsewhere) {
        for retain in [false, true] {
            attacker.publish(topic, "forged", retain).await.unwrap();
        }
    }
    attacker.publish("device/a/telemetry", "own", false).await.unwrap();
    assert_eq!(operator.messages_before("own").await.unwrap(), NOTHING);
    operator.publish("device/b/command", "true command", false).await.unwrap();
    assert_eq!(victim.messages_before("true command").await.unwrap(), NOTHING);
    assert_eq!(operator.messages_before("true command").await.unwrap(), NOTHING);

    // Nor does it wait for whoever subscribes later.
    operator.subscribe("device/+/#").await.unwrap();
    attacker.publish("device/a/telemetry", "end", false).await.unwrap();
    assert_eq!(operator.messages_before("end").await.unwrap(), NOTHING);
}

#[tokio::test]
async fn what_a_device_reports_under_its_own_prefix_reaches_the_operator() {
    let scene = Scene::new().await;
    let (mut operator, mut device) = (scene.operator().await, scene.join("a").await);
    device.publish("device/a/hello", "1", false).await.unwrap();
    device.publish("device/a/state", "2", true).await.unwrap();
    device.publish("device/a/telemetry", "3", false).await.unwrap();
    assert_eq!(
        operator.messages_before("3").await.unwrap(),
        [message("device/a/hello", "1"), message("device/a/state", "2")]
    );
}

#[tokio::test]
async fn a_device_reads_firmware_and_puts_none_there() {
    let scene = Scene::new().await;
    let (mut operator, mut device) = (scene.operator().await, scene.join("a").await);
    let mut firmware = {
        let credentials = scene.pki.client("operator.firmware");
        Client::connect(scene.with("operator.firmware", credentials)).await.unwrap()
    };
    let class = "firmware/3fa85f64-5717-5562-b3fc-2c963f66afa6";
    let digest = "00".repeat(32);
    let topics = [
        format!("{class}/manifest"),
        format!("{class}/rollout"),
        format!("firmware/{digest}/4096/0"),
        "firmware".to_owned(),
    ];
    for topic in &topics {
        for retain in [false, true] {
            device.publish(topic, "forged", retain).await.unwrap();
        }
    }
    operator.subscribe("firmware/#").await.unwrap();
    firmware.subscribe("firmware/#").await.unwrap();
    device.publish("device/a/telemetry", "own", false).await.unwrap();
    assert_eq!(operator.messages_before("own").await.unwrap(), NOTHING);

    // What the program of the operator puts there is for every device, and waits for it.
    firmware.publish(&topics[0], "true", true).await.unwrap();
    assert_eq!(firmware.messages_before("true").await.unwrap(), NOTHING);
    device.subscribe(&format!("{class}/+")).await.unwrap();
    assert_eq!(device.messages_before("true").await.unwrap(), NOTHING);
    // And it has no other power.
    firmware.publish("device/a/command", "forged", false).await.unwrap();
    device.subscribe("device/a/command").await.unwrap();
    operator.publish("device/a/command", "end", false).await.unwrap();
    assert_eq!(device.messages_before("end").await.unwrap(), NOTHING);
}

#[tokio::test]
async fn a_device_reads_the_configuration_of_groups_and_puts_none_there() {
    let scene = Scene::new().await;
    let (mut operator, mut device) = (scene.operator().await, scene.join("a").await);
    let elsewhere = [
        "group",
        "group/field-a",
        "group/field-a/other",
        "group/field-a/config/state",
        "group/a/b/config/desired",
    ];
    for topic in ["group/field-a/config/desired"].iter().chain(&elsewhere) {
        device.publish(topic, "forged", true).await.unwrap();
    }
    device.publish("device/a/telemetry", "own", false).await.unwrap();
    assert_eq!(operator.messages_before("own").await.unwrap(), NOTHING);
    operator.subscribe("group/+/config/desired").await.unwrap();
    // What the operator puts there is for every device, and waits for it; nothing else below `group` is for anybody.
    operator.publish("group/field-a/config/desired", "true", true).await.unwrap();
    assert_eq!(operator.messages_before("true").await.unwrap(), NOTHING);
    for topic in elsewhere {
        operator.publish(topic, "elsewhere", true).await.unwrap();
    }
    device.subscribe("group/#").await.unwrap();
    assert_eq!(device.messages_before("true").await.unwrap(), NOTHING);
    operator.publish("device/a/command", "end", false).await.unwrap();
    device.subscribe("device/a/command").await.unwrap();
    operator.publish("device/a/command", "end", true).await.unwrap();
    assert_eq!(device.messages_before("end").await.unwrap(), NOTHING);
}

#[tokio::test]
async fn each_program_of_the_operator_does_what_its_row_says_and_no_more() {
    let scene = Scene::new().await;
    let all: Vec<String> = Channel::ALL.map(|channel| format!("device/a/{}", channel.as_str())).to_vec();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let rows: [(&str, &[&str], &[&str]); 5] = [
        (
            "operator.config",
            &["device/a/config/desired", "group/g/config/desired", "device/a/command"],
            &[
                "device/a/config/desired",
                "device/a/config/state",
                "device/a/state",
                "device/a/command/answer",
            ],
        ),
        (
            "operator.command",
            &["device/a/command"],
            &[
                "device/a/command",
                "device/a/command/answer",
                "device/a/config/state",
                "device/a/identity/state",
            ],
        ),
        ("operator.log", &["device/a/log/desired"], &["device/a/log"]),
        ("operator.watch", &[], &["device/a/hello", "device/a/state", "device/a/telemetry"]),
        // It takes back what is kept of a device that is gone.
        ("operator.revoke", &all, &all),
    ];
    let mut everything = vec!["group/g/config/desired".to_owned(), "firmware/x/manifest".to_owned()];
    everything.extend(Channel::ALL.map(|channel| format!("device/a/{}", channel.as_str())));
    let (mut operator, mut device) = (scene.operator().await, scene.join("a").await);
    operator.subscribe("group/+/config/desired").await.unwrap();
    operator.subscribe("firmware/#").await.unwrap();
    for (program, writes, reads) in rows {
        let credentials = scene.pki.client(program);
        let mut client = Client::connect(scene.with(program, credentials)).await.expect("it gets in");
        for topic in &everything {
            client.publish(topic, program, false).await.unwrap();
        }
        let end = format!("{program} wrote");
        operator.publish("device/a/command", &end, false).await.unwrap();
        let heard: Vec<_> =
            operator.messages_before(&end).await.unwrap().into_iter().map(|(topic, _)| topic).collect();
        let may: Vec<_> =
            everything.iter().filter(|topic| writes.contains(&topic.as_str())).cloned().collect();
        assert_eq!(heard, may, "{program} writes");

        client.subscribe("#").await.unwrap();
        // All may read firmware and the configuration of groups, devices or not.
        for topic in everything.iter().filter(|topic| topic.starts_with("device/")) {
            // What the operator may not write the device does, or nobody.
            operator.publish(topic, program, false).await.unwrap();
            device.publish(topic, program, false).await.unwrap();
        }
        // The last of the operator's own topics that this program reads; what comes there comes behind the others.
        if let Some(own) = writes.first() {
            client.publish(own, "end", false).await.unwrap();
            operator.messages_before("end").await.unwrap();
        }
        let last = reads[0];
        operator.publish(last, "end", false).await.unwrap();
        device.publish(last, "end", false).await.unwrap();
        let mut heard: Vec<_> =
            client.messages_before("end").await.unwrap().into_iter().map(|(topic, _)| topic).collect();
        heard.sort_unstable();
        heard.dedup();
        let mut may: Vec<_> = reads.iter().map(|topic| (*topic).to_owned()).collect();
        may.sort_unstable();
        assert_eq!(heard, may, "{program} reads");
        // The operator has heard that too.
        let read = format!("{program} has read");
        operator.publish("device/a/command", &read, false).await.unwrap();
        operator.messages_before(&read).await.unwrap();
    }
}

#[tokio::test]
async fn a_device_writes_neither_its_own_configuration_nor_its_own_command() {
    let scene = Scene::new().await;
    let (mut operator, mut device) = (scene.operator().await, scene.join("a").await);
    for channel in READ {
        let topic = format!("device/a/{channel}");
        device.subscribe(&topic).await.unwrap();
        device.publish(&topic, "forged", true).await.unwrap();
    }
    device.publish("device/a/state", "own", false).await.unwrap();
    assert_eq!(operator.messages_before("own").await.unwrap(), NOTHING);
    operator.publish("device/a/config/desired", "true", false).await.unwrap();
    assert_eq!(device.messages_before("true").await.unwrap(), NOTHING);
}

#[tokio::test]
async fn a_device_reads_nothing_of_another_however_it_subscribes() {
    let scene = Scene::new().await;
    let mut operator = scene.operator().await;
    let (mut attacker, mut victim) = (scene.join("a").await, scene.join("b").await);
    victim.publish("device/b/state", "retained", true).await.unwrap();
    operator.publish("device/b/config/desired", "retained too", true).await.unwrap();
    attacker.subscribe("device/a/command").await.unwrap();

    let own = Channel::ALL.map(|channel| format!("device/b/{}", channel.as_str()));
    let wild = [
        "device/b/#",
        "device/#",
        "device/+/telemetry",
        "device/+/+",
        "device/+/config/desired",
        "device/+/log",
        "device/+/log/desired",
        "device/+/command/answer",
        "device/b/+/desired",
        "device/+/+/desired",
        "device/b/identity/+",
        "+/b/+",
        "+/+/+",
        "#",
        "$share/group/device/b/telemetry",
        "$share/group/device/#",
        "$SYS/#",
        "$SYS/broker/clients/connected",
    ];
    for (number, filter) in own.iter().map(String::as_str).chain(wild).enumerate() {
        // A refusal is as good as silence.
        let granted = attacker.subscribe(filter).await.unwrap();
        for channel in Channel::ALL.map(Channel::as_str).iter().filter(|channel| !READ.contains(channel)) {
            victim.publish(&format!("device/b/{channel}"), "secret", false).await.unwrap();
        }
        for channel in READ {
            operator.publish(&format!("device/b/{channel}"), "secret", false).await.unwrap();
        }
        let end = format!("end {number}");
        operator.publish("device/a/command", &end, false).await.unwrap();
        let heard = attacker.messages_before(&end).await.unwrap();
        // Its own commands come once for each filter that matches them.
        let foreign: Vec<_> = heard.iter().filter(|(topic, _)| topic != "device/a/command").collect();
        assert!(foreign.is_empty(), "{filter} (granted: {granted}): {foreign:?}");
        let told = operator.messages_before(&end).await.unwrap();
        let secrets = told.iter().filter(|(_, payload)| payload == b"secret").count();
        assert_eq!(secrets, Channel::ALL.len(), "the operator hears what the attacker does not: {told:?}");
    }
}

#[tokio::test]
async fn a_device_reads_nothing_about_the_broker_which_one_more_rule_would_show() {
    let scene = Scene::new().await;
    let mut operator = scene.operator().await;
    operator.subscribe("$SYS/#").await.unwrap();
    operator.publish("device/a/command", "end", false).await.unwrap();
    assert_eq!(operator.messages_before("end").await.unwrap(), NOTHING);

    let broker = Mosquitto::with_rules(&scene.pki, "user operator\ntopic read $SYS/#").await;
    let scene = Scene { broker, ..scene };
    let mut operator = scene.operator().await;
    operator.subscribe("$SYS/#").await.unwrap();
    operator.publish("device/a/command", "end", false).await.unwrap();
    let heard = operator.messages_before("end").await.unwrap();
    assert!(heard.iter().any(|(topic, _)| topic.starts_with("$SYS/broker/")), "{heard:?}");
}

#[tokio::test]
async fn an_operator_speaks_for_no_device() {
    let scene = Scene::new().await;
    let mut operator = scene.operator().await;
    for topic in ["device/a/hello", "device/a/state", "device/a/telemetry", "device/a/other"] {
        operator.publish(topic, "forged", true).await.unwrap();
    }
    operator.publish("device/a/command", "end", false).await.unwrap();
    assert_eq!(operator.messages_before("end").await.unwrap(), NOTHING);
}

#[tokio::test]
async fn neither_user_name_nor_client_identifier_makes_a_client_another_device() {
    let scene = Scene::new().await;
    let (mut operator, mut victim) = (scene.operator().await, scene.join("a").await);
    for name in ["a", "operator"] {
        let mut options = scene.device("b");
        options.set_client_id("a".to_owned());
        options.set_credentials(name, "password");
        let mut attacker = Client::connect(options).await.expect("what it says of itself is not looked at");
        attacker.publish("device/a/telemetry", "forged", false).await.unwrap();
        attacker.publish("device/b/command", "forged", false).await.unwrap();
        let own = format!("own, not {name}");
        attacker.publish("device/b/telemetry", &own, false).await.unwrap();
        assert_eq!(operator.messages_before(&own).await.unwrap(), NOTHING);
        attacker.disconnect().await;
    }
    // Its identifier has not thrown the victim off either.
    victim.publish("device/a/telemetry", "on the same connection", false).await.unwrap();
    assert_eq!(operator.messages_before("on the same connection").await.unwrap(), NOTHING);
}

#[tokio::test]
async fn nobody_takes_over_the_session_that_waits_for_a_device() {
    let scene = Scene::new().await;
    let persistent = |mut options: MqttOptions| {
        options.set_clean_session(false);
        options
    };
    let mut victim = Client::connect(persistent(scene.device("a"))).await.unwrap();
    victim.subscribe("device/a/command").await.unwrap();
    victim.disconnect().await;
    let mut operator = scene.operator().await;
    operator.publish("device/a/command", "for a", false).await.unwrap();

    let mut options = persistent(scene.device("b"));
    options.set_client_id("a".to_owned());
    let mut attacker = Client::connect(options).await.unwrap();
    assert!(!attacker.session_present);
    attacker.subscribe("device/b/command").await.unwrap();
    operator.publish("device/b/command", "end", false).await.unwrap();
    assert_eq!(attacker.messages_before("end").await.unwrap(), NOTHING);

    let mut victim = Client::connect(persistent(scene.device("a"))).await.unwrap();
    assert!(victim.session_present);
    operator.publish("device/a/command", "end", false).await.unwrap();
    assert_eq!(victim.messages_before("end").await.unwrap(), [message("device/a/command", "for a")]);
}

#[tokio::test]
async fn a_last_will_speaks_for_no_other_device() {
    let scene = Scene::new().await;
    let mut operator = scene.operator().await;
    let will = |topic: &str| {
        let mut options = scene.device("b");
        options.set_last_will(LastWill::new(topic, "will", QoS::AtLeastOnce, true));
        options
    };
    let own = "device/b/state";
    for topic in ["device/a/state", "device/b/command", "device/b/other", own] {
        let device =
            Client::connect(will(topic)).await.expect("the broker looks at a last will when it is spoken");
        // The next connection with the same certificate ends this one, and the will is spoken before that is answered.
        let mut next = scene.join("b").await;
        next.publish("device/b/telemetry", topic, false).await.unwrap();
        let heard = operator.messages_before(topic).await.unwrap();
        let wanted = if topic == own { vec![message(own, "will")] } else { Vec::new() };
        assert_eq!(heard, wanted, "{topic}");
        drop(device);
        next.disconnect().await;
    }
    operator.subscribe("device/a/#").await.unwrap();
    operator.publish("device/a/command", "end", false).await.unwrap();
    assert_eq!(operator.messages_before("end").await.unwrap(), NOTHING);
}

#[tokio::test]
async fn a_client_without_a_certificate_does_not_get_in() {
    let scene = Scene::new().await;
    scene.refuses(options("a", scene.broker.port(), scene.pki.anonymous())).await;
}

#[tokio::test]
async fn a_certificate_of_a_foreign_authority_does_not_get_in() {
    let scene = Scene::new().await;
    let foreign = scene.pki.trusted_by(Pki::new().client("a"));
    scene.refuses(scene.with("a", foreign)).await;
}

#[tokio::test]
async fn an_expired_certificate_does_not_get_in() {
    let scene = Scene::new().await;
    scene.refuses(scene.with("a", scene.pki.expired("a"))).await;
}

#[tokio::test]
async fn a_servers_certificate_is_no_clients() {
    let scene = Scene::new().await;
    scene.refuses(scene.with("a", scene.pki.broker())).await;
}

#[tokio::test]
async fn a_client_without_tls_does_not_get_in() {
    let scene = Scene::new().await;
    let mut options = MqttOptions::new("a", HOST, scene.broker.port());
    options.set_credentials("a", "password");
    scene.refuses(options).await;
}
