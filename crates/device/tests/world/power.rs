//! The power supply: it fails at a change of what is stored, before or after that change is made, and nothing is changed from
//! then on until it comes back.

use std::cell::Cell;

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Made,
    Lost,
}

#[derive(Debug, Default)]
pub struct Power {
    /// How many changes are made before power fails, where it does.
    left: Cell<Option<u32>>,
    /// The change at which it fails is made all the same.
    after: Cell<bool>,
    out: Cell<bool>,
    /// Changes that were made.
    pub made: Cell<u32>,
}

impl Power {
    /// Lets power fail at change number `at` from now on, from 0; `after` or before it is made.
    pub fn fail_at(&self, at: u32, after: bool) {
        self.left.set(Some(at));
        self.after.set(after);
    }

    /// Power does not fail any more; true where it would still have.
    pub fn stay(&self) -> bool {
        self.left.take().is_some()
    }

    /// Power comes back; true where it was out.
    pub fn come_back(&self) -> bool {
        self.out.replace(false)
    }

    /// Something is about to be changed.
    pub fn change(&self) -> Change {
        if self.out.get() {
            return Change::Lost;
        }
        match self.left.get() {
            Some(0) => {
                self.left.set(None);
                self.out.set(true);
                if !self.after.get() {
                    return Change::Lost;
                }
            }
            left => self.left.set(left.map(|left| left - 1)),
        }
        self.made.set(self.made.get() + 1);
        Change::Made
    }
}
