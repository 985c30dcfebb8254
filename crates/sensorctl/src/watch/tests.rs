use super::picture::{Form, text as picture_text};
use super::summary::{Summary, Verdict, sparklines};
use super::view::{Move, View, picture};
use super::*;
use protocol::{ClockQuality, PreviousBoot, ResetCause, Sample, SensorFault};
use serde_json::json;

/// 2026-11-21T09:00:00Z.
const START: EpochMillis = EpochMillis(1_795_251_600_000);

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn after(seconds: u64) -> EpochMillis {
    START.offset(seconds as i64 * 1000)
}

fn encoded<const N: usize>(
    encode: impl FnOnce(&mut [u8]) -> Result<usize, protocol::EncodeError>,
) -> Vec<u8> {
    let mut buffer = [0; N];
    let len = encode(&mut buffer).unwrap();
    buffer[..len].to_vec()
}

fn hello(device: &str, boot: u32, handshake_ms: u32) -> Vec<u8> {
    let name = |text: &str| text.try_into().unwrap();
    let mut hello = Hello::new(id(device), name("0.1.0"), name("native_sim"), boot, ResetCause::PowerOn);
    (hello.connection, hello.handshake_ms) = (1, handshake_ms);
    hello.previous = (boot > 1).then_some(PreviousBoot { boot: boot - 1, next_seq: 0 });
    encoded::<512>(|buffer| hello.encode(buffer))
}

fn state(clock: ClockQuality) -> Vec<u8> {
    let mut state = State::new("0.1.0".try_into().unwrap(), 1, protocol::ResetCause::PowerOn);
    (state.clock, state.clock_error_ms, state.capacity, state.t) = (clock, 12, 512, Some(START));
    encoded::<512>(|buffer| state.encode(buffer))
}

/// Four samples, one a second, that follow a curve; the last one is a fault where asked.
fn batch(boot: u32, seq: u32, lost: u32, fault: bool) -> Vec<u8> {
    let samples = (0..4).map(|n| {
        let step = f64::from(seq + n) / 8.0;
        let measurement = Measurement::new(
            (2_100.0 + 300.0 * step.sin()) as i32,
            (4_500.0 + 500.0 * step.cos()) as u32,
            (101_300.0 + 10.0 * step) as u32,
        );
        Sample {
            after_ms: n * 1000,
            reading: if fault && n == 3 { Err(SensorFault::NoAnswer) } else { measurement },
        }
    });
    let batch = Batch { boot, seq, time: Some(after(u64::from(seq))), lost, samples: samples.collect() };
    encoded::<1152>(|buffer| batch.encode(buffer))
}

/// Two devices: one in order, one that lost, repeated and left out samples.
fn watched() -> Watch {
    let mut watch = Watch::new(START);
    watch.link(START, Link::Up { missed: false, shared: false });
    watch.message(START, "device/dev-1/hello", &hello("dev-1", 3, 68));
    watch.message(START, "device/dev-1/state", &state(ClockQuality::Synchronised));
    for n in 0..30 {
        watch.message(after(u64::from(n) * 4 + 4), "device/dev-1/telemetry", &batch(3, n * 4, 0, n == 20));
    }
    watch.message(START, "device/dev-2/hello", &hello("dev-2", 1, 1_204));
    watch.message(after(4), "device/dev-2/telemetry", &batch(1, 0, 0, false));
    watch.message(after(5), "device/dev-2/telemetry", &batch(1, 0, 0, false));
    watch.message(after(12), "device/dev-2/telemetry", &batch(1, 10, 4, false));
    watch
}

#[test]
fn the_screen_is_exactly_this() {
    let screen = picture_text(&picture(&mut View::default(), &watched(), "localhost:8883", after(125)));
    let expected = include_str!("tests/screen.txt");
    assert_eq!(screen, expected, "\n{screen}");
}

#[test]
fn another_device_can_be_selected_and_the_ends_hold() {
    let watch = watched();
    let mut view = View::default();
    let title = |view: &mut View| {
        let screen = picture_text(&picture(view, &watch, "localhost:8883", after(125)));
        let line = screen.lines().find(|line| line.contains("temperature")).unwrap().to_owned();
        line.split("  ").nth(1).unwrap().trim().to_owned()
    };
    let first = title(&mut view);
    view.select(&watch, Move::Up);
    assert_eq!(title(&mut view), first);
    view.select(&watch, Move::Down);
    let second = title(&mut view);
    assert_ne!(second, first);
    view.select(&watch, Move::Down);
    assert_eq!(title(&mut view), second);
    view.select(&watch, Move::First);
    assert_eq!(title(&mut view), first);
    view.select(&watch, Move::Last);
    assert_eq!(title(&mut view), second);
}

