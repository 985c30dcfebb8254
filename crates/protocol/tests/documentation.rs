//! The documentation says what the code does.

use protocol::command::{ActionName, Outcome};
use protocol::document::{self, Action, ContentType, KeyUse};
use protocol::provisioning::{self, Fault, FromDevice, Life, ToDevice};
use protocol::{Channel, DeviceId, KeyId, Name, config, limits, signed, topic};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

#[test]
fn the_table_of_the_topics_has_every_channel_with_its_length() {
    for channel in Channel::ALL {
        let max = limits::longest(channel);
        let to_device = Channel::SUBSCRIPTIONS.iter().any(|filter| {
            *filter == channel.as_str()
                || filter.strip_prefix('+').is_some_and(|end| channel.as_str().ends_with(end))
        });
        assert_eq!(to_device, !channel.is_from_device(), "{}", channel.as_str());
        let direction = if to_device { "to the device" } else { "from the device" };
        let row = format!("| `{}` | {direction} | ", channel.as_str());
        let rows: Vec<_> = DOCUMENT.lines().filter(|line| line.starts_with(&row)).collect();
        let [row] = rows[..] else { panic!("docs/protocol.md must have one row that begins with {row}") };
        assert!(row.contains(&format!(" | {max} B | ")), "{max} B: {row}");
    }
    let rows =
        DOCUMENT.lines().filter(|line| line.contains("the device | ") && line.starts_with("| `")).count();
    assert_eq!(rows, Channel::ALL.len());
    let limits = format!(
        "The longest message of a device has {} B on a topic of at most {} B, the longest that it has to take {} B on a topic of at most {} B",
        limits::LONGEST_FROM_DEVICE,
        limits::TOPIC_FROM_DEVICE,
        limits::LONGEST_TO_DEVICE,
        limits::TOPIC_TO_DEVICE,
    );
    assert!(DOCUMENT.replace('\n', " ").contains(&limits), "{limits}");
    let group = topic::group_topic(&Name::try_from("group").unwrap()).unwrap();
    assert!(DOCUMENT.contains(&format!("`{}`", group.replacen("/group/", "/<group>/", 1))));
}

