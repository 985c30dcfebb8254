//! The sequence numbers of one boot: what came, what came again, what is missing and which of that the device declared.
//! Owns numbers only, no time and no content. R-DATA-INTACT.
//!
//! Everything from `base` to `next` has come, except what the gaps say is missing. A device that keeps its promise
//! sends new numbers in order and says in each batch how many it had to drop before it, so a new number above `next`
//! opens a gap and the growth of `lost` says how wide it must be.

use std::collections::VecDeque;

/// Gaps that are remembered in one boot. Older ones are settled: their counts stay, but a sample that fills one of them
/// later is taken for a duplicate.
pub const GAPS_MAX: usize = 256;

/// Pieces that one gap may be split into by samples that come late; after that it is settled as well.
pub const PIECES_MAX: usize = 64;

/// What a batch brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Samples that had not come before.
    pub new: u64,
    /// Samples that had come before.
    pub duplicates: u64,
    /// Samples that the device says it dropped since the batch before.
    pub lost: u64,
    /// Samples missing since the batch before that the device did not say it dropped.
    pub unexplained: u64,
    /// New samples below a sequence number that had come already, or of a boot that was over.
    pub out_of_order: u64,
}

/// Sums over the sequence numbers of one or more boots, in samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples that came, each counted once.
    pub samples: u64,
    /// Samples that came again.
    pub duplicates: u64,
    /// Samples that are lost and of which the device says so: dropped in its ring, or known from how the boot ended.
    pub lost: u64,
    /// Samples that are missing and of which the device said nothing.
    pub unexplained: u64,
    /// Samples that are missing, but may have passed while nobody was listening.
    pub unobserved: u64,
    /// New samples that came after later ones.
    pub out_of_order: u64,
    /// Where the device contradicts itself: samples that it declared lost and that are not missing, a count of losses
    /// that goes back or differs for the same sample, a boot number that goes back.
    pub contradictions: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.samples += other.samples;
        self.duplicates += other.duplicates;
        self.lost += other.lost;
        self.unexplained += other.unexplained;
        self.unobserved += other.unobserved;
        self.out_of_order += other.out_of_order;
        self.contradictions += other.contradictions;
    }
}

/// Numbers from `start` to below `end`. 64 bits, so that `end` exists for every 32-bit number.
type Range = (u64, u64);

#[derive(Clone, Debug)]
struct Gap {
    start: u64,
    end: u64,
    /// Losses that the device declared between `start` and `end`.
    declared: u64,
    /// Missing numbers that are still told apart, in order.
    missing: Vec<Range>,
    /// Missing numbers that are only counted any more.
    settled: u64,
    /// Nobody listened for a while when this gap opened.
    blind: bool,
}

impl Gap {
    fn missing(&self) -> u64 {
        self.settled + self.missing.iter().map(|(start, end)| end - start).sum::<u64>()
    }

    fn counts(&self) -> Counts {
        let missing = self.missing();
        let undeclared = missing.saturating_sub(self.declared);
        let (unobserved, unexplained) = if self.blind { (undeclared, 0) } else { (0, undeclared) };
        Counts {
            lost: self.declared,
            unexplained,
            unobserved,
            contradictions: self.declared.saturating_sub(missing),
            ..Counts::default()
        }
    }

    /// Takes the numbers of `range` out of what is missing; gives how many they were.
    fn fill(&mut self, range: Range) -> u64 {
        let before = self.missing();
        let outside = |&(start, end): &Range| {
            let (low, high) = ((start, end.min(range.0)), (start.max(range.1), end));
            [low, high].into_iter().filter(|(start, end)| start < end)
        };
        self.missing = self.missing.iter().flat_map(outside).collect();
        let filled = before - self.missing();
        if self.missing.len() > PIECES_MAX {
            self.settled = self.missing();
            self.missing = Vec::new();
        }
        filled
    }
}

/// The samples of one boot.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    /// The first number that counts and the losses declared before it; `None` until the first batch shows it.
    base: Option<(u64, u64)>,
    /// One more than the highest number that came.
    next: u64,
    /// Losses declared before `next`.
    lost: u64,
    gaps: VecDeque<Gap>,
    /// Numbers below this belong to settled gaps.
    floor: u64,
    /// Sums that do not follow from the gaps.
    sums: Counts,
    /// One more than the last number of this boot, where the next boot has told.
    end: Option<u64>,
    blind: bool,
    /// Gaps from this number on may be of somebody else's making: a boot that is new since the link broke is all of it.
    doubt: u64,
}

impl Boot {
    /// A boot that is seen from its first sample on (`whole`), or from somewhere in the middle.
    pub(super) fn new(whole: bool) -> Self {
        Self {
            base: whole.then_some((0, 0)),
            next: 0,
            lost: 0,
            gaps: VecDeque::new(),
            floor: 0,
            sums: Counts::default(),
            end: None,
            blind: false,
            doubt: 0,
        }
    }

    /// Nobody listened for a while: what is missing next may have passed, and what was missing since [`Self::doubted`] too.
    pub(super) fn interrupted(&mut self) {
        self.blind = true;
        self.gaps.iter_mut().filter(|gap| gap.start >= self.doubt).for_each(|gap| gap.blind = true);
    }

