extern crate std;
use super::sntp::{Answer, PACKET_LEN, check, request};
use super::*;
use proptest::prelude::*;
use std::string::ToString;

const BUILD: EpochMillis = EpochMillis::from_seconds(1_790_000_000);
/// The true time at start.
const START: EpochMillis = EpochMillis::from_seconds(1_800_000_000);
const NONCE: [u8; 8] = *b"nonce-42";

fn ntp(time: EpochMillis) -> [u8; 8] {
    let seconds = (time.seconds() + 2_208_988_800) as u32;
    let fraction = (((time.0 % 1000) << 32) / 1000 + 1) as u32;
    (u64::from(seconds) << 32 | u64::from(fraction)).to_be_bytes()
}

/// What an honest server answers at `time`.
fn honest(request: &[u8; PACKET_LEN], time: EpochMillis) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    packet[0] = (4 << 3) | 4;
    packet[1] = 2;
    packet[24..32].copy_from_slice(&request[40..48]);
    packet[32..40].copy_from_slice(&ntp(time));
    packet[40..48].copy_from_slice(&ntp(time));
    packet
}

/// A clock with its servers' view of the world: `START` plus uptime.
struct Bench {
    clock: Clock,
    now: Uptime,
}

impl Bench {
    fn new(servers: usize) -> Self {
        Self { clock: Clock::new(BUILD, None, servers), now: Uptime(0) }
    }

    fn true_time(&self) -> EpochMillis {
        EpochMillis(START.0 + self.now.0)
    }

    /// Runs to the next request.
    fn ask(&mut self) -> Query {
        for _ in 0..20 {
            self.now = self.now.max(self.clock.next_deadline());
            if let Some(query) = self.clock.poll_output(self.now, NONCE) {
                return query;
            }
        }
        panic!("the clock asks nobody");
    }

    /// One exchange with a round trip of 20 ms; `answer` makes the datagram from the request and the true time.
    fn exchange(
        &mut self,
        answer: impl FnOnce(&[u8; PACKET_LEN], EpochMillis) -> [u8; PACKET_LEN],
    ) -> Result<Option<TimeSet>, TimeError> {
        let query = self.ask();
        self.now = self.now.after(10);
        let datagram = answer(&query.packet, self.true_time());
        self.now = self.now.after(10);
        self.clock.answer(self.now, &datagram)
    }

    /// An exchange with a server whose clock differs by `millis`.
    fn exchange_with(&mut self, millis: i64) -> Result<Option<TimeSet>, TimeError> {
        self.exchange(|request, time| honest(request, time.offset(millis)))
    }

    /// A connection is verified.
    fn confirm(&mut self) -> EpochMillis {
        self.clock.attempt();
        self.clock.confirm(self.now);
        self.clock.floor(self.now).unwrap()
    }

    fn error_ms(&self) -> i64 {
        self.clock.time(self.now).unwrap().since(self.true_time())
    }

    fn synchronised(servers: usize) -> Self {
        let mut bench = Self::new(servers);
        while bench.exchange_with(0).unwrap().is_none() {}
        bench
    }
}

#[test]
fn an_honest_server_sets_the_clock_to_within_the_stated_error() {
    let bench = Bench::synchronised(1);
    assert!(bench.error_ms().unsigned_abs() <= bench.clock.error_ms(bench.now).unwrap());
    assert_eq!(bench.clock.quality(bench.now), ClockQuality::Synchronised);
    assert!(bench.clock.is_plausible(bench.now));
}

#[test]
fn every_field_of_an_answer_is_checked_and_refused_by_name() {
    type Alter = fn(&mut [u8; PACKET_LEN]);
    let cases: [(Alter, TimeError); 16] = [
        (|p| p[24] ^= 1, TimeError::Originate),
        (|p| p[24..32].fill(0), TimeError::Originate),
        (|p| p[0] = (4 << 3) | 3, TimeError::Mode),
        (|p| p[0] = (4 << 3) | 5, TimeError::Mode),
        (|p| p[0] = (2 << 3) | 4, TimeError::Version),
        (|p| p[0] |= 3 << 6, TimeError::Alarm),
        (|p| p[1] = 0, TimeError::KissOther),
        (|p| (p[1] = 0, p[12..16].copy_from_slice(b"RATE")).1, TimeError::KissRate),
        (|p| (p[1] = 0, p[12..16].copy_from_slice(b"DENY")).1, TimeError::KissDeny),
        (|p| (p[1] = 0, p[12..16].copy_from_slice(b"RSTR")).1, TimeError::KissDeny),
        (|p| p[1] = 16, TimeError::Stratum),
        (|p| p[40..48].fill(0), TimeError::Zero),
        (|p| p[32..40].fill(0), TimeError::Zero),
        (|p| p[35] = p[35].wrapping_add(60), TimeError::Order),
        (|p| p[35] = p[35].wrapping_sub(60), TimeError::Order),
        (|p| p[8..12].copy_from_slice(&(2u32 << 16).to_be_bytes()), TimeError::RootDistance),
    ];
    for (alter, error) in cases {
        let mut bench = Bench::new(1);
        let result = bench.exchange(|request, time| {
            let mut packet = honest(request, time);
            alter(&mut packet);
            packet
        });
        assert_eq!(result, Err(error), "{error}");
        assert_eq!((bench.clock.quality(bench.now), bench.clock.refused()), (ClockQuality::Unset, 1));
    }
    let mut bench = Bench::new(1);
    let query = bench.ask();
    assert_eq!(bench.clock.answer(bench.now, &honest(&query.packet, START)[..47]), Err(TimeError::Length));
}

