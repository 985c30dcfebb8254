//! When an update may begin: after the device's part of the spread and within the window, or once the deadline has passed.
//! Owns no clock. R-FW-TIMELY.

use super::record::Turn;
use protocol::{Configuration, EpochMillis};

const DAY_S: u64 = 86_400;

impl Turn {
    /// The turn of a device that learns of an update at `time`; `random` is uniform over all of `u32`.
    pub(super) fn draw(time: EpochMillis, configuration: &Configuration, random: u32) -> Self {
        let noticed_s = time.seconds();
        let wait = (u64::from(configuration.update_spread_s) * u64::from(random)) >> 32;
        Self { noticed_s, from_s: noticed_s + wait }
    }

    /// The same turn for a clock that was found to be ahead: what had to be waited for still has to.
    pub(super) const fn moved(self, time: EpochMillis) -> Option<Self> {
        let now_s = time.seconds();
        if now_s >= self.noticed_s {
            return None;
        }
        Some(Self { noticed_s: now_s, from_s: now_s + (self.from_s - self.noticed_s) })
    }

    /// Milliseconds until the update may begin; 0 where it may now.
    pub(super) fn wait_ms(self, time: EpochMillis, configuration: &Configuration) -> u64 {
        let now_s = time.seconds();
        let deadline = self.noticed_s.saturating_add(u64::from(configuration.update_deadline_h) * 3_600);
        let earliest = self.from_s.max(now_s);
        let start = u64::from(configuration.update_start_min) * 60;
        let length = u64::from(configuration.update_length_min) * 60;
        let into_window = (earliest % DAY_S + DAY_S - start) % DAY_S;
        let begin = if into_window < length { earliest } else { earliest + (DAY_S - into_window) };
        let begin = begin.min(deadline);
        if begin <= now_s { 0 } else { (begin * 1_000).saturating_sub(time.0) }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use protocol::DeviceId;
    use protocol::config::Draft;

    const HOUR: u64 = 3_600;
    /// Midnight of a day.
    const MIDNIGHT: u64 = 20_000 * DAY_S;

    fn configuration(start_min: u32, length_min: u32, deadline_h: u32, spread_s: u32) -> Configuration {
        let mut draft = Draft::new(DeviceId::new("dev-1").unwrap(), "broker.example", "t.example").unwrap();
        (draft.update_start_min, draft.update_length_min) = (start_min, length_min);
        (draft.update_deadline_h, draft.update_spread_s) = (deadline_h, spread_s);
        draft.check().unwrap()
    }

    /// Hours that a device waits that learns of an update `hour` hours after midnight.
    fn waits(hour: u64, configuration: &Configuration) -> u64 {
        let time = EpochMillis::from_seconds(MIDNIGHT + hour * HOUR);
        Turn::draw(time, configuration, 0).wait_ms(time, configuration) / (HOUR * 1_000)
    }

    #[test]
    fn an_update_waits_for_the_window() {
        let nights = configuration(2 * 60, 120, 168, 0);
        assert_eq!([0, 1, 2, 3, 4, 5, 23].map(|hour| waits(hour, &nights)), [2, 1, 0, 0, 22, 21, 3]);
    }

    #[test]
    fn a_window_may_reach_over_midnight() {
        let nights = configuration(22 * 60, 240, 168, 0);
        assert_eq!([0, 1, 2, 12, 21, 22, 23].map(|hour| waits(hour, &nights)), [0, 0, 20, 10, 1, 0, 0]);
    }

    #[test]
    fn a_window_of_a_day_is_always() {
        let always = configuration(13 * 60, 1_440, 168, 0);
        assert!((0..24).all(|hour| waits(hour, &always) == 0));
    }

    #[test]
    fn after_the_deadline_no_update_waits_for_window_or_spread() {
        let rare = configuration(0, 1, 3, 86_400);
        let time = EpochMillis::from_seconds(MIDNIGHT + 12 * HOUR);
        let turn = Turn::draw(time, &rare, u32::MAX);
        assert_eq!(turn.wait_ms(time, &rare), 3 * HOUR * 1_000);
        assert_eq!(turn.wait_ms(time.offset(3 * 3_600_000 - 1), &rare), 1);
        assert_eq!(turn.wait_ms(time.offset(3 * 3_600_000), &rare), 0);
    }

    proptest! {
        #[test]
        fn the_turn_comes_within_the_deadline_and_in_the_window_or_at_the_deadline(
            at in 0..10 * DAY_S, random: u32, start in 0u32..1_440, length in 1u32..=1_440, deadline in 1u32..200,
            spread in 0u32..=86_400,
        ) {
            let configuration = configuration(start, length, deadline, spread);
            let time = EpochMillis::from_seconds(MIDNIGHT + at);
            let turn = Turn::draw(time, &configuration, random);
            let wait = turn.wait_ms(time, &configuration);
            let deadline_ms = u64::from(deadline) * HOUR * 1_000;
            prop_assert!(wait <= deadline_ms);
            let begin = time.offset(wait as i64);
            prop_assert_eq!(turn.wait_ms(begin, &configuration), 0);
            let minute = (begin.seconds() / 60 % 1_440 + 1_440 - u64::from(start)) % 1_440;
            prop_assert!(wait == deadline_ms || minute < u64::from(length) && begin.seconds() >= turn.from_s);
            // A minute before it was not its turn yet.
            if wait >= 60_000 && wait < deadline_ms {
                prop_assert!(turn.wait_ms(time.offset(wait as i64 - 60_000), &configuration) == 60_000);
            }
        }

        #[test]
        fn a_clock_that_goes_back_makes_nobody_wait_longer_than_at_first(at in 0..DAY_S, back in 1..DAY_S, random: u32) {
            let configuration = configuration(0, 1_440, 100, 3_600);
            let time = EpochMillis::from_seconds(MIDNIGHT + DAY_S + at);
            let turn = Turn::draw(time, &configuration, random);
            let earlier = EpochMillis::from_seconds(time.seconds() - back);
            let moved = turn.moved(earlier).unwrap();
            prop_assert_eq!(moved.wait_ms(earlier, &configuration), turn.wait_ms(time, &configuration));
            prop_assert_eq!(moved.moved(earlier), None);
        }
    }
}
