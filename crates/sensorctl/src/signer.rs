//! Private keys that sign documents and certificates: in a file, or in a PKCS#11 token that never gives them away. Owns how
//! a key is made, found and used; never what is signed with it. R-AUTHORITY, R-PROVISION.
//!
//! In a folder, the key `name` is either `name.key` (PKCS#8 PEM, readable by its owner alone: for tests) or
//! `name.pkcs11.json`, which says in which token it lies.

pub mod pin;
pub mod token;

use crate::folder::{self, FolderError, NewFolder};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use protocol::key::{Digest, sha256};
use protocol::{PublicKey, Signature};
use rcgen::{PublicKeyData, SignatureAlgorithm};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use token::{Place, TokenError, TokenKey};
use zeroize::Zeroizing;

/// How the name of a file ends that says in which token a key lies.
const PLACE: &str = ".pkcs11.json";

/// Why a key cannot be made or used.
#[derive(Debug)]
pub enum SignerError {
    /// A file of it.
    Folder(FolderError),
    /// The folder holds no such key: the folder, and the key's name.
    Missing(PathBuf, String),
    /// A file is there but cannot be used: which, and why.
    Unusable(PathBuf, String),
    /// The token.
    Token(TokenError),
    /// The random generator gives no numbers.
    Random,
}

impl fmt::Display for SignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Missing(folder, name) => {
                write!(f, "{} holds neither {name}.key nor {name}.pkcs11.json", folder.display())
            }
            Self::Unusable(path, why) => write!(f, "{} cannot be used: {why}", path.display()),
            Self::Token(error) => error.fmt(f),
            Self::Random => f.write_str("the system's random generator gives no numbers"),
        }
    }
}

impl std::error::Error for SignerError {}

impl From<FolderError> for SignerError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

impl From<TokenError> for SignerError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

/// Where new keys are to be.
#[derive(Clone, Debug, Default)]
pub enum Home {
    /// In files of the folder: for tests.
    #[default]
    Files,
    /// In a PKCS#11 token.
    Token {
        /// The module: a shared library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// What the labels of its keys begin with.
        prefix: String,
        /// Take keys that are in the token already under these labels.
        existing: bool,
    },
}

enum Key {
    File(Box<SigningKey>),
    Token(TokenKey),
}

/// A private key that signs.
pub struct Signer {
    key: Key,
    public: PublicKey,
    /// rcgen's error for keys of others carries no text: this is it.
    failed: Mutex<Option<SignerError>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Fills `buffer` with numbers of the system's generator.
pub fn random(buffer: &mut [u8]) -> Result<(), SignerError> {
    let mut rest = buffer;
    while !rest.is_empty() {
        let filled = rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty());
        let filled = filled.map_err(|_| SignerError::Random)?;
        rest = rest.get_mut(filled..).ok_or(SignerError::Random)?;
    }
    Ok(())
}

impl Signer {
    /// Makes the key `name` where `home` says and writes what `folder` needs to find it again.
    pub fn make(folder: &NewFolder, name: &str, home: &Home) -> Result<Self, SignerError> {
        match home {
            Home::Files => {
                let key = random_key()?;
                let text = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| SignerError::Random)?;
                folder.private(&format!("{name}.key"), &text)?;
                let key = SigningKey::from(key);
                let public = of_signing_key(&key).ok_or(SignerError::Random)?;
                Ok(Self::new(Key::File(Box::new(key)), public))
            }
            Home::Token { module, token, prefix, existing } => {
                let place =
                    Place { module: module.clone(), token: token.clone(), label: format!("{prefix}-{name}") };
                let (key, public) = TokenKey::make(&place, *existing)?;
                folder.public(&format!("{name}{PLACE}"), place.to_json(&public).as_bytes())?;
                Ok(Self::new(Key::Token(key), public))
            }
        }
    }

    /// Opens the key `name` of `folder`.
    pub fn open(folder: &Path, name: &str) -> Result<Self, SignerError> {
        let path = folder.join(format!("{name}.key"));
        if path.exists() {
            return Self::from_pem(&path);
        }
        let path = folder.join(format!("{name}{PLACE}"));
        if !path.exists() {
            return Err(SignerError::Missing(folder.to_owned(), name.to_owned()));
        }
        Self::from_place(&path)
    }

    /// Opens the key at `path`: a folder with the key `name`, a file that says in which token it lies, or a private key in
    /// PEM form.
    pub fn open_path(path: &Path, name: &str) -> Result<Self, SignerError> {
        if path.is_dir() {
            Self::open(path, name)
        } else if path.to_str().is_some_and(|path| path.ends_with(PLACE)) {
            Self::from_place(path)
        } else {
            Self::from_pem(path)
        }
    }

    fn from_pem(path: &Path) -> Result<Self, SignerError> {
        let text = folder::read_private(path)?;
        let why = "it holds no ECDSA P-256 key in PKCS#8 or SEC 1 PEM form";
        let unusable = || SignerError::Unusable(path.to_owned(), why.to_owned());
        // OpenSSL and imgtool write either.
        let key = p256::SecretKey::from_pkcs8_pem(&text).ok();
        let key = key.or_else(|| p256::SecretKey::from_sec1_pem(&text).ok()).ok_or_else(unusable)?;
        let key = SigningKey::from(key);
        let public = of_signing_key(&key).ok_or_else(unusable)?;
        Ok(Self::new(Key::File(Box::new(key)), public))
    }

    fn from_place(path: &Path) -> Result<Self, SignerError> {
        let unusable = |why: String| SignerError::Unusable(path.to_owned(), why);
        let (place, id) = Place::from_json(&folder::read(path)?).map_err(unusable)?;
        let (key, public) = TokenKey::open(&place)?;
        if public.id().0 != id {
            let label = &place.label;
            return Err(unusable(format!(
                "the key {label:?} in the token is another one than when it was made"
            )));
        }
        Ok(Self::new(Key::Token(key), public))
    }

    fn new(key: Key, public: PublicKey) -> Self {
        Self { key, public, failed: Mutex::new(None) }
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs the SHA-256 digest of a message.
    pub fn sign(&self, digest: &Digest) -> Result<Signature, SignerError> {
        match &self.key {
            Key::File(key) => {
                let signature: p256::ecdsa::Signature =
                    key.sign_prehash(digest).map_err(|_| SignerError::Random)?;
                Signature::normalised(&signature.to_bytes()).map_err(|_| SignerError::Random)
            }
            Key::Token(key) => Ok(key.sign(digest, &self.public)?),
        }
    }

    /// Why the last signature for a certificate was not made.
    pub fn failure(&self) -> Option<SignerError> {
        self.failed.lock().ok()?.take()
    }
}

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = Self::sign(self, &sha256(&[message])).map_err(|error| {
            if let Ok(mut failed) = self.failed.lock() {
                *failed = Some(error);
            }
            rcgen::Error::RemoteKeyError
        })?;
        let signature = p256::ecdsa::Signature::from_slice(signature.as_bytes());
        Ok(signature.map_err(|_| rcgen::Error::RemoteKeyError)?.to_der().as_bytes().to_vec())
    }
}

