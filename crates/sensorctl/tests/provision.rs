//! Provisioning against a device that does everything wrong: what is refused, what is repeated, and that a run that is cut at
//! any step is finished or begun anew by the next one.

mod fake;

use fake::{Fake, Quirk};
use protocol::document::Power;
use protocol::provisioning::Fault;
use protocol::{DeviceId, Name};
use sensorctl::authority::{self, Authority};
use sensorctl::enrol::Wanted;
use sensorctl::powers::{self, LiveKey};
use sensorctl::provision::clock::{check_kept, weigh};
use sensorctl::provision::exchange::Patience;
use sensorctl::provision::lapsed::Office;
use sensorctl::provision::line::{LineError, Target};
use sensorctl::provision::pending::Pending;
use sensorctl::provision::session::SessionError;
use sensorctl::provision::{self, Batch, Done, Failed, Ids, Keys, Step};
use sensorctl::registry::{Event, Registry};
use sensorctl::renew::{Lapsed, Registrar, issued_folder};
use sensorctl::signer::{Home, Signer};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;

/// Long enough for a busy machine; nothing waits for it where all is well.
const PATIENCE: Patience =
    Patience { answer: Duration::from_secs(60), work: Duration::from_secs(60), tries: 3 };

/// For a device that answers something never: that is waited for in vain however busy the machine is.
const SHORT: Patience =
    Patience { answer: Duration::from_millis(400), work: Duration::from_millis(1_500), tries: 3 };

struct Factory {
    patience: Patience,
    folder: TempDir,
    authority: Authority,
    signer: Signer,
    wanted: Wanted,
    sockets: Mutex<usize>,
}

