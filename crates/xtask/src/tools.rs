//! Programs from crates.io that the tests use: found in the search path, or installed into the build's folder. Owns their
//! versions.

use crate::process::{self, is_installed};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// A program of a crate of the same name.
pub struct Tool {
    name: &'static str,
    /// What is installed where there is none.
    version: &'static str,
}

/// Runs each test as a process of its own with a time limit.
pub const NEXTEST: Tool = Tool { name: "cargo-nextest", version: "0.9.111" };
/// Licences, banned crates, advisories.
pub const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
/// The fuzzer.
pub const FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

impl Tool {
    /// The program; installed first where it is missing.
    pub fn program(&self) -> Result<PathBuf> {
        let Self { name, version } = self;
        if is_installed(name) {
            return Ok(PathBuf::from(name));
        }
        let tools = process::target().join("tools");
        let (program, list) = (tools.join("bin").join(name), tools.join(".crates.toml"));
        let installed = std::fs::read_to_string(list).unwrap_or_default();
        if !(program.exists() && installed.contains(&format!("\"{name} {version} "))) {
            eprintln!("installing {name} {version} (minutes, once) ...");
            let mut install = process::cargo(&["install", "--locked", name, "--version", version, "--root"]);
            process::run(install.arg(&tools)).with_context(|| format!("{name} cannot be installed"))?;
        }
        Ok(program)
    }
}
