//! A whole log, verified: every delivery and every seal, and that nothing is missing between them. Owns the verdict, never the
//! files. R-LOG.
//!
//! What is proven by what: a delivery is signed over its records and over the hash of the record before them, so it vouches
//! for everything before it as long as nothing is missing; a seal among the records does the same from inside the device's
//! flash. The record after a gap is bound to what is missing: that it is the device's own is proven, that nothing else was
//! between is not, unless a record says what was lost.

use super::delivery::{self, Line};
use super::fault::{Fault, What};
use super::keys::Keys;
pub use super::position::{Place, Position};
use super::store::{Reader, StoreError, Stored};
use protocol::audit::{Event, Hash};
use protocol::{DeviceId, EpochMillis, KeyId};
use std::path::Path;

/// Something in a log that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where in the file the line begins, in bytes.
    pub offset: u64,
    /// What it is.
    pub fault: Fault,
}

/// Records that are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first one.
    pub from: u32,
    /// The last one.
    pub to: u32,
    /// Where in the file the line behind it begins, in bytes.
    pub offset: u64,
    /// True where a record says that they are lost.
    pub told: bool,
}

/// A record that says that others are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its number.
    pub record: u32,
    /// The first one that is lost.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// What proves a log up to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The last record that it vouches for.
    pub record: u32,
    /// The key.
    pub key: KeyId,
    /// When: a delivery when it came, a seal when the device made it, where that is known.
    pub at: Option<EpochMillis>,
}

/// What is to be expected of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The first record; those before it are kept elsewhere.
    pub from: u32,
    /// The last record that was acknowledged to the device, with its hash.
    pub acknowledged: Option<(u32, Hash)>,
}

/// The verdict over a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose log it is.
    pub device: DeviceId,
    /// Deliveries that are good.
    pub deliveries: u64,
    /// Records that are proven.
    pub records: u64,
    /// The ranges that are proven, first and last record each, in the order in which they stand there.
    pub proven: Vec<(u32, u32)>,
    /// What is missing between them.
    pub gaps: Vec<Gap>,
    /// What the device says is lost.
    pub losses: Vec<Loss>,
    /// What is wrong, in the order in which it stands there; the first one is where the log begins to be wrong.
    pub findings: Vec<Finding>,
    /// The last delivery.
    pub delivered: Option<Proof>,
    /// The last seal among the records.
    pub sealed: Option<Proof>,
    /// The longest run of records without a seal. A device seals after 64: more are vouched for by deliveries alone, and whoever
    /// could write its flash could have altered them before.
    pub unsealed: u32,
}

impl Report {
    /// True where every record is there, proven.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty() && self.gaps.is_empty()
    }

    /// Where the log begins to be wrong: the first bad record and why.
    pub fn first(&self) -> Option<&Finding> {
        self.findings.first()
    }
}

/// Verifies the log of a device, line by line. What is proven goes to `tell`, in order.
#[derive(Clone, Debug)]
pub struct Verifier<'k> {
    keys: Keys<'k>,
    expected: Expected,
    position: Position,
    report: Report,
}

impl<'k> Verifier<'k> {
    /// Begins with the log of `device`.
    pub fn new(device: DeviceId, keys: Keys<'k>, expected: Expected) -> Self {
        let report = Report {
            device,
            deliveries: 0,
            records: 0,
            proven: Vec::new(),
            gaps: Vec::new(),
            losses: Vec::new(),
            findings: Vec::new(),
            delivered: None,
            sealed: None,
            unsealed: 0,
        };
        Self { keys, expected, position: Position::new(expected.from, usize::MAX), report }
    }

    /// A line that is not as it was written, with the delivery that is left of it, where there is one: it tells which record
    /// was altered.
    pub fn damaged(&mut self, offset: u64, why: &'static str, left: Option<&[u8]>) {
        let proven = left.map(|bytes| delivery::prove(&self.report.device, &self.keys, None, bytes));
        let line = |record| Fault { record, what: What::Line(why) };
        self.find(
            offset,
            match proven {
                Some(Err(Fault { record: Some(record), what: what @ What::Chain(..) })) => {
                    Fault { record: Some(record), what }
                }
                Some(Ok(delivery)) => line(Some(delivery.number)),
                _ => line(None),
            },
        );
    }

