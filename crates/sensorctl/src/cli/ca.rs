//! `sensorctl ca`.

use super::Failure;
use super::shared::NewKeys;
use crate::authority::{self, AuthorityError};
use clap::{Args, Subcommand};
use std::path::PathBuf;

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
    /// Make a certificate for one more program of the operator
    ///
    /// Writes operator.key and operator.crt (client, CN=operator.NAME) for --operator of the other commands. Brokers that take
    /// the certificate's name for the client identifier let each name in once: a program of its own, a name of its own.
    Operator(Operator),
}

#[derive(Debug, Args)]
struct Operator {
    /// Folder of the authority
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// What it is called behind `operator.`: 1 to 23 of a-z 0-9 -
    #[arg(long, value_parser = name)]
    name: String,
    /// Days for which the certificate is valid
    #[arg(long, value_name = "N", default_value_t = authority::SERVICE_DAYS)]
    days: u32,
    /// Folder for the certificate; must not exist yet, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
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
        };
        authority::init_in(&keys.home(), &out, &host, days).map_err(|error| match error {
            AuthorityError::BadHost(_) | AuthorityError::BadArgument(_) => Failure::usage(error),
            _ => Failure::error(error),
        })?;
        super::say(format_args!(
            "authority in {}; the broker's certificate is for {}",
            out.display(),
            host.join(", ")
        ))
    }
}

impl Operator {
    fn run(self) -> Result<(), Failure> {
        let Self { ca, name, days, out } = self;
        let common_name = format!("{}.{name}", protocol::id::OPERATOR);
        let made = authority::issue_operator_in(&ca, &common_name, days, &out);
        made.map_err(|error| match error {
            AuthorityError::BadArgument(_) => Failure::usage(error),
            _ => Failure::error(error),
        })?;
        super::say(format_args!("certificate for {common_name} in {}", out.display()))
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
