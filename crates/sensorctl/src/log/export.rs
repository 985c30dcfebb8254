//! Records for other programs: JSON lines, `ArcSight` CEF, syslog (RFC 5424). Owns the three forms and their escapes: whatever a
//! device says stays inside its field. R-LOG.

pub mod cef;
pub mod json;
pub mod syslog;

use super::delivery::Line;
use protocol::DeviceId;

/// What records are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A JSON object a line
    Jsonl,
    /// `ArcSight` Common Event Format, version 0
    Cef,
    /// Syslog with structured data (RFC 5424), a message a line
    Syslog,
}

impl Form {
    /// A record of `device` as a line, without its end.
    pub fn write(self, device: &DeviceId, line: &Line) -> String {
        match self {
            Self::Jsonl => json::write(device, line),
            Self::Cef => cef::write(device, line),
            Self::Syslog => syslog::write(device, line),
        }
    }
}

#[cfg(test)]
mod tests;
