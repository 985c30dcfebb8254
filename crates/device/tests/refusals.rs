//! Every document and every way in which it can be wrong: refused by name, counted, noted, and nothing of it is stored.
//! R-AUTHORITY, R-ROOTS, R-SECRET-ROTATE, R-REPROVISION, R-DESTROY.

#[path = "refusals/content.rs"]
mod content;
#[path = "refusals/order.rs"]
mod order;
mod world;

use device::Note;
use protocol::config::Authentication;
use protocol::document::{
    Action, Audience, AuthorityKey, Command, ContentType, End, IdentityCertificate, LogAcknowledgement,
    LogDelivery, Power, RenewalRequest, Retirement, Rollout, RootList,
};
use protocol::identity_state::Rotation;
use protocol::topic::topic;
use protocol::x509::Csr;
use protocol::{Channel, DeviceId, EpochMillis, KeyId, PublicKey, Refusal};
use world::Platform;
use world::factory::configuration;
use world::field::{DAY_MS, Field, ID, START_S, id, one, stranger};
use world::service::{Ca, certificates, key_of, signed_with};
use world::vault::public;

/// When a retirement expires: later than the tests last.
const EXPIRES_S: u64 = START_S + 20 * 86_400;

/// A document that a running device takes, with the channel that it comes on. Changes of the configuration and what is known
/// of the log have tests of their own.
const DOCUMENTS: [(ContentType, Channel); 5] = [
    (ContentType::Roots, Channel::RootsDesired),
    (ContentType::AuthorityKey, Channel::AuthorityDesired),
    (ContentType::Certificate, Channel::IdentityDesired),
    (ContentType::Command, Channel::Command),
    (ContentType::Retirement, Channel::Command),
];

/// A device that waits for a certificate, with each of its numbers at 5 where it has one.
struct Target {
    field: Field<Platform>,
    refused: u32,
    replayed: u32,
    /// The keys that the pending request names.
    identity: PublicKey,
    tls: PublicKey,
    own: [u8; 32],
}

impl Target {
    fn new() -> Self {
        let (mut field, platform) = Field::provisioned(Authentication::Certificate);
        field.start(platform).unwrap();
        field.await_note(2 * DAY_MS, |note| *note == Note::IdentityWiped);
        field.answers = false;
        field.retained.clear();
        let (root, other) = (field.service.ca.root.clone(), Ca::new("second", until()).root);
        let list = RootList { audience: one(), number: 5, roots: certificates(&[&root, &other]) };
        let list = signed_with(&list, &key_of(Power::Anchors));
        field.send(Channel::RootsDesired, &list);
        field.await_note(60_000, |note| *note == Note::RootsReplaced { number: 5 });
        let key =
            AuthorityKey { audience: one(), number: 5, power: Power::Firmware, key: public(&[0x51; 32]) };
        field.send(Channel::AuthorityDesired, &signed_with(&key, &key_of(Power::Anchors)));
        let rotate = rotate(one(), 5);
        field.send(Channel::Command, &signed_with(&rotate, &key_of(Power::Configuration)));
        field.settle();
        assert_eq!(field.state().rotation, Rotation::Requested);
        let request = field.requests.last().unwrap().clone();
        let request = protocol::signed::Envelope::decode(&request).unwrap();
        let request = request.verify::<RenewalRequest<'_>>(&field.identity()).unwrap();
        let identity = Csr::decode(request.identity_csr).unwrap().key;
        let tls = Csr::decode(request.tls_csr).unwrap().key;
        let key = field.identity();
        let own = *field.platform().keys.borrow().values().find(|scalar| public(scalar) == key).unwrap();
        let (refused, replayed) = (field.state().refused, field.state().replayed);
        Self { field, refused, replayed, identity, tls, own }
    }

