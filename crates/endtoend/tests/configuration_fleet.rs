//! A fleet in one process and Mosquitto with the documented rules: one signed file changes all of it, and the tool shows how far
//! that is. R-FLEET, R-CONF.
//!
//! `ENDTOEND_FLEET` sets how many devices there are (50); what is printed is what that has cost.

use endtoend::PATIENCE;
use endtoend::load::Load;
use endtoend::operator::{Book, Operator};
use endtoend::orders::Orders;
use endtoend::programs;
use endtoend::site::Program;
use endtoend::vendor::{FIRST, Vendor};
use protocol::{Channel, DeviceId, Topic};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Waits for a program and gives its exit code, how long it took and what it said.
async fn ended(mut program: Program) -> (i32, Duration, String) {
    let started = Instant::now();
    loop {
        if let Some(status) = program.try_ended() {
            return (status.code().unwrap_or(-1), started.elapsed(), program.stdout() + &program.stderr());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn line(what: &str, Load { cpu_s, resident_kib, taken, given }: Load, devices: usize) {
    let per_device = |bytes: u64| bytes as f64 / devices as f64;
    let (taken, given, resident) = (per_device(taken), per_device(given), resident_kib / 1024);
    println!("| {what} | {cpu_s:.2} | {resident} | {taken:.0} | {given:.0} |");
}

#[tokio::test]
async fn a_fleet_takes_a_groups_change_from_one_signed_file() {
    // Each connection is a file, at both ends.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a limit that the system grants");
    let count: usize = std::env::var("ENDTOEND_FLEET").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    // A large fleet is to be quiet: what the change costs is what is looked at.
    let period_ms = if count < 500 { 1_000 } else { 60_000 };
    let vendor = Vendor::new(programs!()).await;
    let (port, time) = (vendor.broker.port(), vendor.time());
    let words = format!(
        "device enrol --ca ca --out fleet --count {count} --id-prefix dev- --host localhost --port {port} --time-server {time} \
         --sample-period-ms {period_ms} --report-period-ms {period_ms}"
    );
    vendor.site.sensorctl("enrol", &words).await;
    let words = format!(
        "fleet --devices fleet --json --authority authority --group field-a --image-key image-key/image.pub --firmware \
         image-{FIRST}.bin --starts-per-second 100"
    );
    let mut operator = Operator::start(&vendor.pki, port).await;
    let mut fleet = vendor.site.start_simulator("fleet", &words);
    // Every start makes keys and shakes hands, one after the other: on a slow machine a large fleet takes minutes.
    let patience = PATIENCE + Duration::from_millis(300) * count as u32;
    let mut watch = operator.watch();
    let all = timeout(patience, watch.wait_for(|book| book.configurations.len() == count)).await.is_ok();
    assert!(all, "{} of {count} devices: {}", operator.book().configurations.len(), fleet.stderr());
    operator.catch_up().await;

    let orders = Orders::open(&vendor.site.path("authority"));
    let change = orders.change("group/field-a", 1, r#""alarm_high_centi_c":4000"#);
    let load = |fleet: &Program| (Load::of(vendor.broker.pid()).unwrap(), Load::of(fleet.pid()).unwrap());
    let (before, from) = (load(&fleet), operator.book().messages.len());
    let started = Instant::now();
    operator.retain(&change.topic, &change.document).await;
    let everywhere =
        |book: &Book| book.configurations.values().all(|state| state.group.is_some_and(|it| it.number == 1));
    assert!(timeout(patience, watch.wait_for(everywhere)).await.is_ok(), "it is not in force everywhere");
    let took = started.elapsed();
    let (book, after) = (operator.book(), load(&fleet));
    for (id, state) in &book.configurations {
        assert_eq!(state.group.map(|it| (it.number, it.digest)), Some((1, change.digest)), "{id}");
        assert_eq!((state.values.alarm_high_centi_c, state.refused), (4_000, 0), "{id}");
    }
    let mut said: BTreeMap<(DeviceId, &str), usize> = BTreeMap::new();
    let channels = [Channel::ConfigState, Channel::Hello, Channel::State, Channel::Log];
    for (topic, _) in &book.messages[from..] {
        let Some(Topic { device, channel }) = Topic::decode(topic) else { continue };
        if channels.contains(&channel) {
            *said.entry((device, channel.as_str())).or_default() += 1;
        }
    }
    let messages = |channel: Channel| -> usize {
        said.iter().filter(|((_, it), _)| *it == channel.as_str()).map(|(_, count)| count).sum()
    };
    let states = messages(Channel::ConfigState);
    assert_eq!(messages(Channel::Hello), 0, "nobody had to connect again");
    assert_eq!(states, count, "each device says once what it runs on");
    println!(
        "{count} devices took a group's change within {:.2} s: for each device 1 message down, {:.2} config/state, {:.2} state \
         and {:.2} log up meanwhile",
        took.as_secs_f64(),
        states as f64 / count as f64,
        messages(Channel::State) as f64 / count as f64,
        messages(Channel::Log) as f64 / count as f64
    );
    println!(
        "| what | CPU s | resident MiB | bytes in per device | bytes out per device |\n|---|---:|---:|---:|---:|"
    );
    line("broker", after.0.since(before.0), count);
    line("fleet", after.1.since(before.1), count);

    // The same with the tool, which follows it to the last device.
    vendor.site.operator("ca", "config").await;
    let push = |file: &str, more: &str| {
        format!(
            "config push {file} --authority authority --group field-a --ca ca --operator ca-operator.config --port {port} --yes \
             {more}"
        )
    };
    fs::write(vendor.site.path("change.json"), r#"{"v":2,"group":"field-a","alarm_high_centi_c":5000}"#)
        .unwrap();
    let (code, took, told) = ended(vendor.site.start_sensorctl("push", &push("change.json", ""))).await;
    assert_eq!(code, 0, "{told}");
    println!("sensorctl config push: {:.2} s\n{told}", took.as_secs_f64());
    operator.catch_up().await;
    for (id, state) in &operator.book().configurations {
        assert_eq!((state.group.unwrap().number, state.values.alarm_high_centi_c), (2, 5_000), "{id}");
    }
    let ran = fleet.stop().await;
    println!("the fleet's own account: {}", ran.stdout);
    assert!(ran.stdout.contains("\"lost\":0"), "{}", ran.stdout);
}