    /// The link broke: whether everything comes that passes now shows only later.
    pub(super) fn doubted(&mut self) {
        self.doubt = self.next;
    }

    /// The next boot says that this one ended before `next_seq`.
    pub(super) fn ended(&mut self, next_seq: u32) {
        self.end = Some(u64::from(next_seq));
    }

    /// Samples that the end of this boot promises and that have not come yet.
    pub(super) fn awaited(&self) -> u64 {
        match (self.base, self.end) {
            (Some(_), Some(end)) => end.saturating_sub(self.next),
            _ => 0,
        }
    }

    /// A later boot sends its own samples: what this one still owes is lost.
    pub(super) fn over(&mut self) {
        let awaited = self.awaited();
        if awaited > 0 {
            let (start, end) = (self.next, self.next + awaited);
            let declared = if self.blind { 0 } else { awaited };
            self.open(Gap {
                start,
                end,
                declared,
                missing: vec![(start, end)],
                settled: 0,
                blind: self.blind,
            });
            self.next = end;
            self.lost += declared;
        }
        self.end = None;
    }

    /// Takes in the numbers of a batch: `len` from `seq` on, with `lost` dropped before them.
    pub(super) fn batch(&mut self, seq: u32, len: u32, lost: u32) -> Receipt {
        let (start, end) = (u64::from(seq), u64::from(seq) + u64::from(len));
        let lost = u64::from(lost);
        let before = self.counts();
        let base = *self.base.get_or_insert((start, lost));
        if self.next < base.0 {
            (self.next, self.lost) = base;
        }
        self.below_base((start, end), lost);
        self.inside((start, end), base.0, lost);
        self.above((start, end), lost);
        let after = self.counts();
        Receipt {
            new: after.samples - before.samples,
            duplicates: after.duplicates - before.duplicates,
            lost: after.lost - before.lost,
            unexplained: after.unexplained.saturating_sub(before.unexplained),
            out_of_order: after.out_of_order - before.out_of_order,
        }
    }

    /// Sums of this boot.
    pub(super) fn counts(&self) -> Counts {
        let mut sums = self.sums;
        for gap in &self.gaps {
            sums += gap.counts();
        }
        sums
    }

    /// Listening began in the middle, and a batch from before comes again: the view widens downwards.
    fn below_base(&mut self, (start, end): Range, lost: u64) {
        let Some((base, base_lost)) = self.base.filter(|(base, _)| start < *base) else { return };
        if self.floor > 0 {
            self.sums.duplicates += end.min(base) - start;
            return;
        }
        self.sums.samples += end.min(base) - start;
        let declared = base_lost.saturating_sub(lost);
        self.sums.contradictions += u64::from(lost > base_lost);
        if end < base || declared > 0 {
            let missing = if end < base { vec![(end, base)] } else { Vec::new() };
            let gap = Gap { start: end.min(base), end: base, declared, missing, settled: 0, blind: false };
            self.gaps.push_front(gap);
            self.bound();
        }
        self.base = Some((start, lost));
    }

    /// Numbers between `base` and `next`: they come again, or late.
    fn inside(&mut self, (start, end): Range, base: u64, lost: u64) {
        let (low, high) = (start.max(base), end.min(self.next));
        if low >= high {
            return;
        }
        let mut filled = 0;
        for gap in &mut self.gaps {
            let late = gap.fill((low, high));
            filled += late;
            // What passed unseen comes again where it was not acknowledged: only what was listened for is out of order.
            self.sums.out_of_order += if gap.blind { 0 } else { late };
        }
        self.sums.samples += filled;
        self.sums.duplicates += high - low - filled;
        // A sample carries the same count each time it is sent: the one of the gaps below it. Inside a gap nobody knows
        // which of the missing ones were declared.
        if start >= self.floor && start >= base {
            let declared = |above: &dyn Fn(&Gap) -> bool| -> u64 {
                self.gaps.iter().filter(|gap| above(gap)).map(|gap| gap.declared).sum()
            };
            let (some, certain) = (declared(&|gap| gap.end > start), declared(&|gap| gap.start >= start));
            let right = lost + some >= self.lost && lost + certain <= self.lost;
            self.sums.contradictions += u64::from(!right);
        }
    }

    /// Numbers from `next` on: what they leave out is a gap.
    fn above(&mut self, (start, end): Range, lost: u64) {
        if end <= self.next {
            return;
        }
        let first = start.max(self.next);
        if start >= self.next {
            let declared = lost.saturating_sub(self.lost);
            self.sums.contradictions += u64::from(lost < self.lost);
            if first > self.next || declared > 0 {
                let missing = if first > self.next { vec![(self.next, first)] } else { Vec::new() };
                self.open(Gap {
                    start: self.next,
                    end: first,
                    declared,
                    missing,
                    settled: 0,
                    blind: self.blind,
                });
            }
            self.lost = lost;
            self.blind = false;
        }
        self.sums.samples += end - first;
        self.next = end;
    }

