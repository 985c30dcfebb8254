//! Changes that can cut the device off: each is tried, and undone within its bound where the service is not reached with it.

use crate::bench::{BOUND_MS, Bench, Call, MINUTE_MS, Meeting, Network, change, factory, only, topic_of};
use crate::changes::in_force;
use crate::world::Platform;
use crate::world::field::{DAY_MS, one};
use crate::world::service::{Service, certificates, signed};
use device::{Key, Note, RootsPlace};
use protocol::document::{Action, Audience, Command, Power, RootList};
use protocol::{Channel, Failure, Layer, Refusal};

const OTHER: &str = r#""host":"other.example""#;

/// Calls that are not the factory's fail in this way.
fn others(meeting: Meeting) -> Network {
    let factory = factory();
    Box::new(move |call| {
        let known = call.host == factory.host.as_str()
            && u32::from(call.port) == factory.port
            && !call.token
            && u32::from(call.keep_alive_s) == factory.keep_alive_s;
        if known { Meeting::Serves } else { meeting }
    })
}

fn undone(layer: Layer, number: u32, failure: Option<Failure>) -> Note {
    Note::ConfigurationUndone { layer, number, failure }
}

/// Publishes a change that leads nowhere; checks that it is undone in time, said with its reason, and stays undone while the
/// broker hands it over again and again.
fn is_undone(fields: &str, meeting: Meeting, failure: Option<Failure>) {
    for layer in [Layer::Device, Layer::Group] {
        let mut bench = Bench::running(31);
        bench.publish(layer, &change(layer, 6, r#""dead_band_pa":3"#));
        let running = bench.configuration();
        let before = bench.state();
        bench.network = others(meeting);
        bench.clocks = Box::new(|server| server.host.starts_with('t').then_some(0));
        let begun = bench.now;
        let document = change(layer, 7, fields);
        bench.publish(layer, &document);
        assert_eq!(
            bench.device().state(device::Uptime(0)).config,
            if layer == Layer::Device { 6 } else { 5 }
        );
        assert!(!bench.await_verdict(2 * BOUND_MS), "{fields}");
        assert!(bench.now - begun <= BOUND_MS, "{fields}: after {} ms", bench.now - begun);
        let note = undone(layer, 7, failure);
        assert!(bench.notes.contains(&note), "{fields}: {:#?}", bench.notes);
        assert_eq!(bench.configuration(), running);
        bench.run(MINUTE_MS);
        assert!(bench.link.is_some(), "{fields}");
        let state = bench.state();
        let last = state.last.clone().expect("it says what was undone");
        assert_eq!((last.layer, last.number, last.why), (Some(layer), 7, Refusal::Undone));
        assert_eq!(
            (last.failure, state.refused, state.replayed, state.trial),
            (failure, 1, 0, None),
            "{fields}"
        );
        assert_eq!((state.group, state.device, &state.values), (before.group, before.device, &running));

        // The old document comes again and again.
        let (kept, calls) = (bench.stored(), bench.calls.len());
        for _ in 0..5 {
            bench.cut_link();
            bench.run(2 * MINUTE_MS);
            bench.send(layer, &document);
        }
        let again = bench.state();
        assert_eq!((again.refused, again.replayed), (1, 0));
        assert_eq!((bench.stored(), bench.configuration()), (kept.clone(), running.clone()));
        assert_eq!(bench.calls.len(), calls + 5);
        bench.restart();
        bench.run(2 * MINUTE_MS);
        assert_eq!((bench.stored(), bench.configuration()), (kept, running), "{fields}");
        let last = bench.state().last.expect("said after a restart too, because the operator still wants it");
        assert_eq!((last.layer, last.number, last.why), (Some(layer), 7, Refusal::Undone));
        assert_eq!(bench.state().refused, 0, "and not counted twice");

        // A newer one is tried.
        bench.network = Box::new(|_| Meeting::Serves);
        bench.publish(layer, &change(layer, 8, r#""port":8885"#));
        assert!(bench.await_verdict(BOUND_MS));
        assert_eq!(bench.configuration().port, 8_885);
    }
}

#[test]
fn a_wrong_host_is_undone() {
    is_undone(OTHER, Meeting::Fails(Failure::Dns), Some(Failure::Dns));
}

#[test]
fn a_wrong_port_is_undone() {
    is_undone(r#""port":8884"#, Meeting::Fails(Failure::Refused), Some(Failure::Refused));
}

#[test]
fn a_host_whose_certificate_does_not_match_is_undone() {
    is_undone(OTHER, Meeting::Fails(Failure::TlsName), Some(Failure::TlsName));
}

#[test]
fn a_host_of_other_roots_is_undone() {
    is_undone(OTHER, Meeting::Fails(Failure::TlsUnknownIssuer), Some(Failure::TlsUnknownIssuer));
}

#[test]
fn a_service_that_takes_tcp_and_speaks_no_mqtt_is_undone() {
    is_undone(OTHER, Meeting::Mute, Some(Failure::ConnectTimeout));
}

#[test]
fn a_service_that_never_answers_the_subscription_is_undone() {
    is_undone(OTHER, Meeting::Deaf, Some(Failure::SubscribeTimeout));
}

#[test]
fn a_service_that_grants_no_subscription_is_undone() {
    is_undone(OTHER, Meeting::Refuses, Some(Failure::SubscribeRefused));
}

#[test]
fn a_token_that_the_service_refuses_is_undone() {
    is_undone(r#""auth":"token""#, Meeting::Fails(Failure::MqttCredentials), Some(Failure::MqttCredentials));
}

#[test]
fn a_keep_alive_that_the_service_refuses_is_undone() {
    let failure = Failure::MqttUnavailable;
    is_undone(r#""keep_alive_s":5"#, Meeting::Fails(failure), Some(failure));
}

#[test]
fn a_dead_time_server_is_undone() {
    is_undone(r#""time_servers":["dead.example"]"#, Meeting::Serves, None);
    is_undone(r#""time_servers":["t0.example","dead.example"]"#, Meeting::Serves, None);
}

#[test]
fn a_network_that_is_dead_altogether_undoes_it_too_and_the_former_is_used_when_it_is_back() {
    let mut bench = Bench::running(32);
    bench.network = Box::new(|_| Meeting::Fails(Failure::Unreachable));
    bench.clocks = Box::new(|_| None);
    let running = bench.configuration();
    bench.send(Layer::Device, &change(Layer::Device, 6, OTHER));
    let begun = bench.now;
    assert!(!bench.await_verdict(2 * BOUND_MS));
    assert!(bench.now - begun <= BOUND_MS);
    assert_eq!(bench.configuration(), running);
    bench.run(DAY_MS);
    bench.network = only("broker.example");
    bench.clocks = Box::new(|_| Some(0));
    bench.run(30 * MINUTE_MS);
    assert!(bench.link.is_some());
    assert_eq!(bench.state().last.unwrap().failure, Some(Failure::Unreachable));
}

#[test]
fn an_outage_shorter_than_the_bound_does_not_undo_a_good_change() {
    for minutes in [0, 1, 3, 5] {
        let mut bench = Bench::running(33);
        bench.network = Box::new(|_| Meeting::Fails(Failure::ConnectTimeout));
        bench.send(Layer::Group, &change(Layer::Group, 6, OTHER));
        bench.run(minutes * MINUTE_MS);
        bench.network = only("other.example");
        assert!(bench.await_verdict(BOUND_MS), "{minutes}: {:#?}", bench.notes);
        let state = bench.state();
        assert_eq!((state.group, state.refused), (in_force(Layer::Group, 6, OTHER), 0));
    }
}

#[test]
fn a_restart_begins_the_bound_again_and_too_many_restarts_undo_it() {
    for restarts in 0..6 {
        let mut bench = Bench::running(34);
        bench.network = only("broker.example");
        let running = bench.configuration();
        bench.publish(Layer::Device, &change(Layer::Device, 6, OTHER));
        for number in 1..=restarts {
            bench.run(BOUND_MS - 1_000);
            let tried = number <= u32::from(TRIAL_STARTS_MAX) + 1;
            assert_eq!(bench.configuration().host == "other.example", tried, "{restarts}, {number}");
            bench.restart();
        }
        bench.run(2 * BOUND_MS);
        assert_eq!(bench.configuration(), running, "{restarts}");
        assert!(bench.notes.iter().any(|note| matches!(note, Note::ConfigurationUndone { number: 6, .. })));
        let state = bench.state();
        assert_eq!((state.last.unwrap().why, state.trial), (Refusal::Undone, None));
        assert_eq!(state.refused, u32::from(restarts <= 4), "counted in the boot that undid it");
    }
}

/// So often a trial is begun again.
const TRIAL_STARTS_MAX: u8 = 3;

#[test]
fn a_good_change_is_in_force_after_restarts_at_any_step_of_its_trial() {
    for steps in 0..60 {
        for (good, fields) in [(true, OTHER), (false, OTHER), (true, r#""time_servers":["t7.example"]"#)] {
            let mut bench = Bench::running(35);
            let running = bench.configuration();
            bench.network = if good { Box::new(|_| Meeting::Serves) } else { only("broker.example") };
            bench.restart_after = Some(steps);
            bench.publish(Layer::Device, &change(Layer::Device, 6, fields));
            bench.run(3 * BOUND_MS);
            let what = format!("{fields}, good: {good}, restart after {steps}: {:#?}", bench.notes);
            assert!(bench.link.is_some(), "{what}");
            let state = bench.state();
            let expected = good.then(|| in_force(Layer::Device, 6, fields)).flatten();
            assert_eq!(state.device, expected, "{what}");
            assert_eq!(state.values == running, !good, "{what}");
            assert_eq!(state.trial, None);
        }
    }
}

#[test]
fn the_values_that_are_said_during_a_trial_are_those_in_force() {
    let mut bench = Bench::running(36);
    bench.clocks = Box::new(|server| server.host.starts_with('t').then_some(0));
    let running = bench.configuration();
    let fields = r#""host":"other.example","dead_band_pa":9,"time_servers":["dead.example"]"#;
    bench.publish(Layer::Device, &change(Layer::Device, 6, fields));
    bench.run(2 * MINUTE_MS);
    assert_eq!(bench.link.as_ref().map(|call| call.host.as_str()), Some("other.example"));
    let state = bench.states.last().unwrap();
    assert_eq!((state.trial, &state.values, state.device), (Some((Layer::Device, 6)), &running, None));
    assert_eq!(bench.configuration().dead_band_pa, 9, "it runs on the whole new one");
    assert!(!bench.await_verdict(BOUND_MS));
    assert_eq!(bench.configuration(), running, "and then on the whole former one");
}

#[test]
fn a_whole_group_does_not_come_to_the_new_host_at_one_instant() {
    let mut waits: Vec<u64> = (0..40)
        .map(|seed| {
            let mut bench = Bench::running(100 + seed);
            let (from, begun) = (bench.calls.len(), bench.now);
            bench.send(Layer::Group, &change(Layer::Group, 6, OTHER));
            bench.run(MINUTE_MS);
            bench.calls[from].at - begun
        })
        .collect();
    waits.sort_unstable();
    assert!(waits[39] <= 30_000 && waits[39] - waits[0] > 15_000, "{waits:?}");
    assert!(waits[20] > 8_000 && waits[20] < 22_000, "{waits:?}");
}

/// A list of roots for everyone.
fn roots(number: u32) -> Vec<u8> {
    let service = Service::new();
    let list: [&[u8]; 1] = [&service.ca.root];
    signed(&RootList { audience: Audience::All, number, roots: certificates(&list) }, Power::Anchors)
}

fn roots_topic() -> String {
    crate::bench::own(protocol::Channel::RootsDesired)
}

#[test]
fn while_roots_are_on_trial_a_change_of_reach_waits_and_another_does_not() {
    for good in [true, false] {
        let mut bench = Bench::running(37);
        // The new roots lead nowhere, or lead to the service after a while.
        let mut left = 3;
        bench.network = Box::new(move |call: &Call| {
            if call.credentials.roots == RootsPlace::A {
                return if good { Meeting::Fails(Failure::TlsUnknownIssuer) } else { Meeting::Serves };
            }
            left -= i32::from(left > 0);
            if good && left == 0 { Meeting::Serves } else { Meeting::Fails(Failure::TlsUnknownIssuer) }
        });
        // All at once: the broker sends them one after the other, and the trial of the roots begins with the first.
        bench.retained.push((roots_topic(), roots(1)));
        bench.retained.push((topic_of(Layer::Device), change(Layer::Device, 6, OTHER)));
        bench.retained.push((topic_of(Layer::Group), change(Layer::Group, 6, r#""dead_band_pa":5"#)));
        bench.network = Box::new({
            let mut network = std::mem::replace(&mut bench.network, Box::new(|_| Meeting::Serves));
            let mut first = true;
            move |call| if std::mem::take(&mut first) { Meeting::Serves } else { network(call) }
        });
        bench.cut_link();
        bench.run(DAY_MS);
        let state = bench.state();
        assert_eq!(state.group.map(|held| held.number), Some(6));
        assert_eq!(state.device.map(|held| held.number), Some(6), "good: {good}: {:#?}", bench.notes);
        let decided = bench.notes.iter().position(|note| {
            matches!(note, Note::RootsReplaced { number: 1 } | Note::RootsUndone { number: 1 })
        });
        let tried = bench.notes.iter().position(|note| matches!(note, Note::ConfigurationTried { .. }));
        assert!(decided.expect("decided") < tried.expect("tried"), "{:#?}", bench.notes);
    }
}

#[test]
fn a_reboot_that_comes_during_a_trial_is_not_begun_because_too_many_starts_would_undo_it() {
    let mut bench = Bench::running(38);
    bench.clocks = Box::new(|server| (server.host != "t9.example").then_some(0));
    bench.publish(Layer::Device, &change(Layer::Device, 6, r#""time_servers":["t9.example"]"#));
    assert!(bench.link.is_some(), "the connection stays");
    let expires_s = bench.time().seconds() + 3_600;
    let reboot = Command { audience: one(), number: 1, expires_s, action: Action::Reboot };
    let reboot = signed(&reboot, Power::Configuration);
    bench.send_on(&crate::bench::own(Channel::Command), &reboot);
    assert_eq!(bench.notes.last(), Some(&Note::CommandRefused(Refusal::Unexpected)), "{:#?}", bench.notes);
    // Its number is not used up.
    assert!(!bench.await_verdict(2 * BOUND_MS));
    bench.run(MINUTE_MS);
    bench.send_on(&crate::bench::own(Channel::Command), &reboot);
    let begun = Note::Commanded { number: 1, action: Action::Reboot };
    assert!(bench.notes.contains(&begun), "{:#?}", bench.notes);
}

#[test]
fn while_a_change_is_on_trial_roots_wait_for_their_turn_and_nothing_is_decided_about_them() {
    for good in [true, false] {
        let mut bench = Bench::running(38);
        bench.clocks = Box::new(|server| server.host.starts_with('t').then_some(0));
        bench.network = others(if good { Meeting::Serves } else { Meeting::Fails(Failure::Dns) });
        let fields = r#""host":"other.example","time_servers":["dead.example"]"#;
        let from = bench.calls.len();
        bench.publish(Layer::Device, &change(Layer::Device, 6, fields));
        if good {
            bench.run_until(BOUND_MS, |bench| bench.link.is_some());
            bench.send_on(&roots_topic(), &roots(1));
            assert!(bench.link.is_some(), "the connection that is on trial stays");
            bench.clocks = Box::new(|_| Some(0));
        } else {
            bench.retained.push((roots_topic(), roots(1)));
        }
        assert_eq!(bench.await_verdict(2 * BOUND_MS), good);
        for call in &bench.calls[from..] {
            assert_eq!(call.credentials.roots, RootsPlace::A, "one thing at a time");
        }
        let note = bench
            .await_note(DAY_MS, |note| matches!(note, Note::RootsReplaced { .. } | Note::RootsUndone { .. }));
        assert_eq!(note, Note::RootsReplaced { number: 1 });
        bench.run(MINUTE_MS);
        assert_eq!(bench.link.as_ref().unwrap().credentials.roots, RootsPlace::B);
        assert_eq!(bench.configuration().host == "other.example", good);
    }
}

#[test]
fn a_store_that_fails_delays_a_verdict_and_does_not_prevent_it() {
    for good in [true, false] {
        let mut bench = Bench::<Platform>::running(39);
        let running = bench.configuration();
        bench.network = if good { Box::new(|_| Meeting::Serves) } else { only("broker.example") };
        bench.publish(Layer::Device, &change(Layer::Device, 6, OTHER));
        bench.device().platform().storage_fails = true;
        // Read errors do not come and go here: what cannot be stored is tried again.
        bench.run(if good { 5 * MINUTE_MS } else { BOUND_MS + MINUTE_MS });
        assert!(bench.notes.iter().any(|note| matches!(note, Note::Storage(_))), "{:#?}", bench.notes);
        if good {
            assert_eq!(bench.states.last().unwrap().trial, Some((Layer::Device, 6)));
        } else {
            assert_eq!(
                bench.configuration(),
                running,
                "it does not wait for the store to be reachable again"
            );
        }
        bench.device().platform().storage_fails = false;
        bench.run(2 * MINUTE_MS);
        let state = bench.state();
        assert_eq!((state.device.is_some(), state.trial), (good, None), "{:#?}", bench.notes);
        let (kept, running) = (bench.stored(), bench.configuration());
        bench.restart();
        assert_eq!((bench.stored(), bench.configuration()), (kept, running), "the store has it");
        assert!(bench.stored().iter().any(|(key, _)| *key == Key::Settings));
    }
}
