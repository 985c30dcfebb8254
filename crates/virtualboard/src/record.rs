//! Notes every flash operation of a run: the debugger stops the board at the write and the erase of Zephyr's flash
//! simulator, in MCUboot and in the firmware alike.

use crate::flash::{self, Flash};
use crate::gdb::is_stop;
use crate::log::{Change, Operation, OperationLog, Phase};
use crate::qemu::{Board, Heard};
use crate::{BoardError, Setup};
use object::{Object, ObjectSection, ObjectSymbol};
use std::path::Path;
use std::time::{Duration, Instant};

/// A program that changes the flash.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its name in the log.
    pub name: String,
    write: Function,
    erase: Function,
}

/// Where a function begins, and with which bytes: another program may have other code at that address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Function {
    address: u32,
    code: Vec<u8>,
}

/// Bytes by which a function is known.
const CODE_BYTES: u64 = 16;

impl Program {
    /// Finds the flash simulator's functions in a program's ELF file.
    pub fn from_elf(name: impl Into<String>, path: &Path) -> Result<Self, BoardError> {
        let fault = |why: String| BoardError::Program { path: path.into(), why };
        let bytes = std::fs::read(path).map_err(BoardError::file(path))?;
        let file = object::File::parse(&*bytes).map_err(|error| fault(error.to_string()))?;
        let function = |wanted: &str| {
            let symbol = file.symbols().find(|symbol| symbol.name() == Ok(wanted));
            let symbol = symbol.ok_or_else(|| {
                fault(format!(
                    "it has no function {wanted}: is it built for mps2/an385, with its flash simulator?"
                ))
            })?;
            // Bit 0 says Thumb.
            let address = symbol.address() & !1;
            let code = symbol
                .section_index()
                .and_then(|index| file.section_by_index(index).ok())
                .and_then(|section| section.data_range(address, CODE_BYTES).ok().flatten());
            let code = code.ok_or_else(|| fault(format!("it has no code at {address:#x}")))?;
            Ok(Function { address: address as u32, code: code.to_vec() })
        };
        Ok(Self {
            name: name.into(),
            write: function("flash_sim_write")?,
            erase: function("flash_sim_erase")?,
        })
    }
}

/// A board that is recorded.
#[derive(Debug)]
pub struct Recorder {
    board: Board,
    programs: Vec<Program>,
    log: OperationLog,
}

impl Recorder {
    /// Starts a board on its flash file, with the debugger at work. `settled`: see [`OperationLog::settled`].
    pub fn start(
        setup: &Setup,
        name: &str,
        programs: Vec<Program>,
        settled: &[&str],
    ) -> Result<Self, BoardError> {
        let start = Flash::read(&setup.flash)?;
        let mut log = OperationLog::new(name, &start, settled);
        log.programs = programs.iter().map(|program| program.name.clone()).collect();
        let mut board = Board::start(&Setup { debugger: true, ..setup.clone() })?;
        watch(&mut board, &programs)?;
        board.resume()?;
        Ok(Self { board, programs, log })
    }

    /// From the next operation on, it is this phase.
    pub fn phase(&mut self, name: impl Into<String>) {
        self.log.phases.push(Phase { name: name.into(), first: self.log.operations.len() as u32 });
    }

    /// The board: for its console and its monitor. What it does with the flash between two calls of
    /// [`run_until`](Self::run_until) waits for the next one.
    pub fn board(&mut self) -> &mut Board {
        &mut self.board
    }

    /// What was recorded so far.
    pub fn log(&self) -> &OperationLog {
        &self.log
    }