    /// What `content_type` is when nothing is wrong with it, signed with `scalar`. Only the number and the audience vary.
    fn document(
        &self,
        content_type: ContentType,
        number: u32,
        audience: Audience,
        scalar: &[u8; 32],
    ) -> Vec<u8> {
        let service = &self.field.service;
        match content_type {
            ContentType::Roots => {
                let roots = certificates(&[&service.ca.root]);
                signed_with(&RootList { audience, number, roots }, scalar)
            }
            ContentType::AuthorityKey => {
                let (power, key) = (Power::Configuration, public(&[0x52; 32]));
                signed_with(&AuthorityKey { audience, number, power, key }, scalar)
            }
            ContentType::Certificate => {
                let leaf = service.ca.issue(ID, &self.tls, service.leaf);
                let (identity, chain) = (self.identity.id(), certificates(&[&leaf]));
                signed_with(&IdentityCertificate { audience, number, identity, chain }, scalar)
            }
            ContentType::Command => signed_with(&rotate(audience, number), scalar),
            ContentType::Retirement => {
                let identity = public(&self.own).id();
                let (end, expires_s) = (End::Blank, EXPIRES_S);
                signed_with(&Retirement { audience, number, end, identity, expires_s }, scalar)
            }
            ContentType::Rollout => {
                signed_with(&Rollout { audience, number, manifest: [1; 32], share: 1_000 }, scalar)
            }
            ContentType::LogAcknowledgement => {
                signed_with(&LogAcknowledgement { audience, number, hash: [1; 32] }, scalar)
            }
            ContentType::Log => {
                signed_with(&LogDelivery { audience, number, previous: [1; 32], entries: b"" }, scalar)
            }
            ContentType::Configuration | ContentType::Provision | ContentType::RenewalRequest => {
                panic!("not for this test")
            }
        }
    }

    /// Sends it: it is refused for this reason, and changes nothing but counters.
    fn refuses(&mut self, channel: Channel, document: &[u8], refusal: Refusal, what: &str) {
        let name = self.sends(channel, document, what);
        assert_eq!(name, refusal, "{what}");
    }

    fn sends(&mut self, channel: Channel, document: &[u8], what: &str) -> Refusal {
        let before = self.field.snapshot();
        let (notes, link) = (self.field.notes.len(), self.field.link);
        let device = self.field.device().state(device::Uptime(0)).refused;
        self.field.send(channel, document);
        let refusal = match self.field.notes.get(notes) {
            Some(Note::DocumentRefused(refusal) | Note::CommandRefused(refusal)) => *refusal,
            Some(Note::ConfigurationRefused { why, .. }) => *why,
            _ => panic!("{what}: {:?}", &self.field.notes[notes..]),
        };
        assert_eq!(self.field.notes.len(), notes + 1, "{what}: {:?}", &self.field.notes[notes..]);
        assert!(self.field.snapshot() == before, "{what} has changed something");
        assert_eq!((self.field.link, self.field.ended), (link, None), "{what}");
        let counts = self.field.device().state(device::Uptime(0)).refused - device;
        if channel == Channel::ConfigDesired {
            // It counts its own.
        } else if channel == Channel::LogDesired {
            // It is not the identity's.
            assert_eq!(counts, 1, "{what}");
        } else if refusal == Refusal::Replayed {
            self.replayed += 1;
            assert_eq!(counts, 0, "{what}");
        } else {
            self.refused += 1;
            assert_eq!(counts, 1, "{what}");
        }
        refusal
    }

