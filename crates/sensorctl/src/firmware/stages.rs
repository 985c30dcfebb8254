//! When a roll-out goes on, and when it stops: shares of a fleet one after the other, each larger than the one before. Owns
//! the decision, neither clock nor connection. R-FW-TIMELY, R-FLEET.

use super::fleet::Tally;
use protocol::firmware::SHARE_MAX;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Percent of a fleet in thousandths: what a roll-out is signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u16);

impl Share {
    /// All devices.
    pub const ALL: Self = Self(SHARE_MAX);
    /// None: nothing begins any more.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, tenth) = (self.0 / 10, self.0 % 10);
        if tenth == 0 { write!(f, "{whole} %") } else { write!(f, "{whole}.{tenth} %") }
    }
}

impl FromStr for Share {
    type Err = String;

    /// Percent with at most one digit behind the point.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no share: percent from 0.1 to 100, with one digit behind the point at most")
        };
        let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        if !digits(whole) || !digits(tenth) || tenth.len() > 1 {
            return Err(wrong());
        }
        let whole: u16 = whole.parse().map_err(|_| wrong())?;
        let share = whole.checked_mul(10).and_then(|share| share.checked_add(tenth.parse().ok()?));
        share.filter(|share| (1..=SHARE_MAX).contains(share)).map(Self).ok_or_else(wrong)
    }
}

/// Shares, each larger than the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares(Vec<Share>);

impl Shares {
    /// From `already` on: those that are not below it.
    #[must_use]
    pub fn from(&self, already: Share) -> Vec<Share> {
        self.0.iter().copied().filter(|share| *share >= already).collect()
    }
}

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shares = text.split(',').map(|share| share.trim().parse()).collect::<Result<Vec<Share>, _>>()?;
        if shares.is_sorted_by(|before, after| before < after) {
            Ok(Self(shares))
        } else {
            Err(format!("{text:?}: each share must be larger than the one before"))
        }
    }
}

impl Default for Shares {
    /// 1, 10, 50 and 100 percent.
    fn default() -> Self {
        Self([10, 100, 500, 1_000].map(Share).to_vec())
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, share) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            share.fmt(f)?;
        }
        Ok(())
    }
}

/// How a roll-out is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a stage lasts at least, also where all its devices are done.
    pub pause: Duration,
    /// How long a stage waits at most for its devices.
    pub wait: Duration,
    /// A stage stops the roll-out when more than so many percent of its devices, and at least [`WITNESSES`], have failed; 0 says
    /// that the first one is enough.
    pub stop_percent: u32,
}

/// What a device says of itself proves nothing: one that lies, or is broken, does not stop a fleet by itself.
pub const WITNESSES: usize = 2;

/// What is to be done with a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Wait on.
    Stay,
    /// Every device of it is done.
    Over,
    /// It has waited long enough for the others.
    TimeOver,
    /// Too many have failed.
    Stop,
}

