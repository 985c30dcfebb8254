use super::*;
use crate::config::samples::{NOW, change, encode, fleet, id, running, signer, state, topic};
use crate::powers;
use protocol::config::ConfigurationState;

const GROUP: &str =
    r#"{"v":2,"number":7,"group":"field-a","sample_period_ms":5000,"report_period_ms":30000}"#;

fn text(states: &[ConfigurationState], change: &Change) -> String {
    let fleet = fleet(states);
    let devices = fleet.of(&crate::config::Whom::All);
    Difference::of(&devices, &fleet, NOW, |_| change).to_string()
}

/// A fleet of one device, for which the broker keeps these changes.
fn known(state: &ConfigurationState, group: Option<&str>, own: Option<&str>) -> Fleet {
    let (_temporary, signer) = signer();
    let mut fleet = Fleet::new(Some(*signer.public()));
    fleet.take(&topic("dev-1"), &encode(state), None).unwrap();
    let mut keep = |topic: &str, json: Option<&str>| {
        if let Some(json) = json {
            fleet.take(topic, &powers::sign(&signer, &change(json)).unwrap(), None).unwrap();
        }
    };
    keep("group/field-a/config/desired", group);
    keep("device/dev-1/config/desired", own);
    fleet
}

#[test]
fn a_thousand_devices_make_a_few_lines() {
    let mut states: Vec<_> = (0..997).map(|number| state(&format!("dev-{number:04}"))).collect();
    let already =
        change(r#"{"v":2,"number":6,"group":"field-a","sample_period_ms":5000,"report_period_ms":30000}"#);
    states.extend(["x-1", "x-2"].map(|name| running(name, Some(&already), None)));
    let mut quiet = state("y");
    quiet.t = Some(EpochMillis(NOW.0 - 86_400_000));
    states.push(quiet);
    let change = change(
        r#"{"v":2,"number":7,"group":"field-a","sample_period_ms":5000,"report_period_ms":30000,"host":"b.example"}"#,
    );
    assert_eq!(
        text(&states, &change),
        "998 devices (dev-0000, dev-0001, dev-0002 and 995 more):\n  \
         ! host              broker.example -> b.example\n    \
         sample_period_ms  10000 ms -> 5000 ms\n    \
         report_period_ms  60000 ms -> 30000 ms\n    \
         not heard of late: 1 of these, longest y since 2026-09-20T14:13:20.000Z\n\
         2 devices (x-1, x-2):\n  \
         ! host  broker.example -> b.example\n    \
         what the former change names and this one does not goes back to what is below it (the former change is not known here)\n\
         ! is tried first: a device that does not reach its service with it goes back to what is in force now.\n"
    );
}

#[test]
fn who_refuses_it_is_told_with_the_devices_own_sentence() {
    let change = change(r#"{"v":2,"number":7,"group":"field-a","report_period_ms":9999}"#);
    let shown = text(&[state("dev-1")], &change);
    let sentence = "report_period_ms is 9999; it must not be below sample_period_ms, which is 10000";
    assert!(shown.contains(&format!("REFUSED by these devices: {sentence}")), "{shown}");
    let fleet = fleet(&[state("dev-1")]);
    let difference = Difference::of(&[&id("dev-1")], &fleet, NOW, |_| &change);
    assert_eq!(difference.refused(), Some((1, sentence)));
    assert_eq!(difference.json()["alike"][0]["refused"], sentence);
}

#[test]
fn a_field_that_is_not_named_any_more_goes_back_to_what_is_below() {
    let former = change(GROUP);
    // To the factory's, which no device says.
    let said = running("dev-1", Some(&former), None);
    let next = change(r#"{"v":2,"number":8,"group":"field-a","sample_period_ms":5000}"#);
    let outlook = outlook(&said, &known(&said, Some(GROUP), None), &next);
    let row = Row { field: "report_period_ms", from: "30000 ms".into(), to: To::Factory };
    assert_eq!((outlook.rows, outlook.former_unknown), (vec![row], false));
    // To the group's.
    let own_json = r#"{"v":2,"number":3,"id":"dev-1","report_period_ms":40000}"#;
    let own = change(own_json);
    let said = running("dev-1", Some(&former), Some(&own));
    let next = change(r#"{"v":2,"number":4,"id":"dev-1","log_level":"error"}"#);
    let outlook = self::outlook(&said, &known(&said, Some(GROUP), Some(own_json)), &next);
    let rows: Vec<_> = outlook.rows.iter().map(|row| (row.field, row.to.clone())).collect();
    let value = |text: &str| To::Value(text.to_owned());
    assert_eq!(rows, [("report_period_ms", value("30000 ms")), ("log_level", value("error"))]);
    // Another document at the broker than the one in force proves nothing of that.
    let other = r#"{"v":2,"number":9,"group":"field-a"}"#;
    let outlook = self::outlook(&said, &known(&said, Some(other), Some(own_json)), &next);
    assert_eq!(outlook.rows[0].to, To::Unknown);
    let outlook = self::outlook(&said, &known(&said, Some(GROUP), None), &next);
    assert!(outlook.former_unknown && outlook.rows.len() == 1);
}

#[test]
fn a_devices_own_change_has_the_last_word() {
    let own_json = r#"{"v":2,"number":3,"id":"dev-1","sample_period_ms":20000}"#;
    let said = running("dev-1", None, Some(&change(own_json)));
    let known = known(&said, None, Some(own_json));
    let shown = outlook(&said, &known, &change(GROUP));
    assert_eq!(shown.stays, [("sample_period_ms", "20000 ms".to_owned())]);
    assert_eq!(shown.rows.len(), 1);
    assert_eq!(shown.refused, None);
    let shown = shown.to_string();
    assert!(shown.contains("sample_period_ms  stays 20000 ms: the device's own change names it"), "{shown}");
    // What is left of the group's change may not fit to it.
    let group =
        change(r#"{"v":2,"number":7,"group":"field-a","sample_period_ms":5000,"report_period_ms":15000}"#);
    let refused = outlook(&said, &known, &group).refused.unwrap();
    assert!(refused.contains("sample_period_ms, which is 20000"), "{refused}");
    assert!(outlook(&said, &fleet(&[]), &change(GROUP)).own_unknown);
}

#[test]
fn devices_that_said_nothing_or_rubbish_are_not_guessed_at() {
    let mut fleet = fleet(&[]);
    let _odd = fleet.take(&topic("dev-2"), b"rubbish", None);
    let (one, two) = (id("dev-1"), id("dev-2"));
    let change = change(GROUP);
    let shown = Difference::of(&[&one, &two], &fleet, NOW, |_| &change).to_string();
    assert!(
        shown.contains("1 device (dev-1): never heard of; what will change there is not known"),
        "{shown}"
    );
    assert!(shown.contains("1 device (dev-2): what will change there is not known: the message"), "{shown}");
}
