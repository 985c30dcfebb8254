//! The security logs of devices: taken from the broker, kept, verified again at any time, shown and exported. Owns the files
//! of a store and every check of them; never a device's own log nor a private key. R-LOG.
//!
//! The parts: [`delivery`] proves one delivery, [`verify`] a whole log, [`store`] keeps what was delivered, [`follow`] takes it
//! from the broker and acknowledges it, [`describe`] says what a record means, [`export`] writes records for other programs.

pub mod delivery;
pub mod describe;
pub mod export;
pub mod fault;
pub mod follow;
pub mod keys;
pub mod position;
pub mod store;
pub mod verify;

#[cfg(test)]
mod specimen;
