//! Power is cut at every write and erase of store and vault during provisioning, rotation, a change of roots and the end
//! of a device's life. After each cut the device starts, by itself, with an identity that works, or it is cleanly blank
//! or destroyed: never half. And what was begun can be brought to its end. R-SECRET-STORE, R-SECRET-ROTATE, R-ROOTS,
//! R-PROVISION, R-REPROVISION, R-DESTROY.
//!
//! A cut after an operation leaves what a cut before the next one leaves, so that each content stands for two cuts.

#[macro_use]
mod no_slots;
#[path = "identity_cuts/board.rs"]
mod board;
#[path = "../../device/tests/world/mod.rs"]
mod world;

use board::{Content, Platform, Secrets};
use device::identity::GRACE_S;
use device::provisioning::{Standing, standing};
use device::vault::partition::Rewrite;
use device::{Key, KeyValue, Note, RootsPlace};
use protocol::config::Authentication;
use protocol::document::End;
use protocol::identity_state::Rotation;
use protocol::provisioning::Fault;
use protocol::{Channel, EpochMillis, Failure};
use std::cell::RefCell;
use std::rc::Rc;
use world::bench::Bench as Line;
use world::factory::{configuration, provision};
use world::field::{DAY_MS, Field, ID, START_S, id, one};
use world::service::{Ca, Service};

/// Everything that outlives a board: the service, what its broker retains, and what must never be found.
struct Bench {
    rewrite: Rewrite,
    service: Option<Service>,
    retained: Vec<(Channel, Vec<u8>)>,
    made: Rc<RefCell<Secrets>>,
    boots: u64,
    /// Time only goes on, or the device would not believe it.
    now: u64,
    cuts: usize,
}

/// What happens to the device on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Provisioning,
    Rotation,
    /// A certificate that has ended is replaced over the factory's line.
    Lapse,
    RefusedRotation,
    Roots,
    UndoneRoots,
    End(End),
}

impl Bench {
    fn new(rewrite: Rewrite) -> Self {
        let service = Some(Service::new());
        Self { rewrite, service, retained: Vec::new(), made: Rc::default(), boots: 0, now: 0, cuts: 0 }
    }

    fn open(&mut self, content: Content, torn: Option<u64>) -> Platform {
        self.boots += 1;
        Platform::open(content, self.rewrite, torn, self.boots, &self.made)
    }

    /// The same with so much more garbage in the store that it will be collected sooner.
    fn aged(&mut self, content: &Content, full: u8) -> Content {
        let mut platform = self.open(content.copy(), None);
        for _ in 0..full {
            platform.write(Key::Ended, &[b' '; 120]).expect("is written");
        }
        platform.remove(Key::Ended).expect("is removed");
        platform.off().0
    }

    /// Starts the device, looks at it, and brings the process to its end, from wherever it is.
    fn carry_out(&mut self, process: Process, mut platform: Platform, what: &str) -> Platform {
        let begin = standing(&mut platform).unwrap_or_else(|error| panic!("{what}: {error}"));
        if begin != Standing::Provisioned {
            self.nothing_is_left(&platform, what);
        }
        match (begin, process) {
            (Standing::Blank, Process::Provisioning) => {
                let service = self.service.as_ref().expect("one device at a time");
                return provision(platform, service, &configuration(ID, Authentication::Certificate));
            }
            (Standing::Blank, Process::End(End::Blank))
            | (Standing::Destroyed, Process::End(End::Destroyed)) => {
                return platform;
            }
            (Standing::Provisioned, _) => {}
            other => panic!("{what}: {other:?}"),
        }
        let mut field = Field::new(self.service.take().expect("one device at a time"));
        field.retained.clone_from(&self.retained);
        field.now = self.now;
        field.answers = false;
        field.door = match process {
            // Whose certificate has ended is not let in.
            Process::Lapse => Box::new(|credentials| credentials.slot.number() != 0),
            Process::RefusedRotation => Box::new(|credentials| credentials.slot.number() == 1),
            Process::UndoneRoots => Box::new(|credentials| credentials.roots == RootsPlace::A),
            _ => Box::new(|_| true),
        };
        // It looks at keys, chain and roots of every attempt to connect.
        field.start(platform).unwrap_or_else(|error| panic!("{what}: {error}"));
        if process != Process::Lapse {
            field.connect();
        }
        field.run(1_000);
        if field.link.is_some() {
            // It has the keys that it names, and no others.
            let state = field.state().clone();
            let named = 1 + usize::from(state.retired_kept) + usize::from(state.rotation != Rotation::None);
            let content = field.platform().content();
            assert_eq!(content.vault_blocks_in_use(), 2 * named, "{what}: {state:?}");
            assert!(content.holds(&self.made.borrow()), "{what}: whoever looks for secrets finds them");
        }
        field.answers = true;
        field.cut_link(Failure::LinkLost);
        finish(process, &mut field, what);
        let platform = field.power_cut();
        self.now = field.now;
        self.retained = field.retained;
        self.service = Some(field.service);
        if let Process::End(_) = process {
            self.nothing_is_left(&platform, what);
        }
        platform
    }