#[test]
fn an_empty_watch_and_a_tiny_terminal_can_be_drawn() {
    let watch = Watch::new(START);
    let screen = picture_text(&picture(&mut View::default(), &watch, "localhost:8883", START));
    assert!(screen.contains("no sample yet") && screen.contains("connecting …"), "{screen}");
    for (width, height) in [(1, 1), (20, 5), (80, 12), (300, 100)] {
        let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height)).unwrap();
        let mut view = View::default();
        terminal.draw(|frame| view.draw(frame, &watched(), "localhost:8883", after(9))).unwrap();
    }
}

/// The words on a screen of this size, without lines, dots and what frames them.
fn words(watch: &Watch, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height)).unwrap();
    let mut view = View::default();
    terminal.draw(|frame| view.draw(frame, watch, "localhost:8883", after(125))).unwrap();
    let frames = |character: char| {
        character.is_whitespace() || matches!(character, '\u{2500}'..='\u{257f}' | '\u{2800}'..='\u{28ff}')
    };
    picture_text(terminal.backend().buffer())
        .split(frames)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_number_is_cut_at_any_width_and_what_has_no_room_is_counted() {
    let watch = watched();
    for height in [8, 26] {
        let all = words(&watch, (400, height));
        for number in ["1204", "1014.48", "23.21", "128", "4015", "37.75"] {
            assert!(all.iter().any(|word| word == number), "{number}: {all:?}");
        }
        for width in 20..=200 {
            let shown = words(&watch, (width, height));
            let with_digits = |word: &&String| word.chars().any(|character| character.is_ascii_digit());
            for pair in shown.windows(2).filter(|pair| with_digits(&&pair[0])) {
                let counts = pair[0].starts_with('+') || ["columns", "plots"].contains(&pair[1].as_str());
                assert!(counts || all.contains(&pair[0]), "{width}x{height}: {pair:?} of {shown:?}");
            }
            // Every column is there or counted.
            let names =
                ["firmware", "boot", "clock", "connect", "samples", "rate/s", "again", "unexpl.", "faults"];
            let table: Vec<&String> = shown.iter().skip_while(|word| *word != "device").collect();
            let hidden = shown.windows(2).find(|pair| pair[1] == "columns");
            let hidden: usize = hidden.map_or(0, |pair| pair[0].parse().unwrap());
            let header = table.iter().take_while(|word| ***word != "dev-1").count();
            assert_eq!(header + hidden, 14, "{width}x{height}: {shown:?}");
            assert!(names.iter().all(|name| hidden > 0 || table.iter().any(|word| word == name)), "{width}");
            assert!(
                table.iter().any(|word| *word == "23.21") || width < 24,
                "{width}: the temperature goes last"
            );
        }
    }
}

#[test]
fn a_name_that_is_longer_than_the_screen_is_cut_with_a_sign() {
    let mut watch = Watch::new(START);
    let long = "dev-12345678901234567890123456";
    watch.message(START, &format!("device/{long}/hello"), &hello(long, 3, 68));
    for width in 20..=200 {
        let shown = words(&watch, (width, 8));
        let name = shown.iter().find(|word| word.starts_with("dev-")).unwrap();
        assert!(name == long || (name.ends_with('…') && width < 31), "{width}: {name}");
    }
}

#[test]
fn a_picture_of_the_screen_is_well_formed_svg() {
    let svg = Form::Svg.render(&picture(&mut View::default(), &watched(), "localhost:8883", after(125)));
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
    assert!(svg.contains(">dev-1</text>") && svg.matches("h0").count() > 100);
    let open = svg.matches("<text").count();
    assert_eq!(open, svg.matches("</text>").count());
}

