//! The device's own store, vault or log fails while a good document comes in: that is counted and noted as the device's own
//! fault, and never as the sender's. Nothing is half done, and the same document is taken when it comes again. What was taken
//! is known when it comes once more.

mod world;

use device::{Note, Uptime, VaultError};
use protocol::command::Outcome;
use protocol::document::{Action, Command, End, LogAcknowledgement, LogDelivery, Power};
use protocol::signed::Envelope;
use protocol::{Channel, Refusal};
use world::Platform;
use world::field::{Field, id, one, stranger};
use world::service::{key_of, signed_with};

/// What fails, once.
#[derive(Clone, Copy, Debug)]
enum Fails {
    /// The change of the store with this number, from 0.
    Write(u32),
    /// The call of the vault with this number.
    Vault(u32),
    /// Every read of the log's flash while the document is judged.
    LogRead,
}

/// A good document, made when the device is ready for it.
type Make = fn(&mut Field<Platform>) -> (Channel, Vec<u8>);

fn configuration(fields: &str) -> Vec<u8> {
    let text = format!(r#"{{"v":2,"number":7,"id":"dev-1",{fields}}}"#);
    signed_with(&protocol::config::Change::decode(text.as_bytes()).unwrap(), &key_of(Power::Configuration))
}

fn roots(field: &mut Field<Platform>) -> (Channel, Vec<u8>) {
    let root = field.service.ca.root.clone();
    (Channel::RootsDesired, field.service.roots_list(one(), &[&root]))
}

fn authority(field: &mut Field<Platform>) -> (Channel, Vec<u8>) {
    (Channel::AuthorityDesired, field.service.authority(one(), Power::Firmware, stranger()))
}

fn certificate(field: &mut Field<Platform>) -> (Channel, Vec<u8>) {
    field.answers = false;
    let asked = field.requests.len();
    let rotate = field.service.rotate(&id());
    field.send(Channel::Command, &rotate);
    field.run_until(60_000, |field| field.requests.len() > asked);
    let request = field.requests.last().expect("it asks").clone();
    (Channel::IdentityDesired, field.answer(&request))
}

fn applied(_: &mut Field<Platform>) -> (Channel, Vec<u8>) {
    (Channel::ConfigDesired, configuration(r#""dead_band_pa":9"#))
}

fn tried(_: &mut Field<Platform>) -> (Channel, Vec<u8>) {
    (Channel::ConfigDesired, configuration(r#""keep_alive_s":61"#))
}

fn command(field: &mut Field<Platform>) -> (Channel, Vec<u8>) {
    let expires_s = field.time().seconds() + 3_600;
    let report = Command { audience: one(), number: 1_000, expires_s, action: Action::Report };
    (Channel::Command, signed_with(&report, &key_of(Power::Configuration)))
}

fn retirement(field: &mut Field<Platform>) -> (Channel, Vec<u8>) {
    let key = field.identity().id();
    (Channel::Command, field.service.retire(&id(), End::Blank, key))
}

fn acknowledgement(field: &mut Field<Platform>) -> (Channel, Vec<u8>) {
    // What it names is not the last record: to compare it the flash has to be read.
    let key = field.identity();
    let delivered = field.published.iter().filter(|(channel, _)| *channel == Channel::Log);
    let mut named = delivered.filter_map(|(_, bytes)| {
        let delivery = Envelope::decode(bytes).ok()?.verify::<LogDelivery<'_>>(&key).ok()?;
        Some((delivery.number.checked_sub(1)?, delivery.previous))
    });
    let (number, hash) = named.next().expect("its log has come in two pieces");
    let document = LogAcknowledgement { audience: one(), number, hash };
    (Channel::LogDesired, signed_with(&document, &key_of(Power::Configuration)))
}

const SITES: [(&str, Make, Fails); 13] = [
    ("a list of roots that is not stored", roots, Fails::Write(0)),
    ("a list of roots whose record is not stored", roots, Fails::Write(1)),
    ("an authority's key", authority, Fails::Write(0)),
    ("a certificate whose identity key cannot be read", certificate, Fails::Vault(0)),
    ("a certificate whose TLS key cannot be read", certificate, Fails::Vault(1)),
    ("a certificate that is not stored", certificate, Fails::Write(0)),
    ("a certificate whose record is not stored", certificate, Fails::Write(1)),
    ("a change that is not stored", applied, Fails::Write(0)),
    ("a change whose record is not stored", applied, Fails::Write(1)),
    ("a change on trial that is not stored", tried, Fails::Write(0)),
    ("a change on trial whose record is not stored", tried, Fails::Write(1)),
    ("a command whose record is not stored", command, Fails::Write(0)),
    ("an acknowledgement that cannot be compared", acknowledgement, Fails::LogRead),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    refused: u32,
    replayed: u32,
    storage_errors: u32,
}

fn counts(field: &mut Field<Platform>) -> Counts {
    let state = field.device().state(Uptime(0));
    let replayed = field.states.last().map_or(0, |state| state.replayed);
    Counts { refused: state.refused, replayed, storage_errors: state.storage_errors }
}

/// Lets something fail while `document` comes in; the notes of that.
fn failing(field: &mut Field<Platform>, channel: Channel, document: &[u8], fails: Fails) -> Vec<Note> {
    let from = field.notes.len();
    let platform = field.platform().clone();
    match fails {
        Fails::Write(call) => platform.store_calls.set(Some(call)),
        Fails::Vault(call) => platform.vault_calls.set(Some(call)),
        Fails::LogRead => platform.log.borrow_mut().fail_reads = u32::MAX,
    }
    field.send(channel, document);
    let spent = match fails {
        Fails::Write(_) => platform.store_calls.take().is_none(),
        Fails::Vault(_) => platform.vault_calls.take().is_none(),
        Fails::LogRead => core::mem::take(&mut platform.log.borrow_mut().fail_reads) < u32::MAX,
    };
    assert!(spent, "{fails:?} has failed");
    field.notes[from..].to_vec()
}

fn blames_the_sender(note: &Note) -> bool {
    matches!(note, Note::DocumentRefused(_) | Note::CommandRefused(_) | Note::ConfigurationRefused { .. })
}

fn says_taken(note: &Note) -> bool {
    matches!(
        note,
        Note::DocumentAccepted(_)
            | Note::Commanded { .. }
            | Note::ConfigurationTried { .. }
            | Note::ConfigurationChanged { .. }
    )
}

#[test]
fn what_the_device_itself_cannot_do_is_never_the_senders_fault_and_is_done_when_it_comes_again() {
    for (what, make, fails) in SITES {
        let mut field = Field::settled();
        let (channel, document) = make(&mut field);
        let before = (field.snapshot(), counts(&mut field));
        let notes = failing(&mut field, channel, &document, fails);
        assert!(!notes.iter().any(blames_the_sender), "{what}: {notes:?}");
        let after = counts(&mut field);
        match fails {
            Fails::Vault(_) => {
                let error = device::identity::IdentityError::Vault(VaultError::Medium);
                assert!(notes.contains(&Note::IdentityFailed(error)), "{what}: {notes:?}");
            }
            Fails::Write(_) => {
                assert!(notes.iter().any(|note| matches!(note, Note::Storage(_))), "{what}: {notes:?}");
                assert_eq!(after.storage_errors, before.1.storage_errors + 1, "{what}");
            }
            Fails::LogRead => {
                assert!(notes.iter().any(|note| matches!(note, Note::LogFailed(_))), "{what}: {notes:?}");
                assert!(after.storage_errors > before.1.storage_errors, "{what}");
            }
        }
        assert_eq!((after.refused, after.replayed), (before.1.refused, before.1.replayed), "{what}");
        field.run(1_000);
        assert_eq!(counts(&mut field).refused, before.1.refused, "{what}");
        assert!(field.outcomes.iter().all(|said| said.outcome != Outcome::Refused), "{what}");
        let from = field.notes.len();
        field.send(channel, &document);
        let notes = &field.notes[from..];
        assert!(notes.iter().any(says_taken), "{what}: {notes:?}");
        assert_eq!(counts(&mut field).refused, before.1.refused, "{what}");
    }
}

#[test]
fn the_service_is_told_which_change_the_store_did_not_take_until_it_does() {
    let mut field = Field::settled();
    let (channel, document) = applied(&mut field);
    failing(&mut field, channel, &document, Fails::Write(0));
    field.run(60_000);
    let said = field.configurations.last().expect("it says so").clone();
    assert_eq!(said.unstored, Some((protocol::Layer::Device, 7)));
    assert_eq!((said.refused, said.last), (0, None));
    field.send(channel, &document);
    field.run(60_000);
    let said = field.configurations.last().expect("it says so");
    assert_eq!((said.unstored, said.device.map(|held| held.number)), (None, Some(7)));
}

#[test]
fn the_end_of_a_life_that_cannot_be_written_down_has_not_begun() {
    let mut not_begun = 0;
    // The log may be written before it; once that fails it is the life's turn.
    for call in 0..4 {
        let mut field = Field::settled();
        let (channel, document) = retirement(&mut field);
        let before = (field.snapshot(), counts(&mut field));
        let notes = failing(&mut field, channel, &document, Fails::Write(call));
        assert!(!notes.iter().any(blames_the_sender), "{call}: {notes:?}");
        if field.ended.is_some() || notes.iter().any(|note| matches!(note, Note::Retired(_))) {
            continue;
        }
        if field.snapshot() != before.0 {
            // It has begun: the next start goes on with it.
            continue;
        }
        not_begun += 1;
        assert!(notes.iter().any(|note| matches!(note, Note::Storage(_))), "{call}: {notes:?}");
        let after = counts(&mut field);
        assert!(after.storage_errors > before.1.storage_errors, "{call}");
        assert_eq!(after.refused, before.1.refused, "{call}");
        field.send(channel, &document);
        assert_eq!(field.ended, Some(End::Blank), "it is taken when it comes again");
    }
    assert_eq!(not_begun, 1, "exactly one write begins it");
}

/// What is noted of documents, from the note with this number on.
fn about_documents(field: &Field<Platform>, from: usize) -> Vec<Note> {
    let of_documents = |note: &&Note| blames_the_sender(note) || says_taken(note);
    field.notes[from..].iter().filter(of_documents).copied().collect()
}

#[test]
fn what_was_taken_and_comes_again_with_each_connection_is_no_event_and_one_altered_byte_is() {
    let kinds: [(&str, Make); 7] = [
        ("roots", roots),
        ("an authority's key", authority),
        ("a certificate", certificate),
        ("a change that is in force at once", applied),
        ("a change that is tried", tried),
        ("a command", command),
        ("an acknowledgement", acknowledgement),
    ];
    for (what, make) in kinds {
        for restarts in [false, true] {
            let mut field = Field::settled();
            let (channel, document) = make(&mut field);
            field.retained.push((channel, document.clone()));
            field.send(channel, &document);
            field.run(600_000);
            if restarts {
                field.restart();
                field.connect();
                field.run(60_000);
            }
            let (before, notes) = (counts(&mut field), field.notes.len());
            for _ in 0..3 {
                field.cut_link(protocol::Failure::LinkLost);
                field.connect();
                field.run(600_000);
            }
            assert_eq!(about_documents(&field, notes), [], "{what}, restarts {restarts}");
            assert_eq!(counts(&mut field), before, "{what}, restarts {restarts}");
            // Another signature over the same is another document.
            let mut altered = document.clone();
            let byte = altered.len() - 40;
            altered[byte] ^= 1;
            let from = field.notes.len();
            field.send(channel, &altered);
            let refused = about_documents(&field, from);
            let named = |note: &Note| {
                matches!(
                    note,
                    Note::DocumentRefused(Refusal::Signature)
                        | Note::ConfigurationRefused { why: Refusal::Signature, .. }
                )
            };
            assert!(refused.len() == 1 && refused.iter().all(named), "{what}: {refused:?}");
        }
    }
}
