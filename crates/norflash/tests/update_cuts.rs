//! Power is cut at every write and erase of store, slot and marks during an update: while it is fetched, verified, marked,
//! confirmed, and while the device finds out that it was taken back. After each cut the device boots one whole image that was
//! signed, and the update reaches its end by itself. R-FW-ATOMIC, R-FW-TIMELY, R-FW-HEALTH, R-BOOT-NEWER.
//!
//! A cut after an operation leaves what a cut before the next one leaves: each "before" stands for two.

#[path = "update_cuts/board.rs"]
mod board;
#[path = "../../device/tests/world/mod.rs"]
mod world;

use board::Platform;
use device::update::ATTEMPTS_MAX;
use device::{Note, Pace};
use norflash::Cut;
use protocol::firmware::Phase;
use protocol::image::Version;
use protocol::patch::{Encoder, Instruction};
use world::release::{Release, digest, image};
use world::site::{DAY_MS, Misbehaviour, Site};

const V1: Version = Version::new(1, 0, 0);
const V2: Version = Version::new(1, 1, 0);

/// How an update ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stays,
    /// It reaches no service.
    GoesBack,
}

struct Case {
    board: Platform,
    release: Release,
    end: End,
}

impl Case {
    /// A device with an image of `from` bytes of code that learns of one with `to`, and how.
    fn new(from: usize, to: usize, delta: bool, end: End) -> Self {
        let base = image(V1, from);
        let platform = world::Platform::governed(11);
        platform.configure(|draft| {
            draft.update_spread_s = 0;
            (draft.sample_period_ms, draft.report_period_ms) = (86_400_000, 86_400_000);
        });
        let board = Platform::new(&platform, 64 * 1024, &base);
        let mut release = Release::new(7, V2, image(V2, to));
        if delta {
            let patch = patch(&base, &release.image);
            release = release.with_delta(&patch, &base);
        }
        board.chips.borrow_mut().genuine.insert(digest(&release.image));
        // It has asked for a certificate and waits for it: what follows is the update's.
        let mut site = site(board, End::Stays);
        site.start();
        site.run(60_000);
        Self { board: site.into_board(), release, end }
    }

    /// Carries the update out, whatever happens meanwhile, and looks at everything; gives the board.
    fn carry_out(&self, board: Platform, what: &str) -> Platform {
        let mut site = site(board, self.end);
        site.start();
        site.run(2_000);
        site.release(&self.release, 1);
        let from = site.now;
        match self.end {
            End::Stays => {
                let done = |site: &mut Site<Platform>| {
                    let state = site.states.last();
                    state.is_some_and(|state| state.phase == Phase::Idle && state.sequence == 7)
                };
                assert!(site.run_until(DAY_MS, done), "{what}: {:#?} {:#?}", site.notes, site.states.last());
                assert_eq!(site.running(), self.release.image, "{what}");
            }
            End::GoesBack => {
                let done = |site: &mut Site<Platform>| {
                    let state = site.states.last();
                    state.is_some_and(|state| {
                        state.phase == Phase::Failed && state.attempts == u32::from(ATTEMPTS_MAX)
                    }) && site.version() == V1
                };
                assert!(site.run_until(DAY_MS, done), "{what}: {:#?} {:#?}", site.notes, site.states.last());
            }
        }
        assert!(site.now - from < DAY_MS / 4, "{what}: {} ms", site.now - from);
        site.run(30_000);
        // It stays like that, also over a power cut, and starts nothing any more.
        let (version, restarts) = (site.version(), site.restarts);
        site.restart();
        site.run(120_000);
        assert_eq!((site.version(), site.restarts), (version, restarts), "{what}");
        assert_eq!(version, if self.end == End::Stays { V2 } else { V1 }, "{what}");
        // Nothing is damaged: every record was read as it was written.
        assert_eq!(site.device().state(device::Uptime(0)).storage_errors, 0, "{what}");
        // What the device knows of installed manifests never goes back.
        assert!(site.states.iter().map(|state| state.sequence).is_sorted(), "{what}");
        assert!(!site.notes.iter().any(|note| matches!(note, Note::DocumentRefused(_))), "{what}");
        let board = site.into_board();
        {
            let chips = board.chips.borrow();
            assert_eq!(chips.refused, 0, "{what}: the bootloader was given a bad image");
            let new = digest(&self.release.image);
            let mut images = chips.booted.clone();
            images.dedup();
            let starts = images.iter().filter(|image| **image == new).count();
            assert!(starts <= usize::from(ATTEMPTS_MAX), "{what}: started {starts} times");
        }
        board
    }

