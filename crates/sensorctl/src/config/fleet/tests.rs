use super::*;
use crate::config::samples::{NOW, change, encode, fleet, id, running, signer, state, topic};
use crate::powers;
use proptest::prelude::*;

const GROUP: &str = "group/field-a/config/desired";

fn field_a() -> Whom {
    Whom::Group("field-a".try_into().unwrap())
}

#[test]
fn what_cannot_be_read_or_is_about_somebody_else_is_said_and_known_by_nobody() {
    let mut fleet = fleet(&[state("dev-1")]);
    let mut garbage: Vec<Vec<u8>> = vec![b"rubbish".to_vec(), b"{}".to_vec(), vec![0xff; 3_000]];
    let whole = encode(&state("dev-1"));
    garbage.extend((1..whole.len()).step_by(7).map(|cut| whole[..cut].to_vec()));
    for payload in garbage {
        fleet.take(&topic("dev-1"), &payload, Some(NOW)).unwrap_err();
        assert!(matches!(fleet.heard(&id("dev-1")).unwrap().report, Report::Unreadable(_)));
    }
    let odd = fleet.take(&topic("dev-1"), &encode(&state("dev-2")), None).unwrap_err();
    assert_eq!(odd.why, "it speaks of dev-2");
    assert!(fleet.heard(&id("dev-2")).is_none());
    // Whose it was stays known: it still belongs to its group, and a good message makes it known again.
    assert_eq!(fleet.of(&field_a()), [&id("dev-1")]);
    fleet.take(&topic("dev-1"), &whole, None).unwrap();
    assert!(fleet.heard(&id("dev-1")).unwrap().said().is_some());
    for other in
        ["", "device", "device/a b/state", "group//config/desired", "group/a/b/config/desired", "x/y"]
    {
        assert!(fleet.take(other, b"x", None).is_err(), "{other}");
    }
}

#[test]
fn what_the_broker_keeps_is_known_only_where_it_is_proven_and_for_whom_it_is_kept() {
    let (_temporary, signer) = signer();
    let (_other, stranger) = crate::config::samples::signer();
    let sealed = |signer, json: &str| powers::sign(signer, &change(json)).unwrap();
    let mut fleet = Fleet::new(Some(*signer.public()));
    let group = r#"{"v":2,"number":7,"group":"field-a","port":8884}"#;
    fleet.take(GROUP, &sealed(&signer, group), None).unwrap();
    let name = "field-a".try_into().unwrap();
    assert_eq!(fleet.groups.get(&name).unwrap().change.number, 7);
    // Another one in its place that proves nothing is not taken for it, nor for what was there before.
    let odd = fleet.take(GROUP, &sealed(&stranger, group), None).unwrap_err();
    assert!(odd.why.contains("signed with a key"), "{odd:?}");
    assert!(fleet.groups.is_empty());
    let other = r#"{"v":2,"number":7,"group":"field-b"}"#;
    assert!(fleet.take(GROUP, &sealed(&signer, other), None).unwrap_err().why.contains("not for this group"));
    let own = r#"{"v":2,"number":4,"id":"dev-1","port":8884}"#;
    let desired = "device/dev-2/config/desired";
    assert!(fleet.take(desired, &sealed(&signer, own), None).unwrap_err().why.contains("another device"));
    fleet.take("device/dev-1/config/desired", &sealed(&signer, own), None).unwrap();
    fleet.take(desired, &sealed(&signer, group), None).unwrap();
    assert_eq!(fleet.own.keys().collect::<Vec<_>>(), [&id("dev-1")]);
    fleet.take("device/dev-1/config/desired", b"", None).unwrap();
    assert!(fleet.own.is_empty());
}

#[test]
fn the_next_number_is_above_what_is_proven_and_what_is_only_said_is_shown() {
    let all = Whom::Devices(vec![id("dev-1"), id("dev-2")]);
    let own = change(r#"{"v":2,"number":5,"id":"dev-2"}"#);
    let mut trying = state("dev-1");
    trying.trial = Some((Layer::Group, 8));
    let (_temporary, signer) = signer();
    let mut fleet = Fleet::new(Some(*signer.public()));
    for state in [trying, running("dev-2", None, Some(&own))] {
        fleet.take(&topic(state.values.id.as_str()), &encode(&state), None).unwrap();
    }
    assert_eq!((fleet.highest(&all, Layer::Device), fleet.highest(&all, Layer::Group)), (0, 0));
    assert_eq!(fleet.claims(&all, Layer::Device, 2), [(&id("dev-2"), 5)]);
    assert_eq!(fleet.claims(&all, Layer::Device, 1), [(&id("dev-1"), 1), (&id("dev-2"), 5)], "the factory's");
    assert_eq!(fleet.claims(&field_a(), Layer::Group, 8), [(&id("dev-1"), 8)]);
    assert_eq!(fleet.claims(&field_a(), Layer::Group, 9), []);
    for (topic, json) in [
        ("device/dev-2/config/desired", r#"{"v":2,"number":4,"id":"dev-2"}"#),
        (GROUP, r#"{"v":2,"number":7,"group":"field-a"}"#),
    ] {
        fleet.take(topic, &powers::sign(&signer, &change(json)).unwrap(), None).unwrap();
    }
    assert_eq!((fleet.highest(&all, Layer::Device), fleet.highest(&field_a(), Layer::Group)), (4, 7));
}

#[test]
fn who_belongs_to_a_group_is_what_devices_say_and_who_said_nothing_is_counted() {
    let mut other = state("dev-2");
    other.group_name = "field-b".try_into().unwrap();
    let mut fleet = fleet(&[state("dev-1"), other]);
    fleet.registered.extend([id("dev-1"), id("dev-9")]);
    assert_eq!(fleet.of(&field_a()), [&id("dev-1")]);
    assert_eq!((fleet.of(&Whom::All).len(), fleet.of_no_known_group()), (3, 1));
    let mut gone = protocol::State::new("1.0.0".try_into().unwrap(), 1, protocol::ResetCause::PowerOn);
    gone.life = Life::Blank;
    let mut buffer = [0; 768];
    let len = gone.encode(&mut buffer).unwrap();
    fleet.take("device/dev-1/state", &buffer[..len], None).unwrap();
    assert!(fleet.in_service(&field_a()).is_empty(), "its life is over");
}

#[test]
fn few_devices_are_asked_for_one_by_one_and_many_at_once() {
    let few = said(&Whom::Devices(vec![id("dev-1")]));
    assert_eq!(few, ["device/dev-1/config/state", "device/dev-1/state"]);
    assert_eq!(said(&field_a()), ["device/+/config/state", "device/+/state"]);
    assert!(kept(&field_a()).contains(&GROUP.to_owned()));
    let many = (0..9).map(|number| id(&format!("dev-{number}"))).collect();
    assert_eq!(said(&Whom::Devices(many)).len(), 2);
}

proptest! {
    #[test]
    fn nothing_that_comes_can_break_it(
        topics in proptest::collection::vec("(device|group)/[a-c/]{1,3}/(config/(state|desired)|state|x)", 1..20),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut fleet = Fleet::default();
        for topic in topics {
            let _verdict = fleet.take(&topic, &payload, None);
        }
        prop_assert!(fleet.of(&Whom::All).iter().all(|id| fleet.heard(id).is_some_and(|heard| heard.said().is_none())));
    }
}
