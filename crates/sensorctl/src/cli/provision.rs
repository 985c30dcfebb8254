//! `sensorctl provision`.

use super::Failure;
use super::shared::Configured;
use crate::authority::{Authority, AuthorityError, issue};
use crate::config::change::DEVICE;
use crate::enrol::{self, Wanted};
use crate::judge;
use crate::operator::now;
use crate::output::note;
use crate::powers::{self, LiveKey, Numbers};
use crate::provision::clock;
use crate::provision::exchange::Patience;
use crate::provision::lapsed::Office;
use crate::provision::line::Target;
use crate::provision::pending::Pending;
use crate::provision::secret;
use crate::provision::show::Show;
use crate::provision::{self, Batch, Ids, Keys};
use crate::registry::Registry;
use crate::renew::{Lapsed, Registrar, issued_folder};
use clap::Args;
use protocol::document::{Power, ROOTS_MAX};
use protocol::{DeviceId, Name};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use time::OffsetDateTime;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "A LINE is the path of a serial device or pty (115200 bit/s, 8N1), unix:PATH or tcp:HOST:PORT for a socket, or \
                  exec:COMMAND for a program's standard input and output.\n\nExit codes: 0 every line is done; 1 a line \
                  failed, or an error; 2 wrong arguments."
)]
pub(super) struct Provision {
    /// Folder of the authority that issues the certificates, made with `sensorctl ca init`
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Folder with the keys of the powers, made with `sensorctl authority init`; the private key of the factory is used
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// The registry: a line is added for each device (device id, public keys, certificate)
    #[arg(long, value_name = "FILE")]
    registry: PathBuf,
    /// A line with a device; may be repeated
    #[arg(long, required = true)]
    line: Vec<Target>,
    /// Id of the device: 1 to 32 of A-Z a-z 0-9 - _; once for each line, in the order of the lines
    #[arg(long, required_unless_present = "id_prefix", conflicts_with = "id_prefix")]
    id: Vec<DeviceId>,
    /// Give each device the next id that the registry has never seen: this text and a number
    ///
    /// The lines get theirs in the order in which they are named, over all runs of the same command until it is done, whatever
    /// was cut meanwhile. A line whose device does not say who it is gets none in that run, and a later one in the next.
    #[arg(long, value_name = "TEXT")]
    id_prefix: Option<String>,
    /// The first number
    #[arg(long, value_name = "N", default_value_t = 1, requires = "id_prefix")]
    start: u32,
    /// Digits of the number, filled up with zeros
    #[arg(long, value_name = "N", default_value_t = 1, requires = "id_prefix", value_parser = clap::value_parser!(u8).range(1..=10))]
    digits: u8,
    #[command(flatten)]
    configured: Configured,
    /// Group of the devices: at most 32 of A-Z a-z 0-9 . _ - + / @
    #[arg(long, value_parser = |text: &str| Name::try_from(text))]
    group: Option<Name>,
    /// Another root that the devices trust besides the authority's, PEM; may be repeated
    #[arg(long, value_name = "FILE")]
    root: Vec<PathBuf>,
    /// Days for which the certificates are valid: as long as devices may lie on a shelf before their first connection
    #[arg(long, value_name = "N", default_value_t = enrol::DEVICE_DAYS)]
    days: u32,
    /// Make the keys here and put them into the devices: for devices that cannot make their own
    ///
    /// The keys lie in memory that is never swapped, are wiped as soon as the device has them, and the process leaves no
    /// core dump. They pass over the line, so whoever listens there has them.
    #[arg(long)]
    inject: bool,
    /// Give up an unfinished device that is not on these lines: what may have become its identity is revoked
    #[arg(long)]
    give_up: bool,
    /// Seconds that a device may take for an answer; ten times as many for making keys and for committing
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout_s: u64,
    /// Print a JSON object for each event, one a line, and a summary last
    #[arg(long)]
    json: bool,
}