    /// Cuts power at every operation; gives the number of cuts.
    fn cut_everywhere(&self, torn: u64) -> u64 {
        let whole = self.carry_out(self.board.copy(), "without a cut");
        let operations = whole.operations();
        let mut cuts = 0;
        for at in 0..operations {
            let torn = (0..torn).map(|n| Cut::Torn { seed: at * 100 + n });
            for cut in [Cut::Before].into_iter().chain(torn) {
                let what = format!("cut {cut:?} at operation {at} of {operations}");
                let board = self.board.copy();
                board.cut_at(at, cut);
                self.carry_out(board, &what);
                cuts += if cut == Cut::Before { 2 } else { 1 };
            }
        }
        println!(
            "{} bytes, {} sources, {:?}: {operations} operations, {cuts} cuts",
            self.release.image.len(),
            self.release.draft.sources.len(),
            self.end
        );
        cuts
    }
}

fn site(board: Platform, end: End) -> Site<Platform> {
    let mut site = Site::new(board);
    site.pace = Pace { trial_ms: 10_000, trial_deadline_ms: 60_000, ..Pace::default() };
    site.policy.backoff_cap_ms = 5_000;
    if end == End::GoesBack {
        site.misbehaviour.insert((1, 1, 0), Misbehaviour::NoService);
    }
    site
}

/// A delta that says of every byte how it differs.
fn patch(base: &[u8], image: &[u8]) -> Vec<u8> {
    let mut patch = Vec::new();
    let mut encoder = Encoder::new(base, image, |byte| patch.push(byte)).expect("small");
    let add = base.len().min(image.len()) as u32;
    encoder.instruction(Instruction { add, insert: image.len() as u32 - add, seek: 0 }).expect("within");
    encoder.finish().expect("complete");
    patch
}

/// The cases on all cores.
fn all(cases: &[(usize, usize, bool, End)], torn: u64) -> u64 {
    std::thread::scope(|scope| {
        let run = |(from, to, delta, end): (usize, usize, bool, End)| {
            scope.spawn(move || Case::new(from, to, delta, end).cut_everywhere(torn))
        };
        let threads: Vec<_> = cases.iter().copied().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("a cut failed; it is named above")).sum()
    })
}

/// How many ways to tear each operation are tried: `UPDATE_CUTS_TORN`, 3 unless told.
fn torn() -> u64 {
    match std::env::var("UPDATE_CUTS_TORN") {
        Ok(text) => {
            text.parse().unwrap_or_else(|_| panic!("UPDATE_CUTS_TORN must be a number, not {text:?}"))
        }
        Err(_) => 3,
    }
}

#[test]
fn every_cut_of_an_update_that_stays_is_survived() {
    let cases = [
        (5_000, 5_500, false, End::Stays),
        (5_000, 5_500, true, End::Stays),
        (9_000, 20_000, false, End::Stays),
        (20_000, 19_000, true, End::Stays),
        (20_000, 40_000, false, End::Stays),
    ];
    let cuts = all(&cases, torn());
    println!("{cuts} cuts");
    assert!(cuts > 500 * (2 + torn()), "{cuts}");
}

#[test]
fn every_cut_of_an_update_that_goes_back_is_survived() {
    let cuts = all(&[(5_000, 5_500, false, End::GoesBack), (5_000, 6_000, true, End::GoesBack)], torn());
    println!("{cuts} cuts");
    assert!(cuts > 250 * (2 + torn()), "{cuts}");
}
