//! Roots, certificate chain and TLS key on their way from the device's store and vault to Zephyr's TLS. Owns their bytes
//! while a handshake needs them and wipes its copy of the key afterwards; the TLS library keeps one of its own, in its heap,
//! until the connection is closed. Which ones are shown is the device's decision.
//! R-SECRET-STORE, R-ROOTS, R-TLS-CLIENT.

use crate::ffi;
use crate::kconfig::CONFIG_SENSOR_TLS_TAG;
use crate::settings::Platform;
use crate::vault::{self, TLS_KEY_BYTES};
use core::ffi::c_int;
use core::fmt;
use core::ops::Range;
use device::identity::{self, CHAIN_BYTES_MAX, ROOTS_BYTES_MAX};
use device::{StorageError, VaultError};
use heapless::Vec;
use protocol::document::ROOTS_MAX;
use static_cell::ConstStaticCell;
use zeroize::Zeroize;

/// The tag under which Zephyr's TLS finds the first root, the leaf and its key. A certificate is alone under its tag and
/// type, so that each further root or intermediate has the next tag.
const TAG: c_int = CONFIG_SENSOR_TLS_TAG as c_int;

struct Buffers {
    roots: [u8; ROOTS_BYTES_MAX],
    chain: [u8; CHAIN_BYTES_MAX],
    key: [u8; TLS_KEY_BYTES],
}

// In a static, because Zephyr keeps pointers to them as long as the tags are in use.
static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers {
    roots: [0; ROOTS_BYTES_MAX],
    chain: [0; CHAIN_BYTES_MAX],
    key: [0; TLS_KEY_BYTES],
});

/// Why there are no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// The roots cannot be read.
    Roots(StorageError),
    /// The chain cannot be read.
    Chain(StorageError),
    /// The vault does not give the TLS key.
    Key(VaultError),
    /// Zephyr does not take them: the error number.
    Refused(c_int),
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Roots(error) => write!(f, "the roots cannot be read: {error}"),
            Self::Chain(error) => write!(f, "the device's certificates cannot be read: {error}"),
            Self::Key(error) => write!(f, "there is no TLS key: {error}"),
            Self::Refused(error) => {
                write!(
                    f,
                    "the TLS subsystem does not take the credentials ({error}): see TLS_MAX_CREDENTIALS_NUMBER"
                )
            }
        }
    }
}

/// The credentials' place in memory. It goes along with a request to connect and comes back with it.
pub struct Credentials(&'static mut Buffers);

/// Credentials that Zephyr's TLS can see, until they are taken back.
#[must_use = "the key is wiped when they are taken back"]
pub struct Presented {
    buffers: &'static mut Buffers,
    tags: c_int,
    /// Where each root lies in the buffer.
    roots: Vec<Range<usize>, ROOTS_MAX>,
}

impl Credentials {
    /// To be called once; `None` after that.
    pub fn take() -> Option<Self> {
        BUFFERS.try_take().map(Self)
    }

    /// Shows the roots that the device has chosen to Zephyr's TLS and, where `certificate` says so, its chain and key.
    pub fn present(
        self,
        platform: &mut Platform,
        chosen: identity::Credentials,
        certificate: bool,
    ) -> Result<Presented, (Self, CredentialsError)> {
        let mut presented = Presented { buffers: self.0, tags: 0, roots: Vec::new() };
        match presented.show(platform, chosen, certificate) {
            Ok(()) => Ok(presented),
            Err(error) => Err((presented.take_back(), error)),
        }
    }
}

impl Presented {
    /// The first tag and how many there are.
    pub fn tags(&self) -> (c_int, c_int) {
        (TAG, self.tags)
    }

    /// The roots, in DER.
    pub fn roots(&self) -> Vec<&[u8], ROOTS_MAX> {
        self.roots.iter().filter_map(|range| self.buffers.roots.get(range.clone())).collect()
    }

    fn show(
        &mut self,
        platform: &mut Platform,
        chosen: identity::Credentials,
        certificate: bool,
    ) -> Result<(), CredentialsError> {
        let start = self.buffers.roots.as_ptr().addr();
        let roots = identity::roots(platform, chosen.roots, &mut self.buffers.roots);
        let roots = roots.map_err(CredentialsError::Roots)?.0;
        self.tags = show(ffi::TLS_CREDENTIAL_CA_CERTIFICATE, &roots)?;
        self.roots = roots
            .iter()
            .map(|root| root.as_ptr().addr() - start)
            .zip(&roots)
            .map(|(at, root)| at..at + root.len())
            .collect();
        if certificate {
            let chain = identity::chain(platform, chosen.slot, &mut self.buffers.chain);
            let tags =
                show(ffi::TLS_CREDENTIAL_PUBLIC_CERTIFICATE, &chain.map_err(CredentialsError::Chain)?.0)?;
            self.tags = self.tags.max(tags);
            vault::export_tls_key(chosen.slot, &mut self.buffers.key).map_err(CredentialsError::Key)?;
            show(ffi::TLS_CREDENTIAL_PRIVATE_KEY, &[&self.buffers.key])?;
        }
        Ok(())
    }

    /// Takes them back from Zephyr's TLS and wipes the key; the place is free again.
    pub fn take_back(self) -> Credentials {
        let kinds = [
            ffi::TLS_CREDENTIAL_CA_CERTIFICATE,
            ffi::TLS_CREDENTIAL_PUBLIC_CERTIFICATE,
            ffi::TLS_CREDENTIAL_PRIVATE_KEY,
        ];
        for tag in TAG..TAG + ffi::SHIM_TLS_TAGS_MAX as c_int {
            for kind in kinds {
                // SAFETY: takes numbers. An error says that it was not there, which is what is wanted.
                let _error = unsafe { ffi::tls_credential_delete(tag, kind) };
            }
        }
        self.buffers.key.zeroize();
        Credentials(self.buffers)
    }
}

/// Shows each of `values` under a tag of its own; gives how many there are.
fn show(kind: ffi::tls_credential_type, values: &[&[u8]]) -> Result<c_int, CredentialsError> {
    for (tag, value) in (TAG..).zip(values) {
        // SAFETY: the value lies in the static buffers, which stay as they are until `Presented` takes it back from Zephyr.
        match unsafe { ffi::tls_credential_add(tag, kind, value.as_ptr().cast(), value.len()) } {
            0 => {}
            error => return Err(CredentialsError::Refused(error)),
        }
    }
    Ok(values.len() as c_int)
}