    /// What the device says of all of them, and that none of them keeps the right ones from being taken.
    fn finish(mut self, last: Option<Refusal>) {
        self.field.cut_link(protocol::Failure::LinkLost);
        self.field.connect();
        self.field.settle();
        let state = self.field.state();
        assert_eq!((state.refused, state.replayed), (self.refused, self.replayed));
        if last.is_some() {
            assert_eq!(state.last_refusal, last);
        }
        for content_type in
            [ContentType::AuthorityKey, ContentType::Command, ContentType::Certificate, ContentType::Roots]
        {
            let document = self.document(content_type, 6, one(), &key_of(content_type.power()));
            let channel = channel_of(content_type);
            // The new configuration's key counts from the first on.
            let scalar = if content_type.power() == Power::Configuration {
                [0x52; 32]
            } else {
                key_of(Power::Anchors)
            };
            let document = if content_type == ContentType::AuthorityKey {
                document
            } else {
                self.document(content_type, 6, one(), &scalar)
            };
            self.field.send(channel, &document);
            let note = match content_type {
                ContentType::Command => Note::Commanded { number: 6, action: Action::Rotate },
                _ => Note::DocumentAccepted(channel),
            };
            assert!(self.field.notes.contains(&note), "{content_type:?}");
            self.field.notes.clear();
            self.field.run(600_000);
        }
        assert_eq!((self.field.state().certificate, self.field.state().roots), (6, 6));
    }
}

fn rotate(audience: Audience, number: u32) -> Command {
    Command { audience, number, expires_s: u64::MAX, action: Action::Rotate }
}

fn until() -> EpochMillis {
    EpochMillis::from_seconds(2_100_000_000)
}

fn channel_of(content_type: ContentType) -> Channel {
    DOCUMENTS.into_iter().find(|(other, _)| *other == content_type).unwrap().1
}

fn other() -> Audience {
    Audience::Device(DeviceId::new("dev-2").unwrap())
}

fn group(name: &str) -> Audience {
    Audience::Group(name.try_into().unwrap())
}

#[test]
fn the_key_of_another_power_counts_for_no_document() {
    let mut target = Target::new();
    for (content_type, channel) in DOCUMENTS {
        let signers =
            Power::ALL.into_iter().filter(|power| *power != content_type.power() && *power != Power::Device);
        let mut keys: Vec<_> =
            signers.map(|power| (power.as_str(), key_of(power), Refusal::WrongAuthority)).collect();
        // The firmware's key was replaced: the former one is unknown.
        keys.iter_mut().filter(|(name, ..)| *name == "firmware").for_each(|key| key.2 = Refusal::UnknownKey);
        keys.push(("firmware, new", [0x51; 32], Refusal::WrongAuthority));
        keys.push(("the device's own", target.own, Refusal::WrongAuthority));
        keys.push(("unknown", [0x66; 32], Refusal::UnknownKey));
        for (name, scalar, refusal) in keys {
            let document = target.document(content_type, 6, one(), &scalar);
            target.refuses(channel, &document, refusal, &format!("{content_type:?} signed by {name}"));
        }
    }
    target.finish(Some(Refusal::UnknownKey));
}

#[test]
fn a_signature_of_the_right_name_and_another_key_is_wrong() {
    let mut target = Target::new();
    for (content_type, channel) in DOCUMENTS {
        let mut document = target.document(content_type, 6, one(), &[0x66; 32]);
        let (named, right) = (stranger().id(), public(&key_of(content_type.power())).id());
        let at = document.windows(32).position(|bytes| bytes == named.0).unwrap();
        document[at..at + 32].copy_from_slice(&right.0);
        target.refuses(channel, &document, Refusal::Signature, &format!("{content_type:?}"));
    }
    target.finish(Some(Refusal::Signature));
}