impl Factory {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        authority::init(&folder.path().join("ca"), &["localhost".into()], 1).unwrap();
        powers::init(&folder.path().join("powers"), &Home::Files).unwrap();
        let authority = Authority::open(&folder.path().join("ca")).unwrap();
        let signer = powers::signer(&folder.path().join("powers"), Power::Factory).unwrap();
        let wanted = Wanted { host: "localhost".into(), ..Wanted::default() };
        Self { patience: PATIENCE, folder, authority, signer, wanted, sockets: Mutex::new(0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fake(&self) -> Fake {
        Fake::new(*self.signer.public())
    }

    /// A line to the device.
    fn line(&self, fake: &Fake) -> Target {
        let mut sockets = self.sockets.lock().unwrap();
        *sockets += 1;
        let path = self.path(&format!("line-{sockets}"));
        fake.listen(&path);
        Target::Unix(path)
    }

    fn batch(&self, ids: Ids) -> Batch<'_> {
        let registry = self.path("registry.jsonl");
        let key = |power| powers::public(&self.path("powers"), power).unwrap();
        Batch {
            authority: &self.authority,
            factory: &self.signer,
            keys: Keys {
                firmware: key(Power::Firmware),
                configuration: key(Power::Configuration),
                anchors: key(Power::Anchors),
            },
            roots: vec![self.authority.root_der().unwrap()],
            wanted: &self.wanted,
            group: Name::default(),
            days: 1,
            inject: false,
            give_up: false,
            pending: Pending::beside(&registry).unwrap(),
            registry: Mutex::new(Registry::open(&registry).unwrap()),
            ids,
            patience: self.patience,
            office: Office::new(Box::new(|| {
                Ok(Registrar {
                    issuer: Authority::open(&self.path("ca"))?,
                    signer: LiveKey::open(&self.path("powers"), Power::Configuration)?,
                    registry: Registry::open(&self.path("registry.jsonl"))?,
                    issued: issued_folder(&self.path("ca")),
                    days: 9,
                    lapsed: Lapsed::OnLine,
                })
            })),
        }
    }

    fn run(&self, ids: Ids, lines: &[Target]) -> Vec<Result<Done, Failed>> {
        provision::run(&self.batch(ids), lines, |_, _| {})
    }

    fn one(&self, id: &str, line: &Target) -> Result<Done, Failed> {
        self.run(given(&[id]), std::slice::from_ref(line)).remove(0)
    }

    fn registry(&self) -> Registry {
        Registry::open(&self.path("registry.jsonl")).unwrap()
    }

    fn pending(&self) -> Vec<DeviceId> {
        Pending::beside(&self.path("registry.jsonl")).unwrap().ids().unwrap()
    }

    /// Exactly this device is registered, with what it has.
    fn assert_registered(&self, fake: &Fake) {
        let memory = fake.memory.lock().unwrap();
        let (id, key) = memory.life.as_ref().expect("it is provisioned");
        let registry = self.registry();
        let identities: Vec<_> = registry.in_force(id).collect();
        assert_eq!(identities.len(), 1);
        assert_eq!(identities[0].key.id(), *key);
        assert_eq!(identities[0].certificate, protocol::key::sha256(&[&memory.certificate]));
        assert_eq!(self.pending(), []);
    }

    fn assert_refused(&self, quirk: &Quirk, expected: fn(&SessionError) -> bool) {
        let fake = self.fake().with(quirk.clone());
        let failed = self.one("dev-1", &self.line(&fake)).unwrap_err();
        assert!(expected(&failed.error), "{quirk:?}: {}", failed.error);
        assert_eq!((failed.unfinished, self.registry().devices().count()), (None, 0), "{quirk:?}");
        assert_eq!(self.pending(), [], "{quirk:?}");
        assert!(fake.memory.lock().unwrap().life.is_none(), "{quirk:?}");
    }
}

fn given(ids: &[&str]) -> Ids {
    Ids::Given(ids.iter().map(|id| id.parse().unwrap()).collect())
}

fn counted(start: u32) -> Ids {
    Ids::Counted { prefix: "dev-".into(), next: AtomicU32::new(start), digits: 3 }
}

#[test]
fn a_blank_device_gets_an_identity_of_its_own_making_and_is_registered() {
    let factory = Factory::new();
    let fake = factory.fake();
    let mut batch = factory.batch(given(&["dev-1"]));
    batch.group = "hall-7".try_into().unwrap();
    batch.roots.push(batch.roots[0].clone());
    let mut steps = Vec::new();
    let ended = provision::run(&batch, &[factory.line(&fake)], |_, news| {
        if let provision::News::Step(step) = news {
            steps.push(step.clone());
        }
    });
    assert!(matches!(&ended[..], [Ok(Done::Provisioned(identity))] if identity.id.as_str() == "dev-1"));
    factory.assert_registered(&fake);
    let memory = fake.memory.lock().unwrap();
    assert_eq!((memory.group.as_str(), memory.roots, memory.begun), ("hall-7", 2, 1));
    assert!(matches!(steps.first(), Some(Step::Identified(hardware)) if hardware.board == "fake"));
    assert!(matches!(steps.last(), Some(Step::Committing)));
}

#[test]
fn a_line_of_devices_is_provisioned_at_once_with_ids_that_nobody_had() {
    let factory = Factory::new();
    let fakes: Vec<Fake> = (0..6).map(|_| factory.fake()).collect();
    let lines: Vec<Target> = fakes.iter().map(|fake| factory.line(fake)).collect();
    assert!(factory.run(counted(5), &lines[..2]).iter().all(Result::is_ok));
    assert!(factory.run(counted(5), &lines[2..]).iter().all(Result::is_ok));
    let registry = factory.registry();
    let ids: Vec<_> = registry.active().map(DeviceId::as_str).collect();
    assert_eq!(ids, ["dev-005", "dev-006", "dev-007", "dev-008", "dev-009", "dev-010"]);
    for fake in &fakes {
        factory.assert_registered(fake);
    }
    // The same command once more: there is nothing to do.
    assert!(factory.run(counted(5), &lines).iter().all(|end| matches!(end, Ok(Done::Already(_)))));
    assert_eq!(factory.registry().devices().count(), 6);
}

#[test]
fn a_device_that_lies_or_is_not_ours_is_refused_by_name_and_nothing_is_kept() {
    let mut factory = Factory::new();
    factory.patience = SHORT;
    factory.assert_refused(&Quirk::Silent, |error| matches!(error, SessionError::Silent));
    factory.patience = PATIENCE;
    factory.assert_refused(&Quirk::OtherId, |error| matches!(error, SessionError::OtherId { .. }));
    factory.assert_refused(&Quirk::BadProof, |error| matches!(error, SessionError::Request(..)));
    factory.assert_refused(&Quirk::SameKey, |error| matches!(error, SessionError::SameKey));
    factory.assert_refused(&Quirk::Forgets, |error| matches!(error, SessionError::NotTaken { .. }));
    factory.assert_refused(&Quirk::Version, |error| matches!(error, SessionError::Version(9)));
    let mut stranger = factory.fake();
    stranger.factory = *powers::signer(&factory.path("powers"), Power::Anchors).unwrap().public();
    let failed = factory.one("dev-1", &factory.line(&stranger)).unwrap_err();
    assert!(matches!(*failed.error, SessionError::OtherFactory { .. }));
    let destroyed = factory.fake();
    destroyed.memory.lock().unwrap().destroyed = true;
    let failed = factory.one("dev-1", &factory.line(&destroyed)).unwrap_err();
    assert!(matches!(*failed.error, SessionError::Destroyed));
    let provisioned = factory.fake();
    provisioned.memory.lock().unwrap().life = Some(("x".parse().unwrap(), factory.signer.public().id()));
    let failed = factory.one("dev-1", &factory.line(&provisioned)).unwrap_err();
    assert!(matches!(*failed.error, SessionError::Locked));
}

#[test]
fn noise_logs_and_lost_frames_only_cost_time() {
    for quirk in [Quirk::Garbage, Quirk::Log, Quirk::Deaf] {
        let mut factory = Factory::new();
        if quirk == Quirk::Deaf {
            // Every message is sent twice at least: soon again, and as often as a busy machine may need.
            factory.patience = Patience { work: Duration::from_secs(5), tries: 150, ..SHORT };
        }
        let fake = factory.fake().with(quirk.clone());
        let ended = factory.one("dev-1", &factory.line(&fake));
        assert!(ended.is_ok(), "{quirk:?}: {}", ended.unwrap_err().error);
        factory.assert_registered(&fake);
    }
}

#[test]
fn a_device_that_dies_at_any_message_before_it_commits_begins_anew_with_the_same_id() {
    let factory = Factory::new();
    for count in 0.. {
        let id = format!("dev-{count}");
        let fake = factory.fake().with(Quirk::DiesAfter(count));
        let line = factory.line(&fake);
        match factory.one(&id, &line) {
            // It needs no more than these: every cut before was tried.
            Ok(_) => {
                assert!(count > 5, "identify, begin, parts, commit");
                break;
            }
            Err(failed) => {
                assert!(matches!(*failed.error, SessionError::Line(LineError::Closed)), "{}", failed.error);
            }
        }
        // The last message is the order to commit: only after that it may have an identity.
        *fake.quirk.lock().unwrap() = Quirk::None;
        let ended = factory.one(&id, &line);
        assert!(matches!(ended, Ok(Done::Provisioned(_))), "{count}");
        factory.assert_registered(&fake);
    }
}

#[test]
fn a_device_that_committed_and_was_gone_is_registered_by_the_next_run() {
    for (tells, serial) in [(true, ""), (false, "0a1b"), (false, "")] {
        for ids in [|| given(&["dev-001"]), || counted(1)] {
            let factory = Factory::new();
            let mut fake = factory.fake().with(Quirk::DiesCommitted);
            (fake.tells, fake.serial) = (tells, serial);
            let line = [factory.line(&fake)];
            let failed = factory.run(ids(), &line).remove(0).unwrap_err();
            assert_eq!(failed.unfinished.as_ref().map(DeviceId::as_str), Some("dev-001"));
            assert_eq!((factory.registry().devices().count(), factory.pending().len()), (0, 1));
            let ended = factory.run(ids(), &line).remove(0);
            assert!(matches!(ended, Ok(Done::Finished(_))), "{tells} {serial}");
            factory.assert_registered(&fake);
        }
    }
}

#[test]
fn an_id_that_a_line_lets_go_of_goes_to_no_other_line_of_the_run() {
    let factory = Factory::new();
    let (first, second) = (factory.fake(), factory.fake());
    let mut lines = vec![factory.line(&first)];
    // The first line has its id, and was told to commit when its device lost power.
    for count in 1.. {
        *first.quirk.lock().unwrap() = Quirk::DiesAfter(count);
        assert!(factory.run(counted(1), &lines).remove(0).is_err());
        if !factory.pending().is_empty() {
            break;
        }
    }
    assert!(first.memory.lock().unwrap().life.is_none(), "it had not committed");
    // It loses power again before it has been told to, and only then does the second one say who it is.
    *first.quirk.lock().unwrap() = Quirk::DiesAfter(1);
    let (ended, first_ended) = mpsc::channel::<()>();
    let path = factory.path("slow");
    let listener = UnixListener::bind(&path).unwrap();
    let served = second.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            served.serve_until(&stream, &stream, true, || {
                // Nobody sends once the first run is over.
                let _ = first_ended.recv();
                false
            });
        }
    });
    lines.push(Target::Unix(path));
    let mut ended = Some(ended);
    let ends = provision::run(&factory.batch(counted(1)), &lines, |number, news| {
        if number == 0 && matches!(news, provision::News::End(_)) {
            drop(ended.take());
        }
    });
    assert!(
        matches!(&ends[..], [Err(_), Ok(Done::Provisioned(identity))] if identity.id.as_str() == "dev-002")
    );
    assert_eq!(factory.pending(), [], "what was let go of is free when the run is over");
    *first.quirk.lock().unwrap() = Quirk::None;
    let ends = factory.run(counted(1), &lines);
    assert!(
        matches!(&ends[..], [Ok(Done::Provisioned(identity)), Ok(Done::Already(_))] if identity.id.as_str() == "dev-001")
    );
    factory.assert_registered(&first);
    factory.assert_registered(&second);
}

