//! The port against time servers that misbehave: each lie is refused by its name, and nothing connects before the
//! time is plausible. R-TIME.

mod support;

use device::Note;
use device::clock::{TimeError, Trouble};
use protocol::{Endpoint, EpochMillis};
use simulator::port::Report;
use simulator::time::{Exchange, Progress};
use simulator::time_server::{Behaviour, Fault, TimeServer};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::server::Server;
use support::{Authority, configuration, honest_time, loopback, port, provisioned, run_until_reported};

const YEAR_MS: i64 = 365 * 86_400_000;

fn host_time() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

async fn lying(behaviour: Behaviour) -> TimeServer {
    TimeServer::start(loopback(), behaviour).await.unwrap()
}

async fn faulty(fault: Fault) -> TimeServer {
    lying(Behaviour { fault: Some(fault), ..Behaviour::default() }).await
}

/// Why an answer was refused.
fn refusal(what: &Trouble) -> Option<TimeError> {
    match what {
        Trouble::Refused(_, error) => Some(*error),
        Trouble::Disagree(_) => Some(TimeError::Disagree),
        Trouble::Silence(_) => None,
    }
}

/// What a device wrote down until it was connected, asking these servers in turn.
struct Run {
    refused: Vec<TimeError>,
    /// Refused answers that it counted.
    counted: u32,
    set: EpochMillis,
    /// Connections that the service had seen when the clock was set.
    connections_before: usize,
}

async fn connect_with(time_servers: &[SocketAddr]) -> Run {
    let authority = Authority::new("ours");
    let service = Server::start(&authority.server(&["localhost"]), None).await;
    let configuration = configuration("dev-1", "localhost", service.address.port(), time_servers);
    let mut machine = provisioned(&authority.credentials("dev-1"), &configuration);
    let (port, reports) = port();
    let (mut refused, mut set) = (Vec::new(), None);
    let (run, summary) = run_until_reported(port, reports, &mut machine, |report| {
        let note = match report {
            Report::Warning { what: Some(what), .. } => {
                refused.extend(refusal(what));
                return None;
            }
            Report::Note { note, .. } => note,
            _ => return None,
        };
        match note {
            Note::Time(time) => set = set.or(Some((time.time, service.connections()))),
            Note::Disconnected(failure) => panic!("{failure}"),
            Note::Connected { .. } => {
                let (set, connections_before) = set.expect("no connection without time");
                return Some(Run {
                    refused: std::mem::take(&mut refused),
                    counted: 0,
                    set,
                    connections_before,
                });
            }
            _ => {}
        }
        None
    })
    .await;
    Run { counted: summary.state.time_refused, ..run }
}

/// A device that asks `liar` first and then two honest servers connects only after that, and at the right time.
async fn passes_over(liar: TimeServer) -> Run {
    let honest = (honest_time().await, honest_time().await);
    let run = connect_with(&[liar.address(), honest.0.address(), honest.1.address()]).await;
    assert!((run.set.0 as i64 - host_time()).abs() < 60_000, "{}", run.set);
    assert_eq!(run.connections_before, 0);
    assert_eq!(liar.requests(), 1);
    run
}

/// The same, and it refuses the liar with `error`.
async fn is_refused(liar: TimeServer, error: TimeError) {
    let run = passes_over(liar).await;
    assert_eq!((run.refused, run.counted), (vec![error], 1));
}

/// The same, and what the liar says is counted but no word is lost about it: anybody can send such datagrams.
async fn is_counted(liar: TimeServer) {
    let run = passes_over(liar).await;
    assert_eq!((run.refused, run.counted), (vec![], 1));
}

/// The same, and nothing was heard of the liar.
async fn is_not_heard(liar: TimeServer) {
    let run = passes_over(liar).await;
    assert_eq!((run.refused, run.counted), (vec![], 0));
}

#[tokio::test]
async fn an_honest_server_alone_sets_the_time_and_only_then_the_device_connects() {
    let time = honest_time().await;
    let run = connect_with(&[time.address()]).await;
    assert_eq!((run.refused, run.connections_before), (vec![], 0));
    assert!((run.set.0 as i64 - host_time()).abs() < 60_000, "{}", run.set);
}

