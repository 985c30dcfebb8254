//! The one list of certificate paths that both ports are tried with: what each device is given as roots, what its service
//! shows, and the verdict. Owns the list and how its certificates are made, on the spot and without a key that stays.
//! R-TLS-SERVER, R-ROOTS.

mod cases;
mod forge;

pub use cases::all;

use base64ct::{Base64, Encoding};
use protocol::Failure;
use protocol::x509::path::PathFault;
use serde_json::{Value, json};
use std::io;
use std::path::Path;

/// One path, and what has to become of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name: what it is, in words that can be a folder's name.
    pub name: &'static str,
    /// The device's roots, in DER.
    pub roots: Vec<Vec<u8>>,
    /// What the service shows, in DER: its own certificate first.
    pub chain: Vec<Vec<u8>>,
    /// The service's key: PKCS#8 in PEM.
    pub key_pem: String,
    /// How far the device's clock is ahead of this machine's, in seconds.
    pub ahead_s: u32,
    /// The verdict on it.
    pub verdict: Verdict,
}

/// What has to become of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The device connects.
    Connected,
    /// The device refuses the service.
    Refused(Failure),
    /// The device does not take the list of roots: nobody can provision it, no document can bring it, the tool says why.
    RootsRefused(PathFault),
}

impl Verdict {
    /// The word for it: `connected`, the failure's name, or `roots:` and the fault's.
    pub fn word(self) -> String {
        match self {
            Self::Connected => "connected".to_owned(),
            Self::Refused(failure) => failure.as_str().to_owned(),
            Self::RootsRefused(fault) => format!("roots:{}", fault.as_str()),
        }
    }
}

impl Case {
    /// The certificates of the list as PEM.
    pub fn pem(list: &[Vec<u8>]) -> String {
        let mut text = String::new();
        for der in list {
            let base64 = Base64::encode_string(der);
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            let mut rest = base64.as_str();
            while !rest.is_empty() {
                let (line, after) = rest.split_at(rest.len().min(64));
                text.push_str(line);
                text.push('\n');
                rest = after;
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    }
}

/// Writes the list for services with the name `host` into `folder`: for each case a folder with `roots.crt`, `chain.crt` and
/// `server.key`, and beside them `cases.json`, a list of `name`, `host`, `ahead_s` (how far
/// the device's time server has to be ahead) and `verdict`. A root that ends while `ahead_s` passes has to be new: the list is
/// good for a day.
pub fn write(folder: &Path, host: &str) -> io::Result<()> {
    let mut index = Vec::<Value>::new();
    for case in all(host) {
        let place = folder.join(case.name);
        std::fs::create_dir_all(&place)?;
        std::fs::write(place.join("roots.crt"), Case::pem(&case.roots))?;
        std::fs::write(place.join("chain.crt"), Case::pem(&case.chain))?;
        std::fs::write(place.join("server.key"), &case.key_pem)?;
        index.push(json!({ "name": case.name, "host": host, "ahead_s": case.ahead_s, "verdict": case.verdict.word() }));
    }
    std::fs::write(folder.join("cases.json"), serde_json::to_string_pretty(&index)?)
}
