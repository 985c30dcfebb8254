//! The device's roots, certificate and key, on their way from settings to Zephyr's TLS. Owns their bytes while a handshake
//! needs them and wipes the key afterwards; no key is compiled in. R-SECRET-STORE, R-ROOTS.
//!
//! Each value is DER or PEM; `sensor/cred/root` may hold several certificates in PEM.

use crate::ffi;
use crate::kconfig::CONFIG_SENSOR_TLS_TAG;
use crate::settings::Settings;
use core::ffi::CStr;
use core::fmt;
use device::StorageError;
use static_cell::ConstStaticCell;
use zeroize::Zeroize;

/// The tag under which Zephyr's TLS finds them.
pub const TAG: i32 = CONFIG_SENSOR_TLS_TAG as i32;

/// Longest list of roots in bytes: two P-256 certificates in PEM, so that one can replace the other.
const ROOTS_MAX: usize = 2048;
/// Longest certificate in bytes: a P-256 one is about 450 in DER and 650 in PEM.
const CERTIFICATE_MAX: usize = 1536;
/// Longest key in bytes: a P-256 one is 138 in DER (PKCS #8) and 241 in PEM.
const KEY_MAX: usize = 320;

struct Buffers {
    roots: [u8; ROOTS_MAX],
    certificate: [u8; CERTIFICATE_MAX],
    key: [u8; KEY_MAX],
}

// In a static, because Zephyr keeps pointers to them as long as the tag is in use.
static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers {
    roots: [0; ROOTS_MAX],
    certificate: [0; CERTIFICATE_MAX],
    key: [0; KEY_MAX],
});

/// Why there are no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// The setting with this name is not there: the device is not enrolled.
    Missing(&'static CStr),
    /// The setting with this name cannot be read.
    Storage(&'static CStr, StorageError),
    /// Zephyr does not take it: the error number.
    Refused(&'static CStr, i32),
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &'static CStr| name.to_str().unwrap_or_default();
        match self {
            Self::Missing(key) => write!(f, "{} is missing: enrol the device", name(key)),
            Self::Storage(key, error) => write!(f, "{} cannot be read: {error}", name(key)),
            Self::Refused(key, error) => {
                write!(f, "{} is not taken by the TLS subsystem ({error})", name(key))
            }
        }
    }
}

/// The credentials' place in memory.
pub struct Credentials(&'static mut Buffers);

/// Credentials that Zephyr's TLS can see. They are taken back and the key is wiped when this is dropped.
pub struct Presented<'c>(&'c mut Buffers);

impl Credentials {
    /// To be called once; `None` after that.
    pub fn take() -> Option<Self> {
        BUFFERS.try_take().map(Self)
    }

    /// Reads them from settings and shows them to Zephyr's TLS.
    pub fn present(&mut self, settings: Settings) -> Result<Presented<'_>, CredentialsError> {
        // From here on an error takes back what was already shown.
        let presented = Presented(&mut *self.0);
        let buffers = &mut *presented.0;
        show(settings, c"sensor/cred/root", ffi::TLS_CREDENTIAL_CA_CERTIFICATE, &mut buffers.roots)?;
        show(
            settings,
            c"sensor/cred/cert",
            ffi::TLS_CREDENTIAL_PUBLIC_CERTIFICATE,
            &mut buffers.certificate,
        )?;
        show(settings, c"sensor/cred/key", ffi::TLS_CREDENTIAL_PRIVATE_KEY, &mut buffers.key)?;
        Ok(presented)
    }
}

impl Drop for Presented<'_> {
    fn drop(&mut self) {
        let kinds = [
            ffi::TLS_CREDENTIAL_CA_CERTIFICATE,
            ffi::TLS_CREDENTIAL_PUBLIC_CERTIFICATE,
            ffi::TLS_CREDENTIAL_PRIVATE_KEY,
        ];
        for kind in kinds {
            // SAFETY: takes numbers. An error says that it was not there, which is what is wanted.
            let _error = unsafe { ffi::tls_credential_delete(TAG, kind) };
        }
        self.0.key.zeroize();
    }
}

fn show(
    settings: Settings,
    name: &'static CStr,
    kind: ffi::tls_credential_type,
    buffer: &mut [u8],
) -> Result<(), CredentialsError> {
    // PEM must end with a NUL, whether or not it was stored with one.
    let room = buffer.len() - 1;
    let value = settings.load(name, buffer.get_mut(..room).unwrap_or_default());
    let len = match value {
        Ok(Some(value)) => value.len(),
        Ok(None) => return Err(CredentialsError::Missing(name)),
        Err(error) => return Err(CredentialsError::Storage(name, error)),
    };
    let is_pem = buffer.first() == Some(&b'-');
    let ends = buffer.get(..len).is_some_and(|value| value.ends_with(&[0]));
    let len = if is_pem && !ends { len + 1 } else { len };
    if let Some(end) = buffer.get_mut(len - 1).filter(|_| is_pem) {
        *end = 0;
    }
    // SAFETY: the buffer is a static and stays as it is until `Presented` takes it back from Zephyr.
    match unsafe { ffi::tls_credential_add(TAG, kind, buffer.as_ptr().cast(), len) } {
        0 => Ok(()),
        error => Err(CredentialsError::Refused(name, error)),
    }
}
