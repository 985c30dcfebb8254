//! Which numbers count.

use super::*;
use protocol::Failure;

#[test]
fn each_kind_of_audience_has_its_own_numbers_and_they_only_grow() {
    let mut field = field();
    let group = || Audience::Group("north".try_into().unwrap());
    for (audience, number) in [(one(), 50), (group(), 3), (Audience::All, 20)] {
        let command = Command { audience, ..command(&field, number, Action::Report) };
        send(&mut field, &command);
    }
    assert_eq!(commanded(&field), 3);
    for restart in [false, true] {
        if restart {
            field.restart();
            field.connect();
        }
        for (audience, number) in
            [(one(), 49), (one(), 4), (group(), 2), (Audience::All, 19), (Audience::All, 4)]
        {
            let command = Command { audience, ..command(&field, number, Action::Reboot) };
            field.send(Channel::Command, &signed(&command));
            assert_eq!(field.notes.last(), Some(&Note::CommandRefused(Refusal::Older)), "{command:?}");
        }
        for (audience, number) in [(one(), 50), (group(), 3), (Audience::All, 20)] {
            let command = Command { audience, ..command(&field, number, Action::Reboot) };
            field.send(Channel::Command, &signed(&command));
            assert_eq!(field.notes.last(), Some(&Note::CommandRefused(Refusal::Replayed)), "{command:?}");
        }
    }
    for (audience, number) in [(one(), 51), (group(), 4), (Audience::All, 21)] {
        let command = Command { audience, ..command(&field, number, Action::Report) };
        send(&mut field, &command);
    }
    assert_eq!((commanded(&field), field.restarts), (6, 0));
}

#[test]
fn a_retained_command_that_comes_with_every_connection_is_done_once_and_never_counted() {
    for action in ACTIONS {
        let mut field = field();
        let certificate = field.state().certificate;
        let command = command(&field, 1, action);
        field.retained.push((Channel::Command, signed(&command)));
        let (from, sampled) = (field.published.len(), field.sampled.len());
        let refused = field.device().state(Uptime(0)).refused;
        let mut minutes = 0;
        for round in 0..8 {
            if round % 2 == 0 {
                field.cut_link(Failure::LinkLost);
            } else {
                field.restart();
            }
            field.connect();
            field.run(60_000);
            minutes += 2;
        }
        assert_eq!(commanded(&field), 1, "{action:?}");
        assert_eq!(field.restarts, u32::from(action == Action::Reboot), "{action:?}");
        let rotated = u32::from(action == Action::Rotate);
        assert_eq!(field.state().certificate, certificate + rotated, "{action:?}");
        let state = field.device().state(Uptime(0));
        assert_eq!(state.refused, refused, "{action:?}");
        if action != Action::Rotate {
            // The certificate that was made for that comes again, too.
            assert_eq!(field.state().replayed, 0, "{action:?}");
        }
        if let Action::Burst { samples, .. } = action {
            let taken = field.sampled.len() - sampled;
            assert!((usize::from(samples)..usize::from(samples) + minutes).contains(&taken), "{taken}");
        }
        // Begun, done, and once more after each of the restarts.
        let outcomes = said(&field);
        assert!(outcomes.iter().all(|it| (it.number, it.refusal) == (1, None)), "{outcomes:?}");
        assert_eq!(outcomes.last(), Some(&answer(1, action, Outcome::Done)));
        assert!(count(&field, from, Channel::CommandAnswer) <= 2 + 5, "{outcomes:?}");
    }
}

#[test]
fn the_same_content_signed_anew_is_the_same_command() {
    let mut field = field();
    let command = command(&field, 1, Action::Report);
    send(&mut field, &command);
    let (notes, replayed) = (field.notes.len(), field.state().replayed);
    send(&mut field, &command.clone());
    assert_eq!(field.notes.len(), notes);
    for other in [
        Command { expires_s: command.expires_s + 1, ..command.clone() },
        Command { action: Action::Reboot, ..command.clone() },
    ] {
        send(&mut field, &other);
        assert_eq!(field.notes.last(), Some(&Note::CommandRefused(Refusal::Replayed)));
    }
    field.cut_link(Failure::LinkLost);
    field.connect();
    field.settle();
    assert_eq!((field.state().replayed, field.restarts), (replayed + 2, 0));
}
