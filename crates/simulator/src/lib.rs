//! The sensor device on Linux: what a newcomer runs first, what tests run everywhere, and what loads a broker.
//!
//! [`port::Port`] runs one [`device::Device`] over rustls, MQTT and SNTP; [`sensor`] is what it measures with;
//! [`broker`] and [`time_server`] are the other side, so that nothing has to be installed. No decision of the device
//! is taken here.
#![forbid(unsafe_code)]

pub mod broker;
pub mod entropy;
pub mod failure;
pub mod fleet;
pub mod folder;
pub mod life;
pub mod line;
pub mod log_flash;
pub mod machine;
pub mod mqtt;
pub mod port;
pub mod product;
pub mod sensor;
pub mod slots;
pub mod time;
pub mod time_server;
pub mod tls;
pub mod vault;
