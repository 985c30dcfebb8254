//! A board that is put into one state of flash after the other, to see what becomes of it. It stays alive between two: the
//! flash file is changed under it and the reset button pressed. What it says and what its flash holds in the end is judged.

use crate::flash::{Flash, Slot};
use crate::gdb::is_stop;
use crate::image::version;
use crate::qemu::{Board, Heard, Setup};
use crate::record::{Program, at_operation, unwatch, watch};
use crate::{BoardError, Tear};
use fastrand::Rng;
use std::fmt;
use std::time::{Duration, Instant};

/// What a board must do to count as whole.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// Words on the console that say that it has started and will do nothing more by itself; any one counts.
    pub settled: Vec<String>,
    /// The images that may run, each whole.
    pub images: Vec<Vec<u8>>,
    /// Words that the settling line must have in it, where only one end is right.
    pub end: Option<String>,
}

/// A board that has settled.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What it said since power came back.
    pub lines: Vec<String>,
    /// What its flash holds.
    pub flash: Flash,
}

/// Why a board is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brick {
    /// It never settles.
    Silent,
    /// MCUboot finds no image to start.
    NoImage,
    /// An image of this version ran, which is none of those expected.
    Foreign(String),
    /// Slot 0 holds other bytes than the image of the version that runs.
    Altered(String),
    /// It has settled with this line, which is not the end that was expected.
    WrongEnd(String),
}

impl fmt::Display for Brick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("the board does not come up"),
            Self::NoImage => f.write_str("MCUboot finds no image to start"),
            Self::Foreign(version) => write!(f, "version {version} runs, which is none of the two"),
            Self::Altered(version) => {
                write!(f, "version {version} runs, but slot 0 does not hold its exact bytes")
            }
            Self::WrongEnd(line) => write!(f, "the update did not reach its end by itself, but: {line}"),
        }
    }
}

/// What became of a board: it settled, or it is a brick; and what it said.
pub type Verdict = Result<Settled, (Brick, Vec<String>)>;

/// A board for many states of flash.
#[derive(Debug)]
pub struct Bench {
    board: Board,
    programs: Vec<Program>,
    patience: Duration,
    /// Whether it waits for its first instruction.
    fresh: bool,
    /// Set when the next state needs a new QEMU.
    stale: bool,
}

impl Bench {
    /// Starts the board, stopped. `programs` are needed for cuts within a recovery. A board that has not settled within
    /// `patience` is a brick.
    pub fn start(setup: &Setup, programs: Vec<Program>, patience: Duration) -> Result<Self, BoardError> {
        Flash::erased().write(&setup.flash)?;
        let board = Board::start(&Setup { debugger: true, ..setup.clone() })?;
        Ok(Self { board, programs, patience, fresh: true, stale: false })
    }

    /// Power comes back with this in the flash.
    pub fn power_on(&mut self, flash: &Flash, expected: &Expectation) -> Result<Verdict, BoardError> {
        self.load(flash)?;
        self.board.resume()?;
        self.settle(expected, Vec::new())
    }

    /// The board, after it has settled, is reset.
    pub fn reset(&mut self, expected: &Expectation) -> Result<Verdict, BoardError> {
        self.board.interrupt()?;
        self.board.forget_lines();
        self.board.reset()?;
        self.board.resume()?;
        self.settle(expected, Vec::new())
    }

    /// Power comes back with this in the flash, and is lost again in the operation with this number (from 0) that the board
    /// then does; then it comes back for good. Where the board settles before, that counts; `true` says that it was cut.
    pub fn power_on_and_cut(
        &mut self,
        flash: &Flash,
        expected: &Expectation,
        number: u32,
        rng: &mut Rng,
    ) -> Result<(Verdict, bool), BoardError> {
        self.load(flash)?;
        watch(&mut self.board, &self.programs)?;
        self.board.resume()?;
        let mut lines = Vec::new();
        let mut done = 0;
        let deadline = Instant::now() + self.patience;
        loop {
            match self.board.line_or_packet(deadline)? {
                Some(Heard::Line(line)) => {
                    let settled = expected.settles(&line);
                    lines.push(line);
                    if settled {
                        self.board.interrupt()?;
                        unwatch(&mut self.board, &self.programs)?;
                        self.board.resume()?;
                        return Ok((self.judge(expected, lines)?, false));
                    }
                }
                Some(Heard::Packet(packet)) if is_stop(&packet) => {
                    if let Some(operation) = at_operation(&mut self.board, &self.programs)? {
                        if done == number {
                            let mut flash = Flash::read(&self.board.setup().flash)?;
                            Tear::random(&operation.change, rng).apply(&mut flash, &operation.change);
                            unwatch(&mut self.board, &self.programs)?;
                            self.put(&flash)?;
                            self.board.resume()?;
                            return Ok((self.settle(expected, Vec::new())?, true));
                        }
                        done += 1;
                    }
                    self.board.step()?;
                    self.board.resume()?;
                }
                Some(Heard::Packet(_)) => {}
                None => {
                    self.stale = true;
                    return Ok((Err((Brick::Silent, lines)), false));
                }
            }
        }
    }

