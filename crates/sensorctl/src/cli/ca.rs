//! `sensorctl ca`.

use super::Failure;
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
    /// exists is never touched. The key lies in a file: this is for tests and development, a real fleet keeps its
    /// authority elsewhere.
    Init(Init),
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
}

impl Ca {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Action::Init(Init { out, host, days }) = self.action;
        authority::init(&out, &host, days).map_err(|error| match error {
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
