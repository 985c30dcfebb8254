use super::*;
use heapless::Vec;

const POLICY: Policy = Policy {
    backoff_floor_ms: 1_000,
    backoff_cap_ms: 60_000,
    healthy_ms: 30_000,
    connect_timeout_ms: 10_000,
    answer_timeout_ms: 5_000,
    token_life_s: 3_600,
};
const KEEP_ALIVE_S: u32 = 20;

fn fresh() -> Session {
    Session::new(POLICY, KEEP_ALIVE_S, Uptime(0), 0)
}

fn connecting(now: Uptime) -> Session {
    let mut session = fresh();
    assert_eq!(session.poll_output(now, true), Some(Request::Connect));
    session
}

fn running(now: Uptime) -> Session {
    let mut session = connecting(now);
    assert!(session.connected(now));
    assert_eq!(session.poll_output(now, true), Some(Request::Subscribe));
    session.subscribed(now, true, 0);
    assert!(session.is_running());
    session
}

/// The next time at which the session wants to connect.
fn next_attempt(session: &mut Session) -> Uptime {
    let at = session.next_deadline(true).unwrap();
    assert_eq!(session.poll_output(Uptime(at.0 - 1), true), None);
    assert_eq!(session.poll_output(at, true), Some(Request::Connect));
    at
}

#[test]
fn there_is_no_connection_before_the_time_is_plausible() {
    let mut session = fresh();
    assert_eq!(session.poll_output(Uptime(0), false), None);
    assert_eq!(session.next_deadline(false), None);
    assert_eq!(session.poll_output(Uptime(9), true), Some(Request::Connect));
    assert_eq!(session.poll_output(Uptime(9), true), None, "one attempt at a time");
}

#[test]
fn connack_then_suback_then_running() {
    let mut session = connecting(Uptime(0));
    assert!(!session.is_running());
    session.subscribed(Uptime(1), true, 0);
    assert!(!session.is_running(), "a SUBACK before CONNACK counts for nothing");
    assert!(session.connected(Uptime(2)));
    assert!(!session.is_running());
    assert!(!session.connected(Uptime(3)), "a second CONNACK counts for nothing");
    assert_eq!(session.poll_output(Uptime(3), true), Some(Request::Subscribe));
    assert_eq!(session.poll_output(Uptime(3), true), None);
    session.subscribed(Uptime(4), true, 0);
    assert!(session.is_running());
    assert_eq!(session.connections, 1);
}

#[test]
fn silence_in_each_phase_is_named_and_ends_the_attempt() {
    let mut session = connecting(Uptime(0));
    assert_eq!(session.overdue(Uptime(9_999)), None);
    assert_eq!(session.overdue(Uptime(10_000)), Some(Failure::ConnectTimeout));

    session.connected(Uptime(0));
    assert_eq!(session.overdue(Uptime(4_999)), None);
    assert_eq!(session.overdue(Uptime(5_000)), Some(Failure::SubscribeTimeout));

    let mut session = running(Uptime(0));
    assert_eq!(session.overdue(Uptime(29_999)), None);
    assert_eq!(session.overdue(Uptime(30_000)), Some(Failure::KeepAlive));
    session.heard(Uptime(10_000));
    assert_eq!(session.overdue(Uptime(39_999)), None);
    assert_eq!(session.next_deadline(true), Some(Uptime(40_000)));
    session.give_up(Uptime(40_000), Failure::KeepAlive, 0);
    assert_eq!(session.poll_output(Uptime(40_000), true), Some(Request::Disconnect));
    assert_eq!(session.last_failure, Some(Failure::KeepAlive));
}

