//! Writes the list of certificate paths that every port is tried with: `paths FOLDER [HOST]`.

use std::env;
use std::path::PathBuf;

fn main() -> Result<(), String> {
    let mut arguments = env::args_os().skip(1);
    let folder = arguments.next().map(PathBuf::from).ok_or("usage: paths FOLDER [HOST]")?;
    let host =
        arguments.next().map_or_else(|| Ok(endtoend::HOST.to_owned()), std::ffi::OsString::into_string);
    let host = host.map_err(|_| "the host name is no text")?;
    endtoend::paths::write(&folder, &host).map_err(|error| format!("{}: {error}", folder.display()))
}
