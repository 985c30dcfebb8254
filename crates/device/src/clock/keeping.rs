//! Where the clock meets the rest of the device: when a server is asked, what its answer means for the port and the log, and
//! when the time is stored. Decides nothing that [`crate::clock`] could. R-TIME.

use super::{Query, TimeError, Trouble};
use crate::cx::Cx;
use crate::event::Note;
use crate::platform::{Key, Platform, Uptime};
use crate::stored::put_number;
use protocol::audit;

/// Shortest time between two writes of the confirmed time, in milliseconds: at most 24 writes a day.
pub const TIME_STORE_PERIOD_MS: u64 = 3_600_000;

/// What the port has not been told yet, and when the time was stored last.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    stored: Option<Uptime>,
    set: bool,
    /// What is to be said of the time servers.
    trouble: Option<Trouble>,
}

impl Keeping {
    /// A datagram has come; the server where it counts.
    pub(crate) fn answer<P: Platform>(&mut self, cx: &mut Cx<P>, datagram: &[u8]) -> Option<usize> {
        let asked = cx.clock.asked();
        match cx.clock.answer(cx.now, datagram) {
            Ok(Some(set)) => {
                self.set = true;
                let server = cx.clock.heard_from();
                cx.note(Note::Time(set));
                return server;
            }
            // Anybody can send what answers no request: it is counted, and does not fill the log.
            Ok(None) | Err(TimeError::Unasked | TimeError::Originate | TimeError::Length) => {}
            Err(error) => {
                cx.record(&audit::Event::TimeRefused);
                let refused = asked.map(|server| Trouble::Refused(server, error));
                let disagreement = cx.clock.disagreement().filter(|_| error == TimeError::Disagree);
                self.trouble = disagreement.map(Trouble::Disagree).or(refused);
            }
        }
        None
    }

    /// True once after the clock was set.
    pub(crate) const fn take_set(&mut self) -> bool {
        core::mem::replace(&mut self.set, false)
    }

    /// What is wrong with the time servers, once.
    pub(crate) fn take_trouble<P: Platform>(&mut self, cx: &mut Cx<P>) -> Option<Trouble> {
        let silence = cx.clock.poll_silence(cx.now).map(Trouble::Silence);
        self.trouble.take().or(silence)
    }

    /// A request for time, where one is due.
    pub(crate) fn ask<P: Platform>(cx: &mut Cx<P>) -> Option<Query> {
        if cx.link_full || !cx.clock.wants_to_ask(cx.now) {
            return None;
        }
        let mut nonce = [0; 8];
        if cx.platform.fill(&mut nonce).is_ok() {
            cx.clock.poll_output(cx.now, nonce)
        } else {
            cx.note(Note::Entropy);
            cx.clock.postpone(cx.now);
            None
        }
    }

    /// Stores the confirmed time, now and then; `now`: in any case.
    pub(crate) fn store<P: Platform>(&mut self, cx: &mut Cx<P>, now: bool) {
        let due = now || self.stored.is_none_or(|last| cx.now.since(last) >= TIME_STORE_PERIOD_MS);
        if let Some(floor) = cx.clock.floor(cx.now).filter(|_| due) {
            let result = put_number(&mut cx.platform, Key::Time, floor.0);
            if result.is_ok() {
                self.stored = Some(cx.now);
            }
            cx.stored(result);
        }
    }
}
