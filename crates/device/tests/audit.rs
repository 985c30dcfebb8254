//! The security log: the ring on flash that is damaged, full and flooded; the whole device in virtual time, with an operator
//! who verifies what is delivered, and a broker that loses, repeats and reorders it; and what it costs the flash. R-LOG.

#[path = "audit/again.rs"]
mod again;
#[path = "audit/delivery.rs"]
mod delivery;
#[path = "audit/events.rs"]
mod events;
#[path = "audit/flood.rs"]
mod flood;
#[path = "audit/newer.rs"]
mod newer;
#[path = "audit/operator.rs"]
mod operator;
#[path = "audit/planted.rs"]
mod planted;
#[path = "audit/ring.rs"]
mod ring;
mod world;
