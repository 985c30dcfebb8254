//! Firmware for a fleet: images, signed releases of them, how they are rolled out in stages, and how far the devices are.
//! Each module owns one of these; [`service`] is the only one that speaks to a broker. R-FW-MANIFEST, R-FW-DELTA, R-FW-TIMELY,
//! R-FLEET.

pub mod chart;
pub mod fleet;
pub mod image;
pub mod manifest;
pub mod patch;
pub mod payload;
pub mod product;
pub mod release;
pub mod rollout;
pub mod sbom;
pub mod service;
pub mod sign;
pub mod stages;
