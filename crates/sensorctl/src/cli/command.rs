//! `sensorctl command`.

use super::Failure;
use super::firmware::arguments::{Connect, duration};
use super::shared::block_on;
use crate::command::run::{self, Told};
use crate::command::{self, Order, Standing, Whom, power};
use crate::firmware::service;
use crate::identity::{self, KeyPrefix};
use crate::operator::{Operator, now};
use crate::output::{self, Out, note};
use crate::powers;
use crate::publish::{Message, publish};
use crate::registry::Registry;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::document::{Action, BURST_PERIOD_MS_MAX, BURST_SAMPLES_MAX, End};
use protocol::topic::ROOT;
use protocol::{Channel, ConfigurationState, DeviceId, EpochMillis, KeyId, Name, Topic};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 every device has done it; 1 an error; 2 wrong arguments; 3 a device has refused it or was \
                  interrupted; 4 a device has not answered in time."
)]
pub(super) struct Command {
    #[command(subcommand)]
    wanted: Wanted,
}

#[derive(Debug, Subcommand)]
enum Wanted {
    /// Send the samples that wait, and every state, now
    Report {
        #[command(flatten)]
        sent: Sent,
    },
    /// Take samples at a shorter period, send them, then go on as configured
    Burst {
        /// How many samples
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(BURST_SAMPLES_MAX)))]
        samples: u16,
        /// Milliseconds between two of them
        #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(
            protocol::config::SAMPLE_PERIOD.min..=i64::from(BURST_PERIOD_MS_MAX)))]
        period_ms: u32,
        #[command(flatten)]
        sent: Sent,
    },
    /// Restart in an orderly way
    Reboot {
        #[command(flatten)]
        sent: Sent,
    },
    /// Make new keys and ask for a certificate for them (`sensorctl renew` must run)
    Rotate {
        #[command(flatten)]
        sent: Sent,
    },
    /// Deliver the security log again (`sensorctl log follow` takes it)
    SendLog {
        /// Number of the first record that is wanted
        #[arg(long, value_name = "N", default_value_t = 0)]
        from: u32,
        #[command(flatten)]
        sent: Sent,
    },
    /// End a device's life: its secrets are wiped (signed by the power over anchors)
    ///
    /// For the device with exactly the identity that it has now: the device says which, and the registry knows the whole of its
    /// key's id. It reaches a device that listens now and is never kept. Asks before it is sent.
    Decommission(Decommission),
    /// Take back commands that the broker keeps for devices that have not begun them
    Withdraw(Withdraw),
}

/// Which devices.
#[derive(Debug, Args)]
struct Devices {
    /// A device; may be repeated
    #[arg(long)]
    id: Vec<DeviceId>,
    /// Every device that has an identity in force in the registry
    #[arg(long, requires = "registry", conflicts_with = "id")]
    all: bool,
    /// The registry
    #[arg(long, value_name = "FILE")]
    registry: Option<PathBuf>,
}

impl Devices {
    fn list(&self, group: bool) -> Result<Vec<DeviceId>, Failure> {
        if self.id.is_empty() && !self.all && !group {
            return Err(Failure::usage("no device is named: give --id, or --all with --registry"));
        }
        let mut ids = self.id.clone();
        if self.all || (group && ids.is_empty()) {
            let Some(path) = &self.registry else {
                return Err(Failure::usage("--registry is missing: it tells which devices there are"));
            };
            let registry = Registry::open(path).map_err(Failure::error)?;
            ids.extend(registry.active().cloned());
        }
        ids.sort();
        ids.dedup();
        if ids.is_empty() { Err(Failure::usage("the registry has no device in service")) } else { Ok(ids) }
    }
}

#[derive(Debug, Args)]
struct Sent {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    devices: Devices,
    /// One command for the devices of this group, among --id or all of the registry
    #[arg(long, value_name = "NAME", value_parser = super::shared::group)]
    group: Option<Name>,
    /// Folder with the keys of the powers; the private key of the power over configurations signs
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// Its number; devices take only a higher one than they have [default: one more than the last]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    number: Option<u32>,
    /// Until when a device may begin it, from now on; a week at most
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = expiry)]
    expires: Duration,
    /// Do not wait for answers
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for answers
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Finally {
    Blank,
    Destroyed,
}

