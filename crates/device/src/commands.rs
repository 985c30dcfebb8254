//! Commands: whether one may be begun, what has become of it, and what the service is told of that. Owns their numbers and
//! the record, which is written before a command is begun; what a command does is the device's. R-CONF.
//!
//! ```text
//! record "begun" --> it is done --> record "done"
//!       |                                 |
//!       +--- power fails: "interrupted"   +--- power fails: "done"
//! ```
//!
//! A number that stands in the record is used up, so nothing is begun twice, whatever comes again and whenever power fails.
//! A restart is the end of a reboot, and a new identity that is sure to be made the end of that command.

mod machine;
mod record;

use crate::gate::{Rejected, newer};
use crate::platform::{KeyValue, StorageError, Uptime};
use crate::stored::Stored;
use crate::trial::{Begins, Trials};
use heapless::Vec;
pub(crate) use machine::Came;
use protocol::command::{ActionName, AudienceKind, Outcome};
use protocol::document::{Action, Command};
use protocol::key::Digest;
use protocol::{CommandAnswer, EpochMillis, KeyId, Refusal};
use record::{Last, Record};

/// How long a reboot waits for the service to know that it was begun, in milliseconds.
pub const REBOOT_PATIENCE_MS: u64 = 5_000;

/// Shortest time between two answers that say only what was refused, in milliseconds: who sends what is refused shall not
/// make the device talk.
pub const REFUSAL_PERIOD_MS: u64 = 10_000;

/// How long after the store has failed that is tried again, in milliseconds.
pub const STORE_RETRY_MS: u64 = 10_000;

/// Outcomes that wait to be told. More at once come only from more commands in one connection than anybody waits for.
const OUTCOMES_MAX: usize = 4;

/// What is known outside of the machine.
pub(crate) struct Around {
    pub now: Uptime,
    /// Where the clock is good enough to connect.
    pub time: Option<EpochMillis>,
    /// What is on trial.
    pub trials: Trials,
    /// There is a log to send.
    pub has_log: bool,
    /// A new identity is sure to be made, or is being made.
    pub rotating: bool,
}

/// What a command that is proven and for this device comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is known; nothing is to be done.
    Known,
    /// It is to be begun, now: the record says that it is. True where another one was under way.
    Begin(bool),
}

/// How far a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is under way.
    Idle,
    /// It is done when everything that it asked for is sent and acknowledged.
    Sending,
    /// The device restarts as soon as the service knows, or then.
    Rebooting { until: Uptime },
    /// It is done, and the record does not say so yet; when that is tried again.
    Unstored { at: Uptime },
}

/// The commands.
#[derive(Debug)]
pub(crate) struct Commands {
    /// `None` as long as it cannot be read.
    record: Option<Record>,
    stage: Stage,
    /// What is on its way to the service or was lost there.
    telling: Option<CommandAnswer>,
    /// What is to be told next, oldest first.
    outcomes: Vec<CommandAnswer, OUTCOMES_MAX>,
    /// The last one that was refused or failed, where that is still to be told.
    refusal: Option<CommandAnswer>,
    refusal_from: Uptime,
    /// The payload that was refused last because it had expired: it does not get better.
    expired: Option<Digest>,
    error: Option<StorageError>,
}

impl Commands {
    /// What is known of commands, as it is stored. `rotating` says that a new identity is sure to be made.
    pub(crate) fn load(rotating: bool, store: &mut impl KeyValue) -> Self {
        let mut commands = Self {
            record: None,
            stage: Stage::Idle,
            telling: None,
            outcomes: Vec::new(),
            refusal: None,
            refusal_from: Uptime(0),
            expired: None,
            error: None,
        };
        commands.open(rotating, store);
        commands
    }

