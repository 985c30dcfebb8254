use super::*;
use proptest::prelude::*;
use protocol::telemetry::BATCH_SAMPLES_MAX;
use protocol::{Measurement, PreviousBoot, ResetCause, Sample, SensorFault};
use std::collections::{BTreeSet, VecDeque};

/// Small enough that a run of a few dozen steps overflows it.
const RING: usize = 8;
const BATCH: usize = 4;
const SLOTS: usize = 3;

fn id() -> DeviceId {
    DeviceId::new("dev-1").unwrap()
}

fn arrival(at: u64) -> Arrival {
    Arrival { at: EpochMillis(at), topic_bytes: 22, payload_bytes: 100 }
}

fn batch(boot: u32, seq: u32, len: usize, lost: u32) -> Batch {
    assert!(len <= BATCH_SAMPLES_MAX);
    let reading = Measurement::new(2_000, 5_000, 100_000);
    let samples = (0..len).map(|n| Sample { after_ms: n as u32 * 1_000, reading }).collect();
    Batch { boot, seq, time: Some(EpochMillis(u64::from(seq) * 1_000)), lost, samples }
}

fn hello(boot: u32, connection: u32, previous: Option<PreviousBoot>) -> Hello {
    let name = |text: &str| text.try_into().unwrap();
    let mut hello = Hello::new(id(), name("0.1.0"), name("model"), boot, ResetCause::PowerOn);
    (hello.connection, hello.previous, hello.handshake_ms) = (connection, previous, 40 + boot);
    hello
}

#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "a test's log is short")]
enum Message {
    Hello(Hello),
    Batch(Batch),
}

/// What a failing case prints: one line for each message.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hello(hello) => {
                write!(f, "hello {}.{} after {:?}", hello.boot, hello.connection, hello.previous)
            }
            Self::Batch(batch) => {
                write!(
                    f,
                    "boot {}: {} from {}, lost {}",
                    batch.boot,
                    batch.samples.len(),
                    batch.seq,
                    batch.lost
                )
            }
        }
    }
}

