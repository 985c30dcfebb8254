//! Logs of flash operations: what the flash held before, and every write and erase in their order. A log is recorded once
//! and kept in a file, so that power can be cut at any of its operations at any time later.

use crate::flash::{self, Flash, Slot};
use crate::{BoardError, tear::Tear};
use minicbor::{Decode, Encode};
use std::ops::Range;
use std::path::Path;

/// What a log's file begins with; CBOR follows.
const MAGIC: &[u8; 8] = b"FLASHLOG";

/// A change of the flash.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// Clears the bits that are 0 in `bytes`.
    #[n(0)]
    Write {
        /// From the begin of the flash, in bytes.
        #[n(0)]
        offset: u32,
        /// What is written.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// Sets all bits.
    #[n(1)]
    Erase {
        /// From the begin of the flash, in bytes: a sector's begin.
        #[n(0)]
        offset: u32,
        /// In bytes: whole sectors.
        #[n(1)]
        len: u32,
    },
}

/// An operation and who did it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Operation {
    /// Index into [`OperationLog::programs`].
    #[n(0)]
    pub program: u8,
    /// What it did.
    #[n(1)]
    pub change: Change,
}

/// What the flash holds from an offset on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Extent {
    #[n(0)]
    offset: u32,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    bytes: Vec<u8>,
}

/// A part of a log that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Phase {
    /// What goes on.
    #[n(0)]
    pub name: String,
    /// Its first operation.
    #[n(1)]
    pub first: u32,
}

/// A recorded run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct OperationLog {
    /// What the run is, for people.
    #[n(0)]
    pub name: String,
    /// Names of the programs that did it, such as `mcuboot`.
    #[n(1)]
    pub programs: Vec<String>,
    /// What the flash held before the first operation, sectors that were erased left out.
    #[n(2)]
    start: Vec<Extent>,
    /// In their order.
    #[n(3)]
    pub operations: Vec<Operation>,
    /// Parts of it, in their order. What is before the first is called like the log.
    #[n(4)]
    pub phases: Vec<Phase>,
    /// Words on the console that say that a board has started and will do nothing more by itself. Any one of them counts.
    #[n(5)]
    pub settled: Vec<String>,
}