impl Provision {
    pub(super) fn run(self) -> Result<u8, Failure> {
        if self.id_prefix.is_none() && self.id.len() != self.line.len() {
            return Err(Failure::usage(format!(
                "there are {} lines and {} ids: give one --id for each --line, or --id-prefix",
                self.line.len(),
                self.id.len()
            )));
        }
        if self.inject {
            secret::harden().map_err(Failure::error)?;
        }
        let mut wanted = self.configured.wanted();
        // A device that begins another life under its id takes none of the changes of its former one.
        let last = Numbers::last_in(&self.authority, DEVICE).map_err(Failure::error)?;
        wanted.number = last.and_then(|last| u32::try_from(last).ok());
        let ids = ids(self.id, self.id_prefix, self.start, self.digits, &wanted)?;
        let authority = Authority::open(&self.ca).map_err(authority_failure)?;
        let mut roots = vec![authority.root_der().map_err(Failure::error)?];
        for path in &self.root {
            for root in issue::certificates(path).map_err(Failure::error)? {
                if !roots.contains(&root) {
                    roots.push(root);
                }
            }
        }
        if roots.len() > ROOTS_MAX {
            let why = format!("{} roots were given; a device holds at most {ROOTS_MAX}", roots.len());
            return Err(Failure::usage(why));
        }
        let registry = Registry::open(&self.registry).map_err(Failure::error)?;
        check_clock(&registry, &authority, &wanted)?;
        let ders: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
        judge::roots(&ders, now()).map_err(Failure::error)?;
        let public = |power| powers::public(&self.authority, power).map_err(Failure::error);
        let batch = Batch {
            authority: &authority,
            factory: &powers::signer(&self.authority, Power::Factory).map_err(Failure::error)?,
            keys: Keys {
                firmware: public(Power::Firmware)?,
                configuration: public(Power::Configuration)?,
                anchors: public(Power::Anchors)?,
            },
            roots,
            wanted: &wanted,
            group: self.group.unwrap_or_default(),
            days: self.days,
            inject: self.inject,
            give_up: self.give_up,
            pending: Pending::beside(&self.registry).map_err(Failure::error)?,
            registry: Mutex::new(registry),
            ids,
            patience: Patience::seconds(self.timeout_s),
            office: Office::new(Box::new(|| {
                Ok(Registrar {
                    issuer: Authority::open(&self.ca)?,
                    signer: LiveKey::open(&self.authority, Power::Configuration)?,
                    registry: Registry::open(&self.registry)?,
                    issued: issued_folder(&self.ca),
                    days: self.days,
                    lapsed: Lapsed::OnLine,
                })
            })),
        };
        let show = Show::new(&self.line, self.json);
        let mut told = Ok(());
        let ended = provision::run(&batch, &self.line, |number, news| {
            let result = show.tell(number, &news);
            told = std::mem::replace(&mut told, Ok(())).and(result);
        });
        // The devices are finished first: a closed output must not leave one in the middle.
        let shown = told.and_then(|()| show.finish(&ended));
        shown.map_err(|error| Failure::error(format!("cannot write to the standard output: {error}")))?;
        Ok(u8::from(ended.iter().any(Result::is_err)))
    }
}

/// Certificates are made with this computer's clock.
fn check_clock(registry: &Registry, authority: &Authority, wanted: &Wanted) -> Result<(), Failure> {
    let root = authority.begin().map_err(Failure::error)?;
    let servers = wanted.time_servers().map_err(Failure::usage)?;
    let kept = clock::check_kept(registry, root, OffsetDateTime::now_utc());
    let agreed = clock::check_servers(&servers).map_err(Failure::error)?;
    if let Some(entry) = clock::weigh(kept, agreed).map_err(Failure::error)? {
        note!(
            "warning: {entry}; a time server of the devices agrees with this clock, so provisioning goes on"
        );
    }
    if !agreed {
        note!("no time server of the devices answers here: this computer's clock is not compared with one");
    }
    Ok(())
}

fn authority_failure(error: AuthorityError) -> Failure {
    match error {
        AuthorityError::BadArgument(_) => Failure::usage(error),
        error => Failure::error(error),
    }
}

/// What is wrong with the arguments is said before anything is opened.
fn ids(
    given: Vec<DeviceId>,
    prefix: Option<String>,
    start: u32,
    digits: u8,
    wanted: &Wanted,
) -> Result<Ids, Failure> {
    let Some(prefix) = prefix else {
        for id in &given {
            wanted.configuration(id.clone()).map_err(Failure::usage)?;
            if given.iter().filter(|other| *other == id).count() > 1 {
                return Err(Failure::usage(format!("--id {id} is there twice")));
            }
        }
        return Ok(Ids::Given(given));
    };
    let digits = usize::from(digits);
    let first = format!("{prefix}{start:0digits$}");
    let id = DeviceId::new(&first)
        .map_err(|error| Failure::usage(format!("{first:?} would be the first id, but {error}")))?;
    wanted.configuration(id).map_err(Failure::usage)?;
    Ok(Ids::Counted { prefix, next: AtomicU32::new(start), digits })
}
