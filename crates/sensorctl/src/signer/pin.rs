//! The PIN of a PKCS#11 token: from the environment variable [`VARIABLE`] or from the terminal. Never from the command line,
//! which every process can read; wiped when it has been used.

use cryptoki::types::AuthPin;
use std::env::{self, VarError};
use std::fmt;
use std::io::{self, IsTerminal};

/// The environment variable.
pub const VARIABLE: &str = "SENSORCTL_PIN";

/// Why there is no PIN.
#[derive(Debug)]
pub enum PinError {
    /// The variable is not set and there is no terminal to ask at.
    NoTerminal,
    /// The variable holds no text.
    NoText,
    /// The terminal.
    Io(io::Error),
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTerminal => {
                write!(f, "set {VARIABLE}, or run this at a terminal, which asks for the PIN")
            }
            Self::NoText => write!(f, "{VARIABLE} is no text in UTF-8"),
            Self::Io(error) => write!(f, "the PIN cannot be read from the terminal: {error}"),
        }
    }
}

impl std::error::Error for PinError {}

/// The PIN for the token with this label.
pub fn ask(token: &str) -> Result<AuthPin, PinError> {
    match env::var(VARIABLE) {
        Ok(pin) => Ok(AuthPin::new(pin)),
        Err(VarError::NotUnicode(_)) => Err(PinError::NoText),
        Err(VarError::NotPresent) if !io::stdin().is_terminal() => Err(PinError::NoTerminal),
        Err(VarError::NotPresent) => {
            let pin = rpassword::prompt_password(format!("PIN of the token {token:?}: "));
            pin.map(AuthPin::new).map_err(PinError::Io)
        }
    }
}
