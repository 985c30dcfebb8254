//! `sensorctl log verify`.

use super::super::Failure;
use super::arguments::{Logs, Opened, Signers};
use crate::log::export::Form;
use crate::log::fault::{Fault, What};
use crate::log::keys::CLOCKS_MS;
use crate::log::store::{self, StoreError, StoredDelivery};
use crate::log::verify::{Expected, Finding, Gap, Proof, Report, verify_file};
use crate::log::{delivery, delivery::Line};
use crate::output::{self, Out, note};
use crate::powers::{self, Held};
use clap::Args;
use protocol::document::Power;
use protocol::{DeviceId, EpochMillis};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Records in a row without a seal that are not remarkable: a seal that fails is tried again.
const UNSEALED_MAX: u32 = 128;

/// Findings that are printed of a log; the first one is what counts.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Exit codes: 0 every record is there and proven; 1 an error; 2 wrong arguments; 3 something was altered, \
                  taken away or put in, or records are missing without explanation; 4 records are lost, and the devices said so \
                  of each of them."
)]
pub(super) struct Verify {
    #[command(flatten)]
    logs: Logs,
    #[command(flatten)]
    signers: Signers,
    /// Folder with configuration.pub: acknowledgements beside the logs are verified too
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
    /// The first record that is to be here: those before it are kept elsewhere
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u32,
    /// Print the records that are proven in this form; the verdict is then on the standard error
    #[arg(long, value_enum, value_name = "FORM")]
    export: Option<Form>,
}

impl Verify {
    pub(super) fn run(self) -> Result<u8, Failure> {
        let signers = self.signers.open()?;
        let (mut code, mut failed) = (0, None);
        for (device, path) in self.logs.find()? {
            let report = examine(&device, &path, &signers, self.authority.as_deref(), self.from, |line| {
                match self.export {
                    Some(form) => writeln!(Out, "{}", form.write(&device, line)),
                    None => Ok(()),
                }
            });
            let report = match report {
                Ok(report) => report,
                // The others are verified all the same.
                Err(error) => {
                    note!("{device}: {}", error.message);
                    failed.get_or_insert(error);
                    continue;
                }
            };
            let mut text = text(&report, &path);
            if !path.with_extension("acknowledged").exists() {
                text.push_str("  no acknowledgement beside it: whether its end is there cannot be told\n");
            }
            if self.export.is_some() {
                output::tell(format_args!("{text}"));
            } else {
                super::super::say(text.trim_end())?;
            }
            code = code.max(exit_code(&report));
        }
        failed.map_or(Ok(worst(code)), Err)
    }
}

/// 4 is less than 3: a loss that was told of is no alteration.
pub(super) fn exit_code(report: &Report) -> u8 {
    match (report.findings.is_empty(), report.gaps.is_empty()) {
        (false, _) => 4,
        (true, false) => 3,
        (true, true) => 0,
    }
}

/// The order above is that of gravity: on the command line an alteration is 3, a loss 4.
pub(super) fn worst(code: u8) -> u8 {
    match code {
        4 => 3,
        3 => 4,
        code => code,
    }
}