#[tokio::test]
async fn an_answer_with_another_originate_is_only_counted() {
    is_counted(faulty(Fault::WrongOriginate).await).await;
}

#[tokio::test]
async fn every_kiss_of_death_is_refused_by_its_kind() {
    is_refused(faulty(Fault::Kiss(*b"RATE")).await, TimeError::KissRate).await;
    is_refused(faulty(Fault::Kiss(*b"DENY")).await, TimeError::KissDeny).await;
    is_refused(faulty(Fault::Kiss(*b"RSTR")).await, TimeError::KissDeny).await;
    is_refused(faulty(Fault::Kiss([0; 4])).await, TimeError::KissOther).await;
}

#[tokio::test]
async fn a_server_that_answers_with_version_3_sets_the_time_and_no_other_version_does() {
    let old = faulty(Fault::Version(3)).await;
    let run = connect_with(&[old.address()]).await;
    assert_eq!((run.refused, run.counted, run.connections_before), (vec![], 0, 0));
    assert!((run.set.0 as i64 - host_time()).abs() < 60_000, "{}", run.set);
    is_refused(faulty(Fault::Version(2)).await, TimeError::Version).await;
    is_refused(faulty(Fault::Version(5)).await, TimeError::Version).await;
}

#[tokio::test]
async fn two_servers_that_are_less_than_a_second_apart_let_a_device_start() {
    let behind = lying(Behaviour { offset_ms: -800, ..Behaviour::default() }).await;
    let run = connect_with(&[behind.address(), honest_time().await.address()]).await;
    assert_eq!((run.refused, run.counted, run.connections_before), (vec![], 0, 0));
    assert!((run.set.0 as i64 - host_time()).abs() < 60_000, "{}", run.set);
}

/// The first line that a device writes about these servers.
async fn first_word(time_servers: &[&str]) -> String {
    let authority = Authority::new("ours");
    let mut draft = configuration("dev-1", "localhost", 8883, &["127.0.0.1:9".parse().unwrap()]).draft();
    draft.time_servers.clear();
    for server in time_servers {
        draft.time_servers.push(Endpoint::parse(server, 123, "time_servers").unwrap()).unwrap();
    }
    let configuration = draft.check().unwrap();
    let mut machine = provisioned(&authority.credentials("dev-1"), &configuration);
    let (port, reports) = port();
    let line = run_until_reported(port, reports, &mut machine, |report| match report {
        Report::Warning { line, .. } => Some(line.clone()),
        _ => None,
    });
    line.await.0
}

#[tokio::test]
async fn what_became_of_each_server_is_said_after_the_first_round() {
    let (silent, stranger) = (faulty(Fault::Silence).await, faulty(Fault::WrongOriginate).await);
    let nobody = UdpSocket::bind(loopback()).unwrap().local_addr().unwrap();
    let [silent, stranger, nobody] =
        [silent.address(), stranger.address(), nobody].map(|address| address.to_string());
    let line = first_word(&["name.invalid", &nobody, &silent, &stranger]).await;
    let expected = format!(
        "no time server gives a time: name.invalid:123: its name has no address; {nobody}: nobody listens there, or no way \
         leads there; {silent}: no answer; {stranger}: no answer but a wrong one: the packet answers no request of this device"
    );
    assert_eq!(line, expected);
}

#[tokio::test]
async fn two_servers_that_are_an_hour_apart_are_named_with_the_difference() {
    let ahead = lying(Behaviour { offset_ms: 3_600_000, ..Behaviour::default() }).await;
    let honest = honest_time().await;
    let [ahead, honest] = [ahead.address(), honest.address()].map(|address| address.to_string());
    let line = first_word(&[&ahead, &honest]).await;
    let start = format!("time refused: {ahead} and {honest} do not agree: 3");
    assert!(line.starts_with(&start) && line.ends_with(" s apart"), "{line}");
}

#[tokio::test]
async fn an_unsynchronised_server_is_refused() {
    is_refused(faulty(Fault::Alarm).await, TimeError::Alarm).await;
}