#[derive(Debug, Args)]
struct Decommission {
    #[command(flatten)]
    connect: Connect,
    /// The device
    #[arg(long)]
    id: DeviceId,
    /// blank: it may be provisioned again; destroyed: it never works again
    #[arg(long)]
    end: Finally,
    /// The registry: it knows the device's identities
    #[arg(long, value_name = "FILE", required_unless_present = "identity")]
    registry: Option<PathBuf>,
    /// Id of the device's identity key, or its beginning where there is --registry, instead of asking the device
    #[arg(long, value_name = "HEX")]
    identity: Option<KeyPrefix>,
    /// Folder with the keys of the powers; the private key of the power over anchors signs
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Do not wait for the device to confirm
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for it
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct Withdraw {
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    devices: Devices,
}

impl Command {
    pub(super) fn run(self) -> Result<u8, Failure> {
        match self.wanted {
            Wanted::Report { sent } => sent.run(Action::Report),
            Wanted::Burst { samples, period_ms, sent } => sent.run(Action::Burst { samples, period_ms }),
            Wanted::Reboot { sent } => sent.run(Action::Reboot),
            Wanted::Rotate { sent } => sent.run(Action::Rotate),
            Wanted::SendLog { from, sent } => sent.run(Action::SendLog { from }),
            Wanted::Decommission(arguments) => arguments.run(),
            Wanted::Withdraw(Withdraw { connect, devices }) => {
                let operator = connect.operator("command")?;
                let ids = devices.list(false)?;
                let messages = command::withdrawal(&ids);
                kept(&operator, &messages)?;
                super::say(format_args!(
                    "taken back for {} devices, and read back: the broker gives no command to this operator any more",
                    ids.len()
                ))?;
                Ok(0)
            }
        }
    }
}

impl Sent {
    fn run(self, action: Action) -> Result<u8, Failure> {
        let mut ids = self.devices.list(self.group.is_some())?;
        let operator = self.connect.operator("command")?;
        let signer = powers::signer(&self.authority, power(false)).map_err(Failure::error)?;
        if let Some(group) = &self.group {
            let elsewhere = others(&operator, group)?;
            ids.retain(|id| !elsewhere.contains(id));
            if ids.is_empty() {
                return Err(Failure::error(format!(
                    "every one of these devices says that it is not in the group {group}"
                )));
            }
        }
        let whom = self.group.map_or(Whom::Each, Whom::Group);
        let number = command::number(&self.authority, false, self.number).map_err(Failure::error)?;
        let expires_s = now().seconds().saturating_add(self.expires.as_secs());
        let order =
            Order::command(&signer, &ids, &whom, number, expires_s, action).map_err(Failure::error)?;
        let until = EpochMillis::from_seconds(expires_s);
        super::say(format_args!(
            "{} number {number} for {} devices, until {until}, signed with {}",
            order.action().as_str(),
            ids.len(),
            signer.public().id()
        ))?;
        if self.no_wait {
            kept(&operator, order.messages())?;
            super::say(format_args!("the broker keeps it for {} devices: it was read back", ids.len()))?;
            return Ok(0);
        }
        let order = follow(&operator, order, self.timeout)?;
        kept(&operator, &order.withdrawals())?;
        let code = summary(&order)?;
        let open = order.open();
        if !open.is_empty() {
            block_on(async { service::check(&operator, &open).await.map_err(Failure::error) })?;
        }
        if code == UNANSWERED {
            super::say(format_args!(
                "the broker keeps it for those that have not answered; after {until} they refuse it. \
                 `sensorctl command withdraw` takes it back"
            ))?;
        }
        Ok(code)
    }
}

/// A command that nobody begins any more harms nobody: it must not outlive what it was meant for.
const EXPIRY_MAX: Duration = Duration::from_secs(7 * 86_400);

fn expiry(text: &str) -> Result<Duration, String> {
    let expiry = duration(text)?;
    if expiry.is_zero() {
        return Err("a command that has expired is refused by every device: 1s at least".to_owned());
    }
    if expiry > EXPIRY_MAX { Err("a command is valid for 7d at most".to_owned()) } else { Ok(expiry) }
}

/// A device has not answered.
const UNANSWERED: u8 = 4;

/// Publishes, and reads back.
fn kept(operator: &Operator, messages: &[Message]) -> Result<(), Failure> {
    block_on(async { service::keep(operator, messages, |_| {}).await.map_err(Failure::error) })
}

/// Devices that say that they are in another group.
fn others(operator: &Operator, group: &Name) -> Result<BTreeSet<DeviceId>, Failure> {
    let filter = format!("{ROOT}/+/{}", Channel::ConfigState.as_str());
    let mut others = BTreeSet::new();
    let take = |topic: &str, payload: &[u8]| {
        let state = ConfigurationState::decode(payload);
        if let (Some(Topic { device, .. }), Ok(state)) = (Topic::decode(topic), state)
            && state.group_name != *group
        {
            others.insert(device);
        }
    };
    block_on(async {
        service::read(operator, &[filter], service::SILENCE, take).await.map_err(Failure::error)
    })?;
    Ok(others)
}

/// Publishes, with a bar on a terminal and a line for each answer.
fn follow(operator: &Operator, mut order: Order, patience: Duration) -> Result<Order, Failure> {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} answered {elapsed}");
    let bar = ProgressBar::new(order.devices().count() as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut written = Ok(());
    let tell = |order: &Order, told: &Told<'_>| {
        if let Told::Answer(device, standing) = told {
            let line = format!("{} {device}: {standing}", now());
            let out = bar.suspend(|| writeln!(Out, "{line}"));
            if written.is_ok() {
                written = out;
            }
        }
        if let Told::Odd(device, why) = told {
            bar.suspend(|| note!("{} {device}: of no use: {why}", now()));
        }
        bar.set_position(order.answered() as u64);
    };
    block_on(async { run::run(operator, &mut order, patience, tell).await.map_err(Failure::error) })?;
    bar.finish_and_clear();
    written.map_err(|error| Failure::error(format!("cannot write to the standard output: {error}")))?;
    Ok(order)
}

