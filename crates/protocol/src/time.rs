//! Points in time as the wire and the flash carry them. Owns no clock.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EpochMillis(pub u64);

impl EpochMillis {
    /// The point `seconds` after the epoch.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// This point moved by `millis`, which may be negative; held at the epoch and at the end of the range.
    #[must_use]
    pub const fn offset(self, millis: i64) -> Self {
        Self(self.0.saturating_add_signed(millis))
    }

    /// Milliseconds from `earlier` to this point; negative where `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }
}

impl fmt::Display for EpochMillis {
    /// RFC 3339 in UTC with milliseconds, for example `2026-11-21T09:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Civil date from days, with years that start in March so that the leap day comes last.
        let days = self.0 / 86_400_000 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let in_day = self.0 % 86_400_000;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            in_day / 3_600_000,
            in_day / 60_000 % 60,
            in_day / 1000 % 60,
            in_day % 1000
        )
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::EpochMillis;
    use std::string::ToString;

    #[test]
    fn dates_read_as_rfc_3339() {
        assert_eq!(EpochMillis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(EpochMillis(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(EpochMillis(2_085_978_496_000).to_string(), "2036-02-07T06:28:16.000Z");
        assert_eq!(EpochMillis(1_767_225_599_999).to_string(), "2025-12-31T23:59:59.999Z");
    }
}