#[tokio::test]
async fn zero_timestamps_are_refused() {
    is_refused(faulty(Fault::ZeroTimestamps).await, TimeError::Zero).await;
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_only_counted() {
    is_counted(faulty(Fault::CutTo(47)).await).await;
}

#[tokio::test]
async fn a_server_far_from_its_reference_is_refused() {
    let far = Behaviour { root_dispersion_ms: 2_000, ..Behaviour::default() };
    is_refused(lying(far).await, TimeError::RootDistance).await;
}

#[tokio::test]
async fn the_far_past_and_the_far_future_are_refused() {
    let past = Behaviour { offset_ms: -10 * YEAR_MS, ..Behaviour::default() };
    is_refused(lying(past).await, TimeError::BeforeFloor).await;
    let future = Behaviour { offset_ms: 40 * YEAR_MS, ..Behaviour::default() };
    is_refused(lying(future).await, TimeError::AfterCeiling).await;
}

#[tokio::test]
async fn one_server_that_is_an_hour_ahead_is_outvoted_by_two() {
    let ahead = Behaviour { offset_ms: 3_600_000, ..Behaviour::default() };
    is_refused(lying(ahead).await, TimeError::Disagree).await;
}

#[tokio::test]
async fn a_silent_server_is_passed_over() {
    is_not_heard(faulty(Fault::Silence).await).await;
}

#[tokio::test]
async fn an_answer_from_another_port_is_never_heard() {
    // An hour ahead, so that it would not go unnoticed.
    let other = Behaviour { fault: Some(Fault::OtherPort), offset_ms: 3_600_000, ..Behaviour::default() };
    is_not_heard(lying(other).await).await;
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_never_heard() {
    let late = Behaviour { delay: Duration::from_millis(2_500), ..Behaviour::default() };
    is_not_heard(lying(late).await).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_passed_over() {
    let nobody = UdpSocket::bind(loopback()).unwrap().local_addr().unwrap();
    let honest = (honest_time().await, honest_time().await);
    let run = connect_with(&[nobody, honest.0.address(), honest.1.address()]).await;
    assert_eq!((run.refused, run.connections_before), (vec![], 0));
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_silence() {
    let nobody = UdpSocket::bind(loopback()).unwrap().local_addr().unwrap().to_string();
    let silent = faulty(Fault::Silence).await;
    for (server, expected) in [(nobody, Some(Progress::Unreachable)), (silent.address().to_string(), None)] {
        let server = Endpoint::parse(&server, 123, "time_servers").unwrap();
        let mut exchange = Exchange::start(&server, [0x23; 48]);
        assert_eq!(exchange.next().await, Some(Progress::Ready));
        assert!(exchange.send());
        assert_eq!(exchange.next().await, expected);
        assert_eq!(exchange.next().await, None);
    }
    let nowhere = Endpoint::parse("no-such-host.invalid", 123, "time_servers").unwrap();
    assert_eq!(Exchange::start(&nowhere, [0x23; 48]).next().await, Some(Progress::UnknownName));
}

#[tokio::test]
async fn a_device_that_hears_only_lies_does_not_connect() {
    let authority = Authority::new("ours");
    let service = Server::start(&authority.server(&["localhost"]), None).await;
    let (past, alarm) = (
        lying(Behaviour { offset_ms: -10 * YEAR_MS, ..Behaviour::default() }).await,
        faulty(Fault::Alarm).await,
    );
    let time_servers = [past.address(), alarm.address()];
    let configuration = configuration("dev-1", "localhost", service.address.port(), &time_servers);
    let mut machine = provisioned(&authority.credentials("dev-1"), &configuration);
    let (port, reports) = port();
    let mut refused = Vec::new();
    let both = run_until_reported(port, reports, &mut machine, |report| match report {
        Report::Warning { what: Some(what), .. } => {
            refused.extend(refusal(what));
            (refused.len() == 2).then(|| std::mem::take(&mut refused))
        }
        Report::Note { note, .. } => panic!("{note}"),
        _ => None,
    });
    assert_eq!(both.await.0, [TimeError::BeforeFloor, TimeError::Alarm]);
    assert_eq!(service.connections(), 0);
}
