extern crate std;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::string::{String, ToString};

pub fn reading() -> impl Strategy<Value = Result<Measurement, SensorFault>> {
    prop_oneof![
        4 => (-4_000i32..=8_500, 0u32..=10_000, 30_000u32..=110_000).prop_map(|(t, h, p)| Measurement::new(t, h, p)),
        1 => (0..SensorFault::ALL.len()).prop_map(|i| Err(SensorFault::ALL[i])),
    ]
}

pub fn batch() -> impl Strategy<Value = Batch> {
    let samples = vec((any::<u32>(), reading()), 1..=BATCH_SAMPLES_MAX).prop_map(|mut samples| {
        samples.sort_by_key(|(after_ms, _)| *after_ms);
        samples[0].0 = 0;
        samples.into_iter().map(|(after_ms, reading)| Sample { after_ms, reading }).collect()
    });
    (any::<u32>(), 0..=u32::MAX - BATCH_SAMPLES_MAX as u32, any::<Option<u64>>(), any::<u32>(), samples)
        .prop_map(|(boot, seq, time, lost, samples)| Batch {
            boot,
            seq,
            time: time.map(EpochMillis),
            lost: lost.min(seq),
            samples,
        })
}

fn encoded(batch: &Batch) -> std::vec::Vec<u8> {
    let mut buffer = [0; BATCH_BYTES_MAX];
    let len = batch.encode(&mut buffer).unwrap();
    buffer[..len].to_vec()
}

proptest! {
    #[test]
    fn a_batch_reads_back_as_written(batch in batch()) {
        prop_assert_eq!(Batch::decode(&encoded(&batch)), Ok(batch));
    }

    #[test]
    fn a_batch_cut_at_any_length_is_refused(batch in batch()) {
        let bytes = encoded(&batch);
        for len in 0..bytes.len() {
            prop_assert!(Batch::decode(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in vec(any::<u8>(), 0..2_000)) {
        let _verdict = Batch::decode(&bytes);
    }
}

#[test]
fn the_longest_batch_fits() {
    let sample = Sample { after_ms: u32::MAX, reading: Err(SensorFault::OutOfRange) };
    let longest = SensorFault::ALL.iter().map(|f| f.as_str().len()).max();
    assert_eq!(longest, Some(SensorFault::OutOfRange.as_str().len()));
    let batch = Batch {
        boot: u32::MAX,
        seq: u32::MAX,
        time: Some(EpochMillis(u64::MAX)),
        lost: u32::MAX,
        samples: core::iter::repeat_n(sample, BATCH_SAMPLES_MAX).collect(),
    };
    let mut buffer = [0; BATCH_BYTES_MAX];
    let len = batch.encode(&mut buffer).unwrap();
    assert!(len <= BATCH_BYTES_MAX && len > BATCH_BYTES_MAX - 64, "{len}");
}

#[test]
fn near_misses_are_refused_by_name() {
    let good = r#"{"v":1,"boot":7,"seq":1,"t":5,"lost":0,"s":[[0,2150,4512,101325],[9,null,"no_answer"]]}"#;
    assert!(Batch::decode(good.as_bytes()).is_ok());
    for (from, to, reason) in [
        ("\"v\":1", "\"v\":2", "version 2"),
        ("[0,2150", "[1,2150", "at 0 ms"),
        ("2150", "8501", "outside what the sensor can measure"),
        ("2150", "99999", "outside what the sensor can measure"),
        ("4512", "10001", "outside what the sensor can measure"),
        ("101325", "29999", "outside what the sensor can measure"),
        (",101325", "", "cannot be read"),
        (",\"no_answer\"", "", "cannot be read"),
        ("\"no_answer\"", "\"on_fire\"", "cannot be read"),
        ("null", "1", "cannot be read"),
        ("2150", "21.5", "cannot be read"),
        ("\"seq\":1", "\"seq\":4294967295", "end below 4294967295"),
        ("\"seq\":1", "\"seq\":-1", "cannot be read"),
        ("\"seq\":1,", "", "cannot be read"),
        ("\"t\":5,", "", "cannot be read"),
        ("[[0", "[,[0", "cannot be read"),
        ("[0,", "[ ,0,", "cannot be read"),
        ("\"lost\":0", "\"lost\":2", "no more samples can be lost"),
        ("\"lost\":0", "\"lost\":0,\"more\":1", "cannot be read"),
        ("[0,2150,4512,101325],[9,null,\"no_answer\"]", "", "at least one sample"),
        ("}", "}x", "cannot be read"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        let error = Batch::decode(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{bad}: {error}");
    }
    let backwards =
        r#"{"v":1,"boot":7,"seq":1,"t":5,"lost":0,"s":[[0,1,1,30000],[9,1,1,30000],[8,1,1,30000]]}"#;
    assert_eq!(
        Batch::decode(backwards.as_bytes()).unwrap_err().to_string(),
        "the samples of a batch are in order of time"
    );
    let long = String::from_utf8(std::vec![b' '; BATCH_BYTES_MAX + 1]).unwrap();
    assert_eq!(
        Batch::decode(long.as_bytes()),
        Err(DecodeError::TooLong { len: BATCH_BYTES_MAX + 1, max: BATCH_BYTES_MAX })
    );
}

#[test]
fn the_last_sequence_numbers_are_counted_without_overflow() {
    let text = r#"{"v":1,"boot":7,"seq":4294967293,"t":5,"lost":0,"s":[[0,1,1,30000],[1,1,1,30000]]}"#;
    let batch = Batch::decode(text.as_bytes()).unwrap();
    let all: std::vec::Vec<_> = batch.iter().map(|(seq, time, _)| (seq, time.unwrap().0)).collect();
    assert_eq!(all, [(4_294_967_293, 5), (4_294_967_294, 6)]);
    assert!(Batch::decode(text.replace("967293", "967294").as_bytes()).is_err());
}