#[test]
fn a_line_whose_device_is_silent_in_one_run_gets_its_id_in_a_later_one_behind_the_others() {
    let factory = Factory::new();
    let fakes = [factory.fake().with(Quirk::DiesAfter(0)), factory.fake()];
    let lines = fakes.each_ref().map(|fake| factory.line(fake));
    let ids = |ends: Vec<Result<Done, Failed>>| {
        ends.into_iter().map(|end| end.ok().map(|done| done.id().to_string())).collect::<Vec<_>>()
    };
    assert_eq!(ids(factory.run(counted(1), &lines)), [None, Some("dev-001".to_owned())]);
    *fakes[0].quirk.lock().unwrap() = Quirk::None;
    assert_eq!(
        ids(factory.run(counted(1), &lines)),
        [Some("dev-002".to_owned()), Some("dev-001".to_owned())]
    );
    for fake in &fakes {
        factory.assert_registered(fake);
    }
}

#[test]
fn an_answer_that_is_lost_for_good_is_made_up_for_in_the_same_run() {
    let mut factory = Factory::new();
    factory.patience = SHORT;
    let fake = factory.fake().with(Quirk::CommitsSilently);
    let line = factory.line(&fake);
    // On a busy machine it may not come so far at first.
    while fake.memory.lock().unwrap().life.is_none() {
        // The first order was taken; its repetitions are refused by a device that is locked, which this one keeps to itself.
        let failed = factory.one("dev-1", &line).unwrap_err();
        assert!(matches!(*failed.error, SessionError::Silent));
    }
    factory.patience = PATIENCE;
    *fake.quirk.lock().unwrap() = Quirk::None;
    assert!(matches!(factory.one("dev-1", &line), Ok(Done::Finished(_))));
    factory.assert_registered(&fake);
}