/// Says how many devices are how far, and who is behind.
fn summary(order: &Order) -> Result<u8, Failure> {
    let (mut done, mut failed, mut silent) = (0, 0, Vec::new());
    for (device, standing) in order.devices() {
        match standing {
            Standing::Done => done += 1,
            Standing::Interrupted | Standing::Refused(_) | Standing::Failed => failed += 1,
            Standing::Silent | Standing::Begun => silent.push(format!("{device} ({standing})")),
        }
    }
    super::say(format_args!("{done} done, {failed} refused, interrupted or failed, {} open", silent.len()))?;
    if !silent.is_empty() {
        super::say(format_args!("open: {}", silent.join(", ")))?;
    }
    Ok(match (failed, silent.len()) {
        (0, 0) => 0,
        (0, _) => UNANSWERED,
        _ => 3,
    })
}

impl Decommission {
    /// The identity whose life ends: the one that is named, or the one that the device says it uses. One that is revoked counts
    /// too: as long as the device is connected it can still be told.
    fn identity(&self, operator: &Operator) -> Result<KeyId, Failure> {
        let named = self.identity.as_ref();
        let Some(path) = &self.registry else {
            return named.and_then(KeyPrefix::whole).ok_or_else(|| {
                Failure::usage(
                    "--registry is missing: without it, --identity needs all 64 digits of the key's id",
                )
            });
        };
        let registry = Registry::open(path).map_err(Failure::error)?;
        if let Some(named) = named {
            let known = registry.records(&self.id).iter().map(|record| record.identity.key.id());
            return named.resolve(&self.id, known).map_err(Failure::error);
        }
        let ids = [self.id.clone()];
        let said = block_on(async { identity::read(operator, &ids).await.map_err(Failure::error) })?;
        let said = match said.get(&self.id) {
            Some(Err(why)) => {
                super::say(format_args!("what {} says of its identity cannot be read: {why}", self.id))?;
                None
            }
            Some(Ok(state)) => Some(state),
            None => None,
        };
        identity::in_use(&self.id, said, &registry).map_err(Failure::error)
    }

    fn run(self) -> Result<u8, Failure> {
        let operator = self.connect.operator("command")?;
        let identity = self.identity(&operator)?;
        let signer = powers::signer(&self.authority, power(true)).map_err(Failure::error)?;
        let (end, what) = match self.end {
            Finally::Blank => (End::Blank, "it can be provisioned again"),
            Finally::Destroyed => (End::Destroyed, "it will NEVER work again"),
        };
        let question = format!(
            "{} wipes its secrets with the identity {identity}, and {what}. There is no way back.",
            self.id
        );
        if !(self.yes || confirmed(&question, &self.id)?) {
            return Err(Failure::error("nothing was sent"));
        }
        let number = command::number(&self.authority, true, None).map_err(Failure::error)?;
        let order = Order::decommission(&signer, &self.id, number, end, identity).map_err(Failure::error)?;
        let code = if self.no_wait {
            let messages = order.messages();
            block_on(async { publish(&operator, messages, |_| {}).await.map_err(Failure::error) })?;
            super::say(format_args!(
                "decommission number {number} sent; whether {} listens, and the broker lets this operator write there, only its last words tell",
                self.id
            ))?;
            0
        } else {
            summary(&follow(&operator, order, self.timeout)?)?
        };
        let broker = self.connect.broker();
        let registry = self.registry.unwrap_or_else(|| PathBuf::from("REGISTRY"));
        super::say(format_args!(
            "then end its identities and take back what the broker keeps for it{}:\n  sensorctl revoke --ca CA --registry {} \
             --id {} --clear {broker}",
            if code == 0 { "" } else { " (at once if the device is lost; otherwise when it has confirmed)" },
            registry.display(),
            self.id
        ))?;
        Ok(code)
    }
}

/// Asks at the terminal for the device's id.
fn confirmed(question: &str, id: &DeviceId) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} There is no terminal to ask at: give --yes")));
    }
    output::tell(format_args!("{question}\nType {id} to go on: "));
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.map_err(|error| Failure::error(format!("cannot read from the standard input: {error}")))?;
    Ok(line.trim() == id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_valid_for_a_week_at_most() {
        assert_eq!(expiry("7d"), Ok(EXPIRY_MAX));
        assert!(expiry("0").is_err() && expiry("0d").is_err(), "it has expired when it comes");
        assert!(expiry("604801").is_err() && expiry("9999d").is_err() && expiry("1w").is_err());
    }
}