#[test]
fn the_examples_are_accepted() {
    let blocks: Vec<&str> =
        DOCUMENT.split("```json\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    let [batch, answer] = blocks[..] else { panic!("two examples") };
    protocol::Batch::decode(batch.trim().as_bytes()).unwrap();
    protocol::CommandAnswer::decode(answer.trim().as_bytes()).unwrap();
}

#[test]
fn the_table_of_the_commands_has_every_action_with_its_number_and_its_bounds() {
    let bounds = format!(
        "samples (1 to {}), period in ms ({} to {})",
        document::BURST_SAMPLES_MAX,
        config::SAMPLE_PERIOD.min,
        document::BURST_PERIOD_MS_MAX
    );
    for (action, elements) in [
        (Action::Report, ""),
        (Action::Burst { samples: 1, period_ms: 50 }, bounds.as_str()),
        (Action::Reboot, ""),
        (Action::Rotate, ""),
        (Action::SendLog { from: 0 }, "number of a record"),
    ] {
        let mut bytes = [0; 16];
        minicbor::encode(action, &mut bytes[..]).unwrap();
        let row = format!("| `{}` | {} | {elements} | ", ActionName::from(&action).as_str(), bytes[1]);
        assert_eq!(DOCUMENT.matches(&row).count(), 1, "docs/protocol.md must have this row once:\n{row}");
    }
    for outcome in Outcome::ALL {
        assert!(DOCUMENT.contains(&format!("`{}`", outcome.as_str())), "{outcome:?}");
    }
}

#[test]
fn the_table_of_the_documents_has_every_content_type_with_its_power_and_its_length() {
    for content_type in ContentType::ALL {
        let max = content_type.payload_bytes_max();
        let row = format!("| `{}` | {} | {max} B | ", content_type.as_str(), content_type.power());
        assert_eq!(DOCUMENT.matches(&row).count(), 1, "docs/protocol.md must have this row once:\n{row}");
    }
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `application/")).count();
    assert_eq!(rows, ContentType::ALL.len());
}

#[test]
fn the_lengths_in_the_documents_are_those_in_the_code() {
    for text in [
        format!("adds at most {} B", signed::ENVELOPE_BYTES_MAX),
        format!(
            "1 to {} certificates, each a byte string of 1 to {} B, DER",
            3,
            document::CERTIFICATE_BYTES_MAX
        ),
        format!("1 to {} bytes: JSON", config::CONFIGURATION_BYTES_MAX),
        format!("DER, 1 to {} B each", document::CSR_BYTES_MAX),
        format!("| `nonce` | {} bytes", document::NONCE_BYTES),
        format!("of at most {} B. A frame", provisioning::MESSAGE_BYTES_MAX),
        format!("up to {} bytes of the signed document", provisioning::PART_BYTES_MAX),
        format!("signed renewal request, up to {} bytes", provisioning::REQUEST_BYTES_MAX),
        format!("private scalar, {} bytes", provisioning::SCALAR_BYTES),
        format!("version of this protocol, which is {}", provisioning::VERSION),
    ] {
        assert!(DOCUMENT.contains(&text), "docs/protocol.md must say: {text}");
    }
    assert_eq!((document::ROOTS_MAX, document::CHAIN_MAX), (3, 2));
}

/// `[number, {...}]`: the second byte is the number, and the map's head the count of its fields.
fn number_and_fields(encode: impl FnOnce(&mut [u8]) -> Result<usize, protocol::EncodeError>) -> (u8, u8) {
    let mut bytes = [0; provisioning::MESSAGE_BYTES_MAX];
    encode(&mut bytes).unwrap();
    (bytes[1], bytes[2] & 0x1f)
}

#[test]
fn the_tables_of_the_factorys_line_have_every_message_with_its_number() {
    let id = KeyId([0; 32]);
    let name = Name::default();
    let to = [
        ("Identify", ToDevice::Identify { version: 1 }),
        ("Begin", ToDevice::Begin { id: DeviceId::new("d").unwrap() }),
        ("Inject", ToDevice::Inject { key: KeyUse::Tls, scalar: &[0; 32] }),
        ("Part", ToDevice::Part { offset: 0, bytes: b"p" }),
        ("Commit", ToDevice::Commit { len: 0 }),
        ("Renew", ToDevice::Renew { now_s: 0 }),
    ]
    .map(|(name, message)| (name, number_and_fields(|out| message.encode(out))));
    let from = [
        (
            "Identity",
            FromDevice::Identity {
                version: 1,
                life: Life::Provisioned,
                firmware: name.clone(),
                board: name.clone(),
                serial: name,
                factory: id,
                identity: Some(id),
                until_s: Some(0),
            },
        ),
        ("Requests", FromDevice::Requests { nonce: [0; 16], identity_csr: b"i", tls_csr: b"t" }),
        ("Taken", FromDevice::Taken { len: 0 }),
        ("Provisioned", FromDevice::Provisioned { identity: id }),
        ("Refused", FromDevice::Refused { why: Fault::Locked }),
        ("Renewal", FromDevice::Renewal { request: b"r" }),
    ]
    .map(|(name, message)| (name, number_and_fields(|out| message.encode(out))));
    for (name, (number, fields)) in to.into_iter().chain(from) {
        let row = DOCUMENT.lines().find(|line| line.starts_with(&format!("| `{name}` | {number} | ")));
        let row = row.unwrap_or_else(|| panic!("docs/protocol.md must have {name} with number {number}"));
        let last = row.rsplit('|').nth(1).unwrap_or_default();
        assert!(last.contains(&format!("{fields} ")), "{name} has {fields} fields: {row}");
        assert!(!last.contains(&format!(" {} ", fields + 1)), "{name} has {fields} fields: {row}");
    }
}
