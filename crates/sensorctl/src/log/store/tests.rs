//! The files of a store.

use super::*;
use proptest::prelude::*;

#[test]
fn a_line_has_one_form() {
    let stored = StoredDelivery { received: EpochMillis(1_795_300_000_123), bytes: vec![0xd2, 1, 2, 3, 255] };
    let line = stored.to_line();
    assert!(line.starts_with(r#"{"at":"2026-11-21T22:26:40.123Z"#), "{line}");
    assert_eq!(StoredDelivery::from_line(line.as_bytes()), Ok(stored));
    for (altered, fault) in [
        (line.replace("\",\"d", "\", \"d"), LineFault::Form),
        (line.replace("2026", "2027"), LineFault::Check),
        (line.trim_end().to_owned(), LineFault::Torn),
        (line.replace("{\"at", "{\"x\":1,\"at"), LineFault::Form),
        (format!("{{{line}"), LineFault::Form),
    ] {
        assert_eq!(StoredDelivery::from_line(altered.as_bytes()).unwrap_err().fault, fault, "{altered}");
    }
}

#[test]
fn a_refusal_that_a_power_cut_has_torn_does_not_swallow_the_next_one() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("dev-1.refused");
    let device = "dev-1".parse().unwrap();
    let refuse = |bytes: &[u8]| {
        let fault = Fault { record: Some(7), what: What::Fork };
        append_refused(path.clone(), REFUSED_BYTES_MAX, &device, &fault, bytes).unwrap()
    };
    refuse(b"first");
    let first = std::fs::read(&path).unwrap();
    refuse(b"torn");
    let both = std::fs::read(&path).unwrap();
    for cut in first.len()..=both.len() {
        std::fs::write(&path, &both[..cut]).unwrap();
        refuse(b"next");
        let kept: Vec<_> = forks(&temporary.path().join("dev-1.log")).unwrap();
        let kept: Vec<&[u8]> = kept.iter().map(|delivery| delivery.bytes.as_slice()).collect();
        // The one that was torn is whole where nothing but the end of its line is missing.
        let whole: &[&[u8]] =
            if cut < both.len() - 1 { &[b"first", b"next"] } else { &[b"first", b"torn", b"next"] };
        assert_eq!(kept, whole, "{cut}");
    }
}

#[test]
fn logs_are_found_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(logs_at(folder.path(), None), Err(StoreError::Nothing(_))));
    for name in ["dev-2.log", "dev-1.log", "dev-1.refused", "a b.log", ".lock", "dev-1.acknowledged"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let found = |id: Option<&str>| {
        let id = id.map(|id| id.parse().unwrap());
        let logs = logs_at(folder.path(), id.as_ref()).unwrap();
        logs.into_iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        (found(None), found(Some("dev-2"))),
        (vec!["dev-1".to_owned(), "dev-2".to_owned()], vec!["dev-2".to_owned()])
    );
    let file = folder.path().join("a b.log");
    assert!(matches!(logs_at(&file, None), Err(StoreError::NoDevice(_))));
    assert_eq!(logs_at(&file, Some(&"x".parse().unwrap())).unwrap()[0].0.as_str(), "x");
}

proptest! {
    #[test]
    fn every_delivery_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..1400), at in 0u64..4_000_000_000_000) {
        let stored = StoredDelivery { received: EpochMillis(at), bytes };
        let line = stored.to_line();
        prop_assert!(line.len() <= line::LINE_BYTES_MAX);
        prop_assert_eq!(StoredDelivery::from_line(line.as_bytes()), Ok(stored));
    }
}
