//! Arguments that several commands have.

use super::Failure;
use crate::documents::Letter;
use crate::enrol::Wanted;
use crate::firmware::service;
use crate::operator::{Operator, OperatorError};
use crate::publish::Message;
use crate::signer::Home;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::Name;
use protocol::config::Authentication;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where new keys are to be.
#[derive(Debug, Args)]
pub(super) struct NewKeys {
    /// Make the keys in a PKCS#11 token, with this module (a shared library); files only say where they are
    ///
    /// The PIN is asked for at the terminal, or taken from the environment where it is set there as `SENSORCTL_PIN`.
    #[arg(long, value_name = "MODULE", requires = "token")]
    pkcs11: Option<PathBuf>,
    /// Label of the token
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    token: Option<String>,
    /// What the labels of the keys in the token begin with
    #[arg(long, value_name = "TEXT", default_value = "sensor", requires = "pkcs11")]
    key_prefix: String,
    /// Use keys that are in the token already under these labels
    #[arg(long, requires = "pkcs11")]
    use_existing: bool,
}

impl NewKeys {
    pub(super) fn home(self) -> Home {
        match (self.pkcs11, self.token) {
            (Some(module), Some(token)) => {
                Home::Token { module, token, prefix: self.key_prefix, existing: self.use_existing }
            }
            _ => Home::Files,
        }
    }
}

/// The configuration of a device.
#[derive(Debug, Args)]
pub(super) struct Configured {
    /// Host name or IPv4 address of the broker, as in its certificate
    #[arg(long)]
    host: String,
    /// TCP port of the broker [default: 8883]
    #[arg(long)]
    port: Option<u32>,
    /// Time server (SNTP), up to four in the order in which they are asked; give two or more, because what one alone says cannot
    /// be checked [default: the broker's host alone]
    #[arg(long, value_name = "HOST[:PORT]")]
    time_server: Vec<String>,
    /// Milliseconds between two samples [default: 10000]
    #[arg(long, value_name = "MS")]
    sample_period_ms: Option<u32>,
    /// Milliseconds between two reports [default: 60000]
    #[arg(long, value_name = "MS")]
    report_period_ms: Option<u32>,
    /// MQTT keep-alive in seconds [default: 60]
    #[arg(long, value_name = "S")]
    keep_alive_s: Option<u32>,
    /// How a device proves to the broker who it is [default: certificate]
    #[arg(long)]
    auth: Option<Auth>,
    /// When firmware updates may begin: minutes after midnight UTC [default: 0]
    #[arg(long, value_name = "MIN")]
    update_start_min: Option<u32>,
    /// For how many minutes from then updates may begin; 1440 is always [default: 1440]
    #[arg(long, value_name = "MIN")]
    update_length_min: Option<u32>,
    /// Hours after which an update waits for no window any more [default: 168]
    #[arg(long, value_name = "H")]
    update_deadline_h: Option<u32>,
    /// Seconds over which the devices of a fleet spread, so that they do not update all at once [default: 600]
    #[arg(long, value_name = "S")]
    update_spread_s: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Auth {
    /// With its client certificate
    Certificate,
    /// With a token that it signs itself, for HOST, in MQTT's password
    Token,
}

impl Configured {
    pub(super) fn wanted(self) -> Wanted {
        Wanted {
            host: self.host,
            port: self.port,
            time_servers: self.time_server,
            sample_period_ms: self.sample_period_ms,
            report_period_ms: self.report_period_ms,
            keep_alive_s: self.keep_alive_s,
            auth: self.auth.map(|auth| match auth {
                Auth::Certificate => Authentication::Certificate,
                Auth::Token => Authentication::Token,
            }),
            update_start_min: self.update_start_min,
            update_length_min: self.update_length_min,
            update_deadline_h: self.update_deadline_h,
            update_spread_s: self.update_spread_s,
            number: None,
        }
    }
}

/// A broker as `HOST` or `HOST:PORT`.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    pub(super) host: String,
    pub(super) port: u16,
}

impl FromStr for Broker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let default = u16::try_from(protocol::config::PORT.default).unwrap_or_default();
        let endpoint = protocol::Endpoint::parse(text, default, "the broker");
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        Ok(Self { host: endpoint.host.as_str().to_owned(), port: endpoint.port })
    }
}

/// Whom the operator trusts and as whom it speaks.
#[derive(Debug, Args)]
pub(super) struct Trust {
    /// Folder of the authority, made with `sensorctl ca init`: its root is trusted; may be repeated while one replaces another
    #[arg(long, value_name = "DIR")]
    ca: Vec<PathBuf>,
    /// Folder with operator.crt and operator.key [default: the last --ca]
    #[arg(long, value_name = "DIR", requires = "ca")]
    operator: Option<PathBuf>,
}

impl Trust {
    pub(super) fn operator(&self, broker: &Broker, name: &str) -> Result<Operator, OperatorError> {
        let own = self.operator.as_ref().or(self.ca.last());
        let own = own.map_or(Path::new("."), PathBuf::as_path);
        Operator::new(&self.ca, own, broker.host.clone(), broker.port, name)
    }

    pub(super) fn authorities(&self) -> &[PathBuf] {
        &self.ca
    }
}

/// Reads the name of a group.
pub(super) fn group(text: &str) -> Result<Name, String> {
    let name = Name::try_from(text).map_err(|error| error.to_string())?;
    if name.is_empty() { Err("a group has a name".to_owned()) } else { Ok(name) }
}

/// Publishes with a bar on stderr, where that is a terminal, and reads back.
pub(super) fn send(operator: &Operator, letters: &[Letter]) -> Result<(), Failure> {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta}");
    let bar = ProgressBar::new(letters.len() as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let messages: Vec<Message> = letters.iter().cloned().map(Message::from).collect();
    block_on(async {
        let sent = service::keep(operator, &messages, |done| bar.set_position(done as u64)).await;
        sent.map_err(Failure::error)
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// Runs `work` with an executor for what waits for a network.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::error(format!("no executor: {error}")))?.block_on(work)
}
