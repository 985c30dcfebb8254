//! A device and Mosquitto with the documented rules, over mutual TLS: every kind of command is carried out, at most once over
//! whatever restarts, and answered by its number. R-CONF.

use device::Note;
use endtoend::dut::{Dut, Running};
use endtoend::operator::{Book, Operator};
use endtoend::orders::{Orders, id};
use endtoend::programs;
use endtoend::vendor::Vendor;
use protocol::command::{ActionName, AudienceKind, CommandAnswer, Outcome};
use protocol::document::Action;
use protocol::identity_state::Rotation;
use protocol::{Refusal, ResetCause};

const ID: &str = "dut-1";
const COMMANDS: &str = "device/dut-1/command";

/// Seconds for which commands are good here, where nothing else is wanted.
const GOOD_S: i64 = 600;

struct World {
    operator: Operator,
    orders: Orders,
    dut: Dut,
    /// Broker, time server and folder: all of it goes with it.
    _vendor: Vendor,
}

impl World {
    async fn new() -> Self {
        let vendor = Vendor::new(programs!()).await;
        let operator = Operator::start(&vendor.pki, vendor.broker.port()).await;
        let orders = Orders::open(&vendor.site.path("authority"));
        let dut = vendor.device(ID, vendor.broker.port()).obeying(vendor.powers(), "field-a");
        Self { operator, orders, dut, _vendor: vendor }
    }

    async fn start(&mut self) -> Running {
        let mut running = self.dut.start();
        running.until(|progress| progress.connected).await;
        running
    }

    /// Retains a command for the device.
    async fn command(&self, number: u32, action: Action) {
        self.operator.retain(COMMANDS, &self.orders.command(ID, number, action, GOOD_S)).await;
    }

    /// Waits for this answer to the command with this number for the device itself, and gives it.
    async fn answered(&mut self, number: u32, outcome: Outcome) -> CommandAnswer {
        let fits = move |answer: &&CommandAnswer| {
            answer.audience == Some(AudienceKind::Device)
                && (answer.number, answer.outcome) == (number, outcome)
        };
        let what = format!("{outcome:?} of command {number}");
        let book = self.operator.until(&what, |book| answers(book).iter().any(|answer| fits(&answer))).await;
        answers(&book).iter().rev().find(fits).expect("what was waited for").clone()
    }
}

fn answers(book: &Book) -> &[CommandAnswer] {
    book.answers.get(&id(ID)).map_or(&[], Vec::as_slice)
}

fn begun(notes: &[Note]) -> Vec<u32> {
    let begun = |note: &Note| if let Note::Commanded { number, .. } = note { Some(*number) } else { None };
    notes.iter().filter_map(begun).collect()
}