#[test]
fn a_root_distance_up_to_the_bound_is_accepted() {
    let with_dispersion = |value: u32| {
        Bench::new(1).exchange(|request, time| {
            let mut packet = honest(request, time);
            packet[8..12].copy_from_slice(&value.to_be_bytes());
            packet
        })
    };
    assert!(with_dispersion(3 << 15).is_ok());
    assert_eq!(with_dispersion((3 << 15) + 66), Err(TimeError::RootDistance));
}

#[test]
fn a_forged_answer_does_not_keep_the_true_one_out() {
    let mut bench = Bench::new(1);
    let query = bench.ask();
    let mut forged = honest(&query.packet, START.offset(9_999_999));
    forged[24] ^= 1;
    assert_eq!(bench.clock.answer(bench.now, &forged), Err(TimeError::Originate));
    assert!(bench.clock.answer(bench.now, &honest(&query.packet, START)).unwrap().is_some());
    assert_eq!(bench.clock.answer(bench.now, &honest(&query.packet, START)), Err(TimeError::Unasked));
}

#[test]
fn zero_past_and_far_future_times_are_refused() {
    for (time, error) in [
        (EpochMillis::from_seconds(1), TimeError::BeforeFloor),
        (BUILD.offset(-1_000), TimeError::BeforeFloor),
        (EpochMillis::from_seconds(946_684_800), TimeError::BeforeFloor),
        (BUILD.offset(((SERVICE_YEARS + 1) * 365 * 86_400_000) as i64), TimeError::AfterCeiling),
    ] {
        let mut bench = Bench::new(1);
        assert_eq!(bench.exchange(|request, _| honest(request, time)), Err(error), "{time}");
        assert!(!bench.clock.is_plausible(bench.now));
    }
}

#[test]
fn a_time_after_2036_is_read_in_its_era() {
    let late = EpochMillis::from_seconds(2_090_000_000);
    let mut bench =
        Bench { clock: Clock::new(EpochMillis::from_seconds(2_080_000_000), None, 1), now: Uptime(0) };
    let set = bench.exchange(|request, _| honest(request, late)).unwrap().unwrap();
    assert!(set.time.since(late).abs() <= 11, "{}", set.time);
}

#[test]
fn a_stored_time_is_the_floor_unless_it_is_damage() {
    let stored = Some(START.offset(10_000));
    let mut bench = Bench { clock: Clock::new(BUILD, stored, 1), now: Uptime(0) };
    assert_eq!(bench.exchange_with(0), Err(TimeError::BeforeFloor));
    assert!(bench.exchange_with(20_000).is_ok());
    let mut bench = Bench { clock: Clock::new(BUILD, Some(EpochMillis(u64::MAX)), 1), now: Uptime(0) };
    assert!(bench.exchange_with(0).unwrap().is_some());
}

#[test]
fn the_confirmed_time_becomes_the_floor() {
    let mut bench = Bench::synchronised(1);
    assert_eq!(bench.clock.floor(bench.now), None, "no connection has confirmed it");
    let floor = bench.confirm();
    let error = bench.clock.error_ms(bench.now).unwrap() as i64;
    assert_eq!(floor, bench.clock.time(bench.now).unwrap().offset(-error - FLOOR_MARGIN_MS));
    bench.clock.confirm(Uptime(0));
    assert_eq!(bench.clock.floor(bench.now), Some(floor), "the floor never falls");
    bench.now = bench.now.after(3_600_000);
    assert!(bench.clock.floor(bench.now).unwrap().since(floor) > 3_590_000, "it rises with the clock");
    let mut unset = Clock::new(BUILD, None, 1);
    unset.attempt();
    unset.confirm(Uptime(5));
    assert_eq!(unset.floor(Uptime(5)), None);
    bench.now = bench.clock.next_deadline();
    assert_eq!(bench.exchange_with(-8 * POLL_MS as i64), Err(TimeError::BeforeFloor));
}