/// A private key from the system's random generator.
pub(crate) fn random_key() -> Result<p256::SecretKey, SignerError> {
    let mut scalar = Zeroizing::new([0; 32]);
    loop {
        random(&mut *scalar)?;
        // One in 2^32 numbers is not below the order of the group.
        if let Ok(key) = p256::SecretKey::from_slice(&*scalar) {
            return Ok(key);
        }
    }
}

fn of_signing_key(key: &SigningKey) -> Option<PublicKey> {
    PublicKey::new(key.verifying_key().to_sec1_point(false).as_bytes()).ok()
}

/// A public key as PEM (`SubjectPublicKeyInfo`, RFC 5480).
pub fn public_pem(key: &PublicKey) -> String {
    p256::PublicKey::from_sec1_bytes(key.as_bytes())
        .ok()
        .and_then(|key| key.to_public_key_pem(LineEnding::LF).ok())
        .expect("a point that was checked has an encoding")
}

/// Reads a public key from a PEM file.
pub fn read_public(path: &Path) -> Result<PublicKey, SignerError> {
    let text = folder::read(path)?;
    p256::PublicKey::from_public_key_pem(text.trim())
        .ok()
        .and_then(|key| PublicKey::new(&key.to_sec1_bytes()).ok())
        .ok_or_else(|| {
            let why = "it holds no public key on P-256 in PEM form (SubjectPublicKeyInfo)";
            SignerError::Unusable(path.to_owned(), why.to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_private_key_that_others_may_use_is_refused_with_what_mends_it() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = NewFolder::begin(&temporary.path().join("a")).unwrap();
        Signer::make(&folder, "anchors", &Home::Files).unwrap();
        folder.publish().unwrap();
        let path = temporary.path().join("a/anchors.key");
        let open = |mode| {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            Signer::open(&temporary.path().join("a"), "anchors")
        };
        for mode in [0o640, 0o604, 0o660, 0o644, 0o620, 0o602, 0o610, 0o777] {
            let error = open(mode).unwrap_err();
            assert!(matches!(&error, SignerError::Folder(FolderError::Exposed(..))), "{mode:o}: {error}");
            let text = error.to_string();
            let mends = format!("(mode {mode:03o}); it was not read: `chmod 600 {}`", path.display());
            assert!(text.contains(&mends), "{text}");
        }
        for mode in [0o600, 0o400, 0o700] {
            assert!(open(mode).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn a_key_in_a_file_is_found_again_and_signs_what_its_public_half_verifies() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = NewFolder::begin(&temporary.path().join("a")).unwrap();
        let made = Signer::make(&folder, "anchors", &Home::Files).unwrap();
        folder.public("anchors.pub", public_pem(made.public()).as_bytes()).unwrap();
        folder.publish().unwrap();
        let place = temporary.path().join("a");
        let signer = Signer::open(&place, "anchors").unwrap();
        assert_eq!(signer.public(), made.public());
        assert_eq!(read_public(&place.join("anchors.pub")).unwrap(), *made.public());
        let digest = sha256(&[b"text"]);
        assert!(made.public().verifies(&digest, &signer.sign(&digest).unwrap()));
        assert!(!made.public().verifies(&sha256(&[b"other"]), &signer.sign(&digest).unwrap()));
        assert!(matches!(Signer::open(&place, "factory"), Err(SignerError::Missing(..))));
        let write = |name: &str, text: &str, mode| {
            std::fs::write(place.join(name), text).unwrap();
            std::fs::set_permissions(place.join(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        write("factory.key", "rubbish", 0o600);
        assert!(matches!(Signer::open(&place, "factory"), Err(SignerError::Unusable(..))));
        assert!(!format!("{signer:?}").contains("SigningKey"));
        let same = |path: &Path| *Signer::open_path(path, "anchors").unwrap().public() == *made.public();
        assert!(same(&place) && same(&place.join("anchors.key")));
        let sec1 =
            p256::SecretKey::from_pkcs8_pem(&std::fs::read_to_string(place.join("anchors.key")).unwrap());
        write("sec1.pem", &sec1.unwrap().to_sec1_pem(LineEnding::LF).unwrap(), 0o400);
        assert!(same(&place.join("sec1.pem")));
    }
}
