//! In which order the lines of a run get new ids: that of the lines, however fast each device answers. Owns who has had its turn,
//! and the ids that lines have let go of, which no other line of the run gets; chooses none.

use super::pending::Reservation;
use std::sync::{Condvar, Mutex, PoisonError};

/// Which lines need no new id any more.
pub(super) struct Turns {
    passed: Mutex<Vec<bool>>,
    changed: Condvar,
    let_go: Mutex<Vec<Reservation>>,
}

/// A line's turn; it is over when this is dropped.
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    number: usize,
}

impl Turns {
    /// So many lines.
    pub(super) fn new(lines: usize) -> Self {
        Self { passed: Mutex::new(vec![false; lines]), changed: Condvar::new(), let_go: Mutex::default() }
    }

    /// The turn of line `number`, from 0.
    pub(super) const fn of(&self, number: usize) -> Turn<'_> {
        Turn { turns: self, number }
    }

    /// Keeps the id of a line that has failed, where its device cannot have committed it, until the run ends. A later line that
    /// is still to get an id would take it otherwise, and this line, in the next run, one behind that.
    pub(super) fn let_go(&self, reservation: Reservation) {
        if reservation.intent().is_none() {
            self.let_go.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
        }
    }
}

impl Turn<'_> {
    /// Waits until every line before this one has an id or needs none: as long as its device may take to say who it is.
    pub(super) fn wait(&self) {
        let mut passed = self.turns.passed.lock().unwrap_or_else(PoisonError::into_inner);
        while passed.iter().take(self.number).any(|passed| !passed) {
            passed = self.turns.changed.wait(passed).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut passed = self.turns.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(passed) = passed.get_mut(self.number) {
            *passed = true;
        }
        self.turns.changed.notify_all();
    }
}
