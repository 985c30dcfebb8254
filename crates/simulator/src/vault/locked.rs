//! A page of secrets that the system does not write to its swap space. Owns the page from its making to its overwriting;
//! knows nothing of what the secrets are for. R-SECRET-STORE.

use std::ops::{Deref, DerefMut};
use zeroize::Zeroize;

/// What lies in the page. It has it to itself, so that unlocking it unlocks nobody else's secrets.
#[derive(Default)]
#[repr(align(4096))]
pub(super) struct Page {
    /// What private keys are sealed with.
    pub sealing: [u8; 32],
    /// A private key while a call works on it.
    pub scalar: [u8; 32],
}

/// The page, locked where the system allows it: a user may lock some megabytes (`ulimit -l`), and a vault beyond that
/// works all the same. Overwritten when dropped.
pub(super) struct Locked {
    // Dropped first: memory is unlocked before it is given back.
    guard: Option<region::LockGuard>,
    page: Box<Page>,
}

impl Locked {
    pub(super) fn new() -> Self {
        let page = Box::<Page>::default();
        let guard = region::lock(&raw const *page, size_of::<Page>()).ok();
        Self { guard, page }
    }

    /// True where the system has locked it.
    #[cfg(test)]
    pub(super) const fn is_locked(&self) -> bool {
        self.guard.is_some()
    }
}

impl Deref for Locked {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.page
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Page {
        &mut self.page
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.page.sealing.zeroize();
        self.page.scalar.zeroize();
        drop(self.guard.take());
    }
}