    /// Stops the board and puts it before its first instruction with this in the flash.
    fn load(&mut self, flash: &Flash) -> Result<(), BoardError> {
        if self.stale {
            self.board.power_cycle()?;
            self.stale = false;
        } else if !self.fresh {
            self.board.interrupt()?;
        }
        self.fresh = false;
        self.put(flash)
    }

    /// The same for a board that is stopped.
    fn put(&mut self, flash: &Flash) -> Result<(), BoardError> {
        flash.write(&self.board.setup().flash)?;
        self.board.reset()?;
        // QEMU does not see that the file has changed: this makes it forget the code that it has translated.
        self.board.step()?;
        self.board.forget_lines();
        Ok(())
    }

    fn settle(&mut self, expected: &Expectation, mut lines: Vec<String>) -> Result<Verdict, BoardError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let Some(line) = self.board.line(deadline)? else {
                self.stale = true;
                return Ok(Err((Brick::Silent, lines)));
            };
            let settled = expected.settles(&line);
            let dead = line.contains("Unable to find bootable image");
            lines.push(line);
            if dead {
                self.stale = true;
                return Ok(Err((Brick::NoImage, lines)));
            }
            if settled {
                return self.judge(expected, lines);
            }
        }
    }

    fn judge(&mut self, expected: &Expectation, lines: Vec<String>) -> Result<Verdict, BoardError> {
        let flash = Flash::read(&self.board.setup().flash)?;
        Ok(match expected.fault(&lines, &flash) {
            None => Ok(Settled { lines, flash }),
            Some(brick) => Err((brick, lines)),
        })
    }
}

impl Expectation {
    fn settles(&self, line: &str) -> bool {
        self.settled.iter().any(|words| line.contains(words.as_str()))
    }

    /// What is wrong with a board that has said this and holds that.
    fn fault(&self, lines: &[String], flash: &Flash) -> Option<Brick> {
        let mut running = None;
        for line in lines {
            let Some((_, started)) = line.split_once("Image version: v") else { continue };
            let image = self.images.iter().find(|image| version(image).as_deref() == Some(started));
            match image {
                Some(image) => running = Some((image, started)),
                None => return Some(Brick::Foreign(started.to_owned())),
            }
        }
        let Some((image, started)) = running else { return Some(Brick::Silent) };
        if !flash.holds(Slot::Running, image) {
            return Some(Brick::Altered(started.to_owned()));
        }
        let last = lines.last().map_or("", String::as_str);
        let wrong = self.end.as_ref().is_some_and(|end| !last.contains(end.as_str()));
        wrong.then(|| Brick::WrongEnd(last.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(major: u8) -> Vec<u8> {
        let mut image = vec![major; 64];
        image[20..24].copy_from_slice(&[major, 0, 0, 0]);
        image
    }

    fn said(version: &str, end: &str) -> Vec<String> {
        vec![format!("I: Image version: v{version}"), end.into()]
    }

    #[test]
    fn only_a_whole_known_image_at_the_right_end_is_no_brick() {
        let expected = Expectation {
            settled: vec!["steady".into()],
            images: vec![image(1), image(2)],
            end: Some("steady 2.0.0 confirmed".into()),
        };
        let mut flash = Flash::erased();
        flash.install(Slot::Running, &image(2)).unwrap();
        let fault = |lines: &[String]| expected.fault(lines, &flash);
        assert_eq!(fault(&said("2.0.0", "boot-test: steady 2.0.0 confirmed")), None);
        assert!(matches!(fault(&said("2.0.0", "boot-test: steady 2.0.0 trial")), Some(Brick::WrongEnd(_))));
        assert_eq!(fault(&said("3.0.0", "steady")), Some(Brick::Foreign("3.0.0".into())));
        assert_eq!(fault(&said("1.0.0", "steady")), Some(Brick::Altered("1.0.0".into())));
        assert_eq!(fault(&["steady".into()]), Some(Brick::Silent));
        let mut rotten = flash.clone();
        rotten.bytes_mut()[0x1_0030] ^= 1;
        let lines = said("2.0.0", "boot-test: steady 2.0.0 confirmed");
        assert_eq!(expected.fault(&lines, &rotten), Some(Brick::Altered("2.0.0".into())));
    }
}