#[test]
fn a_slow_answer_says_nothing_about_the_time() {
    let mut bench = Bench::new(1);
    let query = bench.ask();
    let datagram = honest(&query.packet, START);
    bench.now = bench.now.after(ANSWER_TIMEOUT_MS);
    assert_eq!(bench.clock.answer(bench.now, &datagram), Err(TimeError::RoundTrip));
    bench.clock.poll_output(bench.now, NONCE);
    assert_eq!(bench.clock.answer(bench.now, &datagram), Err(TimeError::Unasked));
}

#[test]
fn the_first_time_needs_two_servers_that_agree() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.exchange_with(3_600_000), Ok(None));
    assert_eq!(bench.clock.quality(bench.now), ClockQuality::Unset);
    assert_eq!(bench.exchange_with(0), Err(TimeError::Disagree));
    assert_eq!(bench.exchange_with(3_600_000), Err(TimeError::Disagree));
    assert_eq!(bench.clock.quality(bench.now), ClockQuality::Unset);

    let mut bench = Bench::new(3);
    assert_eq!(bench.exchange_with(3_600_000), Ok(None));
    assert_eq!(bench.exchange_with(0), Err(TimeError::Disagree));
    assert!(bench.exchange_with(0).unwrap().is_some());
    assert!(bench.error_ms().abs() < 20);
}

#[test]
fn the_second_of_two_servers_may_be_silent() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.ask().server, 0);
    bench.now = bench.now.after(10);
    // Server 0 answers, server 1 never does: only once it counts as silent is server 0 its own second opinion.
    let first = honest(&request(NONCE), bench.true_time());
    assert_eq!(bench.clock.answer(bench.now, &first), Ok(None));
    let mut unanswered = 0;
    while bench.clock.quality(bench.now) == ClockQuality::Unset {
        let query = bench.ask();
        if query.server == 0 {
            let again = honest(&query.packet, bench.true_time());
            let set = bench.clock.answer(bench.now, &again).unwrap();
            assert_eq!(set.is_some(), unanswered >= SILENT_AFTER, "after {unanswered} without an answer");
        } else {
            unanswered += 1;
            bench.now = bench.now.after(ANSWER_TIMEOUT_MS);
        }
    }
    assert!(bench.now.0 < CANDIDATE_MS, "{:?}", bench.now);
}

#[test]
fn servers_are_asked_in_turn_and_none_too_often() {
    let mut bench = Bench::new(3);
    let mut last = [None::<Uptime>; 3];
    let mut counts = [0; 3];
    for _ in 0..60 {
        let server = bench.ask().server;
        if let Some(before) = last[server] {
            assert!(bench.now.since(before) >= MIN_INTERVAL_MS);
        }
        last[server] = Some(bench.now);
        counts[server] += 1;
    }
    assert_eq!(counts, [20; 3]);
    // Silence makes the requests rare: sixty of them took longer than three hours.
    assert!(bench.now.0 > 3 * 3_600_000, "{:?}", bench.now);
}

#[test]
fn a_kiss_of_death_is_obeyed() {
    let kiss = |code: &'static [u8; 4]| {
        move |request: &[u8; PACKET_LEN], time| {
            let mut packet = honest(request, time);
            packet[1] = 0;
            packet[12..16].copy_from_slice(code);
            packet
        }
    };
    let mut bench = Bench::new(1);
    assert_eq!(bench.exchange(kiss(b"RATE")), Err(TimeError::KissRate));
    let told = bench.now;
    bench.ask();
    assert!(bench.now.since(told) >= RATE_HOLDOFF_MS);

    let mut bench = Bench::new(2);
    assert_eq!(bench.exchange(kiss(b"DENY")), Err(TimeError::KissDeny));
    for _ in 0..20 {
        assert_eq!(bench.ask().server, 1);
    }

    let mut bench = Bench::new(1);
    assert_eq!(bench.exchange(kiss(b"RSTR")), Err(TimeError::KissDeny));
    let told = bench.now;
    bench.ask();
    assert!(bench.now.since(told) >= DENY_HOLDOFF_MS, "asked again after a day");
}

#[test]
fn small_differences_are_slewed_and_time_never_goes_back() {
    for change in [-(STEP_MS as i64) + 4, STEP_MS as i64 - 4] {
        let mut bench = Bench::synchronised(1);
        let set = bench.exchange_with(change).unwrap().unwrap();
        assert!(!set.step);
        let mut last = bench.clock.time(bench.now).unwrap();
        let asked = bench.now;
        while bench.now.since(asked) < 300_000 {
            bench.now = bench.now.after(10);
            let time = bench.clock.time(bench.now).unwrap();
            assert!(time >= last && time.since(last) <= 11);
            last = time;
        }
        assert!((bench.error_ms() - change).abs() <= 2, "{} {change}", bench.error_ms());
        assert_eq!(bench.clock.steps(), 0);
    }
}

