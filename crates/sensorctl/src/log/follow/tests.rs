//! Deliveries as a hostile broker brings them: nothing that is not proven, bound and on the disk is acknowledged, everything
//! that is there is taken in the end.

mod hostile;

use super::*;
use crate::log::specimen::{Dice, Specimen, key, log, public};
use crate::log::verify::{Expected, Report, verify_file};
use crate::powers::POWERS;
use crate::registry::{Event as Change, Identity};
use crate::signer::Home;
use protocol::audit::Event;
use protocol::signed::Envelope;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use time::OffsetDateTime;

struct Service {
    folder: TempDir,
    news: Vec<String>,
}

impl Service {
    fn new(devices: &[&Specimen]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        powers::init(&folder.path().join("powers"), &Home::Files).unwrap();
        let service = Self { folder, news: Vec::new() };
        for device in devices {
            service.register(device);
        }
        service
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn registry(&self) -> Registry {
        Registry::open(&self.path("registry.jsonl")).unwrap()
    }

    fn register(&self, device: &Specimen) {
        let until = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + time::Duration::days(365);
        for (number, public) in device.publics().into_iter().enumerate() {
            let tls = crate::log::specimen::public(&key(7_000, number as u64));
            let (certificate, serial) =
                ([u8::try_from(number).unwrap(); 32], vec![1, u8::try_from(number).unwrap()]);
            let identity = Identity { id: device.id.clone(), key: public, tls, certificate, serial, until };
            self.registry().append(&[Change::Registered(identity)]).unwrap();
        }
    }

    fn collector(&self, accept_gaps: bool, now: EpochMillis) -> Collector {
        let signer = Some(LiveKey::open(&self.path("powers"), POWERS[1]).unwrap());
        let options = Options { only: BTreeSet::new(), signer, accept_gaps };
        Collector::new(self.registry(), Store::open(&self.path("store")).unwrap(), options, now).unwrap()
    }

    /// What was told of a delivery.
    fn take(
        &mut self,
        collector: &mut Collector,
        now: EpochMillis,
        device: &DeviceId,
        bytes: &[u8],
    ) -> Vec<String> {
        let mut told = Vec::new();
        collector.take(now, device, bytes, |_, news| told.push(said(news))).unwrap();
        self.news.extend(told.iter().cloned());
        told
    }

    /// The number that is acknowledged, where something is due.
    fn acknowledged(&self, collector: &mut Collector, now: EpochMillis, device: &Specimen) -> Option<u32> {
        let due = collector.due(now, |_, _| {}).unwrap();
        let (_, document) = due.first()?;
        let key = powers::public(&self.path("powers"), POWERS[1]).unwrap();
        let said =
            Envelope::decode(document).unwrap().verify::<LogAcknowledgement>(&key).unwrap().into_inner();
        assert_eq!(said.hash, device.records[said.number as usize].1, "only what is so is acknowledged");
        assert_eq!(said.audience, Audience::Device(device.id.clone()));
        // It was on the disk before.
        let stored = self.report(device);
        assert_eq!(stored.delivered.unwrap().record, said.number);
        Some(said.number)
    }

    fn report(&self, device: &Specimen) -> Report {
        let path = self.path("store").join(format!("{}.log", device.id));
        let registry = self.registry();
        verify_file(&path, &device.id, Keys::Registry(&registry), Expected::default(), |_| {}).unwrap()
    }
}

fn said(news: &News<'_>) -> String {
    match news {
        News::Records(lines) => format!("{} records", lines.len()),
        News::Gap(from, to, told) => format!("gap {from}-{to} {told}"),
        News::Missing(from, to) => format!("missing {from}-{to}"),
        News::Former(_, former) => format!("{} former keys", former.len()),
        News::Refused(fault) => fault.what.name().to_owned(),
        News::Full(path) => format!("full {}", path.file_name().unwrap().to_str().unwrap()),
        News::Damaged(error) => error.to_string(),
    }
}

const NOW: EpochMillis = EpochMillis(1_795_300_000_000);

fn last(device: &Specimen) -> u32 {
    u32::try_from(device.records.len() - 1).unwrap()
}

#[test]
fn a_log_is_taken_whatever_the_order_and_however_often_it_comes() {
    for seed in 0..12 {
        let (device, deliveries) = log(seed, 120);
        let mut service = Service::new(&[&device]);
        let mut collector = service.collector(false, NOW);
        let mut dice = Dice::new(seed);
        // Each delivery up to three times, others that overlap, all in a random order; some are altered on the way.
        let mut all: Vec<Vec<u8>> = deliveries.clone();
        for _ in 0..deliveries.len() * 2 {
            all.push(deliveries[dice.below(deliveries.len())].clone());
        }
        all.extend(device.deliver(u32::try_from(dice.below(100)).unwrap()));
        for _ in 0..20 {
            let mut altered = deliveries[dice.below(deliveries.len())].clone();
            let at = dice.below(altered.len());
            altered[at] ^= 1 << dice.below(8);
            all.push(altered);
        }
        for at in (1..all.len()).rev() {
            all.swap(at, dice.below(at + 1));
        }
        let mut now = NOW;
        for bytes in &all {
            now = now.offset(500);
            service.take(&mut collector, now, &device.id, bytes);
            service.acknowledged(&mut collector, now, &device);
        }
        // What the broker brought too late, with a former key, the device sends again with the one in force.
        let behind = u32::try_from(service.report(&device).records).unwrap();
        for bytes in device.deliver(behind) {
            service.take(&mut collector, now, &device.id, &bytes);
        }
        let report = service.report(&device);
        assert!(report.is_whole(), "seed {seed}: {:?} {:?}", report.findings, report.gaps);
        assert_eq!(report.records, device.records.len() as u64);
        now = now.offset(REMIND_MS);
        service.take(&mut collector, now, &device.id, deliveries.last().unwrap());
        assert_eq!(service.acknowledged(&mut collector, now, &device), Some(last(&device)));
    }
}

#[test]
fn acknowledgements_are_few_and_a_repeated_delivery_asks_for_one_more() {
    let (device, deliveries) = log(1, 120);
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(false, NOW);
    service.take(&mut collector, NOW, &device.id, &deliveries[0]);
    assert!(service.acknowledged(&mut collector, NOW, &device).is_some());
    let mut count = 0;
    for (step, bytes) in (1..).zip(&deliveries[1..]) {
        let now = NOW.offset(step * 100);
        service.take(&mut collector, now, &device.id, bytes);
        count += u32::from(service.acknowledged(&mut collector, now, &device).is_some());
    }
    assert_eq!(count, 0, "not before {ACKNOWLEDGE_MS} ms");
    let now = NOW.offset(ACKNOWLEDGE_MS);
    assert_eq!(collector.next_due(), Some(now));
    assert_eq!(service.acknowledged(&mut collector, now, &device), Some(last(&device)));
    assert_eq!(collector.next_due(), None);
    service.take(&mut collector, now.offset(10), &device.id, &deliveries[2]);
    assert_eq!(service.acknowledged(&mut collector, now.offset(ACKNOWLEDGE_MS), &device), None);
    assert_eq!(service.acknowledged(&mut collector, now.offset(REMIND_MS), &device), Some(last(&device)));
}

#[test]
fn what_is_not_the_devices_own_log_is_refused_and_named_and_never_acknowledged() {
    let (device, deliveries) = log(1, 60);
    let (mut other, theirs) = log(2, 60);
    other.id = "dev-8".parse().unwrap();
    let theirs_as_eight = other.deliver(0);
    let mut service = Service::new(&[&device, &other]);
    let mut collector = service.collector(false, NOW);
    let entries = device.entries(0, 5).0;
    let mut altered = deliveries[0].clone();
    *altered.last_mut().unwrap() ^= 1;
    let cases = [
        ("form", b"rubbish".to_vec()),
        ("form", Vec::new()),
        ("signature", altered),
        ("unknown_key", device.signed(0, &entries, &key(5, 5))),
        ("other_devices_key", theirs_as_eight[0].clone()),
        ("empty", device.signed(0, &[], &device.keys[0])),
        // The right key over another device's name.
        ("other_device", {
            let mut named = Specimen::new("dev-9", 1);
            named.keys.clone_from(&device.keys);
            named.signed(0, &entries, &device.keys[0])
        }),
        ("other_devices_key", theirs[0].clone()),
    ];
    for (name, bytes) in &cases {
        assert_eq!(service.take(&mut collector, NOW, &device.id, bytes), [*name]);
        assert_eq!(collector.due(NOW.offset(100_000), |_, _| {}).unwrap(), []);
    }
    // What a key of the device has signed is evidence; the rest is anybody's, and lies where all such things lie.
    let store = service.path("store");
    let refused = |name: &str| std::fs::read_to_string(store.join(name)).unwrap();
    let (evidence, rest) = (refused("dev-7.refused"), refused(".refused"));
    assert!(evidence.contains("\"empty\"") && evidence.contains("\"other_device\""), "{evidence}");
    assert_eq!((evidence.lines().count(), rest.lines().count()), (2, cases.len() - 2));
    // Again and again the same thing fills no disk.
    for (_, bytes) in [&cases[0], &cases[5]] {
        service.take(&mut collector, NOW, &device.id, bytes);
    }
    assert_eq!((refused("dev-7.refused"), refused(".refused")), (evidence, rest));
    // A device that nobody knows gets no file of its own.
    let unknown: DeviceId = "dev-99".parse().unwrap();
    assert_eq!(service.take(&mut collector, NOW, &unknown, &deliveries[0]), ["other_devices_key"]);
    assert!(service.path("store/.refused").exists() && !service.path("store/dev-99.refused").exists());
    // None of it did any harm.
    assert_eq!(service.take(&mut collector, NOW, &device.id, &deliveries[0]).len(), 1);
    assert!(service.report(&device).is_whole());
}

#[test]
fn two_histories_of_one_device_are_told_apart_and_proven_later() {
    let (device, deliveries) = log(1, 60);
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(false, NOW);
    for bytes in &deliveries {
        service.take(&mut collector, NOW, &device.id, bytes);
    }
    let mut liar = Specimen::new("dev-7", 1);
    liar.live(30);
    liar.keys.clone_from(&device.keys);
    let fork = &liar.deliver(0)[0];
    assert_eq!(service.take(&mut collector, NOW, &device.id, fork), ["fork"]);
    assert_eq!(
        crate::log::store::forks(&service.path("store/dev-7.log"))
            .unwrap()
            .into_iter()
            .map(|it| it.bytes)
            .collect::<Vec<_>>()
            .as_slice(),
        std::slice::from_ref(fork)
    );
    assert!(service.report(&device).is_whole());
}

#[test]
fn records_behind_a_gap_wait_until_the_device_says_that_they_are_lost() {
    let mut device = Specimen::new("dev-7", 4);
    device.live(60);
    let before = device.deliver(0);
    let registry = Registry::open(Path::new("/nonexistent/registry")).unwrap();
    assert_eq!(registry.devices().count(), 0);
    let publics = device.publics();
    let keys = Keys::Given(&publics);
    let number = |place: usize| delivery::prove(&device.id, &keys, None, &before[place]).unwrap().number;
    let (from, behind) = (number(1), number(3));
    device.push(Event::Lost { first: from, count: behind - from });
    let after = device.deliver(behind);
    let mut service = Service::new(&[&device]);
    let mut collector = service.collector(false, NOW);
    service.take(&mut collector, NOW, &device.id, &before[0]);
    assert_eq!(service.acknowledged(&mut collector, NOW, &device), Some(from - 1));
    let (end, waiting) = after.split_last().unwrap();
    for (place, bytes) in waiting.iter().enumerate() {
        let told = service.take(&mut collector, NOW, &device.id, bytes);
        let wanted = if place == 0 { vec![format!("missing {from}-{}", behind - 1)] } else { Vec::new() };
        assert_eq!(told, wanted, "it is said once");
        assert_eq!(service.acknowledged(&mut collector, NOW.offset(1_000_000), &device), None);
    }
    let told = service.take(&mut collector, NOW, &device.id, end);
    assert_eq!(told[0], format!("gap {from}-{} true", behind - 1));
    assert_eq!(told.len(), 1 + after.len());
    let report = service.report(&device);
    assert!(report.findings.is_empty() && report.gaps.len() == 1 && report.gaps[0].told);
    let now = NOW.offset(1_000_000);
    assert_eq!(service.acknowledged(&mut collector, now, &device), Some(last(&device)));
    // What was missing comes after all: too late, and nothing is altered.
    assert_eq!(service.take(&mut collector, now, &device.id, &before[1]), [""; 0]);
    assert_eq!(service.report(&device), report);
}

#[test]
fn a_gap_that_nothing_explains_is_taken_only_on_demand_and_shows_for_ever() {
    let (device, deliveries) = log(3, 120);
    for accept in [false, true] {
        let mut service = Service::new(&[&device]);
        let mut collector = service.collector(accept, NOW);
        for bytes in &deliveries[2..] {
            service.take(&mut collector, NOW, &device.id, bytes);
        }
        let later = NOW.offset(GAP_MS - 1);
        assert_eq!(collector.due(later, |_, _| {}).unwrap(), []);
        assert_eq!(collector.next_due(), accept.then_some(NOW.offset(GAP_MS)));
        let due = collector.due(NOW.offset(GAP_MS), |_, _| {}).unwrap();
        assert_eq!(due.len(), usize::from(accept));
        if accept {
            let report = service.report(&device);
            assert_eq!(report.first().unwrap().fault.record, Some(0));
            assert_eq!(report.proven, [(report.gaps[0].to + 1, last(&device))]);
        } else {
            // Then the first ones come, late, and all is well.
            for bytes in &deliveries[..2] {
                service.take(&mut collector, later, &device.id, bytes);
            }
            assert!(service.report(&device).is_whole());
        }
    }
}

#[test]
fn a_cut_at_any_byte_of_a_write_loses_nothing_that_was_acknowledged() {
    let (device, deliveries) = log(5, 40);
    let mut service = Service::new(&[&device]);
    let path = service.path("store/dev-7.log");
    let mut collector = service.collector(false, NOW);
    for bytes in &deliveries[..2] {
        service.take(&mut collector, NOW, &device.id, bytes);
    }
    let acknowledged = service.acknowledged(&mut collector, NOW, &device).unwrap();
    let safe = std::fs::metadata(&path).unwrap().len();
    service.take(&mut collector, NOW, &device.id, &deliveries[2]);
    drop(collector);
    let whole = std::fs::read(&path).unwrap();
    let len = whole.len() as u64 - safe;
    for cut in (0..len).step_by(61).chain([len - 1, len]) {
        std::fs::write(&path, &whole[..usize::try_from(safe + cut).unwrap()]).unwrap();
        let mut collector = service.collector(false, NOW);
        // What is there and was not acknowledged is acknowledged at once.
        let due = service.acknowledged(&mut collector, NOW, &device);
        assert_eq!(due.is_some(), cut == len, "{cut}");
        for bytes in &deliveries[1..] {
            service.take(&mut collector, NOW, &device.id, bytes);
        }
        let report = service.report(&device);
        assert!(report.is_whole() && report.records == device.records.len() as u64, "{cut}");
        assert!(report.delivered.unwrap().record > acknowledged);
        // As it was.
        std::fs::write(&path, &whole[..usize::try_from(safe).unwrap()]).unwrap();
        let document = powers::sign(
            &powers::signer(&service.path("powers"), POWERS[1]).unwrap(),
            &LogAcknowledgement {
                audience: Audience::Device(device.id.clone()),
                number: acknowledged,
                hash: device.records[acknowledged as usize].1,
            },
        );
        std::fs::write(service.path("store/dev-7.acknowledged"), document.unwrap()).unwrap();
    }
}

#[test]
fn a_store_that_was_altered_takes_nothing_more_of_that_device_and_all_of_others() {
    let (device, deliveries) = log(5, 40);
    let (mut other, _) = log(6, 40);
    other.id = "dev-8".parse().unwrap();
    let theirs = other.deliver(0);
    let mut service = Service::new(&[&device, &other]);
    let mut collector = service.collector(false, NOW);
    for bytes in &deliveries[..2] {
        service.take(&mut collector, NOW, &device.id, bytes);
    }
    let second = Store::open(&service.path("store"));
    assert!(matches!(second, Err(StoreError::Taken(_))), "one at a time");
    drop(collector);
    let path = service.path("store/dev-7.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut collector = service.collector(false, NOW);
    let told = service.take(&mut collector, NOW, &device.id, &deliveries[2]);
    assert!(told.iter().all(|told| told.contains("is not as it was written")), "{told:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(service.take(&mut collector, NOW, &other.id, &theirs[0]).len(), 1);
}