#[test]
fn a_message_in_pieces_extends_the_patience_for_an_answer_and_an_answered_ping_does_not() {
    let mut session = running(Uptime(0));
    let sent = Uptime(1_000);
    let due = |session: &Session| session.answer_due(sent).0;
    session.heard(Uptime(5_999));
    assert_eq!(due(&session), 6_000);
    session.receiving(Uptime(5_999));
    assert_eq!(due(&session), 10_999);
    session.receiving(Uptime(10_998));
    assert_eq!(due(&session), 15_998);
    // The next packet stands behind its end: from there on once more, and only once.
    session.heard(Uptime(15_000));
    assert_eq!(due(&session), 20_000);
    session.heard(Uptime(19_000));
    assert_eq!(due(&session), 20_000);
    assert_eq!(session.answer_due(Uptime(19_000)), Uptime(24_000), "what is sent behind it has its own time");
    // The next connection begins with nothing on its way.
    session.receiving(Uptime(19_000));
    session.lost(Uptime(20_000), Failure::AckTimeout, 0);
    let at = next_attempt(&mut session);
    assert!(session.connected(at));
    assert_eq!(session.answer_due(at), at.after(5_000));
    session.heard(at.after(4_000));
    assert_eq!(session.answer_due(at), at.after(5_000));
}

#[test]
fn a_service_that_only_drips_is_waited_for_half_an_hour_and_no_longer() {
    let mut waiting = connecting(Uptime(0));
    waiting.connected(Uptime(0));
    for (mut session, failure) in [(waiting, Some(Failure::SubscribeTimeout)), (running(Uptime(0)), None)] {
        let mut now = Uptime(0);
        while now < session.answer_due(Uptime(0)) {
            assert_eq!(session.overdue(now), None);
            session.receiving(now);
            now = now.after(4_999);
        }
        assert_eq!(session.answer_due(Uptime(0)), Uptime(RECEIVING_MAX_MS));
        assert_eq!(session.overdue(Uptime(RECEIVING_MAX_MS)), failure);
    }
}

#[test]
fn a_refused_subscription_ends_the_connection() {
    let mut session = connecting(Uptime(0));
    session.connected(Uptime(0));
    session.subscribed(Uptime(0), false, 0);
    assert_eq!(session.poll_output(Uptime(0), true), Some(Request::Disconnect));
    assert_eq!(session.last_failure, Some(Failure::SubscribeRefused));
    assert!(!session.is_up());
}

#[test]
fn the_wait_grows_with_each_failure_and_is_never_below_the_floor() {
    let mut session = connecting(Uptime(0));
    let mut now = Uptime(0);
    let mut waits = [0; 9];
    for wait in &mut waits {
        session.lost(now, Failure::Refused, u32::MAX);
        let at = next_attempt(&mut session);
        *wait = at.since(now);
        now = at;
    }
    assert_eq!(waits, [1_999, 3_999, 7_999, 15_999, 31_999, 59_999, 59_999, 59_999, 59_999]);
    session.lost(now, Failure::Refused, 0);
    assert_eq!(next_attempt(&mut session).since(now), 1_000);
    assert_eq!((session.failures, session.last_failure), (10, Some(Failure::Refused)));
}

#[test]
fn only_a_healthy_connection_forgets_the_failures() {
    for (lasted, expected) in [(29_999, 59_999), (30_000, 1_999)] {
        let mut session = fresh();
        for _ in 0..8 {
            session.phase = Phase::Connecting { since: Uptime(0) };
            session.lost(Uptime(0), Failure::Refused, u32::MAX);
        }
        session.phase = Phase::Running { since: Uptime(0), heard: Uptime(0) };
        let end = Uptime(lasted);
        session.lost(end, Failure::LinkLost, u32::MAX);
        assert_eq!(next_attempt(&mut session).since(end), expected);
    }
}

#[test]
fn what_comes_late_changes_nothing() {
    let mut session = connecting(Uptime(0));
    session.lost(Uptime(5), Failure::Refused, 0);
    session.lost(Uptime(6), Failure::LinkLost, 0);
    assert!(!session.connected(Uptime(7)));
    session.subscribed(Uptime(8), true, 0);
    session.give_up(Uptime(9), Failure::KeepAlive, 0);
    assert_eq!((session.failures, session.last_failure), (1, Some(Failure::Refused)));
    assert!(!session.is_running() && !session.is_up());
    assert_eq!(session.poll_output(Uptime(9), true), None, "no DISCONNECT for what is already gone");
}