    /// The next delivery, from the line at `offset`.
    pub fn delivery(
        &mut self,
        offset: u64,
        received: Option<EpochMillis>,
        bytes: &[u8],
        mut tell: impl FnMut(&Line),
    ) {
        let placed = delivery::prove(&self.report.device, &self.keys, received, bytes).and_then(|delivery| {
            let (device, keys) = (&self.report.device, &self.keys);
            Ok((self.position.place_signed(device, keys, received, &delivery)?, delivery))
        });
        let (place, delivery) = match placed {
            Ok(placed) => placed,
            Err(fault) => return self.find(offset, fault),
        };
        let known = match place {
            Place::Next(known) => known,
            Place::Ahead(from) => {
                let to = delivery.number.saturating_sub(1);
                self.report.gaps.push(Gap { from, to, offset, told: false });
                0
            }
            Place::Known => {
                return self.find(offset, Fault { record: Some(delivery.number), what: What::Repeated });
            }
            Place::Old => {
                return self.find(offset, Fault { record: Some(delivery.number), what: What::Disorder });
            }
        };
        self.report.deliveries += 1;
        let report = &mut self.report;
        let losses = delivery.losses().map(|(record, first, count)| Loss { record, first, count });
        report.losses.extend(losses.filter(|loss| u64::from(loss.record) >= self.position.next()));
        for line in self.position.take(&delivery, known) {
            let number = line.record.sequence;
            match report.proven.last_mut() {
                Some((_, to)) if to.checked_add(1) == Some(number) => *to = number,
                _ => report.proven.push((number, number)),
            }
            report.records += 1;
            let from = report.sealed.map_or(self.expected.from, |sealed| sealed.record.saturating_add(1));
            if let Event::Seal { identity, .. } = line.record.event {
                report.sealed = Some(Proof { record: number, key: identity, at: line.record.time });
            }
            report.unsealed = report.unsealed.max(number.saturating_sub(from));
            tell(line);
        }
        if let Some((record, _)) = self.position.last() {
            report.delivered = Some(Proof { record, key: delivery.signer, at: received });
        }
    }

    fn find(&mut self, offset: u64, fault: Fault) {
        let next = u32::try_from(self.position.next()).ok();
        let record = fault.record.or(next);
        self.report.findings.push(Finding { offset, fault: Fault { record, ..fault } });
    }

    /// The verdict; the file has `end` bytes.
    pub fn finish(mut self, end: u64) -> Report {
        self.check_acknowledged(end);
        let mut report = self.report;
        for gap in &mut report.gaps {
            gap.told = is_told(u64::from(gap.from)..u64::from(gap.to) + 1, &report.losses);
        }
        // A delivery that is not proven leaves a gap behind it: that is named already.
        let bad = |gap: &Gap, findings: &[Finding]| {
            findings.iter().any(|finding| {
                finding.offset < gap.offset
                    && finding.fault.record.is_some_and(|record| (gap.from..=gap.to).contains(&record))
            })
        };
        let untold = report.gaps.iter().filter(|gap| !gap.told && !bad(gap, &report.findings));
        let missing: Vec<Finding> = untold
            .map(|gap| Finding {
                offset: gap.offset,
                fault: Fault { record: Some(gap.from), what: What::Missing(gap.to) },
            })
            .collect();
        report.findings.extend(missing);
        // What is missing shows at the line behind it, before whatever is wrong with that line.
        report
            .findings
            .sort_by_key(|finding| (finding.offset, !matches!(finding.fault.what, What::Missing(_))));
        report
    }

    fn check_acknowledged(&mut self, end: u64) {
        let Some((number, hash)) = self.expected.acknowledged else { return };
        let next = self.position.next();
        let what = if u64::from(number) >= next {
            What::Acknowledged(number)
        } else if self.position.hash(number.into()).is_some_and(|known| known != hash) {
            What::AcknowledgedOther
        } else {
            return;
        };
        let record =
            if matches!(what, What::Acknowledged(_)) { u32::try_from(next).ok() } else { Some(number) };
        self.find(end, Fault { record, what });
    }
}

/// True where every record of the range is among those that are said to be lost.
pub fn is_told(range: std::ops::Range<u64>, losses: &[Loss]) -> bool {
    let mut ranges: Vec<_> = losses
        .iter()
        .map(|loss| (u64::from(loss.first), u64::from(loss.first) + u64::from(loss.count)))
        .collect();
    ranges.sort_unstable();
    let mut reached = range.start;
    for (first, end) in ranges {
        if first <= reached {
            reached = reached.max(end);
        }
    }
    reached >= range.end
}

/// Verifies the file of a log; what is proven goes to `tell`, in order.
pub fn verify_file(
    path: &Path,
    device: &DeviceId,
    keys: Keys<'_>,
    expected: Expected,
    mut tell: impl FnMut(&Line),
) -> Result<Report, StoreError> {
    let mut reader = Reader::open(path)?;
    let mut verifier = Verifier::new(device.clone(), keys, expected);
    while let Some(Stored { offset, line }) = reader.next()? {
        match line {
            Ok(line) => verifier.delivery(offset, Some(line.received), &line.bytes, &mut tell),
            Err(damage) => verifier.damaged(offset, damage.fault.as_str(), damage.left.as_deref()),
        }
    }
    Ok(verifier.finish(reader.offset()))
}

#[cfg(test)]
mod tests;