    fn nothing_is_left(&self, platform: &Platform, what: &str) {
        let content = platform.content();
        assert_eq!(content.vault_blocks_in_use(), 0, "{what}: something is left in the vault");
        assert!(!content.holds(&self.made.borrow()), "{what}: a secret is left");
    }

    /// Carries the process out without a cut, then with one at every moment; gives what it ends with.
    fn cut(&mut self, process: Process, content: &Content, torn: u64) -> Content {
        let (before, begin) = (self.retained.clone(), self.now);
        let mut record = |full, torn| {
            (self.retained, self.now) = (before.clone(), begin);
            let content = self.aged(content, full);
            let erased: u32 = content.store.wear().sum();
            let platform = self.open(content, torn);
            let (end, moments) = self.carry_out(process, platform, "without a cut").off();
            (end.store.wear().sum::<u32>() > erased, end, moments)
        };
        let full = (0..100).find(|full| record(*full, None).0);
        let (_, end, moments) =
            record(full.expect("the store collects its garbage at some time"), Some(torn));
        let (retained, now) = (self.retained.clone(), self.now);
        let operations = moments.iter().filter(|moment| moment.is_before()).count();
        let mut cuts = 0;
        for moment in &moments {
            let what = format!("{:?}, {process:?}, {}", self.rewrite, moment.name());
            // A cut during the repair of a cut, now and then.
            let deeper = (moment.operation % 13 == 7 && moment.is_before()).then_some(0);
            self.retained.clone_from(&retained);
            self.now = now;
            let platform = self.open(moment.content.copy(), deeper);
            let (_, repairs) = self.carry_out(process, platform, &what).off();
            cuts += if moment.is_before() { 2 } else { 1 };
            let then = self.now;
            for repair in repairs.iter().step_by(3) {
                self.now = then;
                let what = format!("{what}, then {}", repair.name());
                let platform = self.open(repair.content.copy(), None);
                self.carry_out(process, platform, &what);
                cuts += 1;
            }
        }
        println!("{:?}, {process:?}: {operations} operations, {cuts} cuts", self.rewrite);
        self.cuts += cuts;
        self.retained = before;
        self.now = now;
        end
    }
}