impl Rules {
    /// What is to be done with a stage that has lasted so long and whose devices stand so.
    pub fn judge(&self, tally: &Tally, lasted: Duration) -> Verdict {
        let late = lasted >= self.wait && !tally.is_over();
        // Who has begun to restart into the image and says nothing any more hangs, or cannot connect with it.
        let failed = tally.failed() + if late { tally.started() } else { 0 };
        let enough = failed >= WITNESSES || self.stop_percent == 0;
        if enough && failed as u64 * 100 > tally.devices as u64 * u64::from(self.stop_percent) {
            Verdict::Stop
        } else if lasted < self.pause {
            Verdict::Stay
        } else if tally.is_over() {
            Verdict::Over
        } else if late {
            Verdict::TimeOver
        } else {
            Verdict::Stay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::Standing;
    use super::*;
    use protocol::firmware::UpdateFault;

    const RULES: Rules =
        Rules { pause: Duration::from_secs(10), wait: Duration::from_secs(100), stop_percent: 10 };

    fn tally(confirmed: usize, failed: usize, others: usize) -> Tally {
        let mut tally = Tally { known: confirmed + failed + others, ..Tally::default() };
        for (standing, count) in [
            (Standing::Confirmed, confirmed),
            (Standing::Failed(UpdateFault::Reverted), failed),
            (Standing::Downloading, others),
        ] {
            (0..count).for_each(|_| tally.add(standing));
        }
        tally
    }

    fn judged(tally: &Tally, seconds: u64) -> Verdict {
        RULES.judge(tally, Duration::from_secs(seconds))
    }

    #[test]
    fn a_stage_is_over_when_all_its_devices_are_and_not_before_its_pause() {
        assert_eq!(judged(&tally(10, 0, 0), 9), Verdict::Stay);
        assert_eq!(judged(&tally(10, 0, 0), 10), Verdict::Over);
        assert_eq!(judged(&tally(9, 1, 0), 10), Verdict::Over);
        assert_eq!(judged(&tally(9, 0, 1), 99), Verdict::Stay);
        assert_eq!(judged(&tally(9, 0, 1), 100), Verdict::TimeOver);
        let others = Tally { known: 7, ..Tally::default() };
        assert_eq!(judged(&others, 10), Verdict::Over, "a share in which nobody is");
        assert_eq!(judged(&Tally::default(), 99), Verdict::Stay, "nobody was heard of yet");
        assert_eq!(judged(&Tally::default(), 100), Verdict::TimeOver);
    }

    #[test]
    fn failures_stop_it_at_once_and_only_where_they_pass_the_limit() {
        assert_eq!(judged(&tally(0, 2, 18), 0), Verdict::Stay);
        assert_eq!(judged(&tally(0, 3, 17), 0), Verdict::Stop);
        let never = Rules { stop_percent: 100, ..RULES };
        assert_eq!(never.judge(&tally(0, 5, 0), Duration::from_secs(10)), Verdict::Over);
        let first = Rules { stop_percent: 0, ..RULES };
        assert_eq!(first.judge(&tally(999, 1, 0), Duration::ZERO), Verdict::Stop);
    }

    #[test]
    fn the_word_of_one_device_does_not_stop_a_roll_out_unless_that_was_asked_for() {
        for others in 0..9 {
            assert_eq!(judged(&tally(others, 1, 1), 0), Verdict::Stay, "{others}");
            assert_eq!(judged(&tally(others, 1, 0), 10), Verdict::Over, "{others}");
            assert_eq!(judged(&tally(others, 2, 0), 0), Verdict::Stop, "{others}");
        }
        let mut silent = tally(0, 0, 0);
        silent.add(Standing::Trial);
        assert_eq!(judged(&silent, 100), Verdict::TimeOver);
        let first = Rules { stop_percent: 0, ..RULES };
        assert_eq!(first.judge(&tally(0, 1, 0), Duration::ZERO), Verdict::Stop);
    }

    #[test]
    fn devices_that_fall_silent_in_the_image_count_as_failed_when_the_time_is_over() {
        for standing in [Standing::Installing, Standing::Trial] {
            let mut silent = tally(18, 0, 0);
            (0..2).for_each(|_| silent.add(standing));
            assert_eq!((judged(&silent, 99), judged(&silent, 100)), (Verdict::Stay, Verdict::TimeOver));
            silent.add(standing);
            assert_eq!((judged(&silent, 99), judged(&silent, 100)), (Verdict::Stay, Verdict::Stop));
        }
    }

    #[test]
    fn shares_are_percent_and_grow() {
        let shares: Shares = "0.1, 1,10,100".parse().unwrap();
        assert_eq!(shares.to_string(), "0.1 %, 1 %, 10 %, 100 %");
        assert_eq!(shares.from(Share(10)), [Share(10), Share(100), Share(1_000)]);
        assert_eq!(shares.from(Share(11)), [Share(100), Share(1_000)]);
        assert_eq!("1,10,50,100".parse(), Ok(Shares::default()));
        for text in [
            "", "0", "0.0", "101", "100.1", "10,10", "50,10", "1.25", "1.", ".5", "-1", "1%", "a", "6554",
            "10,",
        ] {
            assert!(text.parse::<Shares>().is_err(), "{text}");
        }
    }
}