#[test]
fn an_identity_that_was_registered_before_its_file_was_removed_is_registered_once() {
    let factory = Factory::new();
    let fake = factory.fake().with(Quirk::DiesCommitted);
    let line = factory.line(&fake);
    assert!(factory.one("dev-1", &line).is_err());
    // What a process leaves that is killed between the two.
    let kept = factory.path("registry.jsonl.pending/dev-1.json");
    let text = std::fs::read(&kept).unwrap();
    *fake.quirk.lock().unwrap() = Quirk::None;
    assert!(factory.one("dev-1", &line).is_ok());
    std::fs::write(&kept, text).unwrap();
    assert!(factory.one("dev-1", &line).is_ok());
    factory.assert_registered(&fake);
}

#[test]
fn an_unfinished_id_goes_to_no_other_device_unless_it_is_given_up() {
    let factory = Factory::new();
    let lost = factory.fake().with(Quirk::DiesCommitted);
    assert!(factory.one("dev-1", &factory.line(&lost)).is_err());
    let other = factory.fake();
    let line = factory.line(&other);
    let failed = factory.one("dev-1", &line).unwrap_err();
    assert!(matches!(*failed.error, SessionError::Elsewhere { .. }), "{}", failed.error);
    // Counting goes past it.
    let mut batch = factory.batch(given(&["dev-1"]));
    batch.give_up = true;
    assert!(matches!(provision::run(&batch, &[line], |_, _| {}).remove(0), Ok(Done::Provisioned(_))));
    factory.assert_registered(&other);
    let (_, key) = lost.memory.lock().unwrap().life.clone().unwrap();
    let registry = factory.registry();
    let given_up = registry.records(&"dev-1".parse().unwrap())[0].clone();
    assert!(given_up.identity.key.id() == key && given_up.revoked.is_some());
}