#[tokio::test]
async fn every_kind_of_command_is_carried_out_and_answered_by_its_number() {
    let mut world = World::new().await;
    let mut running = world.start().await;
    world.operator.until("its state", |book| book.configurations.contains_key(&id(ID))).await;

    let said = |book: &Book, channel: &str| {
        book.messages.iter().filter(|(topic, _)| *topic == format!("device/{ID}/{channel}")).count()
    };
    let before = world.operator.book();
    world.command(1, Action::Report).await;
    let answer = world.answered(1, Outcome::Done).await;
    assert_eq!((answer.action, answer.refusal), (Some(ActionName::Report), None));
    let after = world.operator.book();
    for channel in ["state", "identity/state", "firmware/state", "config/state"] {
        assert!(said(&after, channel) > said(&before, channel), "{channel} was not said again");
    }

    // Samples at a period of its own, and then at the configured one again.
    let samples = running.progress().samples;
    world.command(2, Action::Burst { samples: 40, period_ms: 20_000 }).await;
    world.answered(2, Outcome::Begun).await;
    // Slower than everything else: the next command ends it.
    world.command(3, Action::SendLog { from: 0 }).await;
    world.answered(2, Outcome::Interrupted).await;
    world.answered(3, Outcome::Done).await;
    world.command(4, Action::Burst { samples: 30, period_ms: 100 }).await;
    world.answered(4, Outcome::Done).await;
    assert!(running.progress().samples >= samples + 30);

    // Nobody here answers its request for a certificate, so the new identity stays a wish: the command is done with it.
    world.command(5, Action::Rotate).await;
    world.answered(5, Outcome::Done).await;
    world
        .operator
        .until("a request", |book| {
            book.identities.get(&id(ID)).is_some_and(|state| state.rotation == Rotation::Requested)
        })
        .await;

    world.command(6, Action::Reboot).await;
    world.answered(6, Outcome::Begun).await;
    world.answered(6, Outcome::Done).await;
    let progress = running.until(|progress| progress.connected && !progress.resets.is_empty()).await;
    assert_eq!(progress.resets, [ResetCause::Software]);
    assert_eq!(begun(&progress.commands), [1, 2, 3, 4, 5, 6]);

    // Late, replayed, old, altered: each is named, none is begun.
    let late = world.orders.command(ID, 7, Action::Reboot, -10);
    let used = world.orders.command(ID, 6, Action::Report, GOOD_S);
    let old = world.orders.command(ID, 2, Action::Reboot, GOOD_S);
    let mut altered = world.orders.command(ID, 9, Action::Reboot, GOOD_S);
    *altered.last_mut().unwrap() ^= 1;
    let before = progress.refused;
    for (refused, (document, why)) in (before + 1..).zip([
        (&late, Refusal::Expired),
        (&used, Refusal::Replayed),
        (&old, Refusal::Older),
        (&altered, Refusal::Signature),
    ]) {
        world.operator.retain(COMMANDS, document).await;
        let progress = running.until(|progress| progress.refused >= refused).await;
        if why != Refusal::Signature {
            assert_eq!(progress.commands.last(), Some(&Note::CommandRefused(why)));
        }
    }
    let answer = world.answered(7, Outcome::Refused).await;
    assert_eq!(answer.refusal, Some(Refusal::Expired));
    // One for its group counts apart.
    let grouped = world.orders.command("group/field-a", 1, Action::Report, GOOD_S);
    world.operator.retain(COMMANDS, &grouped).await;
    world
        .operator
        .until("the group's command", |book| {
            answers(book).iter().any(|answer| {
                (answer.audience, answer.number, answer.outcome)
                    == (Some(AudienceKind::Group), 1, Outcome::Done)
            })
        })
        .await;
    let life = running.stop().await;
    assert_eq!((life.progress.resets.len(), life.summary.state.lost), (1, 0));
    assert_eq!(begun(&life.progress.commands), [1, 2, 3, 4, 5, 6, 1]);
}

#[tokio::test]
async fn a_command_is_begun_at_most_once_whenever_power_fails_and_however_often_it_comes() {
    let mut world = World::new().await;
    let mut number = 0;
    let burst = Action::Burst { samples: 500, period_ms: 60_000 };
    for (action, outcome) in [(Action::Reboot, Outcome::Done), (burst, Outcome::Interrupted)] {
        number += 1;
        let mut running = world.start().await;
        let document = world.orders.command(ID, number, action, GOOD_S);
        world.operator.retain(COMMANDS, &document).await;
        // Power fails as soon as it is begun: it may have answered that or not.
        running.until(|progress| !progress.commands.is_empty()).await;
        let cut = running.cut().await;
        assert_eq!(begun(&cut.commands), [number]);

        // The broker hands it over with every connection, and somebody publishes it over and over.
        let running = world.start().await;
        world.answered(number, outcome).await;
        for _ in 0..3 {
            world.operator.retain(COMMANDS, &document).await;
        }
        world.command(number + 100, Action::Report).await;
        world.answered(number + 100, Outcome::Done).await;
        let life = running.stop().await;
        assert_eq!(begun(&life.progress.commands), [number + 100], "it was begun a second time");
        assert_eq!(life.progress.resets, [], "it restarted a second time");
        number += 100;
    }
}