impl OperationLog {
    /// A log that begins with this flash.
    pub fn new(name: impl Into<String>, start: &Flash, settled: &[&str]) -> Self {
        let sectors =
            start.bytes().chunks(flash::SECTOR_BYTES).enumerate().skip(flash::BOOT.end / flash::SECTOR_BYTES);
        let used = sectors.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0xff));
        let start = used
            .map(|(sector, bytes)| Extent {
                offset: (sector * flash::SECTOR_BYTES) as u32,
                bytes: bytes.to_vec(),
            })
            .collect();
        let settled = settled.iter().map(|&words| words.to_owned()).collect();
        Self { name: name.into(), start, settled, ..Self::default() }
    }

    /// The flash before the first operation. MCUboot's own place is erased: QEMU fills it.
    pub fn start(&self) -> Flash {
        let mut flash = Flash::erased();
        for extent in &self.start {
            let begin = extent.offset as usize;
            flash.bytes_mut()[begin..begin + extent.bytes.len()].copy_from_slice(&extent.bytes);
        }
        flash
    }

    /// The flash after all operations.
    pub fn end(&self) -> Flash {
        let mut flash = self.start();
        for operation in &self.operations {
            flash.apply(&operation.change);
        }
        flash
    }

    /// The flash where power was lost in operation `index`: everything before it done, itself torn.
    pub fn cut(&self, index: usize, tear: &Tear) -> Flash {
        let mut flash = self.start();
        for operation in &self.operations[..index] {
            flash.apply(&operation.change);
        }
        tear.apply(&mut flash, &self.operations[index].change);
        flash
    }

    /// The name of the phase that operation `index` belongs to.
    pub fn phase(&self, index: usize) -> &str {
        let started = self.phases.iter().rev().find(|phase| phase.first as usize <= index);
        started.map_or(&self.name, |phase| &phase.name)
    }

    /// The operations of the phase with this name; empty where there is none.
    pub fn range(&self, name: &str) -> Range<usize> {
        let Some(at) = self.phases.iter().position(|phase| phase.name == name) else { return 0..0 };
        let end = self.phases.get(at + 1).map_or(self.operations.len(), |next| next.first as usize);
        self.phases[at].first as usize..end
    }

    /// Names the phases by who is at work: each time another program begins to change the flash, the next name is taken.
    /// Names that are left over are not used.
    pub fn name_phases(&mut self, names: &[&str]) {
        self.phases.clear();
        let mut names = names.iter();
        let mut last = None;
        for (index, operation) in self.operations.iter().enumerate() {
            if last.replace(operation.program) != Some(operation.program)
                && let Some(&name) = names.next()
            {
                self.phases.push(Phase { name: name.to_owned(), first: index as u32 });
            }
        }
    }

    /// Names the phases of an update by the firmware, by what is changed: `service` is before it; `download` from the first
    /// change of slot 1 on, what is stored meanwhile included; `mark` from the last time on that the end of slot 1 is erased;
    /// `swap` is the bootloader's; `trial` what the new image changes before the first change of slot 0, and `confirm` that
    /// one and what follows. `bootloader` is an index into [`programs`](Self::programs). A phase that never came is not there.
    pub fn name_update_phases(&mut self, bootloader: u8) {
        self.phases = vec![Phase { name: "service".into(), first: 0 }];
        let offset = |index: usize| match self.operations[index].change {
            Change::Write { offset, .. } | Change::Erase { offset, .. } => offset as usize,
        };
        let end = |index: usize| offset(index) + self.operations[index].change.len() as usize;
        let is_bootloader = |index: usize| self.operations[index].program == bootloader;
        let len = self.operations.len();
        let candidate = Slot::Candidate.range();
        let Some(download) =
            (0..len).find(|&index| !is_bootloader(index) && candidate.contains(&offset(index)))
        else {
            return;
        };
        let swap = (download..len).find(|&index| is_bootloader(index));
        let mark = swap.and_then(|swap| {
            let erases_end = |&index: &usize| {
                matches!(self.operations[index].change, Change::Erase { .. }) && end(index) == candidate.end
            };
            (download..swap).rev().find(erases_end)
        });
        let trial = swap.and_then(|swap| (swap..len).find(|&index| !is_bootloader(index)));
        let confirm = trial
            .and_then(|trial| (trial..len).find(|&index| Slot::Running.range().contains(&offset(index))));
        // A confirmation that is the new image's first change leaves no trial.
        let trial = trial.filter(|_| trial != confirm);
        let named = [
            ("download", Some(download)),
            ("mark", mark),
            ("swap", swap),
            ("trial", trial),
            ("confirm", confirm),
        ];
        for (name, first) in named {
            if let Some(first) = first {
                self.phases.push(Phase { name: name.into(), first: first as u32 });
            }
        }
    }

    /// Keeps it in a file.
    pub fn save(&self, path: &Path) -> Result<(), BoardError> {
        let mut bytes = MAGIC.to_vec();
        // A Vec takes everything.
        let encoded = minicbor::to_vec(self)
            .map_err(|error| BoardError::Log { path: path.into(), why: error.to_string() })?;
        bytes.extend(encoded);
        std::fs::write(path, bytes).map_err(BoardError::file(path))
    }

    /// Reads it from a file and checks that every operation is within the flash.
    pub fn load(path: &Path) -> Result<Self, BoardError> {
        let fault = |why: String| BoardError::Log { path: path.into(), why };
        let bytes = std::fs::read(path).map_err(BoardError::file(path))?;
        let body =
            bytes.strip_prefix(MAGIC).ok_or_else(|| fault("it does not begin with FLASHLOG".into()))?;
        let log: Self = minicbor::decode(body).map_err(|error| fault(error.to_string()))?;
        let inside = |offset: u32, len: usize| offset as usize + len <= flash::BYTES;
        let whole = log.start.iter().all(|extent| inside(extent.offset, extent.bytes.len()))
            && log.operations.iter().all(|operation| match &operation.change {
                Change::Write { offset, bytes } => inside(*offset, bytes.len()),
                Change::Erase { offset, len } => inside(*offset, *len as usize),
            });
        if whole { Ok(log) } else { Err(fault("an operation is outside of the flash".into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> OperationLog {
        let mut start = Flash::erased();
        start.bytes_mut()[0x2_0000..0x2_0004].copy_from_slice(&[1, 2, 3, 4]);
        let mut log = OperationLog::new("a run", &start, &["steady"]);
        log.programs = vec!["mcuboot".into(), "firmware".into()];
        let write = |offset, byte| Change::Write { offset, bytes: vec![byte; 8] };
        log.operations = vec![
            Operation { program: 1, change: write(0x3_0000, 0xf0) },
            Operation { program: 0, change: Change::Erase { offset: 0x2_0000, len: 0x1000 } },
            Operation { program: 0, change: write(0x2_0000, 0x55) },
            Operation { program: 1, change: write(0x3_0008, 0x0f) },
        ];
        log.name_phases(&["mark", "swap", "confirm"]);
        log
    }

    #[test]
    fn a_log_comes_back_from_its_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.flashlog");
        log().save(&path).unwrap();
        assert_eq!(OperationLog::load(&path).unwrap(), log());
    }

    #[test]
    fn a_file_that_is_no_log_is_refused_and_so_is_an_operation_outside_of_the_flash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.flashlog");
        std::fs::write(&path, b"something else").unwrap();
        assert!(OperationLog::load(&path).unwrap_err().to_string().contains("FLASHLOG"));
        let mut outside = log();
        outside.operations[1].change = Change::Erase { offset: flash::BYTES as u32 - 1, len: 0x1000 };
        outside.save(&path).unwrap();
        assert!(OperationLog::load(&path).unwrap_err().to_string().contains("outside"));
    }

    #[test]
    fn phases_follow_the_programs() {
        let log = log();
        assert_eq!(
            (0..4).map(|index| log.phase(index)).collect::<Vec<_>>(),
            ["mark", "swap", "swap", "confirm"]
        );
        assert_eq!((log.range("swap"), log.range("confirm"), log.range("none")), (1..3, 3..4, 0..0));
    }

    #[test]
    fn the_phases_of_an_update_follow_what_is_changed() {
        let mut log = log();
        let write = |offset| Change::Write { offset, bytes: vec![0; 8] };
        let erase = |offset| Change::Erase { offset, len: 0x1000 };
        let end_of_slot = 0x19_0000;
        let steps = [
            (1, write(0x19_2000), "service"),
            (1, erase(end_of_slot), "download"),
            (1, write(0xd_1000), "download"),
            (1, write(0x19_2010), "download"),
            (1, erase(end_of_slot), "mark"),
            (1, write(0x19_0ff0), "mark"),
            (1, write(0x19_2020), "mark"),
            (0, erase(0x1_0000), "swap"),
            (0, write(0x1_0000), "swap"),
            (1, write(0x19_2030), "trial"),
            (1, write(0xc_ffe8), "confirm"),
            (1, write(0x19_2040), "confirm"),
        ];
        log.operations = steps
            .iter()
            .map(|(program, change, _)| Operation { program: *program, change: change.clone() })
            .collect();
        log.name_update_phases(0);
        for (index, (_, _, phase)) in steps.iter().enumerate() {
            assert_eq!(log.phase(index), *phase, "operation {index}");
        }
        // What ends in the download has no more phases than that.
        log.operations.truncate(4);
        log.name_update_phases(0);
        assert_eq!(log.phases.iter().map(|phase| &*phase.name).collect::<Vec<_>>(), ["service", "download"]);
    }

    #[test]
    fn a_cut_has_everything_before_and_nothing_after() {
        let log = log();
        let flash = log.cut(2, &Tear::Before);
        assert_eq!(flash.bytes()[0x3_0000], 0xf0);
        assert_eq!(flash.bytes()[0x2_0000..0x2_0008], [0xff; 8]);
        assert_eq!(flash.bytes()[0x3_0008], 0xff);
        assert_eq!(log.end().bytes()[0x2_0000..0x2_0008], [0x55; 8]);
        assert_eq!(log.cut(0, &Tear::Before), log.start());
    }
}
