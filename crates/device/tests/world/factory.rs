//! The factory's side of the serial line.

use super::service::{Service, about};
use device::Platform;
use device::provisioning::{Document, Factory};
use protocol::config::{Authentication, CONFIGURATION_BYTES_MAX, Draft};
use protocol::provisioning::{Fault, FromDevice, MESSAGE_BYTES_MAX, PART_BYTES_MAX, ToDevice};
use protocol::signed::PROVISION_DOCUMENT_BYTES_MAX;
use protocol::{Configuration, DeviceId};

/// The configuration of a device that measures as little as it can.
pub fn configuration(id: &str, auth: Authentication) -> Configuration {
    let mut draft = Draft::new(DeviceId::new(id).unwrap(), "broker.example", "t0.example").unwrap();
    (draft.sample_period_ms, draft.report_period_ms) = (86_400_000, 86_400_000);
    (draft.keep_alive_s, draft.auth) = (1_200, auth);
    draft.check().unwrap()
}

pub fn encoded(configuration: &Configuration) -> Vec<u8> {
    let mut buffer = [0; CONFIGURATION_BYTES_MAX];
    let len = configuration.encode(&mut buffer).unwrap();
    buffer[..len].to_vec()
}

/// A message of the factory and the device's answer to it.
pub fn say<P: Platform, R>(
    factory: &mut Factory<P, Box<Document>>,
    message: &ToDevice<'_>,
    judge: impl FnOnce(FromDevice<'_>) -> R,
) -> R {
    let (mut line, mut answer) = ([0; MESSAGE_BYTES_MAX], [0; MESSAGE_BYTES_MAX]);
    let len = message.encode(&mut line).unwrap();
    let len = factory.message(&line[..len], &mut answer);
    judge(FromDevice::decode(&answer[..len]).expect("an answer"))
}

pub fn room() -> Box<Document> {
    Box::new([0; PROVISION_DOCUMENT_BYTES_MAX])
}

/// Sends a document in parts and commits; the first answer that is a refusal ends it.
pub fn deliver<P: Platform>(factory: &mut Factory<P, Box<Document>>, document: &[u8]) -> Result<(), Fault> {
    let verdict = |answer: FromDevice<'_>| match answer {
        FromDevice::Refused { why } => Err(why),
        _ => Ok(()),
    };
    for (number, bytes) in document.chunks(PART_BYTES_MAX).enumerate() {
        say(factory, &ToDevice::Part { offset: (number * PART_BYTES_MAX) as u32, bytes }, verdict)?;
    }
    say(factory, &ToDevice::Commit { len: document.len() as u32 }, verdict)
}

/// Provisions a blank platform as a factory does; gives it back.
pub fn provision<P: Platform>(platform: P, service: &Service, configuration: &Configuration) -> P {
    let mut factory = Factory::new(platform, about(), room());
    let bytes = encoded(configuration);
    let begin = ToDevice::Begin { id: configuration.id.clone() };
    let document = say(&mut factory, &begin, |requests| service.provision(&requests, &bytes, |_| {}));
    deliver(&mut factory, &document).expect("is provisioned");
    assert!(factory.is_provisioned());
    factory.into_platform()
}