    /// Reads the record where that was not possible before, and judges what a former boot has begun.
    fn open(&mut self, rotating: bool, store: &mut impl KeyValue) {
        let (Ok(mut record), error) = Record::open(store) else {
            self.error = Some(StorageError::Medium);
            return;
        };
        self.error = error;
        if let Some(last) = &mut record.last {
            let former = last.outcome;
            if former == Outcome::Begun {
                last.outcome = match last.action {
                    Action::Reboot => Outcome::Done,
                    Action::Rotate if rotating => Outcome::Done,
                    _ => Outcome::Interrupted,
                };
            }
            let said = answer(last);
            // What is told over is judged once: the next boot could judge it otherwise.
            if former != last.outcome
                && let Err(error) = record.store(store)
            {
                self.error = Some(error);
            }
            self.tell(said);
        }
        self.record = Some(record);
    }

    /// Whether a command that is proven and for this device is to be begun. Where it is, the record says so.
    pub(crate) fn judge(
        &mut self,
        command: &Command,
        digest: Digest,
        signer: KeyId,
        around: &Around,
        store: &mut impl KeyValue,
    ) -> Result<Verdict, Rejected> {
        if self.record.is_none() {
            self.open(around.rotating, store);
        }
        let Some(record) = &self.record else {
            return Err(self.error.take().unwrap_or(StorageError::Medium).into());
        };
        let audience = AudienceKind::from(&command.audience);
        let Command { number, action, .. } = *command;
        if let Some(used) = record.used(signer, audience) {
            if used.number == number && used.digest == digest {
                return Ok(Verdict::Known);
            }
            newer(number, used.number)?;
        }
        // 0 is what an answer says where it knows no number.
        if number == 0 {
            return Err(Refusal::Older.into());
        }
        if self.expired == Some(digest) {
            return Ok(Verdict::Known);
        }
        let Some(time) = around.time else { return Err(Refusal::Unexpected.into()) };
        if time.seconds() >= command.expires_s {
            self.expired = Some(digest);
            return Err(Refusal::Expired.into());
        }
        let possible = match action {
            Action::Reboot => around.trials.allow(Begins::Restart),
            Action::SendLog { .. } => around.has_log,
            Action::Report | Action::Burst { .. } | Action::Rotate => true,
        };
        if !possible || matches!(self.stage, Stage::Rebooting { .. }) {
            return Err(Refusal::Unexpected.into());
        }
        let mut begun = record.clone();
        let last = Last { audience, number, action, outcome: Outcome::Begun };
        begun.begin(signer, digest, last);
        begun.store(store)?;
        let former = self.record.replace(begun).and_then(|former| former.last);
        let under_way = self.stage == Stage::Sending;
        match (self.stage, former) {
            (Stage::Sending, Some(former)) => {
                self.tell(answer(&Last { outcome: Outcome::Interrupted, ..former }));
            }
            // Its end is in the record only where the store has not failed; it is told all the same.
            (Stage::Unstored { .. }, Some(former)) => self.tell(answer(&former)),
            _ => {}
        }
        self.stage = match action {
            Action::Reboot => Stage::Rebooting { until: around.now.after(REBOOT_PATIENCE_MS) },
            Action::Report | Action::Burst { .. } | Action::Rotate | Action::SendLog { .. } => Stage::Sending,
        };
        self.tell(answer(&last));
        Ok(Verdict::Begin(under_way))
    }

    /// A command was refused, and the service is to know.
    pub(crate) fn refused(&mut self, now: Uptime, command: Option<&Command>, why: Refusal) {
        self.not_done(now, command, Outcome::Refused, Some(why));
    }

    fn not_done(
        &mut self,
        now: Uptime,
        command: Option<&Command>,
        outcome: Outcome,
        refusal: Option<Refusal>,
    ) {
        let mut said = CommandAnswer::new(None, 0, None, outcome);
        if let Some(command) = command {
            said.audience = Some(AudienceKind::from(&command.audience));
            said.number = command.number;
            said.action = Some(ActionName::from(&command.action));
        }
        said.refusal = refusal;
        self.refusal = Some(said);
        self.refusal_from = self.refusal_from.max(now);
    }

