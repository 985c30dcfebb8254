//! An enrolled device as the lines of Zephyr's settings shell that put it into a development board. Owns the names of
//! the keys that the firmware reads. The private key passes over the console: for development only.

use crate::enrol::{Enrolled, document};
use rustls::pki_types::PrivateKeyDer;
use std::fmt::{self, Write as _};

/// The configuration: the JSON document.
pub const CONFIGURATION: &str = "sensor/config";
/// The root certificate: DER.
pub const ROOT: &str = "sensor/cred/root";
/// The device's certificate: DER.
pub const CERTIFICATE: &str = "sensor/cred/cert";
/// The private key: PKCS#8 DER.
pub const KEY: &str = "sensor/cred/key";

/// Why an enrolled device cannot be put into a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The board takes exactly one certificate here, and this is how many there are.
    Certificates(&'static str, usize),
    /// The private key is not PKCS#8.
    KeyForm,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificates(name, count) => {
                write!(f, "{name} holds {count} certificates; a development board takes exactly one")
            }
            Self::KeyForm => {
                f.write_str("device.key is not in PKCS#8 form: `openssl pkcs8 -topk8 -nocrypt` converts it")
            }
        }
    }
}

impl std::error::Error for SettingsError {}

/// The lines, without line ends. Each needs a `CONFIG_SHELL_CMD_BUFF_SIZE` of more than its length.
pub fn lines(device: &Enrolled) -> Result<Vec<String>, SettingsError> {
    let [root] = device.roots.as_slice() else {
        return Err(SettingsError::Certificates("roots.crt", device.roots.len()));
    };
    let [certificate] = device.chain.as_slice() else {
        return Err(SettingsError::Certificates("device.crt", device.chain.len()));
    };
    let PrivateKeyDer::Pkcs8(key) = &device.key else { return Err(SettingsError::KeyForm) };
    Ok(vec![
        line(CONFIGURATION, &document(&device.configuration)),
        line(ROOT, root),
        line(CERTIFICATE, certificate),
        line(KEY, key.secret_pkcs8_der()),
    ])
}

/// Hexadecimal for all of them: the shell would split and unquote a text.
fn line(key: &str, value: &[u8]) -> String {
    let mut line = format!("settings write hex {key} ");
    for byte in value {
        // Writing into a String cannot fail.
        let _ = write!(line, "{byte:02x}");
    }
    line
}
