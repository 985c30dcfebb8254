//! `sensorctl revoke`.

use super::Failure;
use super::shared::{Broker, Trust, block_on};
use crate::clear;
use crate::identity::{self, KeyPrefix, Left};
use crate::operator::Operator;
use crate::registry::Registry;
use crate::revoke::{self, Issuer, RevokeError, Which};
use clap::Args;
use protocol::identity_state::Life;
use protocol::{DeviceId, KeyId};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "The list is good for a limited time, after which Mosquitto refuses every client: run this without --id, for \
                  example every week, to write it anew."
)]
pub(super) struct Revoke {
    #[command(flatten)]
    trust: Trust,
    /// The registry
    #[arg(long, value_name = "FILE")]
    registry: PathBuf,
    /// A device whose identities end; may be repeated; without it, the list is written anew and nothing else
    #[arg(long)]
    id: Vec<DeviceId>,
    /// Every device of the registry; only with --older
    #[arg(long, requires = "older", conflicts_with = "id")]
    all: bool,
    /// End all identities of the device but this one: the id of its key or the beginning of it
    #[arg(long, value_name = "HEX", requires = "id", conflicts_with = "key")]
    keep: Option<KeyPrefix>,
    /// End only this identity: the id of its key or the beginning of it
    #[arg(long, value_name = "HEX", requires = "id")]
    key: Option<KeyPrefix>,
    /// End what renewals have left: identities older than the one that the device says it uses, which this broker tells
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with_all = ["keep", "key", "clear"])]
    older: Option<Broker>,
    /// Write the lists of all --ca into this file, for a broker that trusts several [default: ca.crl in each --ca]
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// Days for which the list is good
    #[arg(long, value_name = "N", default_value_t = revoke::LIST_DAYS, value_parser = clap::value_parser!(u32).range(1..=398))]
    crl_days: u32,
    /// Take back what this broker keeps of the devices; not of one that says that it still has its identity
    #[arg(long, value_name = "HOST[:PORT]", requires = "id", conflicts_with_all = ["keep", "key"])]
    clear: Option<Broker>,
    /// The devices are lost, stolen or broken: nobody waits for them to wipe themselves
    #[arg(long, requires = "clear")]
    lost: bool,
}

/// What ends.
struct Plan {
    ids: Vec<DeviceId>,
    which: Which,
    /// What renewals have left.
    older: Vec<(DeviceId, KeyId)>,
    /// Devices of which nothing ends, and why.
    left: Vec<(DeviceId, Left)>,
}

