//! This build's Kconfig values, made by build.rs. Not those of the `zephyr` crate: it is not built again when they change.
#![allow(dead_code, missing_docs, reason = "all of the configuration, most of which is C's")]

include!(concat!(env!("OUT_DIR"), "/kconfig.rs"));