    /// What is under way and done as soon as everything that it asked for is sent and acknowledged.
    pub(crate) fn sending(&self) -> Option<Action> {
        let last = self.record.as_ref().and_then(|record| record.last);
        last.filter(|_| self.stage == Stage::Sending).map(|last| last.action)
    }

    /// True where the time has come to restart.
    pub(crate) fn restarts(&self, now: Uptime) -> bool {
        matches!(self.stage, Stage::Rebooting { until } if now >= until)
    }

    /// False while the record does not say yet that the last command is done: what would undo the proof of that waits.
    pub(crate) const fn is_recorded(&self) -> bool {
        !matches!(self.stage, Stage::Unstored { .. })
    }

    /// True where [`Self::done`] is to be called once more.
    pub(crate) fn is_unstored(&self, now: Uptime) -> bool {
        matches!(self.stage, Stage::Unstored { at } if now >= at)
    }

    /// The command under way is done; the service is told once the record says so. Gives its number and what it was, then.
    pub(crate) fn done(&mut self, now: Uptime, store: &mut impl KeyValue) -> Option<(u32, Action)> {
        let record = self.record.as_mut()?;
        let last = record.last.as_mut()?;
        last.outcome = Outcome::Done;
        let done = *last;
        if let Err(error) = record.store(store) {
            self.error = Some(error);
            self.stage = Stage::Unstored { at: now.after(STORE_RETRY_MS) };
            return None;
        }
        self.stage = Stage::Idle;
        self.tell(answer(&done));
        Some((done.number, done.action))
    }

    /// The device's own store keeps a command from being begun, or from being done. The record is left as it is: the next boot
    /// sees what there is of it.
    pub(crate) fn failed(&mut self, now: Uptime, command: &Command) {
        self.not_done(now, Some(command), Outcome::Failed, None);
    }

    /// The command that was just begun cannot be done.
    pub(crate) fn give_up(&mut self, now: Uptime, command: &Command) {
        self.stage = Stage::Idle;
        self.failed(now, command);
    }

    fn tell(&mut self, said: CommandAnswer) {
        let same = |other: &CommandAnswer| (other.audience, other.number) == (said.audience, said.number);
        if let Some(waiting) = self.outcomes.last_mut().filter(|last| same(last)) {
            *waiting = said;
        } else {
            if self.outcomes.is_full() {
                self.outcomes.remove(0);
            }
            // There is room now.
            let _fits = self.outcomes.push(said);
        }
    }

    /// What is to be told now; the same until [`Self::told`]. Not to be called while it is on its way.
    pub(crate) fn poll_answer(&mut self, now: Uptime) -> Option<&CommandAnswer> {
        if self.telling.is_none() {
            if !self.outcomes.is_empty() {
                self.telling = Some(self.outcomes.remove(0));
            } else if now >= self.refusal_from {
                self.telling = self.refusal.take();
                if self.telling.is_some() {
                    self.refusal_from = now.after(REFUSAL_PERIOD_MS);
                }
            }
        }
        self.telling.as_ref()
    }

    /// The service knows what it was told last.
    pub(crate) fn told(&mut self, now: Uptime) {
        let told = self.telling.take();
        if let Stage::Rebooting { until } = &mut self.stage
            && told.is_some_and(|told| told.action == Some(ActionName::Reboot))
            && self.outcomes.is_empty()
        {
            *until = now;
        }
    }

    /// When [`Self::restarts`] or [`Self::is_unstored`] is next true.
    const fn deadline(&self) -> Option<Uptime> {
        match self.stage {
            Stage::Rebooting { until: at } | Stage::Unstored { at } => Some(at),
            Stage::Idle | Stage::Sending => None,
        }
    }

    /// When [`Self::poll_answer`] next has something.
    pub(crate) fn next_answer(&self) -> Option<Uptime> {
        if self.telling.is_some() || !self.outcomes.is_empty() {
            return Some(Uptime(0));
        }
        self.refusal.as_ref().map(|_| self.refusal_from)
    }