#[test]
fn a_step_needs_a_second_answer_and_is_counted() {
    let mut bench = Bench::synchronised(1);
    assert_eq!(bench.exchange_with(5_000), Ok(None));
    assert!(bench.error_ms().abs() < 20);
    let set = bench.exchange_with(5_000).unwrap().unwrap();
    assert!(set.step && set.change_ms.unwrap() > 4_900);
    assert!((bench.error_ms() - 5_000).abs() < 20);
    assert_eq!(bench.clock.steps(), 1);
}

#[test]
fn the_clock_is_in_holdover_only_after_four_polls_without_an_answer() {
    let mut bench = Bench::synchronised(1);
    bench.now = bench.now.after(4 * POLL_MS);
    assert_eq!(bench.clock.quality(bench.now), ClockQuality::Synchronised);
    bench.now = bench.now.after(1);
    assert_eq!(bench.clock.quality(bench.now), ClockQuality::Holdover);
    bench.exchange_with(0).unwrap();
    assert_eq!(bench.clock.quality(bench.now), ClockQuality::Synchronised);
}

#[test]
fn a_set_clock_asks_once_in_a_poll_period_and_every_server_in_turn() {
    let mut bench = Bench::synchronised(3);
    for expected in [2, 0, 1, 2] {
        let before = bench.now;
        let server = bench.ask().server;
        assert_eq!(server, expected);
        assert!(bench.now.since(before) > POLL_MS - 100 && bench.now.since(before) <= POLL_MS);
        let answer = honest(&request(NONCE), bench.true_time());
        bench.clock.answer(bench.now, &answer).unwrap();
    }
}

#[test]
fn a_liar_is_no_second_opinion_for_itself_when_answers_of_others_are_lost() {
    let mut bench = Bench::new(3);
    let lie = 10 * 86_400_000;
    for _ in 0..8 {
        let query = bench.ask();
        if query.server == 0 {
            let answer = honest(&query.packet, bench.true_time().offset(lie));
            // Nobody else has answered yet; one of the others is still no more than slow.
            let result = bench.clock.answer(bench.now, &answer);
            assert!(result.unwrap().is_none(), "one liar has set the clock at {:?}", bench.now);
        }
        if bench.now.0 > 60_000 {
            break;
        }
        bench.now = bench.now.after(ANSWER_TIMEOUT_MS);
    }
    assert!(bench.now.0 > 30_000);
}

#[test]
fn an_old_first_answer_is_no_opinion_any_more() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.exchange_with(0), Ok(None));
    bench.now = bench.now.after(CANDIDATE_MS);
    assert_eq!(bench.exchange_with(0), Ok(None));
    assert!(bench.exchange_with(0).unwrap().is_some());

    // Nor does one from before a slew, or from before the clock was forgotten.
    let mut bench = Bench::synchronised(3);
    assert_eq!(bench.exchange_with(9_000), Ok(None));
    assert!(bench.exchange_with(0).unwrap().is_some());
    assert_eq!(bench.exchange_with(9_000), Ok(None));
    bench.clock.distrust(bench.now);
    assert_eq!(bench.exchange_with(9_000), Ok(None));
}

#[test]
fn versions_3_and_4_are_taken_and_every_other_is_refused_by_name() {
    for version in 0..8 {
        let result = Bench::new(1).exchange(|request, time| {
            let mut packet = honest(request, time);
            packet[0] = version << 3 | 4;
            packet
        });
        match version {
            3 | 4 => assert!(result.unwrap().is_some(), "{version}"),
            _ => assert_eq!(result, Err(TimeError::Version), "{version}"),
        }
    }
}

#[test]
fn answers_agree_within_their_errors_and_half_a_second_and_no_more() {
    for (apart, agree) in [(500, true), (525, true), (531, false), (5_000, false)] {
        let mut bench = Bench::synchronised(2);
        bench.now = bench.now.after(POLL_MS);
        assert_eq!(bench.exchange_with(9_000), Ok(None));
        assert_eq!(bench.exchange_with(9_000 + apart).is_ok(), agree, "{apart} ms");
    }
}