#[test]
fn the_summary_counts_and_judges() {
    let watch = watched();
    let summary = Summary::new(&watch, after(125));
    assert_eq!(summary.verdict(), Verdict::Inconsistent);
    assert_eq!(summary.verdict().exit_code(), 3);
    let mut json = summary.json();
    let bytes = summary.payload_bytes as f64 / 132.0;
    assert!((json["bytes_per_sample"].as_f64().unwrap() - bytes).abs() < 0.01);
    let object = json.as_object_mut().unwrap();
    for measured in ["bytes_per_sample", "packet_bytes_per_sample", "latency_median_ms", "latency_max_ms"] {
        assert!(object.remove(measured).unwrap().is_number(), "{measured}");
    }
    assert_eq!(
        json,
        json!({
            "type": "summary", "seconds": 125.0, "devices": 2, "samples": 128, "lost": 4, "duplicates": 4,
            "unexplained": 2, "unobserved": 0, "out_of_order": 0, "contradictions": 0, "awaited": 0, "faults": 1,
            "boots": 2, "boots_without_end": 0, "batches": 33, "handshake_ms": 1204, "interruptions": 0, "refused": 0,
            "unheard": [],
        })
    );
    let text = summary.to_string();
    assert!(
        text.starts_with(
            "128 samples of 2 devices in 125.0 s: 4 lost, 4 duplicates, 2 unexplained\nconnecting took"
        ),
        "{text}"
    );
    assert!(text.ends_with("\n1 samples are a fault of the sensor"), "{text}");
}

#[test]
fn the_verdict_tells_declared_losses_from_others() {
    let mut watch = Watch::new(START);
    let verdict = |watch: &Watch| Summary::new(watch, START).verdict().exit_code();
    watch.message(START, "device/a/hello", &hello("a", 1, 1));
    watch.message(START, "device/a/telemetry", &batch(1, 0, 0, false));
    assert_eq!(verdict(&watch), 0);
    watch.message(START, "device/a/telemetry", &batch(1, 9, 5, false));
    assert_eq!(verdict(&watch), 4);
    watch.message(START, "device/a/telemetry", &batch(1, 4, 0, false));
    assert_eq!(verdict(&watch), 3, "what was declared lost has come");
}

#[test]
fn nothing_at_all_has_a_summary_too() {
    let summary = Summary::new(&Watch::new(START), START);
    let json = summary.json();
    assert_eq!((json["samples"].as_u64(), json["handshake_ms"].is_null()), (Some(0), true));
    assert!(json["bytes_per_sample"].is_null() && summary.to_string().contains("connecting took unknown"));
    assert!(sparklines(&Watch::new(START), 60).is_empty());
}

#[test]
fn a_sparkline_shows_the_course() {
    let mut watch = Watch::new(START);
    for n in 0..8 {
        watch.message(after(n), "device/a/telemetry", &batch(1, n as u32 * 4, 0, false));
    }
    let lines = sparklines(&watch, 8);
    assert_eq!(lines[2], "pressure     1013.00 …  1013.38 hPa ▁▂▃▄▅▆▇█");
    assert!(lines[0].starts_with("temperature    18.") && lines[1].starts_with("humidity "), "{lines:?}");
}

fn news(topic: &str, payload: &[u8]) -> Event {
    Watch::new(START).message(START, topic, payload)
}

#[test]
fn lines_say_what_came() {
    for (event, text) in [
        (
            news("device/dev-1/hello", &hello("dev-1", 1, 68)),
            "09:00:00.000 dev-1 connected in 68 ms: firmware 0.1.0 on native_sim, boot 1 (power came on), connection 1",
        ),
        (
            news("device/dev-1/state", &state(ClockQuality::Synchronised)),
            "09:00:00.000 dev-1 state: clock synchronised (±12 ms), 0 of 512 samples waiting, 0 lost, 0 missed, 0 faults, up 0 s",
        ),
        (
            news("device/dev-1/telemetry", &batch(1, 0, 0, false)),
            "09:00:00.000 dev-1 boot 1 samples 0…3: 22.09 °C  49.65 %  1013.03 hPa",
        ),
        (
            news("device/dev-1/telemetry", &batch(1, 0, 0, true)),
            "09:00:00.000 dev-1 boot 1 samples 0…3: no value: the sensor did not answer on its bus, 1 faults",
        ),
        (
            Watch::new(START).link(START, Link::Down { reason: "refused".into(), retry_ms: 250 }),
            "09:00:00.000 no connection to the broker (refused); next attempt in 250 ms",
        ),
    ] {
        assert_eq!(lines::text(&event), text);
    }
}

#[test]
fn a_batch_with_losses_says_so() {
    let mut watch = watched();
    let event = watch.message(after(13), "device/dev-2/telemetry", &batch(1, 20, 7, false));
    assert!(lines::text(&event).ends_with(", 3 LOST, 3 MISSING, UNEXPLAINED"), "{}", lines::text(&event));
    let json = lines::json(&event);
    assert_eq!(
        (json["lost"].as_u64(), json["unexplained"].as_u64(), json["new"].as_u64()),
        (Some(3), Some(3), Some(4))
    );
}

