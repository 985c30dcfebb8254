//! `sensorctl revoke`.

use super::Failure;
use super::shared::{Broker, Trust, key_id, send};
use crate::registry::Registry;
use crate::revoke::{self, Issuer, RevokeError, Which};
use clap::Args;
use protocol::topic::topic;
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
    /// End all identities of the device but this one, as its identity/state names it: 16 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "id", conflicts_with = "key", value_parser = beginning)]
    keep: Option<[u8; 8]>,
    /// End only the identity with this key: 64 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "id", value_parser = key_id)]
    key: Option<KeyId>,
    /// Write the lists of all --ca into this file, for a broker that trusts several [default: ca.crl in each --ca]
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// Days for which the list is good
    #[arg(long, value_name = "N", default_value_t = revoke::LIST_DAYS, value_parser = clap::value_parser!(u32).range(1..=398))]
    crl_days: u32,
    /// Take back what this broker keeps of the devices
    #[arg(long, value_name = "HOST[:PORT]", requires = "id", conflicts_with_all = ["keep", "key"])]
    clear: Option<Broker>,
}

/// Reads the beginning of a key's id.
fn beginning(text: &str) -> Result<[u8; 8], String> {
    let bytes = base16ct::mixed::decode_vec(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| "the beginning of a key's id is 16 hexadecimal digits".to_owned())
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
        let operator = match &self.clear {
            Some(broker) => Some(self.trust.operator(broker, "clear").map_err(Failure::error)?),
            None => None,
        };
        let mut registry = Registry::open(&self.registry).map_err(Failure::error)?;
        let which = match (self.keep, self.key) {
            (Some(kept), _) => Which::AllBut(kept),
            (None, Some(key)) => Which::Key(key),
            (None, None) => Which::All,
        };
        // From the first revocation to the last list nobody else writes; what was done is told afterwards.
        let mut turn = registry.turn().map_err(Failure::error)?;
        let ended = revoke::revoke(&mut turn, &self.id, which).map_err(Failure::error)?;
        let lists = revoke::write_lists(&turn, &issuers, self.crl.as_deref(), self.crl_days);
        drop(turn);
        let (count, files) = lists.map_err(|error| self.without_list(&error))?;
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
        for file in &files {
            super::say(format_args!(
                "{count} certificates in {}, good for {} days",
                file.display(),
                self.crl_days
            ))?;
        }
        if let Some(operator) = operator {
            let letters: Vec<_> = self.id.iter().flat_map(revoke::clearing).collect();
            send(&operator, &letters)?;
            super::say("what the broker kept of them is taken back")?;
        }
        self.advice()
    }

    /// The identities have ended in the registry, and the broker does not hear of it.
    fn without_list(&self, error: &RevokeError) -> Failure {
        if self.id.is_empty() {
            return Failure::error(error);
        }
        Failure::error(format_args!(
            "{error}\nthe registry has the revocation and the list has NOT: mend this, then write the list with `sensorctl revoke` \
             without --id"
        ))
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
        if ends && self.clear.is_none() {
            for letter in self.id.iter().flat_map(revoke::clearing) {
                let topic = topic(&letter.device, letter.channel);
                super::say(format_args!("  retained message to take back (or --clear): {topic}"))?;
            }
        }
        Ok(())
    }
}
