//! Which cargo builds for a processor without an operating system. A rustup toolchain may have the target; otherwise a
//! compiler with its library's source (Debian's `rust-web-src`) builds `core` itself.

use crate::process;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's packages that can build `core` from source.
const DEBIAN: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A cargo and a rustc that can build for a target, and what they need in the environment.
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    from_source: bool,
}

fn ask(rustc: &Path, arguments: &[&str]) -> Option<PathBuf> {
    let output =
        Command::new(rustc).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

impl Toolchain {
    /// A toolchain for `target`: the current one, the current one with the target added by rustup, or one that builds
    /// `core` from source.
    pub fn for_target(target: &str) -> Result<Self> {
        let current = Self { cargo: "cargo".into(), rustc: "rustc".into(), from_source: false };
        if current.has(target) {
            return Ok(current);
        }
        if process::is_installed("rustup") {
            let added = Command::new("rustup").args(["target", "add", target]).output();
            if added.is_ok_and(|output| output.status.success()) && current.has(target) {
                return Ok(current);
            }
        }
        if let Some(toolchain) = Self::from_source() {
            return Ok(toolchain);
        }
        process::install(&DEBIAN).with_context(|| {
            format!("this compiler cannot build for {target}; `rustup target add {target}` would help too")
        })?;
        Self::from_source().context("the installed compiler has no source of its library")
    }

    fn has(&self, target: &str) -> bool {
        ask(&self.rustc, &["--print", "target-libdir", "--target", target])
            .is_some_and(|folder| folder.exists())
    }

    fn from_source() -> Option<Self> {
        [("cargo", "rustc"), ("/usr/bin/cargo", "/usr/bin/rustc")].into_iter().find_map(|(cargo, rustc)| {
            let root = ask(Path::new(rustc), &["--print", "sysroot"])?;
            let source = root.join("lib/rustlib/src/rust/library/core/src/lib.rs");
            let complete = source.exists() && process::is_installed(Path::new(cargo).file_name()?.to_str()?);
            complete.then(|| Self { cargo: cargo.into(), rustc: rustc.into(), from_source: true })
        })
    }

    /// What the environment must have for a build with this toolchain; `path` is put before the search path.
    pub fn environment(&self) -> Result<Vec<(&'static str, String)>> {
        if !self.from_source {
            return Ok(Vec::new());
        }
        // Other programs in the same folder as the compiler, such as Debian's Python, must not come into the path
        // with it.
        let folder = process::target().join("toolchain");
        std::fs::create_dir_all(&folder)?;
        let rustdoc = self.rustc.with_file_name("rustdoc");
        for (name, program) in [("cargo", &self.cargo), ("rustc", &self.rustc), ("rustdoc", &rustdoc)] {
            let link = folder.join(name);
            if link.symlink_metadata().is_ok() {
                std::fs::remove_file(&link)?;
            }
            std::os::unix::fs::symlink(program, link)?;
        }
        let path = std::env::var("PATH").unwrap_or_default();
        Ok(vec![
            ("PATH", format!("{}:{path}", folder.display())),
            ("CARGO", self.cargo.display().to_string()),
            ("RUSTC", self.rustc.display().to_string()),
            ("RUSTC_BOOTSTRAP", "1".into()),
            ("CARGO_UNSTABLE_BUILD_STD", "core,alloc,compiler_builtins".into()),
        ])
    }

    /// A cargo call with this toolchain.
    pub fn cargo(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = process::outside_cargo(&self.cargo);
        command.args(arguments).envs(self.environment()?);
        Ok(command)
    }

    /// A linker for bare Arm ELF, with its flavour: the compiler's own lld, or GNU ld.
    pub fn arm_linker() -> Result<(PathBuf, &'static str)> {
        let host = "lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld";
        if let Some(lld) = ask(Path::new("rustc"), &["--print", "sysroot"]).map(|root| root.join(host))
            && lld.exists()
        {
            return Ok((lld, "ld.lld"));
        }
        if !process::is_installed("arm-none-eabi-ld") {
            process::install(&["binutils-arm-none-eabi"])?;
        }
        if !process::is_installed("arm-none-eabi-ld") {
            bail!("there is no linker for Arm");
        }
        Ok(("arm-none-eabi-ld".into(), "ld"))
    }
}
