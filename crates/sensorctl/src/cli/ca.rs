//! `sensorctl ca`.

use super::Failure;
use super::shared::NewKeys;
use crate::authority::{self, AuthorityError, file};
use crate::credentials::Life;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Ca {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a test authority with credentials for a broker and an operator
    ///
    /// Writes ca.key and ca.crt (valid for ten years), broker.key and broker.crt (server) and operator.key and
    /// operator.crt (client, CN=operator). Keys are ECDSA P-256, PKCS#8, readable by you alone. An authority that
    /// exists is never touched. A key in a file is for tests and development: with --pkcs11 the authority's key is made
    /// in a token, and ca.pkcs11.json says where it is.
    Init(Init),
    /// Make a certificate for one more program of the operator, or renew one
    ///
    /// Writes operator.key and operator.crt (client, CN=operator.NAME) for --operator of the other commands. Brokers that take
    /// the certificate's name for the client identifier let each name in once: a program of its own, a name of its own. With
    /// --renew, operator.crt is replaced by one for the same key and name; programs that run take it at their next connection.
    Operator(Operator),
    /// Make a certificate for a broker, or renew one
    ///
    /// Writes broker.key and broker.crt into a new folder. With --renew, broker.crt is replaced by one for the same key and, where
    /// no --host is given, the same names; let the broker read it again then.
    Broker(Broker),
}

/// How long, and where.
#[derive(Debug, Args)]
struct Service {
    /// Folder of the authority
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Days for which the certificate is valid
    #[arg(long, value_name = "N", default_value_t = authority::SERVICE_DAYS)]
    days: u32,
    /// Replace the certificate by one for the same key; without it, a new key is made
    #[arg(long)]
    renew: bool,
    /// Folder for the certificate; must not exist yet, or be empty. With --renew, the folder that it is in [default: --ca]
    #[arg(long, value_name = "DIR", required_unless_present = "renew")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Operator {
    #[command(flatten)]
    service: Service,
    /// What it is called behind `operator.`: 1 to 23 of a-z 0-9 -
    #[arg(long, value_parser = name, required_unless_present = "renew", conflicts_with = "renew")]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct Broker {
    #[command(flatten)]
    service: Service,
    /// Host name or IP address at which the broker is dialled; may be repeated
    #[arg(long, value_name = "NAME", required_unless_present = "renew")]
    host: Vec<String>,
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=23).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 23 of a-z 0-9 -".to_owned())
    }
}

#[derive(Debug, Args)]
struct Init {
    /// Folder for the authority; must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Host name or IP address at which the broker is dialled; may be repeated
    #[arg(long, value_name = "NAME", default_values = ["localhost", "127.0.0.1"])]
    host: Vec<String>,
    /// Days for which the broker's and the operator's certificates are valid
    #[arg(long, value_name = "N", default_value_t = authority::SERVICE_DAYS)]
    days: u32,
    #[command(flatten)]
    keys: NewKeys,
}

impl Ca {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Init { out, host, days, keys } = match self.action {
            Action::Init(init) => init,
            Action::Operator(operator) => return operator.run(),
            Action::Broker(broker) => return broker.run(),
        };
        authority::init_in(&keys.home(), &out, &host, days).map_err(failure)?;
        super::say(format_args!(
            "authority in {}; the broker's certificate is for {}",
            out.display(),
            host.join(", ")
        ))
    }
}

fn failure(error: AuthorityError) -> Failure {
    match error {
        AuthorityError::BadHost(_) | AuthorityError::BadArgument(_) => Failure::usage(error),
        error => Failure::error(error),
    }
}

impl Service {
    fn folder(&self) -> &Path {
        self.out.as_deref().unwrap_or(&self.ca)
    }

    /// Until when the certificate in this file is valid, for people.
    fn until(&self, name: &str) -> String {
        let chain = crate::credentials::certificates(&self.folder().join(name)).ok();
        let life = chain.and_then(|chain| Life::read(chain.first()?));
        life.map_or_else(String::new, |life| format!(", until {}", life.until.date()))
    }
}

impl Operator {
    fn run(self) -> Result<(), Failure> {
        let Self { service, name } = self;
        let (ca, days, out) = (&service.ca, service.days, service.folder());
        let (name, key) = match name {
            Some(name) => {
                let name = format!("{}.{name}", protocol::id::OPERATOR);
                authority::service::issue_operator_in(ca, &name, days, out).map_err(failure)?;
                (name, "a new key")
            }
            None => (authority::service::renew_operator(ca, out, days).map_err(failure)?, "the same key"),
        };
        let until = service.until(file::OPERATOR);
        super::say(format_args!("certificate for {name} in {}, with {key}{until}", out.display()))
    }
}

impl Broker {
    fn run(self) -> Result<(), Failure> {
        let Self { service, host } = self;
        let (ca, days, out) = (&service.ca, service.days, service.folder());
        let (host, key) = if service.renew {
            (authority::service::renew_broker(ca, out, &host, days).map_err(failure)?, "the same key")
        } else {
            authority::service::issue_broker_in(ca, &host, days, out).map_err(failure)?;
            (host, "a new key")
        };
        let until = service.until(file::BROKER);
        super::say(format_args!(
            "certificate for the broker at {} in {}, with {key}{until}",
            host.join(", "),
            out.display()
        ))?;
        super::say("the broker must read it again: `kill -HUP`, or restart it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_operator_has_a_name_that_no_device_can_have() {
        assert_eq!(name("renew-2").as_deref(), Ok("renew-2"));
        assert!(protocol::DeviceId::new("operator.renew-2").is_err());
        for refused in ["", "a.b", "A", "a b", "a/b", "a_b", "abcdefghijklmnopqrstuvwx"] {
            assert!(name(refused).is_err(), "{refused}");
        }
    }
}
