//! What is said of time servers that give no time: after the first round of them without an answer that counts, then ever more
//! rarely. Owns the words and when they are due, never the schedule of the servers. R-TIME.

use super::{Clock, TimeError};
use crate::platform::Uptime;
use core::fmt;
use protocol::config::TIME_SERVERS_MAX;
use protocol::{ClockQuality, Endpoint};

/// Time between the first two reports of silence, in milliseconds; it doubles with each.
pub const REPORT_MIN_MS: u64 = 60_000;
/// Longest time between two reports of silence, in milliseconds: a day.
pub const REPORT_MAX_MS: u64 = 86_400_000;

/// What became of the last request to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was none since an answer counted.
    NotAsked,
    /// Its name has no address.
    UnknownName,
    /// It could not be sent, or nobody listens there.
    Unreachable,
    /// Nothing came in time.
    NoAnswer,
    /// What came was no answer to the request, and nothing else did.
    Stray(TimeError),
    /// The answer was refused.
    Refused(TimeError),
    /// The answer was right, and waits for one of another server.
    Answered,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAsked => "not asked yet",
            Self::UnknownName => "its name has no address",
            Self::Unreachable => "nobody listens there, or no way leads there",
            Self::NoAnswer => "no answer",
            Self::Answered => "answered, and waits for one that agrees",
            Self::Stray(error) => return write!(f, "no answer but a wrong one: {error}"),
            Self::Refused(error) => return write!(f, "{error}"),
        })
    }
}

/// Two servers that do not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The one that answered first, and the other.
    pub servers: [usize; 2],
    /// How far apart they are, in milliseconds.
    pub apart_ms: u64,
}

/// What is wrong with the time servers, by their places in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The answer of this server was refused.
    Refused(usize, TimeError),
    /// Two servers do not agree.
    Disagree(Disagreement),
    /// No server gives a time: what became of the last request to each.
    Silence([Outcome; TIME_SERVERS_MAX]),
}

/// The same with the servers' names: a line for the log, a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeTrouble<'a> {
    /// The servers of the configuration.
    pub servers: &'a [Endpoint],
    /// What is wrong.
    pub what: Trouble,
}

impl TimeTrouble<'_> {
    fn name(&self, f: &mut fmt::Formatter<'_>, server: usize) -> fmt::Result {
        match self.servers.get(server) {
            Some(server) => write!(f, "{server}"),
            None => f.write_str("a former server"),
        }
    }
}

impl fmt::Display for TimeTrouble<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            Trouble::Refused(server, error) => {
                f.write_str("time refused: ")?;
                self.name(f, server)?;
                write!(f, ": {error}")
            }
            Trouble::Disagree(Disagreement { servers: [first, second], apart_ms }) => {
                f.write_str("time refused: ")?;
                self.name(f, first)?;
                f.write_str(" and ")?;
                self.name(f, second)?;
                write!(f, " do not agree: {}.{:03} s apart", apart_ms / 1000, apart_ms % 1000)
            }
            Trouble::Silence(outcomes) => {
                f.write_str("no time server gives a time")?;
                for (index, (server, outcome)) in self.servers.iter().zip(outcomes).enumerate() {
                    write!(f, "{} {server}: {outcome}", if index == 0 { ":" } else { ";" })?;
                }
                Ok(())
            }
        }
    }
}

/// When silence is reported next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    not_before: Uptime,
    interval_ms: u64,
    /// Something has become of a request since the last report.
    news: bool,
}

impl Default for Silence {
    fn default() -> Self {
        Self { not_before: Uptime(0), interval_ms: REPORT_MIN_MS, news: false }
    }
}

impl Clock {
    pub(super) fn has_become(&mut self, server: usize, outcome: Outcome) {
        if let Some(server) = self.servers.get_mut(server) {
            server.outcome = outcome;
            self.silence.news = true;
        }
    }

    /// An answer counts: a new round begins.
    pub(super) fn is_heard(&mut self) {
        for server in &mut self.servers {
            server.outcome = Outcome::NotAsked;
        }
        self.silence = Silence::default();
    }

    /// The last two servers that did not agree.
    pub fn disagreement(&self) -> Option<Disagreement> {
        self.disagreement
    }

    /// The server that was asked last and has not answered yet.
    pub fn asked(&self) -> Option<usize> {
        self.pending.map(|pending| pending.server)
    }

    /// What became of each server, where all were asked, none gave a time, one of them said nothing at all (a refusal says it
    /// itself) and it is time to say so: at once while there is no time or while servers are on trial, else in holdover.
    pub fn poll_silence(&mut self, now: Uptime) -> Option<[Outcome; TIME_SERVERS_MAX]> {
        let matters =
            self.estimate.is_none() || self.sought != 0 || self.quality(now) == ClockQuality::Holdover;
        if !matters || !self.silence.news || now < self.silence.not_before {
            return None;
        }
        let mut outcomes = [Outcome::NotAsked; TIME_SERVERS_MAX];
        for (outcome, server) in outcomes.iter_mut().zip(&self.servers) {
            *outcome = server.outcome;
        }
        let all = outcomes.get(..self.servers.len())?;
        let sought =
            |index: usize| self.sought == 0 || self.estimate.is_none() || self.sought >> index & 1 != 0;
        let round = all.iter().enumerate().all(|(at, outcome)| !sought(at) || *outcome != Outcome::NotAsked);
        let said = |outcome: &Outcome| {
            matches!(outcome, Outcome::NotAsked | Outcome::Refused(_) | Outcome::Answered)
        };
        if !round || all.iter().all(said) {
            return None;
        }
        let interval_ms = self.silence.interval_ms;
        self.silence = Silence {
            not_before: now.after(interval_ms),
            interval_ms: (interval_ms * 2).min(REPORT_MAX_MS),
            news: false,
        };
        Some(outcomes)
    }
}