/// Brings the process to its end on a device that has an identity.
fn finish(process: Process, field: &mut Field<Platform>, what: &str) {
    match process {
        Process::Provisioning => {}
        Process::Rotation => {
            let replaced = |field: &Field<Platform>| field.state().certificate == 1;
            assert!(field.run_until(DAY_MS, replaced), "{what}: {:#?}", field.notes);
            field.run(1_000);
            field.skip(GRACE_S * 1_000 + 60_000);
            field.run_until(120_000, |field| !field.state().retired_kept);
            let state = field.state();
            assert_eq!((state.certificate, state.retired_kept), (1, false), "{what}: {:#?}", field.notes);
            assert_eq!(field.platform().content().vault_blocks_in_use(), 2, "{what}");
        }
        Process::Lapse => {
            renew_on_line(field, what);
            field.connect();
            field.run(1_000);
            field.skip(GRACE_S * 1_000 + 60_000);
            field.run_until(120_000, |field| !field.state().retired_kept);
            let state = field.state();
            assert_eq!((state.certificate, state.retired_kept), (1, false), "{what}: {:#?}", field.notes);
            assert_eq!(field.platform().content().vault_blocks_in_use(), 2, "{what}");
        }
        Process::RefusedRotation => {
            field.connect();
            field.notes.clear();
            let command = field.service.rotate(&id());
            field.send(Channel::Command, &command);
            let refused = |field: &Field<Platform>| field.notes.contains(&Note::IdentityRefused);
            assert!(field.run_until(DAY_MS, refused), "{what}: {:#?}", field.notes);
            field.run(1_000);
            let state = field.state();
            assert_eq!((state.certificate, state.rotation), (1, Rotation::None), "{what}");
            assert_eq!(field.platform().content().vault_blocks_in_use(), 2, "{what}");
        }
        Process::Roots | Process::UndoneRoots => {
            field.run(600_000);
            assert!(field.link.is_some(), "{what}: {:#?}", field.notes);
            let state = field.state();
            let (in_force, count) = if process == Process::Roots { (true, 2) } else { (false, 1) };
            assert_eq!((state.roots > 0, state.roots_count), (in_force, count), "{what}: {:#?}", field.notes);
        }
        Process::End(end) => {
            field.connect();
            let key = field.identity().id();
            let document = field.service.retire(&id(), end, key);
            field.send(Channel::Command, &document);
            assert_eq!(field.ended, Some(end), "{what}");
        }
    }
}

/// Brings a new certificate over the factory's line, where the device has none that it tries or that is in force.
fn renew_on_line(field: &mut Field<Platform>, what: &str) {
    let mut line = Line::new(START_S + field.now / 1_000);
    match line.renew(field) {
        Ok(Ok(request)) => {
            let document = field.answer(&request);
            line.deliver(field, &document).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
        Ok(Err(_)) | Err(Fault::NotEnded) => {}
        Err(why) => panic!("{what}: {why}"),
    }
}

/// A device from the factory whose certificate has ended by then, and the cuts of what helps it.
fn lapse(bench: &mut Bench, torn: u64) {
    let leaf = bench.service.as_ref().expect("no device is in the field").leaf;
    let until = |bench: &mut Bench, until| {
        bench.service.as_mut().expect("no device is in the field").leaf.until = until;
    };
    until(bench, EpochMillis::from_seconds(START_S + 86_400));
    let platform = bench.open(Content::erased(bench.rewrite), None);
    let (content, _) = bench.carry_out(Process::Provisioning, platform, "from the factory").off();
    until(bench, leaf.until);
    let now = bench.now;
    bench.now = now.max(40 * DAY_MS);
    bench.cut(Process::Lapse, &content, torn);
    bench.now = now;
}

fn all(rewrite: Rewrite, torn: u64) -> usize {
    let mut bench = Bench::new(rewrite);
    lapse(&mut bench, torn);
    let provisioned = bench.cut(Process::Provisioning, &Content::erased(rewrite), torn);
    let rotated = bench.cut(Process::Rotation, &provisioned, torn);
    bench.cut(Process::RefusedRotation, &rotated, torn);
    let service = bench.service.as_mut().expect("no device is in the field");
    let (old, new) = (service.ca.root.clone(), Ca::new("new", EpochMillis::from_seconds(2_100_000_000)).root);
    let list = service.roots_list(one(), &[&old, &new]);
    bench.retained.push((Channel::RootsDesired, list));
    bench.cut(Process::UndoneRoots, &rotated, torn);
    let rooted = bench.cut(Process::Roots, &rotated, torn);
    bench.cut(Process::End(End::Blank), &rooted, torn);
    bench.cut(Process::End(End::Destroyed), &rooted, torn);
    bench.cuts
}

#[test]
fn every_cut_of_a_life_leaves_an_identity_that_works_or_a_blank_device() {
    let cuts = all(Rewrite::ToZero, 4);
    println!("{cuts} cuts");
    assert!(cuts > 2_000, "{cuts}");
}

#[test]
fn the_same_on_flash_whose_words_are_written_once() {
    let cuts = all(Rewrite::Never, 4);
    println!("{cuts} cuts");
    assert!(cuts > 1_200, "{cuts}");
}
