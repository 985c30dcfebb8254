//! Power is cut at every write and erase of the security log (before, after and in the middle of it) and at every write of
//! what is kept about it, over many shapes of flash. After each cut every record is there but the one that was being
//! written, the chain holds from the oldest record on, no number is used twice, and what was dropped is said to be. R-LOG.

#[path = "log_cuts/board.rs"]
mod board;

use board::{Board, Kind};
use device::Uptime;
use device::audit::{Audit, Stamp};
use protocol::audit::{Entries, Event, FIRST, Hash, Record};
use protocol::document::End;
use protocol::{Channel, ClockQuality, EpochMillis, KeyId, Refusal, ResetCause, Signature};
use std::collections::BTreeMap;

const BOOT: u32 = 7;

fn stamp(now: u64) -> Stamp {
    Stamp { now: Uptime(now), time: Some(EpochMillis(now)), clock: ClockQuality::Synchronised }
}

/// Records by number, with their hashes.
type Records = BTreeMap<u32, (Record, Hash)>;

/// Everything that can be read, after its chain was checked. A gap is only where a piece ends.
fn read_all<const B: usize, const W: usize>(
    audit: &mut Audit,
    board: &mut Board<B, W>,
    what: &str,
) -> Records {
    let mut records = Records::new();
    let mut last: Option<(u32, Hash)> = None;
    audit.send_from(0);
    while audit.has_more() {
        let mut out = [0; 1_100];
        let Some(piece) = audit.next_piece(board, &mut out).expect("readable") else { break };
        if let Some((end, hash)) = last
            && end == piece.number
        {
            assert_eq!(hash, piece.previous, "{what}: the chain breaks before {end}");
        }
        if piece.number == 0 {
            assert_eq!(piece.previous, FIRST, "{what}");
        }
        let (mut previous, mut due) = (piece.previous, piece.number);
        for entry in Entries::new(&out[..piece.len]) {
            let entry = entry.unwrap_or_else(|error| panic!("{what}: {error}"));
            entry.follows(&previous, due).unwrap_or_else(|error| panic!("{what}: record {due}: {error}"));
            (previous, due) = (entry.hash, due + 1);
            records.insert(entry.sequence, (entry.record.expect("a record with a name"), entry.hash));
        }
        assert_eq!(due, piece.end, "{what}");
        last = Some((due, previous));
        audit.delivered(Uptime(0));
    }
    records
}

/// What must be there.
#[derive(Clone, Default)]
struct Model {
    records: Records,
    /// The operator has every record below this one.
    wanted: u32,
    next: u32,
}

struct Bench<const B: usize, const W: usize> {
    board: Board<B, W>,
    audit: Audit,
    model: Model,
    now: u64,
    cuts: u32,
    turns: u32,
    what: String,
}

enum Call {
    Record(Event),
    Seal,
    Acknowledge(u32),
    Tick,
    Reopen,
}

impl<const B: usize, const W: usize> Bench<B, W> {
    fn new(sectors: u16, torn: u64) -> Self {
        let mut board = Board::new(sectors, torn);
        let audit = Audit::open(&mut board, BOOT);
        assert_eq!(audit.1, None);
        let what = format!("{sectors} sectors of {B} bytes, words of {W}");
        Self { board, audit: audit.0, model: Model::default(), now: 0, cuts: 0, turns: 0, what }
    }

    /// Does it, and looks what each cut during it leaves.
    fn call(&mut self, call: &Call) {
        self.now += 1_000;
        let at = stamp(self.now);
        let before = self.model.clone();
        let erases = self.board.erases();
        match call {
            Call::Record(event) => self.audit.record(&mut self.board, &at, event).expect("is written"),
            Call::Tick => self.audit.tick(&mut self.board, &at, true).expect("is written"),
            Call::Seal => {
                let sign = |_: &mut Board<B, W>, _: u32, _: &Hash| Ok::<_, ()>((KeyId([1; 32]), signature()));
                assert_eq!(self.audit.seal(&mut self.board, &at, sign).expect("is written"), Ok(()));
            }
            Call::Acknowledge(number) => {
                let hash = self.model.records[number].1;
                assert_eq!(self.audit.acknowledge(&mut self.board, *number, &hash), Ok(true));
                self.model.wanted = number + 1;
            }
            Call::Reopen => {
                // What was acknowledged may be forgotten, and is acknowledged again; nothing else is.
                let opened = Audit::open(&mut self.board, BOOT);
                assert_eq!(opened.1, None);
                self.audit = opened.0;
                self.audit.tick(&mut self.board, &at, true).expect("is written");
            }
        }
        self.turns += u32::from(self.board.erases() > erases);
        let moments = self.board.take_moments();
        self.model.records = read_all(&mut self.audit, &mut self.board, &self.what);
        self.model.next = self.audit.next();
        self.model.wanted = self.model.wanted.max(before.wanted);
        for moment in moments {
            let what = format!("{}, cut {:?} at operation {}", self.what, moment.kind, moment.operation);
            self.look(&before, moment.board, &what);
            self.cuts += if moment.kind == Kind::Before { 2 } else { 1 };
        }
    }

