//! `sensorctl log show`.

use super::super::Failure;
use super::super::firmware::arguments::{date, duration};
use super::arguments::{Logs, Signers};
use super::verify::{examine, exit_code, text, worst};
use crate::log::describe;
use crate::operator::now;
use crate::output::{self, Out};
use clap::Args;
use protocol::EpochMillis;
use std::io::Write;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes are those of `log verify`: what is shown is proven, and what is not is told of on the standard error."
)]
pub(super) struct Show {
    #[command(flatten)]
    logs: Logs,
    #[command(flatten)]
    signers: Signers,
    /// Only what happened since then: a date, a date with time, or a duration such as 24h
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<EpochMillis>,
    /// Only these kinds of events, such as boot or `document_refused`; may be repeated
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<&'static str>,
    /// The first record that is to be here: those before it are kept elsewhere
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u32,
}

fn since(text: &str) -> Result<EpochMillis, String> {
    if let Ok(ago) = duration(text) {
        return Ok(now().offset(-i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
    }
    let seconds = date(text).map_err(|error| format!("{error}, or a duration such as 24h"))?;
    Ok(EpochMillis::from_seconds(seconds))
}

fn kind(text: &str) -> Result<&'static str, String> {
    let mut names = (0..=u8::MAX).filter_map(protocol::audit::Event::name);
    names.find(|name| *name == text).ok_or_else(|| {
        let all: Vec<_> = (0..=u8::MAX).filter_map(protocol::audit::Event::name).collect();
        format!("there are {}", all.join(", "))
    })
}

impl Show {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let signers = self.signers.open()?;
        let mut code = 0;
        for (device, path) in self.logs.find()? {
            // A record without a time is as old as the one before it.
            let mut time = EpochMillis(0);
            let report = examine(&device, &path, &signers, None, self.from, |line| {
                time = line.record.time.unwrap_or(time);
                let wanted = self.since.is_none_or(|since| time >= since)
                    && (self.kind.is_empty() || self.kind.contains(&describe::name(&line.record.event)));
                if wanted { writeln!(Out, "{device} {}", describe::text(&line.record)) } else { Ok(()) }
            })?;
            if exit_code(&report) > 0 {
                output::tell(format_args!("{}", text(&report, &path)));
            }
            code = code.max(exit_code(&report));
        }
        Ok(worst(code))
    }
}
