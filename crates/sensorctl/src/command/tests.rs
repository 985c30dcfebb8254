//! The picture of an order.

use super::*;
use crate::powers::public;
use crate::signer::Home;
use protocol::EpochMillis;
use protocol::signed::Envelope;
use tempfile::TempDir;

struct Desk {
    folder: TempDir,
    signer: Signer,
}

impl Desk {
    fn new(ends: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        powers::init(&folder.path().join("powers"), &Home::Files).unwrap();
        let signer = powers::signer(&folder.path().join("powers"), power(ends)).unwrap();
        Self { folder, signer }
    }
}

fn ids(ids: &[&str]) -> Vec<DeviceId> {
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

fn answer(answer: &CommandAnswer) -> Vec<u8> {
    let mut out = [0; 256];
    let len = answer.encode(&mut out).unwrap();
    out[..len].to_vec()
}

#[test]
fn each_device_gets_a_command_of_its_own_and_answers_for_itself() {
    let desk = Desk::new(false);
    let devices = ids(&["dev-1", "dev-2", "dev-3"]);
    let mut order =
        Order::command(&desk.signer, &devices, &Whom::Each, 7, 1_800_000_000, Action::Reboot).unwrap();
    let key = public(&desk.folder.path().join("powers"), Power::Configuration).unwrap();
    for (device, message) in devices.iter().zip(order.messages()) {
        assert_eq!(
            (message.topic.as_str(), message.retained),
            (format!("device/{device}/command").as_str(), true)
        );
        let command =
            Envelope::decode(&message.payload).unwrap().verify::<Command>(&key).unwrap().into_inner();
        let audience = Audience::Device(device.clone());
        assert_eq!(
            command,
            Command { audience, number: 7, expires_s: 1_800_000_000, action: Action::Reboot }
        );
    }
    let said = |number, action, outcome| {
        answer(&CommandAnswer::new(Some(AudienceKind::Device), number, Some(action), outcome))
    };
    let mut hear = |device: &str, payload: &[u8]| {
        order.hear(&format!("device/{device}/command/answer"), payload, true).map(|(_, standing)| standing)
    };
    // What was answered to other commands, by others, on other topics, or is no answer, says nothing.
    assert_eq!(hear("dev-1", &said(6, ActionName::Reboot, Outcome::Done)), None);
    assert_eq!(hear("dev-1", &said(7, ActionName::Report, Outcome::Done)), None);
    let group = CommandAnswer::new(Some(AudienceKind::Group), 7, Some(ActionName::Reboot), Outcome::Done);
    assert_eq!(hear("dev-1", &answer(&group)), None);
    assert_eq!(hear("dev-9", &said(7, ActionName::Reboot, Outcome::Done)), None);
    assert_eq!(hear("dev-1", b"rubbish"), None);
    assert_eq!(hear("dev-1", &said(7, ActionName::Reboot, Outcome::Begun)), Some(Standing::Begun));
    assert_eq!(hear("dev-1", &said(7, ActionName::Reboot, Outcome::Begun)), None, "told once");
    assert_eq!(hear("dev-1", &said(7, ActionName::Reboot, Outcome::Done)), Some(Standing::Done));
    assert_eq!(hear("dev-1", &said(7, ActionName::Reboot, Outcome::Begun)), None, "what is over is over");
    let mut refused =
        CommandAnswer::new(Some(AudienceKind::Device), 7, Some(ActionName::Reboot), Outcome::Refused);
    refused.t = Some(EpochMillis(5));
    refused.refusal = Some(Refusal::Expired);
    assert_eq!(hear("dev-2", &answer(&refused)), Some(Standing::Refused(Refusal::Expired)));
    assert_eq!((order.answered(), order.is_over()), (2, false));
    let kept: Vec<String> = order
        .withdrawals()
        .into_iter()
        .map(|message| {
            assert!(message.retained && message.payload.is_empty());
            message.topic
        })
        .collect();
    assert_eq!(kept, ["device/dev-1/command", "device/dev-2/command"], "dev-3 may still come for it");
}

#[test]
fn a_device_that_cannot_read_a_command_has_refused_it_and_an_old_answer_of_that_kind_says_nothing() {
    let desk = Desk::new(false);
    let mut order =
        Order::command(&desk.signer, &ids(&["a"]), &Whom::Each, 1, 1_800_000_000, Action::Report).unwrap();
    let mut said = CommandAnswer::new(None, 0, None, Outcome::Refused);
    said.refusal = Some(Refusal::Payload);
    let mut hear = |live| order.hear("device/a/command/answer", &answer(&said), live);
    assert_eq!(hear(false), None);
    assert_eq!(hear(true).map(|(_, standing)| standing), Some(Standing::Refused(Refusal::Payload)));
}

#[test]
fn a_group_gets_one_command() {
    let desk = Desk::new(false);
    let whom = Whom::Group("hall-7".try_into().unwrap());
    let order = Order::command(&desk.signer, &ids(&["a", "b"]), &whom, 1, 1, Action::Report).unwrap();
    let [a, b] = order.messages() else { panic!("two messages") };
    assert!(a.payload == b.payload && a.topic != b.topic);
}

#[test]
fn the_end_of_a_life_is_never_kept_and_is_confirmed_by_the_identity_that_ends() {
    let desk = Desk::new(true);
    let device: DeviceId = "dev-1".parse().unwrap();
    let identity = KeyId([9; 32]);
    let mut order = Order::decommission(&desk.signer, &device, 3, End::Blank, identity).unwrap();
    assert!(!order.messages()[0].retained && order.withdrawals().is_empty());
    let mut hear = |key: KeyId, life| {
        let mut state = IdentityState::new(&key);
        state.life = life;
        let mut out = [0; 512];
        let len = state.encode(&mut out).unwrap();
        order.hear("device/dev-1/identity/state", &out[..len], false)
    };
    assert_eq!(hear(identity, Life::Provisioned), None);
    assert_eq!(hear(KeyId([8; 32]), Life::Blank), None, "an earlier life");
    assert_eq!(hear(identity, Life::Blank), Some((device, Standing::Done)));
}

#[test]
fn commands_and_ends_never_share_a_number() {
    let desk = Desk::new(false);
    let folder = desk.folder.path().join("powers");
    let next = |ends, wanted| number(&folder, ends, wanted);
    assert_eq!(
        (next(false, None).unwrap(), next(true, None).unwrap(), next(false, None).unwrap()),
        (1, 2, 3)
    );
    assert_eq!(next(false, Some(9)).unwrap(), 9);
    assert!(matches!(next(true, Some(9)), Err(PowersError::Number(_, 9))));
    assert_eq!(next(true, None).unwrap(), 10);
    assert!(matches!(next(false, Some(u32::MAX)), Err(PowersError::Jump(_, 10))));
    assert_eq!(next(false, None).unwrap(), 11);
}
