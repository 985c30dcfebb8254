use super::*;
use protocol::Name;

const CLASS: Uuid = Uuid([3; 16]);

fn name(text: &str) -> Name {
    text.try_into().unwrap()
}

fn overview() -> Overview {
    let mut overview = Overview::default();
    for number in 0..12 {
        let version = if number < 8 { "1.10.0" } else { "1.9.0" };
        let mut state = FirmwareState::new(CLASS, name(version));
        match number {
            9 => {
                (state.phase, state.target, state.delta) = (Phase::Downloading, name("1.10.0"), true);
                (state.done, state.size, state.target_sequence) = (45, 100, 7);
            }
            10 => (state.phase, state.fault) = (Phase::Failed, Some(UpdateFault::NoSensor)),
            _ => {}
        }
        overview.fleet.take(format!("dev-{number}").parse().unwrap(), Some(state));
    }
    overview.fleet.know("dev-new".parse().unwrap());
    let manifest = Manifest {
        envelope: Vec::new(),
        digest: [1; 32],
        sequence: 7,
        vendor: Uuid([2; 16]),
        class: CLASS,
        image: protocol::suit::ImageRef { digest: [0; 32], size: 1 },
        version: Some(Version::new(1, 10, 0)),
        use_before_s: Some(1_801_353_600),
        sources: Vec::new(),
        description: None,
        sbom: None,
        mud: None,
    };
    overview.offers.insert(CLASS, Offer { manifest: Some(Ok(manifest)), share: Some(Share::ALL) });
    overview
}

#[test]
fn the_picture_shows_versions_phases_faults_and_who_lags_behind() {
    let expected = "\
firmware of 13 devices at broker:8883, 2027-01-31T00:00:00.000Z

class 03030303-0303-0303-0303-030303030303: 1.10.0 is offered to 100 % (sequence 7, before 2027-01-31T00:00:00Z); 8 of 13 have it

version
  1.10.0  8  ███████████
  1.9.0   4  █████▌

phase
  idle         10  ████████
  downloading   1  ▉
  failed        1  ▉

fault
  no_sensor  1  ████████

behind
  dev-10               1.9.0 failed: with the image the sensor did not answer in time
  dev-new              never heard of
  dev-11               1.9.0 idle
  dev-8                1.9.0 idle
  dev-9                1.9.0 downloading 1.10.0 45 % of a delta
";
    let at = EpochMillis(1_801_353_600_000);
    let text = overview().text("broker:8883", at, 24, false);
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn a_long_list_is_cut_unless_all_of_it_is_wanted() {
    let mut overview = overview();
    for number in 0..20 {
        overview.fleet.know(format!("more-{number}").parse().unwrap());
    }
    let at = EpochMillis(0);
    let text = overview.text("broker", at, 80, false);
    assert!(text.contains("  and 15 more: --all lists them"), "{text}");
    assert!(overview.text("broker", at, 80, true).contains("more-19"));
    let value = overview.json(at);
    assert_eq!(value["devices"].as_array().unwrap().len(), 33);
    assert_eq!(value["offers"][0]["standing"]["by_standing"]["silent"], 21);
}

#[test]
fn what_is_not_proven_is_not_shown_as_an_offer() {
    let mut overview = overview();
    for (fault, text) in
        [(UpdateFault::UnknownKey, "was not checked"), (UpdateFault::Malformed, "that no device takes")]
    {
        overview.offers.insert(CLASS, Offer { manifest: Some(Err(fault)), share: None });
        let shown = overview.text("broker", EpochMillis(0), 80, false);
        assert!(shown.contains(text) && !shown.contains("dev-11  "), "{shown}");
        assert!(shown.contains("dev-10"), "a failure is shown all the same");
    }
}