#[test]
fn a_closed_session_disconnects_once_and_never_comes_back() {
    let mut session = running(Uptime(0));
    session.close();
    assert_eq!(session.poll_output(Uptime(1), true), Some(Request::Disconnect));
    assert_eq!(session.poll_output(Uptime(u64::MAX), true), None);
    assert_eq!(session.next_deadline(true), None);
    session.lost(Uptime(2), Failure::LinkLost, 0);
    assert_eq!(session.failures, 0);
}

#[test]
fn a_disconnect_that_is_due_is_not_forgotten_by_closing() {
    let mut session = connecting(Uptime(0));
    session.connected(Uptime(0));
    session.subscribed(Uptime(0), false, 0);
    session.close();
    assert_eq!(session.poll_output(Uptime(0), true), Some(Request::Disconnect));
}

#[test]
fn the_first_attempt_comes_at_a_random_point_within_the_floor() {
    for (random, at) in [(0, 50), (1 << 31, 550), (u32::MAX, 1_049)] {
        let mut session = Session::new(POLICY, KEEP_ALIVE_S, Uptime(50), random);
        assert_eq!(next_attempt(&mut session), Uptime(at));
    }
    let unchecked = Policy { backoff_floor_ms: 0, ..POLICY };
    assert_eq!(Session::new(unchecked, KEEP_ALIVE_S, Uptime(0), 0).backoff.fail(0), 1);
}

#[test]
fn a_second_suback_changes_nothing() {
    let mut session = running(Uptime(0));
    session.subscribed(Uptime(9_000), false, 0);
    assert!(session.is_running());
    session.subscribed(Uptime(9_000), true, 0);
    assert_eq!(session.overdue(Uptime(30_000)), Some(Failure::KeepAlive), "a SUBACK restarts no timer");
}

#[test]
fn beginning_again_forgets_failures_and_the_wait_and_drops_what_there_is() {
    let mut session = connecting(Uptime(5));
    session.lost(Uptime(5), Failure::Dns, u32::MAX);
    for _ in 0..7 {
        let at = next_attempt(&mut session);
        session.lost(at, Failure::Dns, u32::MAX);
    }
    let waits = session.next_deadline(true).unwrap();
    session.begin_again(Uptime(1_000_000), 500);
    assert_eq!(session.next_deadline(true), Some(Uptime(1_000_500)));
    assert!(waits > Uptime(0));
    assert_eq!(session.poll_output(Uptime(1_000_000), true), None, "there was nothing to drop");
    let at = next_attempt(&mut session);
    session.lost(at, Failure::Dns, u32::MAX);
    let wait = session.next_deadline(true).unwrap().since(at);
    assert!(wait <= 2 * u64::from(POLICY.backoff_floor_ms), "{wait}: as after the first failure");

    for mut session in [connecting(Uptime(5)), running(Uptime(5))] {
        session.begin_again(Uptime(10), 7);
        assert_eq!(session.poll_output(Uptime(10), true), Some(Request::Disconnect));
        assert_eq!(session.next_deadline(true), Some(Uptime(17)));
        assert_eq!(session.failures, 0, "on purpose");
    }
    let mut session = running(Uptime(5));
    session.close();
    session.begin_again(Uptime(10), 7);
    assert_eq!(session.next_deadline(true), None, "what is closed stays closed");
}

#[test]
fn another_keep_alive_counts_from_then_on() {
    let mut session = running(Uptime(0));
    assert_eq!(session.overdue(Uptime(29_999)), None);
    session.configure(5);
    assert_eq!(session.overdue(Uptime(7_499)), None);
    assert_eq!(session.overdue(Uptime(7_500)), Some(Failure::KeepAlive));
}

#[test]
fn each_failed_attempt_is_followed_by_one_for_the_next_address_and_the_good_one_stays() {
    let mut turn = AddressTurn::default();
    let mut tried = Vec::<usize, 8>::new();
    for _ in 0..4 {
        tried.push(turn.choose(3)).unwrap();
        turn.failed();
    }
    assert_eq!(tried, [0, 1, 2, 0]);
    assert_eq!((turn.choose(3), turn.choose(3)), (1, 1), "until it fails");
    assert_eq!((turn.choose(1), turn.choose(0)), (0, 0));
    turn = AddressTurn(u16::MAX);
    turn.failed();
    assert_eq!(turn.choose(3), 0);
}
