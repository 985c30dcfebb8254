//! Whether this computer's clock can be believed before certificates are made with it: nothing that is kept may lie in its future,
//! and the devices' own time servers are asked. Owns the questions, never the clock.

use crate::registry::Registry;
use crate::renew::date;
use protocol::Endpoint;
use rsntp::{Config, SntpClient};
use std::fmt;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// By how much clocks may differ, in seconds.
pub const DIFFERENCE_MAX_S: i64 = 3_600;

/// How long the time servers may take in all, the look-up of their names included.
const PATIENCE: Duration = Duration::from_secs(3);

const NEWEST: &str = "the registry's newest entry";

/// Why the clock is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// Something that is kept was written later than now: what, and when.
    Future(&'static str, OffsetDateTime),
    /// No time server agrees, and this one says that the clock here is so many seconds ahead, or behind where that is negative.
    Off {
        /// The time server.
        server: String,
        /// Seconds.
        ahead_s: i64,
    },
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Future(what, at) => write!(
                f,
                "by this computer's clock, {what} is of the future ({}): the clock is wrong, or was when that was made; set it",
                date(*at)
            ),
            Self::Off { server, ahead_s } => {
                let (side, seconds) =
                    if *ahead_s < 0 { ("behind", -ahead_s) } else { ("ahead of", *ahead_s) };
                let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
                write!(
                    f,
                    "this computer's clock is {days} d {hours} h {minutes} min {side} the time server {server}: set it; devices \
                     would get certificates that they cannot use"
                )
            }
        }
    }
}

impl std::error::Error for ClockError {}

/// Refuses a clock by which the registry's newest entry, or the authority's root, is of the future.
pub fn check_kept(registry: &Registry, root: OffsetDateTime, now: OffsetDateTime) -> Result<(), ClockError> {
    if root > now {
        return Err(ClockError::Future("the authority's root certificate", root));
    }
    let records = registry.devices().flat_map(|(_, records)| records);
    let newest = records.flat_map(|record| [Some(record.registered), record.revoked]).flatten().max();
    match newest {
        Some(at) if (at - now).whole_seconds() > DIFFERENCE_MAX_S => Err(ClockError::Future(NEWEST, at)),
        _ => Ok(()),
    }
}

/// What is kept against what the time servers say: an entry of the future is only told ([`Ok`] with it) where one of them agrees
/// with this computer's clock, as it was another that was wrong when it was written.
pub fn weigh(kept: Result<(), ClockError>, agreed: bool) -> Result<Option<ClockError>, ClockError> {
    match kept {
        Err(entry @ ClockError::Future(NEWEST, _)) if agreed => Ok(Some(entry)),
        kept => kept.map(|()| None),
    }
}

/// Asks the time servers, all at once: `Ok(true)` where one of them agrees with this computer's clock, `Ok(false)` where none
/// answers.
pub fn check_servers(servers: &[Endpoint]) -> Result<bool, ClockError> {
    let (sender, answers) = mpsc::channel();
    for server in servers {
        let (sender, server) = (sender.clone(), server.to_string());
        // One that hangs in the look-up of a name is not waited for.
        std::thread::spawn(move || {
            let client = SntpClient::with_config(Config::default().timeout(PATIENCE));
            let ahead = client.synchronize(&server).map(|answer| -answer.clock_offset().as_secs_f64());
            let _ = sender.send((server, ahead.ok()));
        });
    }
    drop(sender);
    let until = Instant::now() + PATIENCE;
    let mut off = None;
    while let Ok((server, ahead)) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
        let Some(ahead) = ahead else { continue };
        #[expect(clippy::cast_possible_truncation, reason = "seconds between two dates of this era")]
        let ahead_s = ahead as i64;
        if ahead_s.abs() <= DIFFERENCE_MAX_S {
            return Ok(true);
        }
        off.get_or_insert(ClockError::Off { server, ahead_s });
    }
    off.map_or(Ok(false), Err)
}
