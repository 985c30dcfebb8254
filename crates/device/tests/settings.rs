//! Remote configuration of a device: what is taken, tried, undone and refused, and what the service hears of it. R-CONF,
//! R-NET-CONFIG.

#[path = "settings/bench.rs"]
mod bench;
mod world;

#[path = "settings/authorities.rs"]
mod authorities;
#[path = "settings/changes.rs"]
mod changes;
#[path = "settings/damage.rs"]
mod damage;
#[path = "settings/histories.rs"]
mod histories;
#[path = "settings/refusals.rs"]
mod refusals;
#[path = "settings/servers.rs"]
mod servers;
#[path = "settings/trials.rs"]
mod trials;
#[path = "settings/verdicts.rs"]
mod verdicts;