#[test]
fn a_starting_device_takes_two_servers_that_differ_by_seconds_as_one_with_that_error() {
    for (apart, agree) in
        [(0, true), (800, true), (-800, true), (2_000, true), (2_031, false), (3_600_000, false)]
    {
        let mut bench = Bench::new(2);
        assert_eq!(bench.exchange_with(0), Ok(None));
        let set = bench.exchange_with(apart);
        if !agree {
            assert_eq!(set, Err(TimeError::Disagree), "{apart} ms");
            let told = bench.clock.disagreement().expect("who they are");
            assert_eq!(told.servers, [0, 1]);
            assert!(told.apart_ms.abs_diff(apart.unsigned_abs()) < 20, "{told:?}");
            continue;
        }
        // Whichever of the two is right, the clock is no further from it than it says.
        let (off, stated) = (bench.error_ms(), bench.clock.error_ms(bench.now).unwrap());
        assert!(off.unsigned_abs() <= stated && (off - apart).unsigned_abs() <= stated, "{off} {stated}");
        assert!(stated.abs_diff(apart.unsigned_abs() / 2) < 40, "{apart} ms apart, {stated} ms stated");
        assert!(bench.clock.is_plausible(bench.now));
        assert_eq!(set.unwrap().unwrap().time, bench.clock.time(bench.now).unwrap());
    }
}

#[test]
fn servers_that_go_on_to_differ_keep_a_clock_that_neither_steps_nor_complains() {
    let mut bench = Bench::new(2);
    let mut counted = 0;
    while bench.now.0 < 10 * 86_400_000 {
        let query = bench.ask();
        let lie = if query.server == 0 { 0 } else { 800 };
        let answer = honest(&query.packet, bench.true_time().offset(lie));
        bench.now = bench.now.after(10);
        counted += u32::from(bench.clock.answer(bench.now, &answer).unwrap().is_some());
    }
    assert!(counted > 100, "{counted}");
    assert_eq!((bench.clock.steps(), bench.clock.refused()), (0, 0));
    assert_eq!(bench.clock.quality(bench.now), ClockQuality::Synchronised);
    let stated = bench.clock.error_ms(bench.now).unwrap();
    assert!(stated < 1_000 && bench.error_ms().unsigned_abs() <= stated, "{stated}");
    // One of them alone that begins to lie by more is refused all the same.
    let mut refused = 0;
    for _ in 0..20 {
        let query = bench.ask();
        let lie = if query.server == 0 { 0 } else { 60_000 };
        let answer = honest(&query.packet, bench.true_time().offset(lie));
        refused += u32::from(bench.clock.answer(bench.now, &answer).is_err());
    }
    assert!(refused > 0 && bench.error_ms().abs() < 1_000);
}

/// What is said of servers that never answer, within so many days: when, and of whom.
fn silences(bench: &mut Bench, days: u64) -> std::vec::Vec<(u64, std::vec::Vec<Outcome>)> {
    let mut said = std::vec::Vec::new();
    while bench.now.0 < days * 86_400_000 {
        let server = bench.ask().server;
        match server {
            0 => bench.now = bench.now.after(ANSWER_TIMEOUT_MS),
            1 => bench.clock.unknown(bench.now),
            2 => bench.clock.unreachable(bench.now),
            _ => {
                let mut forged = honest(&request(NONCE), bench.true_time());
                forged[24] ^= 1;
                assert_eq!(bench.clock.answer(bench.now, &forged), Err(TimeError::Originate));
                bench.now = bench.now.after(ANSWER_TIMEOUT_MS);
            }
        }
        bench.clock.postpone(bench.now);
        if let Some(outcomes) = bench.clock.poll_silence(bench.now) {
            said.push((bench.now.0, outcomes.to_vec()));
        }
        assert_eq!(bench.clock.poll_silence(bench.now), None, "said once");
    }
    said
}

#[test]
fn silence_is_told_after_the_first_round_and_then_ever_more_rarely() {
    let mut bench = Bench::new(4);
    let said = silences(&mut bench, 20);
    let all =
        [Outcome::NoAnswer, Outcome::UnknownName, Outcome::Unreachable, Outcome::Stray(TimeError::Originate)];
    assert!(said[0].0 < 60_000, "{said:?}");
    assert!(said.iter().all(|(_, outcomes)| *outcomes == all), "{said:?}");
    let gaps: std::vec::Vec<u64> = said.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.windows(2).all(|pair| pair[1] + MAX_INTERVAL_MS >= pair[0]), "{gaps:?}");
    assert!(
        gaps.iter().all(|gap| (REPORT_MIN_MS..=REPORT_MAX_MS + MAX_INTERVAL_MS).contains(gap)),
        "{gaps:?}"
    );
    assert!((20..40).contains(&said.len()), "{} lines in 20 days", said.len());
}

#[test]
fn servers_that_answer_are_not_called_silent_and_a_set_clock_only_in_holdover() {
    let mut bench = Bench::synchronised(2);
    assert_eq!(bench.clock.poll_silence(bench.now), None);
    let said = silences(&mut bench, 1);
    assert!(said[0].0 > 4 * POLL_MS, "{said:?}");
    // A refusal says itself what it is.
    let mut bench = Bench::new(2);
    for _ in 0..10 {
        assert_eq!(
            bench.exchange(|request, _| honest(request, BUILD.offset(-1_000))),
            Err(TimeError::BeforeFloor)
        );
        assert_eq!(bench.clock.poll_silence(bench.now), None);
    }
}