fn feed(ledger: &mut Ledger, messages: &[Message]) {
    for message in messages {
        match message {
            Message::Hello(hello) => ledger.hello(&id(), hello),
            Message::Batch(batch) => {
                ledger.batch(&arrival(1_000_000), &id(), batch);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The sensor measures so often.
    Sample(u8),
    /// Everything that is due goes out, but only so many batches are acknowledged before the link is cut.
    Send { acknowledged: u8 },
    /// The broker acknowledges the next batch and loses it.
    Swallow,
    /// Shutdown and start.
    Restart,
    /// Power cut and start.
    PowerCut,
}

fn step(swallow: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..12).prop_map(Step::Sample),
        6 => prop_oneof![Just(99u8), 0u8..4].prop_map(|acknowledged| Step::Send { acknowledged }),
        u32::from(swallow) => Just(Step::Swallow),
        1 => Just(Step::Restart),
        1 => Just(Step::PowerCut),
    ]
}

/// A device that keeps its promise, in the simplest form, and what really happened to its samples.
#[derive(Default)]
struct Model {
    boot: u32,
    next_seq: u32,
    lost: u32,
    connection: u32,
    waiting: VecDeque<u32>,
    sent: VecDeque<(u32, u32)>,
    backlog: VecDeque<Batch>,
    previous: Option<PreviousBoot>,
    swallow: bool,
    log: Vec<Message>,
    delivered: BTreeSet<(u32, u32)>,
    swallowed: BTreeSet<(u32, u32)>,
    repeated: u64,
    /// Orderly ends of which a hello has told, by boot.
    told: Vec<PreviousBoot>,
    sent_by: BTreeSet<u32>,
    unclean: u64,
}

impl Model {
    fn run(steps: &[Step]) -> Self {
        let mut model = Self { boot: 1, ..Self::default() };
        // The first boot says hello before it has anything to lose: from there on all is seen.
        model.send(0);
        for step in steps {
            match *step {
                Step::Sample(times) => (0..times).for_each(|_| model.sample()),
                Step::Send { acknowledged } => model.send(acknowledged.into()),
                Step::Swallow => model.swallow = true,
                Step::Restart => model.stop(),
                Step::PowerCut => model.start(None),
            }
        }
        model
    }

    fn sample(&mut self) {
        if self.waiting.len() == RING {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(self.next_seq);
        self.next_seq += 1;
    }

    fn send(&mut self, mut acknowledged: usize) {
        self.connection += 1;
        self.told.extend(self.previous);
        self.unclean += u64::from(self.connection == 1 && self.boot > 1 && self.previous.is_none());
        self.log.push(Message::Hello(hello(self.boot, self.connection, self.previous)));
        while let Some(oldest) = self.backlog.front().cloned() {
            self.deliver(oldest, acknowledged > 0);
            if acknowledged == 0 {
                return;
            }
            acknowledged -= 1;
            self.backlog.pop_front();
        }
        loop {
            let sent = self.sent.len();
            while self.sent.len() < 2 * BATCH
                && let Some(seq) = self.waiting.pop_front()
            {
                self.sent.push_back((seq, self.lost));
            }
            debug_assert!(sent <= self.sent.len());
            // Two on their way at once: both arrive, whatever is acknowledged.
            let first = cut(self.boot, self.sent.iter().copied());
            let Some(first) = first else { return };
            let second = cut(self.boot, self.sent.iter().skip(first.samples.len()).copied());
            for batch in [Some(first), second].into_iter().flatten() {
                let len = batch.samples.len();
                self.deliver(batch, acknowledged > 0);
                if acknowledged > 0 {
                    self.sent.drain(..len);
                }
                acknowledged = acknowledged.saturating_sub(1);
            }
            if acknowledged == 0 {
                return;
            }
        }
    }

    fn deliver(&mut self, batch: Batch, acknowledged: bool) {
        let numbers = || (batch.seq..).take(batch.samples.len()).map(|seq| (batch.boot, seq));
        if acknowledged && std::mem::take(&mut self.swallow) {
            self.swallowed.extend(numbers());
            return;
        }
        let new = numbers().filter(|n| !self.delivered.contains(n)).count();
        self.repeated += (batch.samples.len() - new) as u64;
        self.delivered.extend(numbers());
        self.sent_by.insert(batch.boot);
        self.log.push(Message::Batch(batch));
    }

    fn stop(&mut self) {
        let lost = self.lost;
        let mut rest: VecDeque<_> =
            self.sent.drain(..).chain(self.waiting.drain(..).map(|seq| (seq, lost))).collect();
        while self.backlog.len() < SLOTS
            && let Some(batch) = cut(self.boot, rest.iter().copied())
        {
            rest.drain(..batch.samples.len());
            self.backlog.push_back(batch);
        }
        self.start(Some(PreviousBoot { boot: self.boot, next_seq: self.next_seq }));
    }

    fn start(&mut self, previous: Option<PreviousBoot>) {
        self.waiting.clear();
        self.sent.clear();
        self.previous = previous;
        (self.boot, self.next_seq, self.lost, self.connection) = (self.boot + 1, 0, 0, 0);
    }

    /// What an observer who knows everything would count, from the sets alone.
    fn truth(&self) -> Counts {
        let mut truth =
            Counts { samples: self.delivered.len() as u64, duplicates: self.repeated, ..Counts::default() };
        for boot in 1..=self.boot {
            let highest =
                self.delivered.range((boot, 0)..=(boot, u32::MAX)).next_back().map_or(0, |(_, seq)| seq + 1);
            for seq in (0..highest).filter(|seq| !self.delivered.contains(&(boot, *seq))) {
                let swallowed = self.swallowed.contains(&(boot, seq));
                *if swallowed { &mut truth.unexplained } else { &mut truth.lost } += 1;
            }
            let over = self.sent_by.range(boot + 1..).next().is_some();
            if let Some(end) = self.told.iter().find(|end| end.boot == boot).filter(|_| over) {
                truth.lost += u64::from(end.next_seq - highest);
            }
        }
        truth
    }
}

/// The next batch of `samples`: consecutive numbers with one count of losses.
fn cut(boot: u32, samples: impl Iterator<Item = (u32, u32)>) -> Option<Batch> {
    let mut samples = samples.peekable();
    let (seq, lost) = *samples.peek()?;
    let len = samples.zip(seq..).take(BATCH).take_while(|(sample, seq)| *sample == (*seq, lost)).count();
    Some(batch(boot, seq, len, lost))
}

fn exact(model: &Model) -> Result<(), TestCaseError> {
    let mut ledger = Ledger::new();
    feed(&mut ledger, &model.log);
    prop_assert_eq!(ledger.counts(), model.truth(), "{:#?}", model.log);
    if let Some(device) = ledger.device(&id()) {
        let told: BTreeSet<_> = model.told.iter().map(|end| end.boot + 1).collect();
        prop_assert!(device.boots_without_end >= model.unclean);
        prop_assert!(device.boots_seen as usize >= told.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_device_that_keeps_its_promise_is_accounted_for_exactly(
        steps in proptest::collection::vec(step(false), 0..60),
    ) {
        exact(&Model::run(&steps))?;
    }

    #[test]
    fn what_a_broker_loses_is_unexplained_exactly(steps in proptest::collection::vec(step(true), 0..60)) {
        let model = Model::run(&steps);
        let mut ledger = Ledger::new();
        feed(&mut ledger, &model.log);
        prop_assert_eq!(ledger.counts().unexplained, model.truth().unexplained);
        prop_assert_eq!(ledger.counts(), model.truth());
    }

    #[test]
    fn nobody_is_blamed_where_listening_began_late_or_paused(
        steps in proptest::collection::vec(step(false), 0..60), from in 0usize..20, pause in 0usize..20, len in 0usize..10,
    ) {
        let log = Model::run(&steps).log;
        let log = log.get(from..).unwrap_or_default();
        let (before, rest) = log.split_at(pause.min(log.len()));
        let mut ledger = Ledger::new();
        feed(&mut ledger, before);
        ledger.interrupted();
        feed(&mut ledger, rest.get(len..).unwrap_or_default());
        let counts = ledger.counts();
        prop_assert_eq!((counts.unexplained, counts.out_of_order, counts.contradictions), (0, 0, 0), "{:#?}", (before, rest.get(len..)));
    }

    #[test]
    fn anything_at_all_is_counted_without_a_panic(
        batches in proptest::collection::vec((0u32..12, 0u32..400, 1usize..32, 0u32..100, any::<bool>()), 0..300),
    ) {
        let mut ledger = Ledger::new();
        for (n, (boot, seq, len, lost, greet)) in batches.iter().enumerate() {
            if *greet {
                let previous = PreviousBoot { boot: boot.wrapping_sub(1), next_seq: *seq };
                ledger.hello(&id(), &hello(*boot, n as u32 % 3, Some(previous)));
            }
            if n % 50 == 0 {
                ledger.interrupted();
            }
            ledger.batch(&arrival(n as u64), &id(), &batch(*boot, *seq, *len, *lost));
        }
        let all: usize = batches.iter().map(|(_, _, len, ..)| len).sum();
        let counts = ledger.counts();
        prop_assert_eq!(counts.samples, ledger.samples());
        // Samples of boots that are no longer kept are neither new nor repeated.
        prop_assert!(counts.samples + counts.duplicates <= all as u64);
        prop_assert!(counts.samples + counts.duplicates + counts.out_of_order >= all as u64);
    }
}

#[test]
fn a_boot_that_ends_without_a_word_is_told_from_one_that_ends_in_order() {
    let mut ledger = Ledger::new();
    ledger.hello(&id(), &hello(1, 1, None));
    ledger.hello(&id(), &hello(2, 1, Some(PreviousBoot { boot: 1, next_seq: 7 })));
    ledger.hello(&id(), &hello(2, 2, Some(PreviousBoot { boot: 1, next_seq: 7 })));
    let device = ledger.device(&id()).unwrap();
    assert_eq!((device.boots_seen, device.boots_without_end, device.awaited()), (2, 0, 7));
    ledger.hello(&id(), &hello(3, 1, None));
    let device = ledger.device(&id()).unwrap();
    assert_eq!((device.boots_seen, device.boots_without_end, device.handshake_ms), (3, 1, Some(43)));
    // Boots 4 and 5 never connected: 3 and 4 left no word.
    ledger.hello(&id(), &hello(6, 1, Some(PreviousBoot { boot: 5, next_seq: 0 })));
    assert_eq!(ledger.device(&id()).unwrap().boots_without_end, 3);
}

#[test]
fn a_boot_number_that_goes_back_is_a_contradiction() {
    let mut ledger = Ledger::new();
    ledger.hello(&id(), &hello(9, 1, None));
    ledger.hello(&id(), &hello(1, 1, None));
    assert_eq!(ledger.counts().contradictions, 1);
}

#[test]
fn a_former_boot_after_the_new_one_has_sent_is_out_of_order() {
    let mut ledger = Ledger::new();
    ledger.hello(&id(), &hello(1, 1, None));
    ledger.hello(&id(), &hello(2, 1, None));
    ledger.batch(&arrival(0), &id(), &batch(2, 0, 2, 0));
    let receipt = ledger.batch(&arrival(0), &id(), &batch(1, 0, 3, 0));
    assert_eq!((receipt.new, receipt.out_of_order), (3, 3));
}

#[test]
fn faults_latency_rate_and_bytes_are_measured() {
    let mut ledger = Ledger::new();
    let mut with_fault = batch(1, 0, 4, 0);
    with_fault.samples[3].reading = Err(SensorFault::NoAnswer);
    ledger.batch(&arrival(10_000), &id(), &with_fault);
    ledger.batch(&arrival(12_000), &id(), &with_fault);
    ledger.batch(&arrival(12_000), &id(), &batch(1, 4, 4, 0));
    let device = ledger.device(&id()).unwrap();
    assert_eq!((device.faults, device.batches, device.payload_bytes), (1, 3, 300));
    // 1 byte type, 1 byte length, 2 + 22 bytes topic, 2 bytes packet identifier, 100 bytes payload.
    assert_eq!(device.packet_bytes, 3 * 128);
    assert_eq!(device.rate(), Some(2.0));
    assert_eq!(device.last, Some(((1, 7), batch(1, 0, 1, 0).samples[0].reading)));
    // Samples of 0, 1, 2, 3 s came at 10 s; those of 4, 5, 6, 7 s at 12 s. Two digits are kept.
    assert_eq!(ledger.latency().max_ms().map(|ms| ms / 100), Some(100));
    assert_eq!(ledger.latency().median_ms().map(|ms| (ms + 50) / 100), Some(70));
}

#[test]
fn a_packet_is_as_long_as_mqtt_makes_it() {
    for (payload_bytes, total) in [(0, 8), (121, 129), (122, 131), (16_377, 16_386), (16_378, 16_388)] {
        let arrival = Arrival { at: EpochMillis(0), topic_bytes: 2, payload_bytes };
        assert_eq!(arrival.packet_bytes(), total, "{payload_bytes}");
    }
}

#[test]
fn boots_that_are_no_longer_kept_stay_in_the_sums() {
    let mut ledger = Ledger::new();
    for boot in 1..=100 {
        ledger.batch(&arrival(0), &id(), &batch(boot, 0, 4, 0));
        ledger.batch(&arrival(0), &id(), &batch(boot, 6, 4, 1));
    }
    assert_eq!(ledger.counts(), Counts { samples: 800, lost: 100, unexplained: 100, ..Counts::default() });
    assert_eq!(ledger.batch(&arrival(0), &id(), &batch(3, 20, 4, 0)).out_of_order, 4);
}

#[test]
fn the_ends_of_several_former_boots_come_in_a_hello_each() {
    let mut ledger = Ledger::new();
    ledger.hello(&id(), &hello(1, 1, None));
    // Boots 2 and 3 never reached the service; boot 2 ended without a word.
    ledger.hello(&id(), &hello(4, 1, Some(PreviousBoot { boot: 1, next_seq: 7 })));
    assert_eq!(ledger.device(&id()).unwrap().boots_without_end, 2);
    for _ in 0..2 {
        ledger.hello(&id(), &hello(4, 1, Some(PreviousBoot { boot: 3, next_seq: 5 })));
        let device = ledger.device(&id()).unwrap();
        assert_eq!((device.boots_seen, device.boots_without_end), (2, 1));
    }
}