    /// Starts after a cut, twice, and goes on.
    fn look(&self, before: &Model, mut board: Board<B, W>, what: &str) {
        let mut used = before.next;
        let kept = self.model.records.keys().next().copied().unwrap_or(0);
        let mut known = before.records.clone();
        for round in 0..2 {
            let what = format!("{what}, start {round}");
            let (mut audit, error) = Audit::open(&mut board, BOOT + 1 + round);
            assert_eq!(error, None, "{what}");
            let found = read_all(&mut audit, &mut board, &what);
            assert!(audit.next() >= used, "{what}: number {} again", audit.next());
            assert!(audit.next() <= self.model.next.max(used), "{what}: {} after {used}", audit.next());
            for (number, (record, hash)) in &known {
                match found.get(number) {
                    Some(same) => assert_eq!((&same.0, &same.1), (record, hash), "{what}: record {number}"),
                    // It was being dropped.
                    None => assert!(*number < kept, "{what}: record {number} is missing"),
                }
            }
            for (number, (record, _)) in found.range(before.next..) {
                let whole = self.model.records.get(number).map(|(record, _)| record);
                assert!(
                    known.contains_key(number) || whole == Some(record),
                    "{what}: record {number} is {record:?} and not {whole:?}"
                );
            }
            audit.tick(&mut board, &stamp(1), true).expect("is written");
            audit.record(&mut board, &stamp(1), &boot()).expect("is written");
            audit.record(&mut board, &stamp(1), &Event::IdentityWiped).expect("is written");
            used = audit.next();
            known = read_all(&mut audit, &mut board, &what);
            assert_eq!(known.keys().next_back(), Some(&(used - 1)), "{what}");
            self.everything_is_accounted_for(before, &known, &what);
            assert!(board.take_moments().is_empty());
        }
    }

    /// What the operator does not have is there, or a record says that it is lost.
    fn everything_is_accounted_for(&self, before: &Model, found: &Records, what: &str) {
        let lost = |number: u32| {
            found.values().any(|(record, _)| match record.event {
                Event::Lost { first, count } => (first..first + count).contains(&number),
                _ => false,
            })
        };
        let wanted = before.wanted.max(self.model.wanted);
        for number in wanted..before.next {
            assert!(
                found.contains_key(&number) || lost(number),
                "{what}: record {number} is gone without a word"
            );
        }
        for (number, (record, _)) in found {
            if let Event::Lost { first, count } = record.event {
                for claimed in first..first + count {
                    assert!(!found.contains_key(&claimed), "{what}: {number} says that {claimed} is lost");
                }
            }
        }
    }
}

fn signature() -> Signature {
    Signature::new(&[0x21; 64]).expect("a signature")
}

fn boot() -> Event {
    Event::Boot { reset: ResetCause::Brownout, firmware: "1.2.3".try_into().expect("short") }
}

fn event(number: u32) -> Event {
    match number % 6 {
        0 => boot(),
        1 => Event::IdentityWiped,
        2 => Event::RootsReplaced { number },
        3 => Event::IdentityReplaced { identity: KeyId([number as u8; 32]) },
        4 => Event::Retired { end: End::Destroyed },
        // Limited, so that some are only counted.
        _ => Event::DocumentRefused { channel: Some(Channel::ConfigDesired), why: Refusal::Signature },
    }
}

/// A life with everything in it, until the ring has turned `turns` times.
fn live<const B: usize, const W: usize>(sectors: u16, torn: u64, turns: u32, skip: u32) -> u32 {
    let mut bench = Bench::<B, W>::new(sectors, torn);
    let mut number = 0_u32;
    while bench.turns < turns {
        number += 1;
        // Large sectors take many records between two turns, which are all alike.
        let near = !bench.audit_has_room_for(3) || number.is_multiple_of(skip);
        bench.board.recording = near;
        let call = match number % 37 {
            7 => Call::Seal,
            11 => Call::Reopen,
            // The operator falls behind, so that records are dropped that were not acknowledged.
            19 if number < 200 => Call::Acknowledge(bench.model.next - 2),
            29 => Call::Tick,
            _ => Call::Record(event(number)),
        };
        if let Call::Acknowledge(acknowledged) = call
            && (acknowledged < bench.model.wanted || !bench.model.records.contains_key(&acknowledged))
        {
            continue;
        }
        bench.call(&call);
    }
    println!("{}: {} records, {} cuts", bench.what, bench.model.next, bench.cuts);
    bench.cuts
}

impl<const B: usize, const W: usize> Bench<B, W> {
    /// Whether so many more records fit into the sector, as far as can be seen from outside.
    fn audit_has_room_for(&self, records: usize) -> bool {
        self.board.erased_at_end_of_newest() > records * 220
    }
}

#[test]
fn every_cut_in_small_sectors_loses_nothing_but_what_was_being_written() {
    let cuts = live::<512, 1>(3, 5, 24, 1)
        + live::<512, 4>(3, 5, 24, 1)
        + live::<512, 4>(5, 5, 24, 1)
        + live::<512, 8>(4, 5, 24, 1)
        + live::<512, 16>(3, 5, 24, 1)
        + live::<512, 32>(16, 3, 40, 1);
    println!("{cuts} cuts");
    assert!(cuts > 6_000, "{cuts}");
}

#[test]
fn every_cut_around_a_turn_of_large_sectors_loses_nothing_but_what_was_being_written() {
    let cuts = live::<1024, 4>(3, 5, 10, 3)
        + live::<2048, 8>(4, 5, 10, 7)
        + live::<4096, 4>(3, 5, 6, 13)
        + live::<4096, 16>(16, 3, 17, 97)
        + live::<8192, 32>(3, 4, 5, 29);
    println!("{cuts} cuts");
    assert!(cuts > 1_500, "{cuts}");
}