impl Revoke {
    pub(super) fn run(self) -> Result<(), Failure> {
        let cas = self.trust.authorities();
        if cas.is_empty() {
            return Err(Failure::usage(
                "--ca is missing: the lists are signed with the keys of the authorities",
            ));
        }
        let issuers: Result<Vec<_>, _> = cas.iter().map(|ca| Issuer::open(ca)).collect();
        let issuers = issuers.map_err(Failure::error)?;
        let operator = match self.clear.as_ref().or(self.older.as_ref()) {
            Some(broker) => Some(self.trust.operator(broker, "revoke").map_err(Failure::error)?),
            None => None,
        };
        let mut registry = Registry::open(&self.registry).map_err(Failure::error)?;
        if let Some(unknown) = self.id.iter().find(|id| registry.records(id).is_empty()) {
            return Err(Failure::error(RevokeError::Unknown(unknown.clone())));
        }
        let plan = self.plan(&registry, operator.as_ref())?;
        // From the first revocation to the last list nobody else writes; what was done is told afterwards.
        let mut turn = registry.turn().map_err(Failure::error)?;
        let mut ended = revoke::revoke(&mut turn, &plan.ids, plan.which).map_err(Failure::error)?;
        let mut failed = None;
        for (id, key) in &plan.older {
            match revoke::revoke(&mut turn, std::slice::from_ref(id), Which::Key(*key)) {
                Ok(older) => ended.extend(older),
                // Somebody else has ended it since the device was asked.
                Err(RevokeError::NoIdentity(_)) => {}
                // The list gets what was revoked before it.
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let lists = revoke::write_lists(&turn, &issuers, self.crl.as_deref(), self.crl_days);
        drop(turn);
        let nothing_ended = ended.is_empty();
        for (id, identities) in ended {
            super::say(format_args!("{id}: {} identities revoked in the registry", identities.len()))?;
            for identity in identities {
                super::say(format_args!(
                    "  certificate SHA-256 {} (serial number {}, identity key {})",
                    base16ct::lower::encode_string(&identity.certificate),
                    base16ct::lower::encode_string(&identity.serial),
                    identity.key.id(),
                ))?;
            }
        }
        let (count, files) = lists.map_err(|error| without_list(&error, nothing_ended))?;
        for file in &files {
            super::say(format_args!(
                "{count} certificates in {}, good for {} days",
                file.display(),
                self.crl_days
            ))?;
        }
        if let (Some(operator), Some(_)) = (&operator, &self.clear) {
            block_on(async { clear::clear(operator, &self.id).await.map_err(Failure::error) })?;
            super::say("what the broker kept of them is taken back, on every topic of each")?;
        }
        for (id, why) in &plan.left {
            super::say(format_args!("{id}: nothing ended: {why}"))?;
        }
        self.advice()?;
        if let Some(error) = failed {
            return Err(Failure::error(error));
        }
        // Who was named, and a fleet of which nobody has said a word: then it is not the devices that are silent.
        let silent = nothing_ended && plan.left.iter().all(|(_, why)| *why == Left::Silent);
        match plan.left.iter().find(|(id, _)| silent || self.id.contains(id)) {
            Some((id, why)) => Err(Failure::error(format_args!("{id}: {why}"))),
            None => Ok(()),
        }
    }

    fn plan(&self, registry: &Registry, operator: Option<&Operator>) -> Result<Plan, Failure> {
        let one = |prefix: &KeyPrefix| {
            let [id] = self.id.as_slice() else {
                return Err(Failure::usage("--keep and --key name an identity of one device: give one --id"));
            };
            let known = registry.in_force(id).map(|identity| identity.key.id());
            prefix.resolve(id, known).map_err(Failure::error)
        };
        let mut plan = Plan { ids: self.id.clone(), which: Which::All, older: Vec::new(), left: Vec::new() };
        match (&self.keep, &self.key) {
            (Some(kept), _) => {
                // No two keys have the same beginning of this length.
                plan.which = Which::AllBut(one(kept)?.0.first_chunk().copied().unwrap_or_default());
            }
            (None, Some(key)) => plan.which = Which::Key(one(key)?),
            (None, None) => {}
        }
        let Some(operator) = operator else { return Ok(plan) };
        if self.older.is_some() {
            plan.ids.clear();
            let ids: Vec<DeviceId> =
                if self.all { registry.active().cloned().collect() } else { self.id.clone() };
            if ids.is_empty() {
                return Err(Failure::usage("no device is named: give --id, or --all"));
            }
            let said = block_on(async { identity::read(operator, &ids).await.map_err(Failure::error) })?;
            (plan.older, plan.left) = identity::left_over(registry, &ids, &said);
        } else if !self.lost {
            let said = block_on(async { identity::read(operator, &self.id).await.map_err(Failure::error) })?;
            for id in &self.id {
                let says = match said.get(id) {
                    Some(Ok(state)) if state.life != Life::Provisioned => continue,
                    Some(Ok(_)) => "says that it still has its identity",
                    // What was revoked before may be cleared again.
                    _ if registry.in_force(id).next().is_none() => continue,
                    _ => "has not said that it has no identity any more (or this operator may not read it)",
                };
                return Err(Failure::error(format_args!(
                    "{id} {says}: once that is revoked nobody can tell it to wipe its secrets. \
                     Nothing was done. Do that first with `sensorctl command decommission --id {id}`; if the device is lost, \
                     stolen or broken, give --lost"
                )));
            }
        }
        Ok(plan)
    }

    /// What is left for a person to do.
    fn advice(&self) -> Result<(), Failure> {
        let ends = self.keep.is_none() && self.key.is_none();
        super::say("left to do:")?;
        super::say(
            "  Mosquitto: `crlfile` must name the list; `kill -HUP` makes it read again, for new connections only:",
        )?;
        super::say("    a client that is connected stays until it is thrown out or the broker restarts")?;
        super::say(
            "  AWS IoT Core: `aws iot update-certificate --new-status REVOKED --certificate-id` with the SHA-256",
        )?;
        super::say(
            "  others: remove or disable the certificate with this SHA-256, and the identity key, at the service",
        )?;
        if ends && self.older.is_none() && self.clear.is_none() && !self.id.is_empty() {
            super::say(
                "  a device that is to wipe its secrets: `sensorctl command decommission`, as long as it is connected; when \
                 the broker has the list and lets it in no more, it is too late",
            )?;
            super::say("  what the broker keeps of them: the same command again with --clear takes it back")?;
        }
        Ok(())
    }
}

/// Identities may have ended in the registry, and the broker does not hear of it.
fn without_list(error: &RevokeError, nothing_ended: bool) -> Failure {
    if nothing_ended {
        return Failure::error(error);
    }
    Failure::error(format_args!(
        "{error}\nthe registry has the revocation and the list has NOT: mend this, then write the list with `sensorctl revoke` \
         without --id"
    ))
}