    fn open(&mut self, gap: Gap) {
        self.gaps.push_back(gap);
        self.bound();
    }

    fn bound(&mut self) {
        while self.gaps.len() > GAPS_MAX
            && let Some(oldest) = self.gaps.pop_front()
        {
            self.floor = oldest.end;
            self.sums += oldest.counts();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(samples: u64, lost: u64, unexplained: u64) -> Counts {
        Counts { samples, lost, unexplained, ..Counts::default() }
    }

    #[test]
    fn a_declared_gap_is_lost_and_an_undeclared_one_unexplained() {
        let mut boot = Boot::new(true);
        boot.batch(0, 4, 0);
        assert_eq!(boot.batch(7, 2, 3), Receipt { new: 2, lost: 3, ..Receipt::default() });
        assert_eq!(boot.batch(10, 1, 3), Receipt { new: 1, unexplained: 1, ..Receipt::default() });
        assert_eq!(boot.counts(), counts(7, 3, 1));
    }

    #[test]
    fn the_first_gap_counts_only_where_the_boot_was_seen_from_its_start() {
        let mut whole = Boot::new(true);
        whole.batch(5, 1, 2);
        assert_eq!(whole.counts(), counts(1, 2, 3));
        let mut from_the_middle = Boot::new(false);
        from_the_middle.batch(5, 1, 2);
        assert_eq!(from_the_middle.counts(), counts(1, 0, 0));
    }

    #[test]
    fn a_late_sample_fills_its_gap_and_is_out_of_order() {
        let mut boot = Boot::new(true);
        boot.batch(0, 1, 0);
        boot.batch(3, 1, 0);
        assert_eq!(boot.batch(1, 1, 0), Receipt { new: 1, out_of_order: 1, ..Receipt::default() });
        assert_eq!(boot.counts(), Counts { out_of_order: 1, ..counts(3, 0, 1) });
    }

    #[test]
    fn a_batch_from_before_the_first_one_widens_the_view_without_a_fault() {
        let mut boot = Boot::new(false);
        boot.batch(64, 32, 0);
        boot.batch(32, 32, 0);
        boot.batch(64, 32, 0);
        assert_eq!(boot.counts(), Counts { duplicates: 32, ..counts(64, 0, 0) });
    }

    #[test]
    fn losses_that_are_declared_but_not_missing_are_contradictions() {
        let mut boot = Boot::new(true);
        boot.batch(0, 2, 0);
        boot.batch(2, 2, 5);
        boot.batch(4, 2, 1);
        boot.batch(4, 2, 0);
        assert_eq!(boot.counts().contradictions, 5 + 1 + 1);
    }

    #[test]
    fn what_passed_while_nobody_listened_is_unobserved() {
        let mut boot = Boot::new(true);
        boot.batch(0, 2, 0);
        boot.interrupted();
        boot.batch(10, 2, 3);
        boot.batch(13, 1, 3);
        assert_eq!(boot.counts(), Counts { unobserved: 5, ..counts(5, 3, 1) });
    }

    #[test]
    fn what_somebody_else_took_is_unobserved_from_where_that_began() {
        let mut boot = Boot::new(true);
        boot.batch(0, 2, 0);
        boot.batch(3, 1, 0);
        boot.doubted();
        boot.batch(6, 2, 0);
        assert_eq!(boot.counts(), counts(5, 0, 3), "it may have been the device");
        boot.interrupted();
        boot.batch(10, 1, 0);
        assert_eq!(boot.counts(), Counts { unobserved: 4, ..counts(6, 0, 1) });
    }

    #[test]
    fn the_tail_of_a_boot_is_lost_when_the_next_one_sends() {
        let mut boot = Boot::new(true);
        boot.batch(0, 2, 0);
        boot.ended(9);
        boot.batch(2, 2, 0);
        assert_eq!((boot.awaited(), boot.counts()), (5, counts(4, 0, 0)));
        boot.over();
        assert_eq!((boot.awaited(), boot.counts()), (0, counts(4, 5, 0)));
    }

    #[test]
    fn memory_stays_bounded_and_the_sums_stay_right() {
        let mut boot = Boot::new(true);
        for n in 0..10_000 {
            boot.batch(n * 3 + 1, 1, n);
        }
        assert_eq!(boot.gaps.len(), GAPS_MAX);
        // Before the first batch nothing was declared; from then on, one of the two that are missing each time.
        assert_eq!(boot.counts(), counts(10_000, 9_999, 1 + 9_999));
        let mut split = Boot::new(true);
        split.batch(0, 1, 0);
        split.batch(1_000, 1, 0);
        for n in 1..400 {
            split.batch(n * 2, 1, 0);
        }
        assert!(split.gaps.iter().all(|gap| gap.missing.len() <= PIECES_MAX));
        let sums = split.counts();
        assert_eq!(sums.samples + sums.unexplained, 1_001);
    }

    #[test]
    fn the_last_sequence_number_there_is_can_come() {
        let mut boot = Boot::new(true);
        boot.batch(u32::MAX, 1, 0);
        assert_eq!(boot.counts(), counts(1, 0, u64::from(u32::MAX)));
    }
}