#[test]
fn a_registered_id_is_given_to_no_second_device() {
    let factory = Factory::new();
    assert!(factory.one("dev-1", &factory.line(&factory.fake())).is_ok());
    let failed = factory.one("dev-1", &factory.line(&factory.fake())).unwrap_err();
    assert!(matches!(*failed.error, SessionError::Registered(_)));
    let lines = [factory.line(&factory.fake()), factory.line(&factory.fake())];
    let ended = factory.run(given(&["dev-2", "dev-2"]), &lines);
    assert_eq!(ended.iter().filter(|end| end.is_ok()).count(), 1, "one id, one device");
}

#[test]
fn a_key_from_outside_is_the_devices_and_a_device_that_ignores_it_is_refused() {
    let factory = Factory::new();
    let fake = factory.fake();
    let mut batch = factory.batch(given(&["dev-1"]));
    batch.inject = true;
    let ended = provision::run(&batch, &[factory.line(&fake)], |_, _| {}).remove(0);
    assert!(ended.is_ok(), "{}", ended.unwrap_err().error);
    factory.assert_registered(&fake);
    let memory = fake.memory.lock().unwrap();
    assert_eq!(memory.secrets()[..], memory.injected[..]);
    let stubborn = factory.fake().with(Quirk::KeepsItsKeys);
    let mut batch = factory.batch(given(&["dev-2"]));
    batch.inject = true;
    let failed = provision::run(&batch, &[factory.line(&stubborn)], |_, _| {}).remove(0).unwrap_err();
    assert!(matches!(*failed.error, SessionError::NotInjected(_)));
    assert_eq!(factory.registry().devices().count(), 1);
}

#[test]
fn a_fault_of_the_device_is_told_as_it_is() {
    let sentence = SessionError::Refused(Fault::Entropy).to_string();
    assert!(sentence.contains("random generator"), "{sentence}");
}

/// A device that was provisioned and whose certificate has ended since.
fn lapsed(factory: &Factory) -> (Fake, Target) {
    let fake = factory.fake();
    let line = factory.line(&fake);
    assert!(matches!(factory.one("dev-1", &line), Ok(Done::Provisioned(_))));
    fake.memory.lock().unwrap().lapsed = true;
    (fake, line)
}

fn identities(factory: &Factory) -> usize {
    factory.registry().in_force(&"dev-1".parse().unwrap()).count()
}

#[test]
fn a_device_whose_certificate_has_ended_gets_a_new_one_by_the_same_command() {
    let factory = Factory::new();
    let (fake, line) = lapsed(&factory);
    let done = factory.one("dev-1", &line).unwrap_or_else(|failed| panic!("{}", failed.error));
    let Done::Renewed { identity, ended } = done else { panic!("{done:?}") };
    assert_eq!(ended.unix_timestamp(), 1_000_000_000);
    {
        let memory = fake.memory.lock().unwrap();
        let (id, key) = memory.life.clone().unwrap();
        assert_eq!((&identity.id, identity.key.id()), (&id, key));
        assert_eq!(identity.certificate, protocol::key::sha256(&[&memory.certificate]));
    }
    assert_eq!(identities(&factory), 2, "until the operator ends the old one");
    assert!(matches!(factory.one("dev-1", &line), Ok(Done::Already(_))));
}

#[test]
fn a_renewal_that_is_cut_at_any_message_is_finished_by_the_next_run_with_the_same_keys() {
    for count in 1.. {
        let factory = Factory::new();
        let (fake, line) = lapsed(&factory);
        *fake.quirk.lock().unwrap() = Quirk::DiesAfter(count);
        let ended = factory.one("dev-1", &line);
        *fake.quirk.lock().unwrap() = Quirk::None;
        if ended.is_ok() {
            assert!(count > 3, "identify, renew, parts, commit");
            break;
        }
        assert!(matches!(factory.one("dev-1", &line), Ok(Done::Renewed { .. })), "{count}");
        assert_eq!((fake.memory.lock().unwrap().renewals, identities(&factory)), (1, 2), "{count}");
    }
}

