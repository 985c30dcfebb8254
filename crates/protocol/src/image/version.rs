//! Versions of images. Owns their text and their order, which are imgtool's and MCUboot's.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

/// An image's version. Versions that differ only in `build` are the same version, as for MCUboot's prevention of downgrades
/// (without `MCUBOOT_VERSION_CMP_USE_BUILD_NUMBER`): they are equal, and neither is newer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Version {
    /// Changes come first in the order.
    pub major: u8,
    /// Changes come second in the order.
    pub minor: u8,
    /// Changes come last in the order.
    pub revision: u16,
    /// Tells builds of the same version apart for people; not compared.
    pub build: u32,
}

impl Version {
    /// Longest text of a version in bytes.
    pub const TEXT_BYTES_MAX: usize = "255.255.65535+4294967295".len();

    /// Version `major.minor.revision`.
    pub const fn new(major: u8, minor: u8, revision: u16) -> Self {
        Self { major, minor, revision, build: 0 }
    }

    /// What is compared, in its order.
    const fn precedence(self) -> (u8, u8, u16) {
        (self.major, self.minor, self.revision)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.precedence() == other.precedence()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.precedence().cmp(&other.precedence())
    }
}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.precedence().hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.revision)?;
        if self.build == 0 { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

/// The text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionError;

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a version is written 1.2.3 or 1.2.3+4, without leading zeros: up to 255.255.65535+4294967295",
        )
    }
}

impl core::error::Error for VersionError {}

/// A number without a sign or leading zeros.
fn number<T: FromStr>(text: &str) -> Result<T, VersionError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| VersionError) } else { Err(VersionError) }
}

impl FromStr for Version {
    type Err = VersionError;

    /// Reads what [`fmt::Display`] writes, and nothing else: all three numbers, and a build only where it is not 0.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let (numbers, build) = match text.split_once('+') {
            Some((_, "0")) => return Err(VersionError),
            Some((numbers, build)) => (numbers, number(build)?),
            None => (text, 0),
        };
        let (major, rest) = numbers.split_once('.').ok_or(VersionError)?;
        let (minor, revision) = rest.split_once('.').ok_or(VersionError)?;
        Ok(Self { major: number(major)?, minor: number(minor)?, revision: number(revision)?, build })
    }
}

#[cfg(test)]
mod tests;
