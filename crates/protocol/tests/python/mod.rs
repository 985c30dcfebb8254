//! Python programs that tests run against independent implementations. The packages come from `cargo xtask test packages`,
//! which puts them beside the build.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn packages() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the folder is inside the build's");
    target.join("python")
}

/// The script with this path below `tests`, to be run by Python with the packages that are pinned for it.
pub fn script(path: &str) -> Command {
    let packages = packages();
    assert!(
        packages.join("requirements.txt").exists(),
        "{} has no Python packages: run `cargo xtask test packages`",
        packages.display()
    );
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path));
    python
}

/// Runs the script with `input`; gives what it prints. A script that fails, fails the test with what it says.
pub fn answers(path: &str, input: &str) -> String {
    let mut child = script(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is missing: apt-get install python3");
    // The scripts read everything before they write.
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("the script ends");
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
