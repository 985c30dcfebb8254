//! What several commands have in common on the command line: the session's timing, the sensors, updates, the broker's doors.

use anyhow::{Context, Result, bail};
use clap::Args;
use device::{Pace, Policy};
use protocol::{Name, PublicKey};
use simulator::folder::{Powers, public_key};
use simulator::port::Port;
use simulator::product::product;
use simulator::sensor::Model;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Args)]
pub struct Listen {
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "P", default_value_t = 0)]
    pub port: u16,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
}

/// The broker's second door.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Also let in devices that log in with a token, by the public keys in this ledger of sensorctl (registry.jsonl)
    #[arg(long, value_name = "FILE")]
    pub registry: Option<PathBuf>,
    /// Port for devices with tokens; 0 takes a free one
    #[arg(long, value_name = "P", default_value_t = 0, requires = "registry")]
    pub token_port: u16,
    /// For whom tokens must be: the host name that devices have in their configuration
    #[arg(long, value_name = "TEXT", default_value = "localhost", requires = "registry")]
    pub audience: String,
}

/// The session's timing; the defaults are those of the field.
#[derive(Debug, Args)]
pub struct Timing {
    /// Shortest wait before a new attempt to connect, in milliseconds
    #[arg(long = "backoff-floor-ms", value_name = "N", default_value_t = Policy::default().backoff_floor_ms)]
    backoff_floor: u32,
    /// Longest wait before a new attempt to connect, in milliseconds
    #[arg(long = "backoff-cap-ms", value_name = "N", default_value_t = Policy::default().backoff_cap_ms)]
    backoff_cap: u32,
    /// How long a connection must last before the waits start small again, in milliseconds
    #[arg(long = "healthy-ms", value_name = "N", default_value_t = Policy::default().healthy_ms)]
    healthy: u32,
    /// How long a token is valid, in seconds; a new one is used after 80 % of it
    #[arg(long = "token-life-s", value_name = "N", default_value_t = Policy::default().token_life_s, value_parser = clap::value_parser!(u32).range(10..=3600))]
    token_life: u32,
}

/// How the modelled sensors behave.
#[derive(Debug, Args)]
pub struct Sensing {
    /// Seed of the modelled sensor: the same seed gives the same values
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Share of measurements that fail, from 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = share)]
    fault_rate: f64,
    /// Modelled seconds per real second, so that a day can be watched in minutes
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
}

/// Whose word the device takes, what it may be updated with, and how fast; the defaults are those of the field.
#[derive(Debug, Args)]
pub struct Updates {
    /// Public half of the key that images are signed with: image.pub of `sensorctl firmware key`; without it no update is
    /// taken
    #[arg(long, value_name = "FILE")]
    image_key: Option<PathBuf>,
    /// Whose updates, configurations and commands an enrolled device takes: the folder with firmware.pub and
    /// configuration.pub of `sensorctl authority init`. One that was provisioned on a line knows it already
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
    /// Group that a new enrolled device belongs to. One that was provisioned on a line knows it already
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = group)]
    group: Name,
    /// Image that a new device begins with, of `sensorctl firmware image` [default: one with this program's version]
    #[arg(long, value_name = "FILE")]
    firmware: Option<PathBuf>,
    /// Shortest time between two requests for a block, in milliseconds
    #[arg(long = "block-interval-ms", value_name = "N", default_value_t = Pace::default().block_interval_ms)]
    block_interval: u32,
    /// How long a block may take before it is asked for again, in milliseconds
    #[arg(long = "block-timeout-ms", value_name = "N", default_value_t = Pace::default().block_timeout_ms)]
    block_timeout: u32,
    /// How long new firmware must be healthy before it stays, in milliseconds
    #[arg(long = "trial-ms", value_name = "N", default_value_t = Pace::default().trial_ms)]
    trial: u32,
    /// How long after its start new firmware must have shown that, in milliseconds
    #[arg(long = "trial-deadline-ms", value_name = "N", default_value_t = Pace::default().trial_deadline_ms)]
    trial_deadline: u32,
    /// How long a changed host, port, way to prove itself or time server may take to show that the service is reached with it,
    /// in milliseconds; after that the device goes back
    #[arg(long = "configuration-ms", value_name = "N", default_value_t = Pace::default().configuration_ms, value_parser = clap::value_parser!(u32).range(1..))]
    configuration: u32,
}

/// [`Updates`], read and checked.
#[derive(Clone, Debug)]
pub struct Update {
    /// Whose images are taken.
    pub image_key: Option<PublicKey>,
    /// Whose documents are taken.
    pub powers: Powers,
    /// What a new device belongs to.
    pub group: Name,
    /// What a new device begins with.
    pub firmware: Option<Arc<[u8]>>,
    /// How fast.
    pub pace: Pace,
}

impl Updates {
    pub fn read(&self) -> Result<Update> {
        let firmware = self.firmware.as_deref();
        let read =
            |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        if self.trial_deadline <= self.trial {
            bail!("--trial-deadline-ms must be more than --trial-ms");
        }
        Ok(Update {
            image_key: self.image_key.as_deref().map(public_key).transpose()?,
            powers: self.authority.as_deref().map(Powers::load).transpose()?.unwrap_or_default(),
            group: self.group.clone(),
            firmware: firmware.map(read).transpose()?.map(Arc::from),
            pace: Pace {
                block_interval_ms: self.block_interval,
                block_timeout_ms: self.block_timeout,
                trial_ms: self.trial,
                trial_deadline_ms: self.trial_deadline,
                configuration_ms: self.configuration,
            },
        })
    }
}

impl Update {
    /// Tells a port of it.
    pub fn apply(&self, port: &mut Port) {
        (port.info.product, port.info.pace) = (product(self.image_key), self.pace);
    }
}

impl Timing {
    pub fn policy(&self) -> Result<Policy> {
        if self.backoff_floor == 0 || self.backoff_cap < self.backoff_floor {
            bail!("--backoff-floor-ms must be at least 1 and not above --backoff-cap-ms");
        }
        Ok(Policy {
            backoff_floor_ms: self.backoff_floor,
            backoff_cap_ms: self.backoff_cap,
            healthy_ms: self.healthy,
            token_life_s: self.token_life,
            ..Policy::default()
        })
    }
}

impl Sensing {
    pub fn model(&self, number: u64) -> Model {
        let seed = self.seed.wrapping_add(number);
        Model::new(seed).with_fault_rate(self.fault_rate).with_speed(self.speed)
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "must be from 0 to 1".to_owned())
}

fn speed(text: &str) -> Result<f64, String> {
    let fits = |speed: &f64| (0.001..=1e6).contains(speed);
    text.parse().ok().filter(fits).ok_or_else(|| "must be from 0.001 to 1000000".to_owned())
}

fn group(text: &str) -> Result<Name, String> {
    Name::try_from(text).map_err(|error| error.to_string())
}
