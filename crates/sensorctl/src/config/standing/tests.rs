use super::*;
use crate::config::samples::{NOW, change, encode, fleet, id, running, state, topic};
use protocol::config::{Refused, cut};

const CHANGE: &str = r#"{"v":2,"number":7,"group":"field-a","port":8884}"#;

fn wanted(json: &str) -> Wanted {
    let change = change(json);
    Wanted::new(&change, crate::config::samples::in_force(&change).digest)
}

/// How a device that said this stands to the change.
fn standing(state: &ConfigurationState) -> Standing {
    Standing::of(fleet(std::slice::from_ref(state)).heard(&id("dev-1")), &wanted(CHANGE), NOW)
}

fn refused(layer: Option<Layer>, number: u32, why: Refusal, text: &str) -> ConfigurationState {
    let mut state = state("dev-1");
    state.last = Some(Refused { layer, number, why, text: cut(&text), failure: None });
    state
}

#[test]
fn a_change_is_in_force_only_where_number_content_and_values_are_its_own() {
    let change_7 = change(CHANGE);
    let mut said = running("dev-1", Some(&change_7), None);
    assert_eq!(standing(&said), Standing::InForce);
    // An old refusal does not matter any more.
    said.last = refused(Some(Layer::Group), 7, Refusal::Replayed, "").last;
    assert_eq!(standing(&said), Standing::InForce);
    said.group.as_mut().unwrap().digest = [1; 32];
    assert_eq!(standing(&said), Standing::Other);
    let other = running("dev-1", Some(&change(r#"{"v":2,"number":8,"group":"field-a"}"#)), None);
    assert_eq!(standing(&other), Standing::Newer(8));
    // It names the right number and runs on something else.
    let mut liar = running("dev-1", Some(&change_7), None);
    liar.values = state("dev-1").values;
    assert_eq!(standing(&liar), Standing::Contradicts("port".to_owned()));
    // A change of its own may say otherwise.
    let own = change(r#"{"v":2,"number":3,"id":"dev-1","port":8885}"#);
    assert_eq!(standing(&running("dev-1", Some(&change_7), Some(&own))), Standing::InForce);
    // A device's own change of the same number is another one.
    let own = change(r#"{"v":2,"number":7,"id":"dev-1","port":8884}"#);
    assert_eq!(standing(&running("dev-1", None, Some(&own))), Standing::Waiting);
}

#[test]
fn who_refused_or_undid_it_says_why_and_who_cannot_take_it_now_is_not_lost() {
    let mut trying = state("dev-1");
    trying.trial = Some((Layer::Group, 7));
    assert_eq!(standing(&trying), Standing::Trying);
    let group = Some(Layer::Group);
    let sentence = "port is 0; it must be from 1 to 65535";
    let text = standing(&refused(group, 7, Refusal::Configuration, sentence)).to_string();
    assert_eq!(text, format!("refused: {sentence}"));
    assert_eq!(
        standing(&refused(group, 7, Refusal::Replayed, "")).to_string(),
        "refused: its number was already used"
    );
    let mut undone = refused(group, 7, Refusal::Undone, "");
    assert!(standing(&undone).to_string().contains("time servers"));
    undone.last.as_mut().unwrap().failure = Some(Failure::TlsName);
    assert_eq!(standing(&undone).to_string(), "undone: the service's certificate is for another host name");
    let postponed = standing(&refused(group, 7, Refusal::Unexpected, ""));
    assert!(postponed == Standing::Postponed && !postponed.is_failure());
    let mut unstored = state("dev-1");
    unstored.unstored = Some((Layer::Group, 7));
    let its_own_fault = standing(&unstored);
    assert!(its_own_fault == Standing::Unstored && !its_own_fault.is_failure());
    assert!(its_own_fault.to_string().contains("own flash"), "{its_own_fault}");
    unstored.unstored = Some((Layer::Device, 7));
    assert_eq!(standing(&unstored), Standing::Waiting, "another layer's");
    // What was refused of another number, or of another layer, says nothing of this one.
    assert_eq!(standing(&refused(group, 6, Refusal::Configuration, "")), Standing::Waiting);
    assert_eq!(standing(&refused(Some(Layer::Device), 7, Refusal::Configuration, "")), Standing::Waiting);
    assert_eq!(standing(&refused(None, 0, Refusal::UnknownKey, "")), Standing::Unproven(Refusal::UnknownKey));
}

#[test]
fn a_device_that_restarts_after_a_refusal_has_still_refused_it() {
    let mut fleet = fleet(&[refused(Some(Layer::Group), 7, Refusal::Configuration, "port is 0")]);
    fleet.take(&topic("dev-1"), &encode(&state("dev-1")), Some(NOW)).unwrap();
    let standing =
        |fleet: &crate::config::fleet::Fleet| Standing::of(fleet.heard(&id("dev-1")), &wanted(CHANGE), NOW);
    assert_eq!(standing(&fleet), Standing::Refused(Refusal::Configuration, "port is 0".to_owned()));
    // Should it take it after all, that is what counts.
    fleet.take(&topic("dev-1"), &encode(&running("dev-1", Some(&change(CHANGE)), None)), Some(NOW)).unwrap();
    assert_eq!(standing(&fleet), Standing::InForce);
}

#[test]
fn who_is_not_heard_for_three_minutes_is_silent_and_never_waiting() {
    let later = |ms| EpochMillis(NOW.0 + ms);
    let wanted = wanted(CHANGE);
    let old = fleet(&[state("dev-1")]);
    let standing =
        |fleet: &crate::config::fleet::Fleet, now| Standing::of(fleet.heard(&id("dev-1")), &wanted, now);
    assert_eq!(standing(&old, later(SILENT_MS)), Standing::Waiting);
    assert_eq!(standing(&old, later(SILENT_MS + 1)), Standing::Silent(Some(NOW)));
    // A clock that is ahead does not make a device heard of in the future.
    assert_eq!(standing(&old, EpochMillis(NOW.0 - 9_000)), Standing::Waiting);
    // Without a clock: when its message came counts, where it was not kept.
    let mut unset = state("dev-1");
    unset.t = None;
    let mut fleet = fleet(&[unset.clone()]);
    assert_eq!(standing(&fleet, NOW), Standing::Silent(None));
    fleet.take(&topic("dev-1"), &encode(&unset), Some(NOW)).unwrap();
    assert_eq!(standing(&fleet, NOW), Standing::Waiting);
    assert_eq!(Standing::of(None, &wanted, NOW).to_string(), "never heard of");
}

#[test]
fn every_standing_has_its_place_between_best_and_worst() {
    let all = [
        Standing::InForce,
        Standing::Trying,
        Standing::Waiting,
        Standing::Postponed,
        Standing::Unstored,
        Standing::Unproven(Refusal::Signature),
        Standing::Silent(None),
        Standing::Unreadable(String::new()),
        Standing::Newer(1),
        Standing::Other,
        Standing::Contradicts(String::new()),
        Standing::Undone(None),
        Standing::Refused(Refusal::Payload, String::new()),
    ];
    let names: Vec<&str> = all.iter().map(Standing::name).collect();
    assert_eq!(names, Standing::NAMES);
    let failures = all.iter().filter(|standing| standing.is_failure()).count();
    assert_eq!((failures, all[7].rank()), (5, 7));
}