#[test]
fn json_carries_units_times_and_faults() {
    let event = news("device/dev-1/telemetry", &batch(1, 0, 0, true));
    let json = lines::json(&event);
    assert_eq!(
        json["samples"][0],
        json!({
            "seq": 0, "time": "2026-11-21T09:00:00.000Z",
            "temperature_c": 21.0, "humidity_percent": 50.0, "pressure_hpa": 1013.0,
        })
    );
    assert_eq!(
        json["samples"][3],
        json!({ "seq": 3, "time": "2026-11-21T09:00:03.000Z", "fault": "no_answer" })
    );
    assert_eq!(
        (json["type"].as_str(), json["at"].as_str()),
        (Some("batch"), Some("2026-11-21T09:00:00.000Z"))
    );
    let hello = lines::json(&news("device/dev-1/hello", &hello("dev-1", 2, 68)));
    assert_eq!(hello["previous"], json!({ "boot": 1, "next_seq": 0 }));
    assert_eq!((hello["handshake_ms"].as_u64(), hello["reset"].as_str()), (Some(68), Some("power_on")));
    let state = lines::json(&news("device/dev-1/state", &state(ClockQuality::Holdover)));
    assert_eq!((state["clock"].as_str(), state["last_failure"].is_null()), (Some("holdover"), true));
}

#[test]
fn messages_that_are_none_of_ours_are_refused_and_counted() {
    let mut watch = Watch::new(START);
    for (topic, payload, reason) in [
        ("weather/today", &b"{}"[..], "the topic is none of a device"),
        ("device/a/command", b"{}", "it is for a device, not from one"),
        ("device/a/telemetry", b"{}", "the message cannot be read"),
        ("device/a/state", &[0xff; 800], "the message has 800 bytes; at most 768 are allowed"),
        ("device/a/hello", &hello("b", 1, 1), "it is the hello of b, which may not speak for a"),
    ] {
        let Event { news: News::Refused(_, why), .. } = watch.message(START, topic, payload) else {
            panic!("{topic}")
        };
        assert!(why.contains(reason), "{why}");
    }
    assert_eq!((watch.refused, watch.ledger.devices().len()), (5, 0));
}

#[test]
fn nobody_can_write_to_the_terminal_by_a_topic() {
    let line = lines::text(&news("device/\u{1b}[2J/state", b"{}"));
    assert!(!line.contains('\u{1b}') && line.contains("[2J"), "{line:?}");
}

#[test]
fn a_session_that_the_broker_has_lost_is_an_interruption() {
    let mut watch = watched();
    watch.link(after(130), Link::Up { missed: true, shared: false });
    watch.message(after(140), "device/dev-1/telemetry", &batch(3, 400, 0, false));
    let counts = watch.ledger.device(&id("dev-1")).unwrap().counts();
    assert_eq!((counts.unexplained, counts.unobserved), (0, 280));
    assert_eq!(Summary::new(&watch, after(140)).interruptions, 1);
}

#[test]
fn devices_in_service_that_say_nothing_are_named_and_what_the_broker_had_kept_is_no_word_of_theirs() {
    let mut watch = watched();
    assert_eq!(Summary::new(&watch, after(140)).verdict().exit_code(), 3);
    watch.expected = [id("dev-1"), id("dev-3"), id("dev-4")].into();
    let kept = state(ClockQuality::Synchronised);
    watch.message(after(1), "device/dev-3/state", &kept);
    let summary = Summary::new(&watch, after(140));
    assert_eq!(summary.unheard, [id("dev-3"), id("dev-4")]);
    assert!(summary.to_string().contains("NOTHING CAME from dev-3, dev-4, in all 2 devices in service: "));

    let mut silent = Watch::new(START);
    silent.message(after(1), "device/dev-3/state", &kept);
    let summary = Summary::new(&silent, after(140));
    assert_eq!((summary.verdict(), summary.verdict().exit_code()), (Verdict::Silent, 5));
    assert!(summary.to_string().contains("NOTHING CAME from any device: "));
    silent.message(after(2), "device/dev-3/hello", &hello("dev-3", 1, 1));
    assert_eq!(Summary::new(&silent, after(140)).verdict(), Verdict::Whole);
    silent.expected = [id("dev-3"), id("dev-4")].into();
    assert_eq!(Summary::new(&silent, after(140)).verdict(), Verdict::Silent);
}