#[test]
fn a_step_during_the_handshake_is_not_confirmed_by_it() {
    let years = 18 * 365 * 86_400_000;
    let mut bench = Bench::synchronised(1);
    bench.clock.attempt();
    assert_eq!(bench.exchange_with(years), Ok(None));
    assert!(bench.exchange_with(years).unwrap().is_some());
    bench.clock.confirm(bench.now);
    assert_eq!(bench.clock.floor(bench.now), None, "the certificate was checked against another time");
}

#[test]
fn a_confirmed_clock_cannot_be_walked_away() {
    let mut bench = Bench::synchronised(1);
    bench.confirm();
    let mut walked = 0;
    for _ in 0..40 {
        if bench.exchange_with(walked + 900_000) == Ok(None) && bench.exchange_with(walked + 900_000).is_ok()
        {
            walked += 900_000;
        }
    }
    assert_eq!(walked, 900_000, "1000 s in all until the next connection");
}

#[test]
fn a_floor_in_the_future_is_given_up_after_a_day_of_agreement_and_not_before() {
    let forged = START.offset(300 * 86_400_000);
    for (servers, lone) in [(1, false), (2, false), (2, true)] {
        let mut bench = Bench { clock: Clock::new(BUILD, Some(forged), servers), now: Uptime(0) };
        let mut set = None;
        while bench.now.0 < 4 * 86_400_000 && set.is_none() {
            let query = bench.ask();
            if lone && query.server == 1 {
                bench.now = bench.now.after(ANSWER_TIMEOUT_MS);
                continue;
            }
            let answer = honest(&query.packet, bench.true_time());
            match bench.clock.answer(bench.now, &answer) {
                Ok(Some(time)) => set = Some(time),
                Ok(None) | Err(TimeError::BeforeFloor) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(set.is_none(), lone, "one of two servers alone is not enough");
        assert!(bench.now.0 >= FLOOR_PATIENCE_MS);
        assert!(lone || bench.error_ms().abs() < 20);
    }
    let mut bench = Bench { clock: Clock::new(BUILD, Some(forged), 1), now: Uptime(0) };
    while bench.now.0 < 3 * FLOOR_PATIENCE_MS {
        assert_eq!(
            bench.exchange(|request, _| honest(request, BUILD.offset(-1_000))),
            Err(TimeError::BeforeFloor)
        );
    }
}

#[test]
fn a_stored_time_before_the_build_raises_nothing() {
    let mut bench = Bench { clock: Clock::new(BUILD, Some(EpochMillis(1)), 1), now: Uptime(0) };
    assert_eq!(
        bench.exchange(|request, _| honest(request, BUILD.offset(-1_000))),
        Err(TimeError::BeforeFloor)
    );
}

#[test]
fn servers_that_disagree_are_asked_ever_less() {
    let mut bench = Bench::new(2);
    let mut requests = 0;
    while bench.now.0 < 86_400_000 {
        let server = bench.ask().server;
        let answer = honest(&request(NONCE), bench.true_time().offset(server as i64 * 3_600_000));
        assert!(bench.clock.answer(bench.now, &answer).unwrap_or(None).is_none());
        requests += 1;
    }
    assert!(requests < 400, "{requests} requests in a day");
}

#[test]
fn looking_up_a_name_is_no_part_of_the_round_trip() {
    let mut bench = Bench::new(1);
    let query = bench.ask();
    bench.now = bench.now.after(5_000);
    bench.clock.sent(bench.now);
    bench.now = bench.now.after(20);
    let answer = honest(&query.packet, bench.true_time());
    assert!(bench.clock.answer(bench.now, &answer).unwrap().is_some());
    assert!(bench.clock.error_ms(bench.now).unwrap() < 50);
}

#[test]
fn a_server_that_cannot_be_reached_makes_way_for_the_next_at_once() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.ask().server, 0);
    bench.clock.unreachable(bench.now);
    assert_eq!((bench.ask().server, bench.now), (1, Uptime(0)));
}

#[test]
fn a_slow_way_does_not_move_a_clock_that_knows_better() {
    let mut bench = Bench::synchronised(1);
    let before = bench.error_ms();
    let query = bench.ask();
    let answer = honest(&query.packet, bench.true_time());
    bench.now = bench.now.after(300);
    let set = bench.clock.answer(bench.now, &answer).unwrap().unwrap();
    assert_eq!((set.change_ms, bench.error_ms()), (Some(0), before));
}

