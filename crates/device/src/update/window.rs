//! Which blocks are asked for. Owns the window, its pace and its patience; never a block. R-FW-TIMELY.

use crate::interface::Pace;
use crate::platform::Uptime;
use heapless::Vec;
use protocol::UpdateFault;

/// Blocks that are asked for at once: what travels while one is written.
pub const WINDOW: usize = 4;

/// How often a block is asked for, before the device pauses.
const TRIES: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// To be asked for.
    Due,
    /// Asked for, at this time.
    Asked(Uptime),
    /// It came before its turn and was dropped: to be asked for when its turn comes.
    Early,
}

/// What the service is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Send this block.
    Fetch(u32),
    /// Send this block no more.
    Release(u32),
}

/// The blocks from the first missing one on.
#[derive(Clone, Debug)]
pub(super) struct Window {
    next: u32,
    count: u32,
    /// How many blocks are asked for at once.
    width: usize,
    asks: [Ask; WINDOW],
    not_before: Uptime,
    /// How often the next block did not come or was not itself.
    tries: u8,
    release: Vec<u32, { WINDOW + 1 }>,
}

impl Window {
    /// A window of `width` blocks over a payload of `count` blocks, the first `next` of which are there.
    pub(super) const fn new(next: u32, count: u32, width: usize) -> Self {
        Self {
            next,
            count,
            width: if width < WINDOW { width } else { WINDOW },
            asks: [Ask::Due; WINDOW],
            not_before: Uptime(0),
            tries: 0,
            release: Vec::new(),
        }
    }

    /// Number of the first missing block.
    pub(super) const fn next(&self) -> u32 {
        self.next
    }

    /// True where every block is there.
    pub(super) const fn is_complete(&self) -> bool {
        self.next >= self.count
    }

    fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        self.next..self.count.min(self.next.saturating_add(self.width as u32))
    }

    /// True for a block that may be of use.
    pub(super) fn wants(&self, index: u32) -> bool {
        self.indices().any(|wanted| wanted == index)
    }

    fn ask(&mut self, index: u32) -> &mut Ask {
        let [first, second, third, fourth] = &mut self.asks;
        match index % WINDOW as u32 {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        }
    }

    /// The next block has come and is taken.
    pub(super) fn taken(&mut self) {
        self.tries = 0;
        let _room = self.release.push(self.next);
        *self.ask(self.next) = Ask::Due;
        self.next += 1;
        if *self.ask(self.next) == Ask::Early {
            *self.ask(self.next) = Ask::Due;
        }
    }

    /// A block has come before its turn. Not to be called for the next one.
    pub(super) fn early(&mut self, index: u32) {
        *self.ask(index) = Ask::Early;
    }

    /// What came for a block is not that block. True where there is no point in asking at once.
    pub(super) fn altered(&mut self, index: u32) -> bool {
        // It is asked for when its turn comes, and no faster.
        *self.ask(index) = if index == self.next { Ask::Due } else { Ask::Early };
        index == self.next && self.failed()
    }

    fn failed(&mut self) -> bool {
        self.tries += 1;
        self.tries >= TRIES
    }

    /// What the service was asked for and not told to send no more.
    pub(super) fn outstanding(&mut self) -> Vec<u32, { 2 * WINDOW + 1 }> {
        let mut all: Vec<u32, { 2 * WINDOW + 1 }> = self.release.iter().copied().collect();
        for index in self.indices() {
            if *self.ask(index) != Ask::Due {
                // There is room for the window and for what is to be released.
                let _fits = all.push(index);
            }
        }
        all
    }

    /// Everything is asked for anew, from `not_before` on.
    pub(super) fn restart(&mut self, not_before: Uptime) {
        self.asks = [Ask::Due; WINDOW];
        self.tries = 0;
        self.not_before = not_before;
        self.release.clear();
    }

    /// A pause is over before its time.
    pub(super) fn go_on(&mut self, now: Uptime) {
        self.not_before = self.not_before.min(now);
    }

    /// The next thing to ask for; an error where the next block does not come.
    pub(super) fn poll(&mut self, now: Uptime, pace: &Pace) -> Result<Option<Request>, UpdateFault> {
        let patience = u64::from(pace.block_timeout_ms);
        for index in self.indices() {
            if let Ask::Asked(at) = *self.ask(index)
                && now.since(at) >= patience
            {
                *self.ask(index) = Ask::Due;
                if index == self.next && self.failed() {
                    return Err(UpdateFault::BlockMissing);
                }
            }
        }
        if !self.release.is_empty() {
            return Ok(Some(Request::Release(self.release.remove(0))));
        }
        if now < self.not_before {
            return Ok(None);
        }
        let due = self.due();
        Ok(due.map(|index| {
            *self.ask(index) = Ask::Asked(now);
            self.not_before = now.after(u64::from(pace.block_interval_ms));
            Request::Fetch(index)
        }))
    }

    /// The next block to ask for. None behind one that came too early: it would come too early as well, and so on to the end.
    fn due(&mut self) -> Option<u32> {
        let index = self.indices().find(|index| !matches!(*self.ask(*index), Ask::Asked(_)))?;
        (*self.ask(index) == Ask::Due).then_some(index)
    }

    /// When [`Self::poll`] next has something to say.
    pub(super) fn next_deadline(&self, pace: &Pace) -> Option<Uptime> {
        if !self.release.is_empty() {
            return Some(Uptime(0));
        }
        let mut window = self.clone();
        let due = window.due().map(|_| self.not_before);
        let deadline = |index| match *window.ask(index) {
            Ask::Asked(at) => Some(at.after(u64::from(pace.block_timeout_ms))),
            Ask::Due | Ask::Early => None,
        };
        self.indices().filter_map(deadline).chain(due).min()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn pace() -> Pace {
        Pace { block_interval_ms: 1, block_timeout_ms: 1_000, ..Pace::default() }
    }

    /// Asks for what may be asked for by now.
    fn asked(window: &mut Window, now: &mut Uptime) -> Vec<u32> {
        let mut indices = Vec::new();
        loop {
            *now = now.after(1);
            match window.poll(*now, &pace()) {
                Ok(Some(Request::Fetch(index))) => indices.push(index),
                Ok(Some(Request::Release(_))) => {}
                Ok(None) => return indices,
                Err(fault) => panic!("{fault:?}"),
            }
        }
    }

    /// What a service sends that answers in the order in which it is asked, until there is nothing more to ask for.
    fn rest(window: &mut Window, mut queue: Vec<u32>, now: &mut Uptime) -> Vec<u32> {
        let mut all = queue.clone();
        while !queue.is_empty() {
            let index = queue.remove(0);
            match window.wants(index) {
                true if index == window.next() => window.taken(),
                true => window.early(index),
                false => {}
            }
            let more = asked(window, now);
            queue.extend(&more);
            all.extend(&more);
        }
        all
    }

    #[test]
    fn a_block_that_comes_late_costs_its_window_once_and_not_each_one_after_it() {
        let mut now = Uptime(0);
        let mut window = Window::new(0, 50, WINDOW);
        assert_eq!(asked(&mut window, &mut now), [0, 1, 2, 3]);
        let again = [1, 2, 3, 0];
        let all = rest(&mut window, again.into(), &mut now);
        assert!(window.is_complete());
        assert!(all.len() < 50 + WINDOW, "{all:?}");
    }

    #[test]
    fn blocks_that_come_during_a_pause_cost_their_window_once() {
        let mut now = Uptime(0);
        let mut window = Window::new(0, 50, WINDOW);
        asked(&mut window, &mut now);
        window.restart(now.after(100));
        for early in [1, 2, 3] {
            window.early(early);
        }
        window.taken();
        now = now.after(100);
        let queue = asked(&mut window, &mut now);
        assert_eq!(queue, [1]);
        assert_eq!(window.next_deadline(&pace()), Some(now.after(1_000 - 1)), "it does not spin");
        let all = rest(&mut window, queue, &mut now);
        assert!(window.is_complete());
        assert_eq!(all.len(), 49, "{all:?}");
    }
}