/// Verifies a log with all that is beside it.
pub(super) fn examine(
    device: &DeviceId,
    path: &Path,
    signers: &Opened,
    authority: Option<&Path>,
    from: u32,
    mut tell: impl FnMut(&Line) -> io::Result<()>,
) -> Result<Report, Failure> {
    let acknowledged = match authority {
        Some(folder) => {
            let keys = powers::held(folder, Power::Configuration).map_err(Failure::error)?;
            store::acknowledged_with(path, &keys).map(|it| it.map(|(it, held)| (it, Some(held))))
        }
        None => store::acknowledged(path).map(|it| it.map(|it| (it, None))),
    };
    let (mut damaged, mut signed_with) = (None, None);
    let acknowledged = match acknowledged {
        Ok(acknowledged) => acknowledged.map(|(it, held)| {
            signed_with = held;
            (it.number, it.hash)
        }),
        // It is a finding of this log, and no reason to say nothing about it.
        Err(StoreError::Acknowledgement(_, why)) => {
            damaged = Some(Finding { offset: 0, fault: Fault { record: None, what: What::Witness(why) } });
            None
        }
        Err(error) => return Err(Failure::error(error)),
    };
    let mut written = Ok(());
    let mut hashes = BTreeMap::new();
    // When the record was made that is acknowledged; one without a time is as old as the one before it.
    let mut made = EpochMillis(0);
    let report = verify_file(path, device, signers.keys(), Expected { from, acknowledged }, |line| {
        hashes.insert(line.record.sequence, line.hash);
        if acknowledged.is_some_and(|(number, _)| line.record.sequence <= number) {
            made = line.record.time.unwrap_or(made);
        }
        if written.is_ok() {
            written = tell(line);
        }
    });
    written.map_err(|error| Failure::error(format!("cannot write to the standard output: {error}")))?;
    let mut report = report.map_err(Failure::error)?;
    // With the authority's key it is known that there must be one.
    if authority.is_some() && acknowledged.is_none() && damaged.is_none() && report.records > 0 {
        damaged = Some(Finding { offset: 0, fault: Fault { record: None, what: What::NoWitness } });
    }
    if let Some(Held { key, until: Some(until) }) = signed_with {
        let until = EpochMillis::from_seconds(u64::try_from(until.unix_timestamp()).unwrap_or_default());
        if made.since(until) > CLOCKS_MS {
            let what = What::FormerWitness(key.id(), until);
            damaged = Some(Finding { offset: 0, fault: Fault { record: None, what } });
        }
    }
    report.findings.extend(damaged);
    // What was refused while following, and what it proves.
    for StoredDelivery { received, bytes } in store::forks(path).map_err(Failure::error)? {
        let Ok(other) = delivery::prove(device, &signers.keys(), Some(received), &bytes) else { continue };
        let fork = other
            .lines
            .iter()
            .find(|line| hashes.get(&line.record.sequence).is_some_and(|hash| *hash != line.hash));
        if let Some(line) = fork {
            let fault = Fault { record: Some(line.record.sequence), what: What::OtherHistory };
            report.findings.push(Finding { offset: 0, fault });
        }
    }
    Ok(report)
}

fn proof(what: &str, proof: Option<Proof>) -> String {
    let Some(Proof { record, key, at }) = proof else { return format!("  there is no {what}") };
    let at = at.map_or_else(|| "at an unknown time".to_owned(), |at| format!("at {at}"));
    format!("  the last {what} proves everything up to record {record}: key {key}, {at}")
}

/// The verdict for people.
pub(super) fn text(report: &Report, path: &Path) -> String {
    let Report { device, deliveries, records, proven, gaps, losses, findings, delivered, sealed, unsealed } =
        report;
    let verdict = match (findings.is_empty(), gaps.is_empty()) {
        (false, _) => "NOT WHOLE",
        (true, false) => "proven; records are lost, as the device says",
        (true, true) => "whole and proven",
    };
    let mut lines = vec![format!("{device} ({}): {verdict}", path.display())];
    if let Some(Finding { offset, fault }) = report.first() {
        lines.push(format!("  first bad: {fault} (byte {offset} of the file)"));
    }
    for Finding { offset, fault } in findings.iter().skip(1).take(SHOWN) {
        lines.push(format!("  also bad: {fault} (byte {offset})"));
    }
    if findings.len() > SHOWN + 1 {
        lines.push(format!("  and {} more", findings.len() - SHOWN - 1));
    }
    let ranges: Vec<String> = proven
        .iter()
        .map(|(from, to)| if from == to { from.to_string() } else { format!("{from}-{to}") })
        .collect();
    let ranges = if ranges.is_empty() { "none".to_owned() } else { ranges.join(", ") };
    lines.push(format!("  {records} records proven in {deliveries} deliveries: {ranges}"));
    for Gap { from, to, told, .. } in gaps {
        let why = if *told { "the device says that they are lost" } else { "nothing says why" };
        lines.push(format!("  not here: {from}-{to} ({} records), {why}", u64::from(to - from) + 1));
    }
    for loss in losses {
        let to = loss.first.saturating_add(loss.count.saturating_sub(1));
        lines
            .push(format!("  record {} says: {} records lost, {}-{to}", loss.record, loss.count, loss.first));
    }
    lines.push(proof("delivery", *delivered));
    lines.push(proof("seal among the records", *sealed));
    if let (Some(last), Some(sealed)) = (delivered, sealed) {
        let since = last.record.saturating_sub(sealed.record);
        lines.push(format!("  {since} records since that seal, vouched for by deliveries alone"));
    }
    if *unsealed > UNSEALED_MAX {
        lines.push(format!(
            "  NOTE: {unsealed} records in a row without a seal, where a device seals after 64: seals may have been left out before it \
             was delivered"
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}
