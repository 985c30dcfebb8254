//! What can be wrong with the authority, as sentences that tell a person what to do.

use super::file;
use crate::folder::FolderError;
use crate::signer::SignerError;
use protocol::Refusal;
use protocol::x509::X509Error;
use std::fmt;
use std::path::PathBuf;

/// Why the authority cannot be made or used.
#[derive(Debug)]
pub enum AuthorityError {
    /// Its folder or a file in it.
    Folder(FolderError),
    /// There is an authority in the folder.
    Exists(PathBuf),
    /// There is no authority in the folder.
    Missing(PathBuf),
    /// A key or certificate in the folder cannot be used: the file, and why.
    Unusable(PathBuf, String),
    /// The root certificate does not belong to the root key, or this tool did not make it.
    Foreign(PathBuf),
    /// The root certificate ends before the certificate that is to be issued would.
    EndsBefore(PathBuf, u32),
    /// The certificate in this file was not issued by this authority, or is not one that is renewed.
    NotOurs(PathBuf, &'static str),
    /// A host name is none.
    BadHost(String),
    /// No host name, or a number of days that is not allowed.
    BadArgument(String),
    /// The authority's key.
    Signer(SignerError),
    /// A certificate that was made is none that a device takes.
    Form(X509Error),
    /// The device would refuse the certificate that was made.
    Refused(Refusal),
    /// A key or certificate could not be made.
    Making(rcgen::Error),
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Exists(path) => write!(
                f,
                "{} already holds an authority; it was left as it is: choose another folder, or move this one away \
                 if every device that trusts it may be given up",
                path.display()
            ),
            Self::Missing(path) => write!(
                f,
                "{} holds no authority ({} is missing): make one with `sensorctl ca init --out {}`",
                path.display(),
                file::ROOT_KEY,
                path.display()
            ),
            Self::Unusable(path, why) => write!(f, "{} cannot be used: {why}", path.display()),
            Self::Foreign(path) => write!(
                f,
                "{} does not belong to the {} beside it, or was not made by `sensorctl ca init`",
                path.display(),
                file::ROOT_KEY
            ),
            Self::EndsBefore(path, days) => write!(
                f,
                "{} is not valid for the whole of the next {days} days: ask for fewer days or make a new authority",
                path.display()
            ),
            Self::NotOurs(path, why) => write!(
                f,
                "{} cannot be renewed: {why}; it was left as it is: leave --renew out and give --out a new folder",
                path.display()
            ),
            Self::BadHost(name) => {
                write!(f, "{name:?} is no host name and no IP address: give it as clients will dial it")
            }
            Self::BadArgument(text) => f.write_str(text),
            Self::Signer(error) => error.fmt(f),
            Self::Form(error) => {
                write!(f, "the certificate that was made is none that a device takes: {error}")
            }
            Self::Refused(why) => write!(f, "the device would refuse the certificate that was made: {why}"),
            Self::Making(error) => write!(f, "a certificate could not be made: {error}"),
        }
    }
}

impl std::error::Error for AuthorityError {}

impl From<FolderError> for AuthorityError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

impl From<SignerError> for AuthorityError {
    fn from(error: SignerError) -> Self {
        Self::Signer(error)
    }
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Making(error)
    }
}
