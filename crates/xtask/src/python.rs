//! Python packages that tests use, in a folder of the build: nothing is installed into the system's Python.

use crate::process;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A set of packages.
pub struct Python {
    /// Their names and versions.
    pub requirements: PathBuf,
    /// Where they are put.
    pub folder: PathBuf,
    /// What can be imported where all is well.
    pub imports: &'static str,
}

impl Python {
    /// Installs the packages where they are missing, are others, or are another Python's.
    pub fn install(&self) -> Result<()> {
        let Self { requirements, folder, .. } = self;
        let wanted =
            std::fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
        let installed = folder.join("requirements.txt");
        if std::fs::read(&installed).is_ok_and(|there| there == wanted) && self.is_usable() {
            return Ok(());
        }
        let pip = || Command::new("python3").args(["-m", "pip", "--version"]).output();
        if !pip().is_ok_and(|output| output.status.success()) {
            process::install(&["python3", "python3-pip"])?;
        }
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        eprintln!(
            "installing the Python packages of {} into {} ...",
            requirements.display(),
            folder.display()
        );
        // A folder of its own is also what a Python that is managed by Debian allows (PEP 668).
        let mut install = Command::new("python3");
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        install.args(["--no-warn-script-location", "--root-user-action", "ignore"]);
        process::run(install.arg("--target").arg(folder).arg("-r").arg(requirements))?;
        ensure!(self.is_usable(), "the Python packages in {} cannot be loaded by python3", folder.display());
        std::fs::write(&installed, &wanted)?;
        Ok(())
    }

    /// Another Python than the one that installed them cannot load the compiled ones.
    fn is_usable(&self) -> bool {
        let mut python = Command::new("python3");
        python.arg("-c").arg(format!("import {}", self.imports)).env("PYTHONPATH", &self.folder);
        python.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Lets a command find the packages and their programs before any others.
    pub fn put_before(&self, command: &mut Command) {
        for (name, own) in [("PYTHONPATH", self.folder.clone()), ("PATH", self.folder.join("bin"))] {
            let set = command.get_envs().find(|(set, _)| *set == name).and_then(|(_, value)| value);
            let before = set.map(ToOwned::to_owned).or_else(|| std::env::var_os(name)).unwrap_or_default();
            let folders =
                std::iter::once(own).chain(std::env::split_paths(&before).filter(|path| path.is_absolute()));
            // A folder with a colon in its name cannot be in a list of folders.
            if let Ok(all) = std::env::join_paths(folders) {
                command.env(name, all);
            }
        }
    }
}