#[test]
fn one_lying_answer_among_true_ones_moves_nothing() {
    let mut bench = Bench::synchronised(3);
    for _ in 0..10 {
        assert_eq!(bench.exchange_with(90_000), Ok(None));
        assert!(bench.exchange_with(0).unwrap().is_some());
        assert!(bench.error_ms().abs() < 20);
    }
    assert_eq!(bench.clock.steps(), 0);
}

#[test]
fn a_confirmed_clock_makes_no_big_jump_and_an_unconfirmed_one_may_be_forgotten() {
    let hour = 3_600_000;
    let mut bench = Bench::synchronised(1);
    bench.confirm();
    assert_eq!(bench.exchange_with(hour), Err(TimeError::Jump));
    assert_eq!(bench.exchange_with(hour), Err(TimeError::Jump));
    for _ in 1..DISTRUST_AFTER {
        bench.clock.distrust(bench.now);
        assert!(bench.error_ms().abs() < 20, "a confirmed clock is not forgotten at once");
    }
    bench.confirm();
    bench.clock.distrust(bench.now);
    assert!(bench.error_ms().abs() < 20, "a verified connection forgives");
    for _ in 1..DISTRUST_AFTER {
        bench.clock.distrust(bench.now);
    }
    assert_eq!(bench.clock.quality(bench.now), ClockQuality::Unset);
    assert_eq!(bench.exchange_with(-hour), Err(TimeError::BeforeFloor), "the floor stays");

    let mut bench = Bench::new(1);
    assert!(bench.exchange_with(hour).unwrap().is_some());
    bench.clock.distrust(bench.now);
    assert!(!bench.clock.is_plausible(bench.now));
    assert!(bench.exchange_with(0).unwrap().is_some());
    assert!(bench.error_ms().abs() < 20);
}

#[test]
fn without_servers_the_clock_holds_over_with_a_growing_error() {
    let mut bench = Bench::synchronised(1);
    let at_first = bench.clock.error_ms(bench.now).unwrap();
    let day = 86_400_000;
    bench.now = bench.now.after(day);
    assert_eq!(bench.clock.quality(bench.now), ClockQuality::Holdover);
    assert_eq!(bench.clock.error_ms(bench.now).unwrap(), at_first + day.div_ceil(DRIFT_DIVISOR));
    assert!(bench.clock.is_plausible(bench.now));
    bench.now = bench.now.after(PLAUSIBLE_ERROR_MS * DRIFT_DIVISOR);
    assert!(!bench.clock.is_plausible(bench.now));
}

#[test]
fn no_configured_server_asks_nobody() {
    let mut clock = Clock::new(BUILD, None, 0);
    assert_eq!(clock.poll_output(Uptime(0), NONCE), None);
    assert_eq!(clock.next_deadline(), Uptime(u64::MAX));
}

#[test]
fn every_refusal_has_its_own_words() {
    let errors = [
        TimeError::Length,
        TimeError::Mode,
        TimeError::Version,
        TimeError::Originate,
        TimeError::Alarm,
        TimeError::Stratum,
        TimeError::KissRate,
        TimeError::KissDeny,
        TimeError::KissOther,
        TimeError::Zero,
        TimeError::Order,
        TimeError::RootDistance,
        TimeError::Unasked,
        TimeError::RoundTrip,
        TimeError::BeforeFloor,
        TimeError::AfterCeiling,
        TimeError::Jump,
        TimeError::Disagree,
    ];
    let words: std::collections::BTreeSet<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), errors.len());
}

proptest! {
    /// Whatever a server says, the clock stays between floor and ceiling, and what it says of its error holds for an
    /// honest server at any delay.
    #[test]
    fn the_error_bound_holds_for_any_delay(there in 0u64..900, hold in 0u64..100, back in 0u64..900, late in 0u64..86_400_000) {
        let mut bench = Bench::new(1);
        bench.now = Uptime(late);
        let query = bench.ask();
        bench.now = bench.now.after(there);
        let mut packet = honest(&query.packet, bench.true_time());
        bench.now = bench.now.after(hold);
        packet[40..48].copy_from_slice(&ntp(bench.true_time()));
        bench.now = bench.now.after(back);
        prop_assert!(bench.clock.answer(bench.now, &packet).unwrap().is_some());
        prop_assert!(bench.error_ms().unsigned_abs() <= bench.clock.error_ms(bench.now).unwrap());
    }

    #[test]
    fn any_datagram_is_judged_without_a_panic(
        mut datagram in proptest::collection::vec(any::<u8>(), 0..80), right_nonce in any::<bool>(), servers in 1usize..4,
    ) {
        let mut bench = Bench::new(servers);
        bench.ask();
        if right_nonce && datagram.len() >= 32 {
            datagram[24..32].copy_from_slice(&NONCE);
        }
        bench.now = bench.now.after(7);
        if let Ok(Some(set)) = bench.clock.answer(bench.now, &datagram) {
            prop_assert!(set.time >= BUILD);
        }
        let answer: Result<Answer, TimeError> = check(&datagram, NONCE);
        prop_assert!(answer.is_err() || right_nonce);
    }
}

