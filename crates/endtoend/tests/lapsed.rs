//! A device that lay on a shelf for longer than its certificate is good for: Mosquitto does not let it in, it says why, and one
//! command on its factory's line brings it back into service. R-SECRET-ROTATE, R-REPROVISION, R-TLS-CLIENT.

use endtoend::mosquitto::{Ending, Mosquitto};
use endtoend::programs;
use endtoend::site::Site;
use protocol::DeviceId;
use std::fs;

/// Two days, in milliseconds.
const SHELF_MS: u64 = 2 * 86_400_000;

/// Lets the certificate in the registry's only line end long ago: this computer's clock stays where it is.
fn end_certificate(site: &Site) {
    let path = site.path("registry.jsonl");
    let text = fs::read_to_string(&path).expect("a registry");
    let (before, after) = text.split_once(r#""until":""#).expect("an end");
    let (_, after) = after.split_once('"').expect("the end of it");
    fs::write(path, format!(r#"{before}"until":"2020-01-01T00:00:00Z"{after}"#)).expect("is written");
}

#[tokio::test]
async fn a_device_whose_certificate_ended_on_a_shelf_is_back_in_service_after_one_command() {
    let site = Site::new(programs!()).await;
    let mut broker = Mosquitto::start(&site.pki()).await;
    broker.stop(Ending::Orderly).await;
    let (mut time, time_port) = site.time_server(0).await;
    let mut device = site.device(1, "");
    device.until_said("ready blank device", 1).await;
    let words = site.provisioning(broker.port(), time_port) + " --line tty1 --id dev-1";
    site.sensorctl("provision", &format!("{words} --days 1")).await;
    device.until_said("ready device id=dev-1", 1).await;
    device.stop().await;
    time.stop().await;

    end_certificate(&site);
    let later = format!("time-server --port {time_port} --offset-ms {SHELF_MS}");
    let mut later = site.start_simulator("time-later", &later);
    later.number("ready time-server port=").await;
    broker.start_again().await;
    let mut device = site.device(1, "");
    device.until_said("the device's certificate ended on", 1).await;
    device.until_said("not connected", 3).await;
    assert!(!device.stdout().contains("connected to the service"), "{}", device.stdout());

    // The command of its first day; the time server that this computer's clock is compared with is another one.
    let mut right = site.start_simulator("time-right", "time-server");
    let right_port = right.number("ready time-server port=").await;
    let again = words.replace(&format!(":{time_port} "), &format!(":{right_port} "));
    let table = site.sensorctl("again", &again).await;
    assert!(table.contains("its certificate had ended on 2020-01-01; it has a new one"), "{table}");
    device.until_said("is in force", 1).await;
    device.until_said("connected to the service", 1).await;
    let id = DeviceId::new("dev-1").expect("an id");
    assert_eq!(site.registry().in_force(&id).count(), 2, "the former one is the operator's to end");
    // There is nothing more to get: the device's certificate is good, the registry's newest too.
    let ran = site
        .try_sensorctl("no-more", "renew --line tty1 --ca ca --authority authority --registry registry.jsonl")
        .await;
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(ran.stdout.contains("the device's certificate has not ended"), "{ran:?}");
}