#[test]
fn a_document_counts_on_its_own_topic_only() {
    let mut target = Target::new();
    let mut all: Vec<_> = DOCUMENTS
        .map(|(content_type, channel)| {
            let right = target.document(content_type, 6, one(), &key_of(content_type.power()));
            (content_type, Some(channel), right)
        })
        .into();
    // What belongs to a class of devices and on none of the device's own topics.
    let rollout = target.document(ContentType::Rollout, 6, one(), &key_of(Power::Configuration));
    all.push((ContentType::Rollout, None, rollout));
    let acknowledgement =
        target.document(ContentType::LogAcknowledgement, 6, one(), &key_of(Power::Configuration));
    all.push((ContentType::LogAcknowledgement, Some(Channel::LogDesired), acknowledgement));
    // What belongs on no topic of a running device.
    all.push((ContentType::Log, None, target.document(ContentType::Log, 6, one(), &target.own)));
    let request = target.field.requests.last().unwrap().clone();
    all.push((ContentType::RenewalRequest, None, request));
    let root = target.field.service.ca.root.clone();
    let provision = protocol::document::Provision {
        audience: one(),
        nonce: [1; 16],
        group: "north".try_into().unwrap(),
        identity: KeyId([1; 32]),
        chain: certificates(&[&root]),
        roots: certificates(&[&root]),
        firmware: public(&[1; 32]),
        configuration_key: public(&[2; 32]),
        anchors: public(&[3; 32]),
        configuration: b"{}",
    };
    all.push((ContentType::Provision, None, signed_with(&provision, &key_of(Power::Factory))));
    for (content_type, own, document) in all {
        for channel in Channel::ALL {
            if Some(channel) != own {
                let what = format!("{content_type:?} on {}", channel.as_str());
                target.refuses(channel, &document, Refusal::ContentType, &what);
            }
        }
    }
    target.finish(Some(Refusal::ContentType));
}

#[test]
fn another_devices_topic_is_refused_before_anything_else() {
    let mut target = Target::new();
    for (content_type, channel) in DOCUMENTS {
        let document = target.document(content_type, 6, one(), &key_of(content_type.power()));
        let before = target.field.snapshot();
        for text in
            [topic(&DeviceId::new("dev-2").unwrap(), channel).as_str(), "device/dev-1/other", "", "dev-1"]
        {
            target.field.tell(device::Event::Message { topic: text, payload: &document });
            assert_eq!(
                target.field.notes.last(),
                Some(&Note::DocumentRefused(Refusal::ContentType)),
                "{text}"
            );
        }
        assert!(target.field.snapshot() == before, "{content_type:?}");
    }
    assert_eq!(target.field.device().state(device::Uptime(0)).refused, target.refused + 20);
    target.finish(None);
}

#[test]
fn what_is_withdrawn_is_nothing() {
    let mut target = Target::new();
    let notes = target.field.notes.len();
    for channel in Channel::ALL {
        target.field.send(channel, b"");
    }
    assert_eq!(target.field.notes.len(), notes);
    target.finish(None);
}

#[test]
fn no_byte_of_a_document_can_be_altered_and_none_left_out_or_added() {
    let unproven = [
        Refusal::Malformed,
        Refusal::Algorithm,
        Refusal::ContentType,
        Refusal::UnknownKey,
        Refusal::Signature,
        Refusal::TooLong,
    ];
    let mut target = Target::new();
    for (content_type, channel) in DOCUMENTS {
        let right = target.document(content_type, 6, one(), &key_of(content_type.power()));
        for at in 0..right.len() {
            for change in [1, 0x80, 0xff] {
                let mut altered = right.clone();
                altered[at] ^= change;
                let what = format!("{content_type:?}, byte {at} of {} ^ {change:#x}", right.len());
                let refusal = target.sends(channel, &altered, &what);
                assert!(
                    unproven.contains(&refusal),
                    "{what}: {refusal:?} is known only from what is not proven"
                );
            }
            if at > 0 {
                target.refuses(
                    channel,
                    &right[..at],
                    Refusal::Malformed,
                    &format!("{content_type:?} cut at {at}"),
                );
            }
        }
        for more in [&[0][..], &[0xff; 40], &right] {
            let longer = [&right, more].concat();
            target.refuses(channel, &longer, Refusal::Malformed, &format!("{content_type:?} and more"));
        }
    }
    target.finish(None);
}

