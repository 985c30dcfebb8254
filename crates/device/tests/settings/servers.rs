//! Time servers on trial: one of the new ones has to give an answer that counts.

use crate::bench::{BOUND_MS, Bench, MINUTE_MS, change};
use crate::world::field::DAY_MS;
use device::Note;
use protocol::{ClockQuality, Layer};

fn servers(number: u32, list: &str) -> Vec<u8> {
    change(Layer::Device, number, &format!("\"time_servers\":[{list}]"))
}

#[test]
fn new_time_servers_are_asked_at_once_and_the_connection_stays() {
    let mut bench = Bench::running(41);
    bench.run(DAY_MS);
    let (calls, begun) = (bench.calls.len(), bench.now);
    bench.asked.clear();
    bench.publish(Layer::Device, &servers(6, r#""t8.example","t9.example:1123""#));
    assert!(bench.link.is_some());
    assert!(bench.notes.contains(&Note::ConfigurationTried { layer: Layer::Device, number: 6 }));
    assert!(bench.notes.contains(&Note::ConfigurationChanged { layer: Layer::Device, number: 6 }));
    assert_eq!(bench.asked.first(), Some(&(begun, "t8.example:123".to_owned())));
    bench.run(DAY_MS);
    assert_eq!(bench.calls.len(), calls, "no other connection");
    assert!(
        bench
            .asked
            .iter()
            .all(|(_, server)| ["t8.example:123", "t9.example:1123"].contains(&server.as_str()))
    );
    assert_eq!(bench.reports.last().unwrap().clock, ClockQuality::Synchronised);
    assert_eq!(bench.state().device.unwrap().number, 6);
}

#[test]
fn one_of_the_new_ones_is_enough_and_an_old_one_is_not() {
    for (alive, good) in [("t8", true), ("t9", true), ("t0", false)] {
        let mut bench = Bench::running(42);
        bench.run(MINUTE_MS);
        bench.clocks = Box::new(move |server| server.host.starts_with(alive).then_some(0));
        bench.publish(Layer::Device, &servers(6, r#""t0.example","t8.example","t9.example""#));
        let changed = bench.notes.contains(&Note::ConfigurationChanged { layer: Layer::Device, number: 6 });
        assert_eq!(changed || bench.await_verdict(2 * BOUND_MS), good, "{alive}");
    }
}

#[test]
fn a_list_that_only_became_shorter_or_changed_its_order_needs_an_answer_of_any() {
    for (list, alive, good) in [
        (r#""t1.example""#, "t1", true),
        (r#""t1.example","t0.example""#, "t0", true),
        (r#""t1.example""#, "t0", false),
    ] {
        let mut bench = Bench::running(43);
        bench.clocks = Box::new(move |server| server.host.starts_with(alive).then_some(0));
        bench.publish(Layer::Device, &servers(6, list));
        let changed = bench.notes.contains(&Note::ConfigurationChanged { layer: Layer::Device, number: 6 });
        assert_eq!(changed || bench.await_verdict(2 * BOUND_MS), good, "{list}");
    }
}

#[test]
fn a_server_that_comes_back_within_the_bound_is_taken() {
    let mut bench = Bench::running(44);
    bench.clocks = Box::new(|server| server.host.starts_with("t0").then_some(0));
    bench.publish(Layer::Device, &servers(6, r#""t8.example","t0.example""#));
    bench.run(4 * MINUTE_MS);
    bench.clocks = Box::new(|_| Some(0));
    assert!(bench.await_verdict(BOUND_MS));
    let waits: Vec<_> = bench.asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(bench.asked.len() < 40, "it is not stormed: {waits:?}");
}

#[test]
fn a_server_that_tells_another_time_than_the_one_confirmed_does_not_count() {
    // A day off: more than a confirmed clock may jump.
    let mut bench = Bench::running(45);
    bench.run(MINUTE_MS);
    bench.clocks = Box::new(|server| Some(if server.host.starts_with("t8") { 86_400_000 } else { 0 }));
    bench.publish(Layer::Device, &servers(6, r#""t8.example""#));
    assert!(!bench.await_verdict(2 * BOUND_MS));
    bench.run(DAY_MS);
    assert_eq!(bench.reports.last().unwrap().clock, ClockQuality::Synchronised);
    let said = bench.reports.last().unwrap().t.unwrap();
    assert!(bench.time().since(said).unsigned_abs() < 2 * MINUTE_MS, "it keeps the right time");
    assert_eq!(bench.configuration().time_servers.len(), 2);
}

#[test]
fn with_another_host_both_have_to_be_reached() {
    for (host, server, good) in [(true, true, true), (true, false, false), (false, true, false)] {
        let mut bench = Bench::running(46);
        bench.network = Box::new(move |call| match call.host.as_str() {
            "other.example" if !host => crate::bench::Meeting::Fails(protocol::Failure::Dns),
            _ => crate::bench::Meeting::Serves,
        });
        bench.clocks = Box::new(move |endpoint| (server || endpoint.host != "t8.example").then_some(0));
        let fields = r#""host":"other.example","time_servers":["t8.example"]"#;
        bench.publish(Layer::Group, &change(Layer::Group, 6, fields));
        assert_eq!(bench.await_verdict(2 * BOUND_MS), good, "{host} {server}");
    }
}
