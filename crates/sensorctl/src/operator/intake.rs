//! What one device may say to a program of the operator: how long a message may be, and how many messages and bytes in a time.
//! Owns the accounts; never a message. A device beyond its budget is told of once, its messages are counted and acknowledged, and
//! the others are served.

use super::MESSAGE_BYTES_MAX;
use protocol::DeviceId;
use rumqttc::Publish;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// Accounts that are kept; more devices than this at the same time share the room of those that have been silent.
const ACCOUNTS_MAX: usize = 100_000;

/// What a device may say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Messages at once.
    pub messages: u32,
    /// One more message each time this has passed.
    pub message_each: Duration,
    /// Kibibytes at once.
    pub kibibytes: u32,
    /// One more kibibyte each time this has passed.
    pub kibibyte_each: Duration,
}

/// For programs that follow what devices say of themselves: at most a few messages at each step of theirs.
pub(crate) const STATES: Budget = Budget {
    messages: 256,
    message_each: Duration::from_secs(1),
    kibibytes: 512,
    kibibyte_each: Duration::from_secs(1),
};

/// Why a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It is longer than anything that a device says: its bytes.
    TooLong(usize),
    /// The device says more than its budget.
    TooMuch,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => write!(
                f,
                "a message of {bytes} bytes, and no device has more than {MESSAGE_BYTES_MAX} to say: it is dropped, like further \
                 ones of this device that are too long"
            ),
            Self::TooMuch => f.write_str(
                "it says more than a device has to say: its messages are dropped until it is quieter; others are served",
            ),
        }
    }
}

/// An account: when the device will have paid for what it has said.
#[derive(Clone, Copy, Debug)]
struct Account {
    messages: Instant,
    bytes: Instant,
    told_long: bool,
    told_much: bool,
}

/// The accounts of all devices.
#[derive(Debug)]
pub(crate) struct Intake {
    budget: Budget,
    accounts: BTreeMap<DeviceId, Account>,
    dropped: u64,
}

impl Intake {
    pub(crate) const fn new(budget: Budget) -> Self {
        Self { budget, accounts: BTreeMap::new(), dropped: 0 }
    }

    /// Messages that were dropped.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The same for a message, which costs nothing where the broker had kept it: there is one for each topic.
    pub(crate) fn admit_live(
        &mut self,
        now: Instant,
        device: &DeviceId,
        message: &Publish,
    ) -> Result<(), Option<Excess>> {
        if message.retain { Ok(()) } else { self.admit(now, device, message.payload.len()) }
    }

    /// Whether a message of so many bytes is taken; the error says why not where that was not said of this device yet.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        device: &DeviceId,
        bytes: usize,
    ) -> Result<(), Option<Excess>> {
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(device) {
            self.accounts.retain(|_, account| account.messages > now || account.bytes > now);
        }
        let Budget { messages, message_each, kibibytes, kibibyte_each } = self.budget;
        let new = Account { messages: now, bytes: now, told_long: false, told_much: false };
        let account = self.accounts.entry(device.clone()).or_insert(new);
        // What was not used for so long does not count twice.
        account.messages = account.messages.max(now);
        account.bytes = account.bytes.max(now);
        if account.messages == now && account.bytes == now {
            account.told_much = false;
        }
        let long = bytes > MESSAGE_BYTES_MAX;
        let length = u32::try_from(bytes.min(MESSAGE_BYTES_MAX)).unwrap_or(u32::MAX);
        let (of_messages, of_bytes) =
            (account.messages + message_each, account.bytes + (kibibyte_each * length) / 1_024);
        let much = of_messages > now + message_each * messages || of_bytes > now + kibibyte_each * kibibytes;
        if !much {
            (account.messages, account.bytes) = (of_messages, of_bytes);
        }
        let (excess, told) = match (long, much) {
            (false, false) => return Ok(()),
            (true, _) => (Excess::TooLong(bytes), &mut account.told_long),
            (false, true) => (Excess::TooMuch, &mut account.told_much),
        };
        self.dropped += 1;
        Err((!std::mem::replace(told, true)).then_some(excess))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn intake() -> Intake {
        Intake::new(Budget { messages: 10, message_each: SECOND, kibibytes: 20, kibibyte_each: SECOND })
    }

    fn device(id: &str) -> DeviceId {
        id.parse().unwrap()
    }

    #[test]
    fn a_message_that_is_too_long_is_dropped_counted_and_told_of_once_for_each_device() {
        let (mut intake, now) = (intake(), Instant::now());
        assert_eq!(intake.admit(now, &device("a"), MESSAGE_BYTES_MAX), Ok(()));
        for id in ["b", "c"] {
            let bytes = MESSAGE_BYTES_MAX + 1;
            assert_eq!(intake.admit(now, &device(id), bytes), Err(Some(Excess::TooLong(bytes))));
            assert_eq!(intake.admit(now, &device(id), bytes), Err(None));
        }
        assert_eq!(intake.dropped(), 4);
    }

    #[test]
    fn a_device_beyond_its_budget_is_told_of_once_and_others_are_served() {
        let (mut intake, mut now) = (intake(), Instant::now());
        let (loud, quiet) = (device("loud"), device("quiet"));
        let first: Vec<_> = (0..12).map(|_| intake.admit(now, &loud, 1)).collect();
        assert!(first[..10].iter().all(Result::is_ok));
        assert_eq!(first[10..], [Err(Some(Excess::TooMuch)), Err(None)]);
        assert_eq!(intake.admit(now, &quiet, 1), Ok(()));
        now += SECOND;
        assert_eq!([intake.admit(now, &loud, 1), intake.admit(now, &loud, 1)], [Ok(()), Err(None)]);
        now += SECOND * 11;
        assert!((0..10).all(|_| intake.admit(now, &loud, 1).is_ok()), "it has been quiet");
        assert_eq!(intake.admit(now, &loud, 1), Err(Some(Excess::TooMuch)), "told again");
        assert_eq!(intake.dropped(), 4);
    }

    #[test]
    fn bytes_count_like_messages() {
        let (mut intake, now) = (intake(), Instant::now());
        let loud = device("loud");
        let kibibyte = 1_024;
        assert!((0..6).all(|_| intake.admit(now, &loud, 3 * kibibyte).is_ok()));
        assert_eq!(intake.admit(now, &loud, 3 * kibibyte), Err(Some(Excess::TooMuch)));
        assert_eq!(intake.admit(now + SECOND, &loud, 3 * kibibyte), Ok(()));
    }

    #[test]
    fn the_room_for_accounts_is_bounded() {
        let (mut intake, now) = (intake(), Instant::now());
        for number in 0..ACCOUNTS_MAX {
            assert!(intake.admit(now, &device(&format!("d{number}")), 1).is_ok());
        }
        assert!(intake.admit(now + SECOND * 2, &device("new"), 1).is_ok());
        assert_eq!(intake.accounts.len(), 1);
    }
}
