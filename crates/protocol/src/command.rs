//! What became of a command, as a device says itself: a retained message that replaces the one before. R-CONF.
//!
//! ```json
//! {"v":1,"t":1790000000000,"audience":"device","number":7,"action":"reboot","outcome":"done","refusal":null}
//! ```

use crate::document::{Action, Audience};
use crate::json::{self, DecodeError, EncodeError, check_version};
use crate::reason::named;
use crate::{EpochMillis, PROTOCOL_VERSION, Refusal};
use core::fmt;
use serde::{Deserialize, Serialize};

/// Longest answer in bytes.
pub const COMMAND_ANSWER_BYTES_MAX: usize = 256;

named! {
    /// What became of a command.
    Outcome {
        Begun = "begun", "it was begun";
        Done = "done", "it was done";
        Interrupted = "interrupted", "a restart or a newer command came before it was done; it is not begun again";
        Refused = "refused", "it was refused";
        Failed = "failed", "the device's own flash or vault failed, so that it was not done; whether its number is used up is not known";
    }
}

named! {
    /// The name of an [`Action`].
    ActionName {
        Report = "report", "send everything now";
        Burst = "burst", "take samples at a shorter period";
        Reboot = "reboot", "restart";
        Rotate = "rotate", "make a new identity";
        SendLog = "send_log", "deliver the security log again";
        Decommission = "decommission", "end the life of the device";
    }
}

named! {
    /// Whom a command is for, without whom: commands are numbered for each of these apart.
    AudienceKind {
        Device = "device", "this device";
        Group = "group", "the device's group";
        All = "all", "every device";
    }
}

impl From<&Audience> for AudienceKind {
    fn from(audience: &Audience) -> Self {
        match audience {
            Audience::Device(_) => Self::Device,
            Audience::Group(_) => Self::Group,
            Audience::All => Self::All,
        }
    }
}

impl From<&Action> for ActionName {
    fn from(action: &Action) -> Self {
        match action {
            Action::Report => Self::Report,
            Action::Burst { .. } => Self::Burst,
            Action::Reboot => Self::Reboot,
            Action::Rotate => Self::Rotate,
            Action::SendLog { .. } => Self::SendLog,
        }
    }
}

/// What became of a command. Audience and number name it: of each kind of audience every number is used once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandAnswer {
    v: u8,
    /// When this was said.
    #[serde(deserialize_with = "json::nullable")]
    pub t: Option<EpochMillis>,
    /// Whom the command was for; `None` where it was refused before that was known.
    #[serde(deserialize_with = "json::nullable")]
    pub audience: Option<AudienceKind>,
    /// Number of the command; 0 where it was refused before that was known.
    pub number: u32,
    /// What it says; `None` where it was refused before that was known.
    #[serde(deserialize_with = "json::nullable")]
    pub action: Option<ActionName>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused; there where it was, and only there.
    #[serde(deserialize_with = "json::nullable")]
    pub refusal: Option<Refusal>,
}

impl CommandAnswer {
    /// An answer of this version of the protocol to the command `number` for this audience.
    pub const fn new(
        audience: Option<AudienceKind>,
        number: u32,
        action: Option<ActionName>,
        outcome: Outcome,
    ) -> Self {
        Self { v: PROTOCOL_VERSION, t: None, audience, number, action, outcome, refusal: None }
    }

