//! A device that logs in with tokens, from blank to service: at the embedded broker's second door, with a token that it renews
//! before it ends, and a new identity in between. R-TLS-CLIENT, R-SECRET-ROTATE, R-DATA-INTACT.

use base64ct::{Base64UrlUnpadded, Encoding};
use endtoend::operator::Operator;
use endtoend::programs;
use endtoend::search::files;
use endtoend::site::Site;
use protocol::token::{self, Claims, TOKEN_BYTES_MAX};
use protocol::{DeviceId, Signature, State};
use std::fs;

/// How long a token is good, in seconds: the least that a device makes.
const LIFE_S: u64 = 10;

/// Planned connections to wait for.
const RENEWALS: usize = 3;

/// What every token of a device has in it, wherever it is: the header of all of them, and the device's name among the claims.
fn parts(device: &str) -> Vec<String> {
    let claim = format!(r#""sub":"{device}""#);
    let mut parts = vec![Base64UrlUnpadded::encode_string(br#"{"alg":"ES256","#)];
    // Base64 of a text depends on where in a group of three it begins.
    let aligned = |skip: usize| {
        let text = &claim.as_bytes()[skip..];
        Base64UrlUnpadded::encode_string(&text[..text.len() / 3 * 3])
    };
    parts.extend((0..3).map(aligned));
    parts
}

fn has_token(text: &[u8], parts: &[String]) -> bool {
    parts.iter().any(|part| text.windows(part.len()).any(|window| window == part.as_bytes()))
}

/// A token of nobody, to look whether the search would find one.
fn token(device: &str) -> Vec<u8> {
    let subject = DeviceId::new(device).expect("an id");
    let claims = Claims {
        issued_s: 1_800_000_000,
        expires_s: 1_800_000_010,
        audience: "localhost",
        subject: &subject,
    };
    let mut buffer = [0; TOKEN_BYTES_MAX];
    let signature = || Signature::normalised(&[1; 64]);
    let len = token::encode(&claims, &mut buffer, |_| signature()).expect("a token");
    buffer[..len].to_vec()
}

#[tokio::test]
async fn a_device_renews_its_token_in_time_and_its_identity_too_and_loses_nothing() {
    let site = Site::new(programs!()).await;
    fs::write(site.path("registry.jsonl"), "").expect("an empty registry");
    let mut broker = site.start_simulator("broker", "broker --ca ca --registry registry.jsonl");
    let port = broker.number("broker port=").await;
    let token_port = broker.number("token_port=").await;
    let mut operator = Operator::start(&site.pki(), port).await;
    let mut renew = site.renew(&site.operator("ca", "renew").await, port).await;
    let (_time, time_port) = site.time_server(0).await;
    let mut device = site.device(1, &format!("--token-life-s {LIFE_S}"));
    device.until_said("ready blank device", 1).await;
    let provision = site.provisioning(token_port, time_port) + " --line tty1 --id dev-1 --auth token";
    site.sensorctl("provision", &provision).await;

    // The new identity is tried with a token of its own and comes into force.
    device.until_said("is in force", 1).await;
    let id = DeviceId::new("dev-1").expect("an id");
    assert_eq!(site.registry().in_force(&id).count(), 2);
    println!("the new identity is in force");
    for number in 1..=RENEWALS {
        device.until_said("connected to the service", 2 + number).await;
        println!("token {number} of {RENEWALS} is renewed");
    }
    // It says so itself: it has connected so often, and nothing has failed. The broker ends a connection whose token has
    // ended.
    let state = |book: &endtoend::operator::Book| {
        let last = book.messages.iter().rev().find(|(topic, _)| topic == "device/dev-1/state")?;
        Some(State::decode(&last.1).expect("a state"))
    };
    let connected = |state: &State| state.connections as usize >= 2 + RENEWALS;
    let book = operator.until("its state", |book| state(book).is_some_and(|state| connected(&state))).await;
    let told = state(&book).expect("a state");
    assert_eq!((told.failures, told.lost, told.last_failure), (0, 0, None));
    let ran = device.stop().await;
    let mut times = Vec::new();
    for line in ran.stdout.lines().filter(|line| line.contains("connected to the service")) {
        times.push(seconds(line));
    }
    let waits: Vec<f64> =
        times.windows(2).skip(1).map(|pair| (pair[1] - pair[0]).rem_euclid(86_400.0)).collect();
    println!("seconds between planned connections: {waits:.1?}");
    // Not before 80 % of its life are over, less what a handshake takes.
    assert!(waits.len() >= RENEWALS && waits.iter().take(RENEWALS).all(|wait| *wait > 7.0), "{waits:?}");

    // Every sample is there.
    let said =
        ran.stdout.lines().find_map(|line| line.strip_prefix("stopped after ")).expect("its last words");
    let mut numbers = said.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse::<u64>().ok());
    let mut number = |what| numbers.next().expect(what);
    let (taken, lost, missed, kept) = (number("samples"), number("lost"), number("missed"), number("kept"));
    operator.catch_up().await;
    let book = operator.book();
    let counts = book.ledger.counts();
    assert_eq!((lost, counts.unexplained), (0, 0));
    // What a busy machine has missed, and nothing else.
    assert!(counts.lost <= missed, "{said}: {counts:?}");
    assert!(
        counts.samples + kept + missed >= taken && counts.samples <= taken && counts.samples > 0,
        "{said}: {counts:?}"
    );

    // No program has written anything of a token anywhere.
    let parts = parts("dev-1");
    let (header, claims) = parts.split_at(1);
    assert!(has_token(&token("dev-1"), header) && has_token(&token("dev-1"), claims), "the search is blind");
    renew.stop().await;
    let all = files(site.folder());
    assert!(all.len() > 20);
    for path in all {
        let text = fs::read(&path).expect("a file");
        assert!(!has_token(&text, &parts), "{}", path.display());
    }
    assert_eq!(broker.stderr().matches("refused \"").count(), 0, "{}", broker.stderr());
}

/// The seconds of a line that begins with a time, within its day.
fn seconds(line: &str) -> f64 {
    let time = line.split_once('T').and_then(|(_, rest)| rest.split_once('Z')).expect("a time").0;
    let parts: Vec<f64> = time.split(':').map(|part| part.parse().expect("a number")).collect();
    parts.iter().fold(0.0, |sum, part| sum * 60.0 + part)
}
