//! What is retained and in force comes again with every connection: it is no event. R-LOG, R-AUTHORITY.

use crate::operator::Operator;
use crate::world::field::{DAY_MS, Field, one};
use crate::world::service::{Ca, certificates, signed};
use crate::world::vault::public;
use device::{Event, Note, Platform, Slots};
use protocol::config::Change;
use protocol::document::{Action, Audience, Command, Power, RootList};
use protocol::topic::{group_topic, topic};
use protocol::{Channel, ConfigurationState, EpochMillis, Failure};

const GROUP: &str = "north";

fn change(target: &str, number: u32) -> Vec<u8> {
    let json = format!(r#"{{"v":2,"number":{number},{target},"dead_band_pa":7}}"#);
    signed(&Change::decode(json.as_bytes()).expect("a change"), Power::Configuration)
}

/// Every document of this device in force, with its topic.
fn everything<P: Platform + Slots>(field: &mut Field<P>) -> Vec<(String, Vec<u8>)> {
    let id = field.device().configuration().id.clone();
    let own = |channel| topic(&id, channel).as_str().to_owned();
    let until = EpochMillis::from_seconds(2_100_000_000);
    let roots = [field.service.ca.root.clone(), Ca::new("second", until).root];
    let roots = RootList { audience: Audience::All, number: 7, roots: certificates(&[&roots[0], &roots[1]]) };
    let rotate = Command { audience: one(), number: 7, expires_s: u64::MAX, action: Action::Rotate };
    let group = group_topic(&GROUP.try_into().unwrap()).unwrap();
    let documents = [
        (own(Channel::Command), signed(&rotate, Power::Configuration)),
        (own(Channel::RootsDesired), signed(&roots, Power::Anchors)),
        (own(Channel::ConfigDesired), change(r#""id":"dev-1""#, 10)),
        (group.as_str().to_owned(), change(&format!(r#""group":"{GROUP}""#), 3)),
        // Whose signature counts for nothing any more, once it is in force.
        (own(Channel::AuthorityDesired), field.service.authority(one(), Power::Anchors, public(&[0x61; 32]))),
    ];
    for (topic, document) in &documents {
        field.tell(Event::Message { topic, payload: document });
        field.run(DAY_MS * 2);
        field.connect();
        assert!(!refuses(&field.notes), "{topic}: {:?}", field.notes);
    }
    let mut all = documents.to_vec();
    // The answer to the request for a certificate.
    all.extend(field.retained.drain(..).map(|(channel, document)| (own(channel), document)));
    let mut operator = Operator::default();
    operator.pump(field);
    all.retain(|(topic, _)| *topic != own(Channel::LogDesired));
    all.push((own(Channel::LogDesired), signed(&operator.acknowledgement(), Power::Configuration)));
    all
}

fn refuses(notes: &[Note]) -> bool {
    notes.iter().any(|note| note.to_string().contains("refused"))
}

/// Refused documents that the device has counted: of all kinds, and those with a used number.
fn counted<P: Platform + Slots>(field: &mut Field<P>) -> (u32, u32, u32, u32) {
    let now = field.uptime();
    let settings = field.published.iter().rfind(|(channel, _)| *channel == Channel::ConfigState);
    let settings = ConfigurationState::decode(&settings.expect("it said so").1).unwrap();
    (field.device().state(now).refused, field.state().replayed, settings.refused, settings.replayed)
}

#[test]
fn a_healthy_device_that_connects_again_notes_nothing_and_counts_nothing_of_what_is_in_force() {
    let mut field = Field::settled();
    let all = everything(&mut field);
    assert_eq!(all.len(), 7, "of every kind");
    for (topic, document) in &all {
        field.tell(Event::Message { topic, payload: document });
    }
    field.run(DAY_MS);
    let (before, state) = (counted(&mut field), field.snapshot());
    for _ in 0..3 {
        field.notes.clear();
        field.cut_link(Failure::LinkLost);
        field.connect();
        for (topic, document) in &all {
            field.tell(Event::Message { topic, payload: document });
        }
        field.run(200_000);
        field
            .notes
            .retain(|note| !matches!(note, Note::Connected { .. } | Note::Disconnected(_) | Note::Time(_)));
        assert_eq!(field.notes, []);
        assert_eq!(counted(&mut field), before);
    }
    // A restart knows it as well.
    field.restart();
    field.connect();
    field.notes.clear();
    for (topic, document) in &all {
        field.tell(Event::Message { topic, payload: document });
    }
    field.notes.retain(|note| !matches!(note, Note::Time(_)));
    assert_eq!(field.notes, []);
    assert_eq!(field.snapshot().keys, state.keys);
    // Whoever changes one bit of it is refused by name.
    for (topic, document) in &all {
        let mut altered = document.clone();
        *altered.last_mut().unwrap() ^= 1;
        field.tell(Event::Message { topic, payload: &altered });
        assert!(refuses(&field.notes), "{topic}: {:?}", field.notes);
        field.notes.clear();
    }
}