/// Honest servers over long times, any delays and any drift within the stated bound: the error never exceeds its bound.
#[test]
fn the_error_bound_holds_over_days_of_drift_slews_and_steps() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let drift_ppm = rng.i64(-100..=100);
        let mut clock = Clock::new(BUILD, None, 2);
        let mut now = Uptime(0);
        let true_time = |now: Uptime| START.offset(now.0 as i64 + now.0 as i64 * drift_ppm / 1_000_000);
        for _ in 0..60 {
            now = now.max(clock.next_deadline());
            let Some(query) = clock.poll_output(now, NONCE) else { continue };
            if rng.u8(0..10) == 0 {
                // Nobody answers for up to two days.
                now = now.after(rng.u64(0..200_000_000));
                clock.poll_output(now, NONCE);
                continue;
            }
            now = now.after(rng.u64(0..900));
            let answer = honest(&query.packet, true_time(now));
            now = now.after(rng.u64(0..900));
            let _may_disagree = clock.answer(now, &answer);
            for _ in 0..3 {
                let (Some(time), Some(bound)) = (clock.time(now), clock.error_ms(now)) else { break };
                let error = time.since(true_time(now)).unsigned_abs();
                assert!(error <= bound, "seed {seed}: {error} ms off, {bound} ms stated");
                now = now.after(rng.u64(0..200_000));
            }
        }
        assert!(clock.time(now).is_some(), "seed {seed}: never set");
    }
}

#[test]
fn other_servers_are_asked_at_once_and_the_time_stays() {
    let mut bench = Bench::new(2);
    bench.exchange_with(0).unwrap();
    bench.exchange_with(0).unwrap();
    let time = bench.clock.time(bench.now).expect("it is set");
    bench.clock.replace(bench.now, 3, 0);
    assert_eq!(bench.clock.time(bench.now), Some(time));
    assert_eq!(bench.clock.next_deadline(), bench.now);
    assert_eq!(bench.ask().server, 0);
    assert_eq!(bench.clock.answer(bench.now, &[0; PACKET_LEN]), Err(TimeError::Originate));
    // The answer to a former server's question is none any more.
    let query = bench.ask();
    bench.clock.replace(bench.now, 2, 0);
    let late = honest(&query.packet, bench.true_time());
    assert_eq!(bench.clock.answer(bench.now, &late), Err(TimeError::Unasked));
}

#[test]
fn servers_on_trial_are_asked_alone_until_one_has_given_an_answer_that_counts() {
    let mut bench = Bench::new(1);
    bench.exchange_with(0).unwrap();
    bench.clock.replace(bench.now, 3, 0b110);
    let from = bench.now;
    let mut asked = std::vec::Vec::new();
    while bench.now.since(from) < 600_000 {
        asked.push((bench.ask().server, bench.now));
    }
    assert!(asked.iter().all(|(server, _)| [1, 2].contains(server)), "{asked:?}");
    assert!((8..30).contains(&asked.len()), "{asked:?}");
    let gaps = |wanted: usize| {
        let at: std::vec::Vec<_> =
            asked.iter().filter(|(server, _)| *server == wanted).map(|(_, at)| at.0).collect();
        at.windows(2).map(|pair| pair[1] - pair[0]).collect::<std::vec::Vec<_>>()
    };
    assert!(gaps(1).iter().chain(&gaps(2)).all(|gap| *gap >= MIN_INTERVAL_MS), "{asked:?}");
    assert_eq!(bench.clock.heard_from(), Some(0), "the one before");
    while bench.exchange_with(0).is_err() {}
    let heard = bench.clock.heard_from().expect("an answer");
    assert!([1, 2].contains(&heard));
    // From then on every server is asked in turn, once in a poll period.
    let all: std::collections::BTreeSet<_> = (0..6)
        .map(|_| {
            bench.exchange_with(0).unwrap();
            bench.clock.heard_from().unwrap()
        })
        .collect();
    assert_eq!(all.len(), 3);
}

#[test]
fn a_clock_that_is_not_set_asks_every_server_though_some_are_on_trial() {
    let mut bench = Bench::new(0);
    bench.clock.replace(bench.now, 2, 0b10);
    let asked: std::collections::BTreeSet<_> = (0..4).map(|_| bench.ask().server).collect();
    assert_eq!(asked.len(), 2);
    bench.now = bench.now.after(MAX_INTERVAL_MS);
    while !matches!(bench.exchange_with(0), Ok(Some(_))) {}
    assert!(bench.clock.is_plausible(bench.now));
}
