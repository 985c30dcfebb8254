use super::*;
use crate::config::samples::{NOW, base, change, encode, fleet, id, in_force, running, state, topic};
use protocol::config::{Change, ConfigurationState, Refused, cut};
use protocol::{Failure, Refusal};

const RULES: Rules = Rules { timeout: Duration::from_secs(900), stop_after: None };

fn field_a() -> Whom {
    Whom::Group("field-a".try_into().unwrap())
}

fn change_7() -> Change {
    change(r#"{"v":2,"number":7,"group":"field-a","port":8884}"#)
}

fn target(change: &Change) -> Target {
    let mut target = Target::default();
    let wanted = Wanted::new(change, in_force(change).digest);
    target.groups.insert("field-a".try_into().unwrap(), wanted);
    target
}

fn follow(states: &[ConfigurationState]) -> Follow {
    Follow::new(field_a(), target(&change_7()), fleet(states), NOW)
}

impl Follow {
    fn say(&mut self, state: &ConfigurationState) -> Option<Step> {
        let (step, odd) = self.take(&topic(state.values.id.as_str()), &encode(state), Some(NOW), NOW);
        assert_eq!(odd, None);
        step
    }
}

fn done(name: &str) -> ConfigurationState {
    running(name, Some(&change_7()), None)
}

#[test]
fn it_is_over_when_every_device_of_the_group_runs_on_it_and_others_do_not_count() {
    let mut other = state("dev-9");
    other.group_name = "field-b".try_into().unwrap();
    let mut follow = follow(&[state("dev-1"), state("dev-2"), other]);
    assert_eq!((follow.tally().devices, follow.tally().count("waiting")), (2, 2));
    let step = follow.say(&done("dev-1")).unwrap();
    assert_eq!((step.before, step.after.unwrap().standing), (Some(Standing::Waiting), Standing::InForce));
    assert_eq!(RULES.judge(&follow.tally(), Duration::ZERO), Verdict::Stay);
    follow.say(&done("dev-2"));
    assert!(follow.tally().is_done());
    assert_eq!(RULES.judge(&follow.tally(), Duration::ZERO), Verdict::Over);
    // One more comes: it is not over any more until that one has it, too.
    follow.say(&state("dev-3"));
    assert_eq!(RULES.judge(&follow.tally(), Duration::ZERO), Verdict::Stay);
    assert_eq!(follow.tally().words(), "2 in-force, 1 waiting");
}

#[test]
fn an_older_number_rubbish_and_a_removed_state_are_never_taken_for_done() {
    let mut follow = follow(&[done("dev-1")]);
    assert!(follow.tally().is_done());
    let step = follow.say(&running("dev-1", Some(&change(r#"{"v":2,"number":6,"group":"field-a"}"#)), None));
    assert_eq!(step.unwrap().after.unwrap().standing, Standing::Waiting);
    follow.say(&done("dev-1"));
    let (step, odd) = follow.take(&topic("dev-1"), b"{\"v\":1}", Some(NOW), NOW);
    assert!(odd.is_some() && matches!(step.unwrap().after.unwrap().standing, Standing::Unreadable(_)));
    assert!(!follow.tally().is_done());
    let (step, odd) = follow.take(&topic("dev-1"), &encode(&done("dev-2")), Some(NOW), NOW);
    assert!(step.is_none_or(|step| step.id == id("dev-1")) && odd.is_some());
    assert_eq!(follow.tally().count("in-force"), 0, "nobody speaks for another");
    follow.say(&done("dev-1"));
    let (step, _) = follow.take(&topic("dev-1"), b"", None, NOW);
    assert_eq!(step.unwrap().before, Some(Standing::InForce));
    assert!(!follow.tally().is_done(), "nothing is known of it any more");
    assert_eq!(RULES.judge(&follow.tally(), RULES.timeout), Verdict::TimeOver);
}

#[test]
fn failures_end_it_where_that_is_wanted_and_nothing_waits_for_them() {
    let mut undone = state("dev-1");
    let last = Refused {
        layer: Some(Layer::Group),
        number: 7,
        why: Refusal::Undone,
        text: cut(&""),
        failure: Some(Failure::Dns),
    };
    undone.last = Some(last);
    let mut refused = undone.clone();
    refused.values = base("dev-2");
    refused.last.as_mut().unwrap().why = Refusal::Configuration;
    refused.last.as_mut().unwrap().text = cut(&"port is 0");
    let mut follow = follow(&[undone, refused, state("dev-3")]);
    let tally = follow.tally();
    assert_eq!((tally.failed, RULES.judge(&tally, Duration::ZERO)), (2, Verdict::Stay));
    let stop = |count| Rules { stop_after: Some(count), ..RULES }.judge(&tally, Duration::ZERO);
    assert_eq!((stop(2), stop(3)), (Verdict::Stop, Verdict::Stay));
    follow.say(&done("dev-3"));
    assert_eq!(RULES.judge(&follow.tally(), Duration::ZERO), Verdict::Over);
    assert!(!follow.tally().is_done());
    let stragglers: Vec<String> =
        follow.stragglers().iter().map(|(id, stand)| format!("{id}: {}", stand.standing)).collect();
    assert_eq!(
        stragglers,
        ["dev-2: refused: port is 0", "dev-1: undone: the service's host name has no address"]
    );
}

#[test]
fn devices_fall_silent_while_nobody_says_anything() {
    let mut follow = follow(&[state("dev-1"), done("dev-2")]);
    assert_eq!(follow.refresh(NOW), []);
    let later = EpochMillis(NOW.0 + 200_000);
    let steps = follow.refresh(later);
    assert_eq!((steps.len(), follow.tally().words().as_str()), (1, "1 in-force, 1 silent"));
    // The one on which it is in force has said so, and need not say it again.
    assert_eq!(steps[0].id, id("dev-1"));
}

#[test]
fn named_devices_count_although_they_never_spoke_and_a_group_tells_whom_it_cannot_count() {
    let own = change(r#"{"v":2,"number":7,"id":"dev-1","port":8884}"#);
    let mut target = Target::default();
    target.devices.insert(id("dev-1"), Wanted::new(&own, in_force(&own).digest));
    let nobody = Follow::new(Whom::Devices(vec![id("dev-1")]), target.clone(), Fleet::default(), NOW);
    assert_eq!(nobody.tally().words(), "1 silent");
    let spoken = fleet(&[running("dev-1", None, Some(&own))]);
    assert!(Follow::new(Whom::Devices(vec![id("dev-1")]), target, spoken, NOW).tally().is_done());
    let mut fleet = Fleet::default();
    fleet.registered.insert(id("dev-1"));
    let unknown = Follow::new(field_a(), self::target(&change_7()), fleet, NOW);
    let words = unknown.tally().words();
    assert_eq!(words, "no device that it is for was heard of, 1 whose group is not known");
    assert_eq!(RULES.judge(&unknown.tally(), Duration::ZERO), Verdict::Stay, "somebody may come");
}

#[test]
fn where_two_changes_are_wanted_of_a_device_the_one_that_it_is_further_from_counts() {
    let own = change(r#"{"v":2,"number":3,"id":"dev-1","port":8885}"#);
    let mut target = target(&change_7());
    target.devices.insert(id("dev-1"), Wanted::new(&own, in_force(&own).digest));
    let of = |state: ConfigurationState| Follow::new(Whom::All, target.clone(), fleet(&[state]), NOW);
    let half = of(done("dev-1"));
    let stand = half.stands().values().next().unwrap();
    assert_eq!((stand.layer, stand.number, &stand.standing), (Layer::Device, 3, &Standing::Waiting));
    assert!(of(running("dev-1", Some(&change_7()), Some(&own))).tally().is_done());
}

#[test]
fn a_thousand_devices_in_any_order_with_repeats_and_rubbish_end_in_the_same_picture() {
    let names: Vec<String> = (0..1_000).map(|number| format!("dev-{number:04}")).collect();
    let mut follow = follow(&names.iter().map(|name| state(name)).collect::<Vec<_>>());
    let mut order: Vec<usize> = (0..1_000).collect();
    let mut seed = 7_u64;
    for at in (1..order.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        order.swap(at, (seed >> 33) as usize % (at + 1));
    }
    for (count, at) in order.iter().enumerate() {
        let name = &names[*at];
        if at % 10 == 0 {
            follow.take(&topic(name), b"rubbish", Some(NOW), NOW);
        }
        follow.say(&done(name));
        if at % 3 == 0 {
            assert_eq!(follow.say(&done(name)), None, "the same again is no step");
        }
        assert_eq!(follow.tally().in_force(), count + 1);
    }
    assert!(follow.tally().is_done() && follow.stragglers().is_empty());
}
