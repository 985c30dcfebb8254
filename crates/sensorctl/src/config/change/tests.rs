use super::*;
use crate::config::fleet::Desired;
use crate::config::samples::{NOW, change, encode, fleet, id, signer, state, topic};
use protocol::config::InForce;

#[test]
fn a_group_gets_one_document_and_devices_get_one_each_that_prove_what_is_reported() {
    let (_temporary, key) = signer();
    let group = change(r#"{"v":2,"number":1,"group":"field-a","port":8884}"#);
    let signed = sign(&key, &group, 7, &[]).unwrap();
    assert_eq!(
        (signed.messages.len(), signed.messages[0].topic.as_str()),
        (1, "group/field-a/config/desired")
    );
    let desired = Desired::read(&signed.messages[0].payload, key.public()).unwrap();
    let wanted = &signed.target.groups[&"field-a".try_into().unwrap()];
    assert_eq!((desired.change.number, desired.digest, wanted.number), (7, wanted.digest, 7));
    let one = change(r#"{"v":2,"number":1,"id":"any","port":8884}"#);
    let ids = [id("dev-1"), id("dev-2")];
    let signed = sign(&key, &one, 9, &ids).unwrap();
    for (message, id) in signed.messages.iter().zip(&ids) {
        let desired = Desired::read(&message.payload, key.public()).unwrap();
        assert_eq!(message.topic, format!("device/{id}/config/desired"));
        assert!(message.retained && desired.change.audience == Audience::Device(id.clone()));
        assert_eq!(signed.target.devices[id].digest, desired.digest);
    }
    let stroke = change(r#"{"v":2,"number":1,"group":"a/b"}"#);
    assert!(matches!(sign(&key, &stroke, 7, &[]), Err(ChangeError::NoTopic(_))));
}

#[test]
fn numbers_grow_beyond_what_is_proven_and_for_each_layer_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let next = |layer, highest, wanted| number(folder.path(), layer, highest, wanted);
    assert_eq!(next(Layer::Device, 0, None).unwrap(), 2, "the factory's is 1");
    assert_eq!(next(Layer::Device, 40, None).unwrap(), 41);
    assert_eq!(next(Layer::Device, 3, None).unwrap(), 42);
    assert_eq!(next(Layer::Group, 3, None).unwrap(), 4);
    let error = next(Layer::Device, 50, Some(50)).unwrap_err();
    assert!(matches!(error, ChangeError::Number(50, 50)), "{error}");
    assert!(matches!(next(Layer::Device, 0, Some(42)), Err(ChangeError::Powers(_))));
    assert_eq!(next(Layer::Device, 50, Some(60)).unwrap(), 60);
    // What is proven lies as high as it lies; what somebody types does not.
    let error = next(Layer::Group, 0, Some(u32::MAX)).unwrap_err();
    assert!(matches!(error, ChangeError::Powers(PowersError::Jump(_, 4))), "{error}");
    assert_eq!(super::next(folder.path(), Layer::Group, 3_000_000_000).unwrap(), 3_000_000_001);
    assert_eq!(super::next(folder.path(), Layer::Group, 0).unwrap(), 5, "nothing was used up");
}

#[test]
fn what_takes_a_change_back_is_above_it_and_says_what_was_wanted_before() {
    let (_temporary, key) = signer();
    let bad = change(r#"{"v":2,"number":8,"group":"field-a","host":"wrong.example"}"#);
    let kept = change(r#"{"v":2,"number":7,"group":"field-a","port":8884}"#);
    let read = |messages: &[Message]| Desired::read(&messages[0].payload, key.public()).unwrap().change;
    // Nothing was wanted: the empty change takes every field back.
    let mut fleet = Fleet::new(Some(*key.public()));
    let back = Former::of(&bad, &fleet, &[id("dev-1")]).sign(&key, 9).unwrap();
    assert_eq!((back[0].topic.as_str(), back[0].retained), ("group/field-a/config/desired", true));
    assert_eq!((read(&back).number, read(&back).fields().count(), read(&back).layer()), (9, 0, Layer::Group));
    // Somebody runs on one that is not known here: nothing is put in its place.
    let running = crate::config::samples::running("dev-1", Some(&kept), None);
    fleet.take(&topic("dev-1"), &encode(&running), None).unwrap();
    let former = Former::of(&bad, &fleet, &[id("dev-1")]);
    assert_eq!((former.known(), former.sign(&key, 9).unwrap()[0].payload.len()), (0, 0));
    // It is known.
    fleet.take("group/field-a/config/desired", &powers::sign(&key, &kept).unwrap(), None).unwrap();
    let former = Former::of(&bad, &fleet, &[id("dev-1")]);
    let mut back = read(&former.sign(&key, 9).unwrap());
    assert_eq!(std::mem::replace(&mut back.number, 7), 9);
    assert_eq!(back, kept);
    // Of devices, each its own.
    let own = change(r#"{"v":2,"number":4,"id":"dev-2","port":8885}"#);
    fleet.take("device/dev-2/config/desired", &powers::sign(&key, &own).unwrap(), None).unwrap();
    let bad = change(r#"{"v":2,"number":8,"id":"any","host":"wrong.example"}"#);
    let back = Former::of(&bad, &fleet, &[id("dev-1"), id("dev-2")]).sign(&key, 9).unwrap();
    assert_eq!(back[0].topic, "device/dev-1/config/desired");
    assert_eq!(
        (read(&back).audience.clone(), read(&back).fields().count()),
        (Audience::Device(id("dev-1")), 0)
    );
    let mut back = read(&back[1..]);
    assert_eq!(std::mem::replace(&mut back.number, 4), 9);
    assert_eq!(back, own);
}

#[test]
fn what_a_device_says_without_proof_moves_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let whom = crate::config::Whom::Group("field-a".try_into().unwrap());
    let mut fleet = fleet(&[state("dev-1")]);
    assert_eq!(number(folder.path(), Layer::Group, fleet.highest(&whom, Layer::Group), None).unwrap(), 2);
    for claim in [u32::MAX - 1, u32::MAX] {
        let in_force = InForce { number: claim, digest: [9; 32] };
        let mut liar = state("dev-2");
        (liar.group, liar.device, liar.trial) = (Some(in_force), Some(in_force), Some((Layer::Group, claim)));
        fleet.take(&topic("dev-2"), &encode(&liar), Some(NOW)).unwrap();
        for layer in [Layer::Group, Layer::Device] {
            assert_eq!(fleet.highest(&whom, layer), 0);
            assert_eq!(fleet.claims(&whom, layer, 3), [(&id("dev-2"), claim)], "it is shown");
        }
    }
    assert_eq!(number(folder.path(), Layer::Group, fleet.highest(&whom, Layer::Group), None).unwrap(), 3);
}
