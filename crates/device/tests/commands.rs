//! Commands: what each does, what it is answered, what is refused, and that none is done twice. R-CONF.

mod world;

#[path = "commands/answers.rs"]
mod answers;
#[path = "commands/effects.rs"]
mod effects;
#[path = "commands/hostile.rs"]
mod hostile;
#[path = "commands/numbers.rs"]
mod numbers;
#[path = "commands/power.rs"]
mod power;
#[path = "commands/refusals.rs"]
mod refusals;

use device::{Note, Uptime};
use protocol::command::{ActionName, AudienceKind, Outcome};
use protocol::config::Authentication;
use protocol::document::{Action, Audience, Command, Power};
use protocol::{Channel, CommandAnswer, Refusal};
use world::Platform;
use world::factory::{configuration, provision};
use world::field::{Field, ID, one};
use world::service::{Service, key_of, signed_with};

/// Every action.
const ACTIONS: [Action; 5] = [
    Action::Report,
    Action::Burst { samples: 7, period_ms: 200 },
    Action::Reboot,
    Action::Rotate,
    Action::SendLog { from: 0 },
];

/// A device that measures once a minute and reports once a day, has the service's identity, and nothing to do.
fn field() -> Field<Platform> {
    let service = Service::new();
    let mut draft = configuration(ID, Authentication::Certificate).draft();
    draft.sample_period_ms = 60_000;
    let platform = provision(Platform::blank(7), &service, &draft.check().unwrap());
    let mut field = Field::new(service);
    field.sensor = true;
    field.start(platform).unwrap();
    field.await_note(60_000, |note| matches!(note, Note::IdentityReplaced { .. }));
    field.retained.clear();
    field.run(130_000);
    field
}

/// A command for this device that may be begun within an hour.
fn command(field: &Field<Platform>, number: u32, action: Action) -> Command {
    Command { audience: one(), number, expires_s: field.time().seconds() + 3_600, action }
}

fn signed(command: &Command) -> Vec<u8> {
    signed_with(command, &key_of(Power::Configuration))
}

/// Sends it, and lets the device do what it does at once.
fn send(field: &mut Field<Platform>, command: &Command) {
    field.send(Channel::Command, &signed(command));
    field.run(0);
}

fn answer(number: u32, action: Action, outcome: Outcome) -> CommandAnswer {
    CommandAnswer::new(Some(AudienceKind::Device), number, Some(ActionName::from(&action)), outcome)
}

fn refused(number: u32, action: Action, why: Refusal) -> CommandAnswer {
    let mut answer = answer(number, action, Outcome::Refused);
    answer.refusal = Some(why);
    answer
}

/// What was said of commands, without when.
fn said(field: &Field<Platform>) -> Vec<CommandAnswer> {
    let mut said = field.outcomes.clone();
    for answer in &mut said {
        answer.t = None;
    }
    said
}

fn commanded(field: &Field<Platform>) -> usize {
    field.notes.iter().filter(|note| matches!(note, Note::Commanded { .. })).count()
}

/// How many messages of this kind came since `from`.
fn count(field: &Field<Platform>, from: usize, channel: Channel) -> usize {
    field.published[from..].iter().filter(|(of, _)| *of == channel).count()
}