    /// Writes the message as JSON into `buffer` ([`COMMAND_ANSWER_BYTES_MAX`] bytes always suffice); gives its length in
    /// bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        json::encode(self, buffer)
    }

    /// Reads an answer of at most [`COMMAND_ANSWER_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let answer: Self = json::decode(bytes, COMMAND_ANSWER_BYTES_MAX)?;
        check_version(answer.v)?;
        if (answer.outcome == Outcome::Refused) != answer.refusal.is_some() {
            return Err(DecodeError::Inconsistent(
                "a command has a refusal where it was refused, and only there",
            ));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn longest() -> CommandAnswer {
        fn name<T: Copy>(all: &[T], text: fn(T) -> &'static str) -> Option<T> {
            all.iter().copied().max_by_key(|it| text(*it).len())
        }
        CommandAnswer {
            t: Some(EpochMillis(u64::MAX)),
            audience: name(AudienceKind::ALL, AudienceKind::as_str),
            number: u32::MAX,
            action: name(ActionName::ALL, ActionName::as_str),
            refusal: name(Refusal::ALL, Refusal::as_str),
            ..CommandAnswer::new(None, 0, None, Outcome::Refused)
        }
    }

    #[test]
    fn the_longest_fits_and_no_part_of_it_is_accepted() {
        let mut buffer = [0; COMMAND_ANSWER_BYTES_MAX];
        let len = longest().encode(&mut buffer).unwrap();
        assert_eq!(CommandAnswer::decode(&buffer[..len]), Ok(longest()));
        for cut in 0..len {
            assert!(CommandAnswer::decode(&buffer[..cut]).is_err(), "{cut}");
        }
        assert!(CommandAnswer::decode(&[b' '; COMMAND_ANSWER_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn an_answer_in_another_form_is_refused() {
        let right = r#"{"v":1,"t":null,"audience":"group","number":7,"action":"burst","outcome":"done","refusal":null}"#;
        let answer = CommandAnswer::decode(right.as_bytes()).unwrap();
        let expected =
            CommandAnswer::new(Some(AudienceKind::Group), 7, Some(ActionName::Burst), Outcome::Done);
        assert_eq!(answer, expected);
        let mut buffer = [0; COMMAND_ANSWER_BYTES_MAX];
        let len = answer.encode(&mut buffer).unwrap();
        assert_eq!(core::str::from_utf8(&buffer[..len]), Ok(right));
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("7", "-1"),
            ("7", "4294967296"),
            ("7", "null"),
            ("burst", "explode"),
            ("group", "devices"),
            ("\"done\"", "\"ended\""),
            ("\"done\"", "null"),
            ("\"t\":null,", ""),
            ("\"audience\":\"group\",", ""),
            (",\"refusal\":null", ""),
            ("}", ",\"x\":1}"),
            ("}", "}x"),
            ("\"refusal\":null", "\"refusal\":\"no_such_reason\""),
        ] {
            let wrong = right.replace(from, to);
            assert_ne!(wrong, right);
            assert!(CommandAnswer::decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_was_refused_has_a_refusal_and_that_always() {
        for outcome in Outcome::ALL {
            for refusal in [None, Some(Refusal::Expired)] {
                let answer = CommandAnswer { refusal, ..CommandAnswer::new(None, 1, None, *outcome) };
                let mut buffer = [0; COMMAND_ANSWER_BYTES_MAX];
                let len = answer.encode(&mut buffer).unwrap();
                let fits = (*outcome == Outcome::Refused) == refusal.is_some();
                assert_eq!(CommandAnswer::decode(&buffer[..len]).is_ok(), fits, "{answer:?}");
            }
        }
    }

    #[test]
    fn every_action_and_every_audience_has_a_name_of_its_own() {
        let actions = [
            (Action::Report, "report"),
            (Action::Burst { samples: 1, period_ms: 50 }, "burst"),
            (Action::Reboot, "reboot"),
            (Action::Rotate, "rotate"),
            (Action::SendLog { from: 0 }, "send_log"),
        ];
        for (action, name) in actions {
            assert_eq!(ActionName::from(&action).as_str(), name);
        }
        // The end of a life is a document of its own.
        assert_eq!(ActionName::ALL.len(), actions.len() + 1);
        for (all, names) in [
            (
                ActionName::ALL.len(),
                ActionName::ALL.iter().map(|it| it.as_str()).collect::<std::vec::Vec<_>>(),
            ),
            (Outcome::ALL.len(), Outcome::ALL.iter().map(|it| it.as_str()).collect()),
            (AudienceKind::ALL.len(), AudienceKind::ALL.iter().map(|it| it.as_str()).collect()),
        ] {
            assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), all);
        }
        let group = Audience::Group("north".try_into().unwrap());
        assert_eq!(AudienceKind::from(&group), AudienceKind::Group);
        assert_eq!(AudienceKind::from(&Audience::All), AudienceKind::All);
    }

    proptest! {
        #[test]
        fn an_answer_reads_back_as_written(
            t in any::<Option<u64>>(), number: u32, audience in proptest::option::of(select(AudienceKind::ALL)),
            action in proptest::option::of(select(ActionName::ALL)), outcome in select(Outcome::ALL),
            refusal in select(Refusal::ALL),
        ) {
            let refusal = (outcome == Outcome::Refused).then_some(refusal);
            let answer = CommandAnswer {
                t: t.map(EpochMillis), refusal, ..CommandAnswer::new(audience, number, action, outcome)
            };
            let mut buffer = [0; COMMAND_ANSWER_BYTES_MAX];
            let len = answer.encode(&mut buffer).unwrap();
            prop_assert_eq!(CommandAnswer::decode(&buffer[..len]), Ok(answer));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _verdict = CommandAnswer::decode(&bytes);
        }
    }
}