    /// Why the store failed, where it did since the last call.
    pub(crate) const fn take_error(&mut self) -> Option<StorageError> {
        self.error.take()
    }
}

fn answer(last: &Last) -> CommandAnswer {
    CommandAnswer::new(Some(last.audience), last.number, Some(ActionName::from(&last.action)), last.outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Key;
    use protocol::document::Audience;

    /// One value, on a medium that fails for so many reads and for so many writes.
    #[derive(Default)]
    struct Store {
        value: Option<Vec<u8, 256>>,
        fails: (u32, u32),
    }

    fn fails(left: &mut u32) -> Result<(), StorageError> {
        if *left == 0 {
            return Ok(());
        }
        *left -= 1;
        Err(StorageError::Medium)
    }

    impl KeyValue for Store {
        fn read<'b>(&mut self, _: Key, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
            fails(&mut self.fails.0)?;
            let Some(value) = &self.value else { return Ok(None) };
            buffer[..value.len()].copy_from_slice(value);
            Ok(Some(&buffer[..value.len()]))
        }

        fn write(&mut self, _: Key, value: &[u8]) -> Result<(), StorageError> {
            fails(&mut self.fails.1)?;
            self.value = Some(Vec::from_slice(value).unwrap());
            Ok(())
        }

        fn remove(&mut self, _: Key) -> Result<(), StorageError> {
            Ok(())
        }
    }

    #[test]
    fn a_rotation_that_goes_on_after_a_restart_is_not_called_interrupted() {
        let rotate =
            Command { audience: Audience::All, number: 1, expires_s: u64::MAX, action: Action::Rotate };
        let around = |rotating| Around {
            now: Uptime(0),
            time: Some(EpochMillis(0)),
            trials: Trials::default(),
            has_log: false,
            rotating,
        };
        // The store is readable at the start, or only when the command comes again.
        for (unreadable, rotating, outcome) in [
            (0, true, Outcome::Done),
            (1, true, Outcome::Done),
            (0, false, Outcome::Interrupted),
            (1, false, Outcome::Interrupted),
        ] {
            let mut store = Store::default();
            let mut commands = Commands::load(false, &mut store);
            let verdict = commands.judge(&rotate, [1; 32], KeyId([2; 32]), &around(false), &mut store);
            assert_eq!(verdict, Ok(Verdict::Begin(false)));
            store.fails.0 = unreadable;
            let mut commands = Commands::load(rotating, &mut store);
            let again = commands.judge(&rotate, [1; 32], KeyId([2; 32]), &around(rotating), &mut store);
            assert_eq!(again, Ok(Verdict::Known));
            let said = commands.poll_answer(Uptime(0)).map(|answer| answer.outcome);
            assert_eq!(said, Some(outcome), "{unreadable} {rotating}");
        }
    }

    #[test]
    fn the_keys_of_a_rotation_wait_for_the_record_that_says_it_is_done() {
        let mut store = Store::default();
        let mut commands = Commands::load(false, &mut store);
        let rotate =
            Command { audience: Audience::All, number: 1, expires_s: u64::MAX, action: Action::Rotate };
        let around = Around {
            now: Uptime(0),
            time: Some(EpochMillis(0)),
            trials: Trials::default(),
            has_log: false,
            rotating: false,
        };
        let verdict = commands.judge(&rotate, [1; 32], KeyId([2; 32]), &around, &mut store);
        assert_eq!(verdict, Ok(Verdict::Begin(false)));
        store.fails.1 = 1;
        assert_eq!(commands.done(Uptime(0), &mut store), None);
        assert!(!commands.is_recorded());
        assert_eq!(commands.done(Uptime(STORE_RETRY_MS), &mut store), Some((1, Action::Rotate)));
        assert!(commands.is_recorded());
    }
}