    /// Records until a line comes that `wanted` takes; gives the lines up to that one.
    pub fn run_until(
        &mut self,
        what: &str,
        patience: Duration,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Result<Vec<String>, BoardError> {
        let deadline = Instant::now() + patience;
        let mut lines = Vec::new();
        loop {
            match self.next(deadline)? {
                None => return Err(self.board.silent(what, patience)),
                Some(Recorded::Line(line)) => {
                    let done = wanted(&line);
                    lines.push(line);
                    if done {
                        return Ok(lines);
                    }
                }
                Some(Recorded::Operation) => self.go_on()?,
            }
        }
    }

    /// Records for this long; gives each line to `line`.
    pub fn run_for(&mut self, time: Duration, mut line: impl FnMut(&str)) -> Result<(), BoardError> {
        let deadline = Instant::now() + time;
        while let Some(recorded) = self.next(deadline)? {
            match recorded {
                Recorded::Line(text) => line(&text),
                Recorded::Operation => self.go_on()?,
            }
        }
        Ok(())
    }

    /// Runs the board to the begin of its next operation and leaves it there, so that none is half done: for
    /// [`finish`](Self::finish), of a firmware that goes on changing its flash. One that does nothing for `patience` is left
    /// as it is.
    pub fn run_to_operation(
        &mut self,
        patience: Duration,
        mut line: impl FnMut(&str),
    ) -> Result<(), BoardError> {
        let deadline = Instant::now() + patience;
        while let Some(recorded) = self.next(deadline)? {
            match recorded {
                Recorded::Line(text) => line(&text),
                Recorded::Operation => {
                    // It is not done any more.
                    self.log.operations.pop();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The next line, or the next operation, at whose begin the board stands then; `None` where none came until `deadline`.
    fn next(&mut self, deadline: Instant) -> Result<Option<Recorded>, BoardError> {
        loop {
            match self.board.line_or_packet(deadline)? {
                None => return Ok(None),
                Some(Heard::Line(line)) => return Ok(Some(Recorded::Line(line))),
                Some(Heard::Packet(packet)) if is_stop(&packet) => {
                    if let Some(operation) = at_operation(&mut self.board, &self.programs)? {
                        self.log.operations.push(operation);
                        return Ok(Some(Recorded::Operation));
                    }
                    self.go_on()?;
                }
                // Nothing else was asked for.
                Some(Heard::Packet(_)) => {}
            }
            // A board that never stops for long would never see it.
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    fn go_on(&mut self) -> Result<(), BoardError> {
        self.board.step()?;
        self.board.resume()
    }

    /// Ends the board and gives the log, once it has been seen to be complete: its operations lead to what the flash holds.
    pub fn finish(self) -> Result<OperationLog, BoardError> {
        let path = self.board.setup().flash.clone();
        self.board.quit()?;
        match self.log.end().difference(&Flash::read(&path)?) {
            None => Ok(self.log),
            Some(offset) => Err(BoardError::Incomplete { offset }),
        }
    }
}

/// What [`Recorder::next`] has come to.
enum Recorded {
    Line(String),
    Operation,
}

/// Stops the board at each operation of these programs.
pub(crate) fn watch(board: &mut Board, programs: &[Program]) -> Result<(), BoardError> {
    breakpoints(programs).try_for_each(|address| board.set_breakpoint(address))
}

/// Does not stop it there any more.
pub(crate) fn unwatch(board: &mut Board, programs: &[Program]) -> Result<(), BoardError> {
    breakpoints(programs).try_for_each(|address| board.clear_breakpoint(address))
}

fn breakpoints(programs: &[Program]) -> impl Iterator<Item = u32> {
    let mut addresses: Vec<u32> =
        programs.iter().flat_map(|program| [program.write.address, program.erase.address]).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into_iter()
}

/// The operation that a board that has stopped is about to do; `None` where it stands in other code at the same address, or
/// the operation will be refused.
pub(crate) fn at_operation(board: &mut Board, programs: &[Program]) -> Result<Option<Operation>, BoardError> {
    let registers = board.registers()?;
    let [_device, offset, data, len] = registers.r;
    for (index, program) in programs.iter().enumerate() {
        for (function, is_write) in [(&program.write, true), (&program.erase, false)] {
            if function.address != registers.pc
                || board.read_memory(function.address, CODE_BYTES as u32)? != function.code
            {
                continue;
            }
            let len = if is_write { len } else { data };
            let unit = if is_write { flash::WRITE_BYTES } else { flash::SECTOR_BYTES };
            let inside = (offset as usize).checked_add(len as usize).is_some_and(|end| end <= flash::BYTES);
            if !inside
                || len == 0
                || !(offset as usize).is_multiple_of(unit)
                || !(len as usize).is_multiple_of(unit)
            {
                return Ok(None);
            }
            let change = if is_write {
                Change::Write { offset, bytes: board.read_memory(data, len)? }
            } else {
                Change::Erase { offset, len }
            };
            return Ok(Some(Operation { program: index as u8, change }));
        }
    }
    Ok(None)
}