#[test]
fn a_number_that_was_used_or_is_lower_does_not_count() {
    let mut target = Target::new();
    for (content_type, used) in [
        (ContentType::Roots, 5),
        (ContentType::AuthorityKey, 5),
        (ContentType::Certificate, 1),
        (ContentType::Command, 5),
    ] {
        let channel = channel_of(content_type);
        for (number, refusal) in [(used, Refusal::Replayed), (used - 1, Refusal::Older), (0, Refusal::Older)]
        {
            if content_type == ContentType::Command && number == used {
                // The very same command is nothing at all; with any other content its number is a used one.
                let notes = target.field.notes.len();
                target.field.send(channel, &signed_with(&rotate(one(), used), &key_of(Power::Configuration)));
                assert_eq!(target.field.notes.len(), notes);
                let other = Command { action: Action::Reboot, ..rotate(one(), used) };
                let other = signed_with(&other, &key_of(Power::Configuration));
                target.refuses(channel, &other, refusal, "another command with a used number");
                continue;
            }
            let document = target.document(content_type, number, one(), &key_of(content_type.power()));
            let what = format!("{content_type:?} with number {number} after {used}");
            target.refuses(channel, &document, refusal, &what);
        }
    }
    target.finish(None);
}

#[test]
fn a_document_for_others_does_not_count() {
    let mut target = Target::new();
    for (content_type, channel) in DOCUMENTS {
        let scalar = key_of(content_type.power());
        let document = target.document(content_type, 6, other(), &scalar);
        target.refuses(channel, &document, Refusal::OtherDevice, &format!("{content_type:?} for dev-2"));
        let alone = match content_type {
            ContentType::Certificate | ContentType::Retirement => Some(Refusal::Audience),
            _ => None,
        };
        for name in ["south", "Nort", "northern", ""] {
            let document = target.document(content_type, 6, group(name), &scalar);
            let refusal = alone.unwrap_or(Refusal::OtherGroup);
            target.refuses(channel, &document, refusal, &format!("{content_type:?} for group '{name}'"));
        }
        if let Some(refusal) = alone {
            for audience in [group("north"), Audience::All] {
                let what = format!("{content_type:?} for {audience:?}");
                let document = target.document(content_type, 6, audience, &scalar);
                target.refuses(channel, &document, refusal, &what);
            }
        }
    }
    target.finish(None);
}

#[test]
fn a_device_without_a_group_is_in_no_group() {
    let mut field = Field::new(world::service::Service::new());
    let bytes = world::factory::encoded(&configuration(ID, Authentication::Certificate));
    let mut line = device::provisioning::Factory::new(
        Platform::blank(1),
        world::service::about(),
        world::factory::room(),
    );
    let begin = protocol::provisioning::ToDevice::Begin { id: id() };
    let document = world::factory::say(&mut line, &begin, |requests| {
        field.service.provision(&requests, &bytes, |it| it.group = protocol::Name::default())
    });
    world::factory::deliver(&mut line, &document).unwrap();
    field.start(line.into_platform()).unwrap();
    field.connect();
    field.send(Channel::Command, &signed_with(&rotate(group(""), 6), &key_of(Power::Configuration)));
    assert_eq!(field.notes.last(), Some(&Note::CommandRefused(Refusal::OtherGroup)));
}

#[test]
fn what_is_refused_does_not_make_the_device_talk_at_once() {
    let mut target = Target::new();
    let said = target.field.states.len();
    for _ in 0..50 {
        target.refuses(Channel::Command, b"nonsense", Refusal::Malformed, "nonsense");
    }
    assert_eq!(target.field.states.len(), said);
    target.field.run(61_000);
    assert_eq!(target.field.states.len(), said + 1, "once a minute");
    assert_eq!(target.field.state().refused, target.refused);
    let used = Command { action: Action::Report, ..rotate(one(), 5) };
    for _ in 0..50 {
        let again = signed_with(&used, &key_of(Power::Configuration));
        target.refuses(Channel::Command, &again, Refusal::Replayed, "again");
    }
    target.field.run(200_000);
    assert_eq!(target.field.states.len(), said + 1, "what is retained comes again all the time");
    target.finish(None);
}