#[test]
fn without_the_key_for_it_a_device_whose_certificate_has_ended_is_named_and_left_alone() {
    let factory = Factory::new();
    let (fake, line) = lapsed(&factory);
    std::fs::remove_file(factory.path("powers/configuration.key")).unwrap();
    let failed = factory.one("dev-1", &line).unwrap_err();
    let why = failed.error.to_string();
    assert!(why.starts_with("the device's certificate ended on 2001-09-09T01:46:40Z"), "{why}");
    assert!(why.contains("sensorctl renew --line"), "{why}");
    assert_eq!((fake.memory.lock().unwrap().renewals, identities(&factory)), (0, 1));
}

#[test]
fn a_revoked_identity_is_neither_renewed_nor_called_good() {
    let factory = Factory::new();
    let (fake, line) = lapsed(&factory);
    let mut registry = factory.registry();
    let identity = registry.records(&"dev-1".parse().unwrap())[0].identity.clone();
    let (id, key, serial) = (identity.id.clone(), identity.key.id(), identity.serial);
    registry.append(&[Event::Revoked { id, key, serial }]).unwrap();
    for has_ended in [true, false] {
        fake.memory.lock().unwrap().lapsed = has_ended;
        let failed = factory.one("dev-1", &line).unwrap_err();
        assert!(matches!(*failed.error, SessionError::Revoked(_)), "{}", failed.error);
    }
    assert_eq!(fake.memory.lock().unwrap().renewals, 0);
}

#[test]
fn on_a_line_only_a_registered_device_whose_certificate_has_ended_is_renewed() {
    let factory = Factory::new();
    let renew = |line: &Target| {
        let batch = factory.batch(given(&[]));
        let lines = std::slice::from_ref(line);
        provision::renew(&batch.registry, &batch.office, batch.patience, lines, |_, _| {}).remove(0)
    };
    let (fake, line) = lapsed(&factory);
    assert!(matches!(renew(&line), Ok(Done::Renewed { .. })));
    let failed = renew(&line).unwrap_err();
    assert!(matches!(*failed.error, SessionError::Refused(Fault::NotEnded)), "{}", failed.error);
    let failed = renew(&factory.line(&factory.fake())).unwrap_err();
    assert!(matches!(*failed.error, SessionError::Blank), "{}", failed.error);
    fake.memory.lock().unwrap().life.as_mut().unwrap().1 = factory.signer.public().id();
    fake.memory.lock().unwrap().lapsed = true;
    let failed = renew(&line).unwrap_err();
    assert!(matches!(*failed.error, SessionError::Locked), "{}", failed.error);
    fake.memory.lock().unwrap().destroyed = true;
    let failed = renew(&line).unwrap_err();
    assert!(matches!(*failed.error, SessionError::Destroyed), "{}", failed.error);
}

#[test]
fn a_clock_by_which_something_that_is_kept_is_of_the_future_is_refused_by_name() {
    let factory = Factory::new();
    assert!(factory.one("dev-1", &factory.line(&factory.fake())).is_ok());
    let (registry, root) = (factory.registry(), factory.authority.begin().unwrap());
    let now = OffsetDateTime::now_utc();
    assert_eq!(check_kept(&registry, root, now), Ok(()));
    assert_eq!(check_kept(&registry, root, now - Duration::from_secs(3_000)), Ok(()), "clocks differ");
    let behind = check_kept(&registry, root, now - Duration::from_secs(7_200)).unwrap_err();
    assert!(behind.to_string().contains("the registry's newest entry is of the future"), "{behind}");
    let behind = check_kept(&registry, root, now - Duration::from_secs(40 * 86_400)).unwrap_err();
    assert!(behind.to_string().contains("the authority's root certificate is of the future"), "{behind}");

    // A time server that agrees says that it was the other clock: once, by one computer, a wrong date was written, and nobody may
    // edit the registry. No server makes a root's certificate valid before its time.
    let at = |seconds| check_kept(&registry, root, now - Duration::from_secs(seconds));
    assert_eq!(weigh(at(7_200), true), Ok(at(7_200).err()), "a warning");
    assert_eq!(weigh(at(7_200), false), Err(at(7_200).unwrap_err()));
    assert_eq!(weigh(at(40 * 86_400), true), Err(at(40 * 86_400).unwrap_err()));
    assert_eq!(weigh(at(0), true), Ok(None));
}
