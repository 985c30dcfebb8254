//! A key in a PKCS#11 token. Owns the session with the token; the key itself stays in there. R-AUTHORITY.
//!
//! One session for each token in a process: PKCS#11 logs a whole process in, not a key.

use super::pin::{self, PinError};
use cryptoki::context::{CInitializeArgs, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use protocol::key::{Digest, KEY_ID_BYTES, PUBLIC_KEY_BYTES};
use protocol::{PublicKey, Signature};
use serde_json::json;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The curve P-256 as `CKA_EC_PARAMS`: the object identifier 1.2.840.10045.3.1.7 in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Where a key lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The module: a shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub label: String,
}

/// Why a key in a token cannot be made or used.
#[derive(Debug)]
pub enum TokenError {
    /// The module cannot be loaded.
    Module(PathBuf, Error),
    /// No token has this label; those that there are.
    NoToken(String, Vec<String>),
    /// Several tokens have this label.
    Ambiguous(String),
    /// There is no PIN.
    Pin(PinError),
    /// The token refuses the PIN.
    WrongPin(String),
    /// The token has no key with this label.
    NoKey(Place),
    /// It has several.
    SeveralKeys(Place),
    /// It has one already.
    KeyExists(Place),
    /// The key is none on P-256.
    OtherKind(Place),
    /// A signature of the token does not verify with the public key.
    BadSignature(Place),
    /// What the module says.
    Call(Place, Error),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(path, error) => write!(
                f,
                "{} cannot be used as a PKCS#11 module: {error}; give the path of the token's library",
                path.display()
            ),
            Self::NoToken(label, others) if others.is_empty() => {
                write!(f, "the module has no token: connect or initialise the one with the label {label:?}")
            }
            Self::NoToken(label, others) => {
                write!(f, "no token has the label {label:?}; there is {}", others.join(", "))
            }
            Self::Ambiguous(label) => {
                write!(f, "several tokens have the label {label:?}: leave one connected")
            }
            Self::Pin(error) => error.fmt(f),
            Self::WrongPin(label) => {
                write!(f, "the token {label:?} refuses the PIN; a few wrong ones lock it")
            }
            Self::NoKey(Place { token, label, .. }) => write!(f, "the token {token:?} has no key {label:?}"),
            Self::SeveralKeys(Place { token, label, .. }) => {
                write!(f, "the token {token:?} has several keys {label:?}: rename or remove all but one")
            }
            Self::KeyExists(Place { token, label, .. }) => write!(
                f,
                "the token {token:?} has a key {label:?} already: take it with --use-existing, or choose other labels \
                 with --key-prefix"
            ),
            Self::OtherKind(Place { token, label, .. }) => {
                write!(f, "the key {label:?} in the token {token:?} is no key pair on the curve P-256")
            }
            Self::BadSignature(Place { token, label, .. }) => write!(
                f,
                "the token {token:?} signed with {label:?} and the signature is wrong: do not use this token any more"
            ),
            Self::Call(Place { token, label, .. }, error) => {
                write!(f, "the token {token:?} failed with the key {label:?}: {error}")
            }
        }
    }
}

impl std::error::Error for TokenError {}

impl Place {
    /// The file that says where a key is, with the id of `public`.
    pub fn to_json(&self, public: &PublicKey) -> String {
        let place = json!({
            "v": 1, "module": self.module, "token": self.token, "label": self.label,
            "key_id": base16ct::lower::encode_string(&public.id().0),
        });
        format!("{place}\n")
    }

    /// Reads such a file: the place, and the id that the key there must have.
    pub fn from_json(text: &str) -> Result<(Self, [u8; KEY_ID_BYTES]), String> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if value.get("v").and_then(serde_json::Value::as_u64) != Some(1) {
            return Err("its version is another than 1".to_owned());
        }
        let field = |name: &str| {
            let text = value.get(name).and_then(serde_json::Value::as_str);
            text.map(str::to_owned).ok_or_else(|| format!("{name} is missing"))
        };
        let id = base16ct::mixed::decode_vec(&field("key_id")?).ok().and_then(|id| id.try_into().ok());
        let id = id.ok_or_else(|| "key_id is no key id in hexadecimal".to_owned())?;
        Ok((Self { module: field("module")?.into(), token: field("token")?, label: field("label")? }, id))
    }

    fn call<T>(&self, result: Result<T, Error>) -> Result<T, TokenError> {
        result.map_err(|error| TokenError::Call(self.clone(), error))
    }
}

/// A key in a token, ready to sign.
pub struct TokenKey {
    session: Arc<Mutex<Session>>,
    handle: ObjectHandle,
    place: Place,
}

impl TokenKey {
    /// Makes a key pair that cannot be taken out. Where the token has one with this label already, it is taken where
    /// `existing` says so, and refused otherwise.
    pub fn make(place: &Place, existing: bool) -> Result<(Self, PublicKey), TokenError> {
        let session = session(place)?;
        let found = find(&lock(&session), place);
        match found {
            Ok(handle) if existing => return Self::opened(session, handle, place),
            Ok(_) | Err(TokenError::SeveralKeys(_)) => return Err(TokenError::KeyExists(place.clone())),
            Err(TokenError::NoKey(_)) => {}
            Err(error) => return Err(error),
        }
        let mut id = [0; 16];
        super::random(&mut id).map_err(|_| TokenError::Call(place.clone(), Error::InvalidValue))?;
        let named = [
            Attribute::Token(true),
            Attribute::Label(place.label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(P256.to_vec())];
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let made = lock(&session).generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[&named[..], &public].concat(),
            &[&named[..], &private].concat(),
        );
        let (_, handle) = place.call(made)?;
        Self::opened(session, handle, place)
    }

    /// Opens the key pair with this label.
    pub fn open(place: &Place) -> Result<(Self, PublicKey), TokenError> {
        let session = session(place)?;
        let handle = find(&lock(&session), place)?;
        Self::opened(session, handle, place)
    }

    fn opened(
        session: Arc<Mutex<Session>>,
        handle: ObjectHandle,
        place: &Place,
    ) -> Result<(Self, PublicKey), TokenError> {
        let public = public_key(&lock(&session), place)?;
        Ok((Self { session, handle, place: place.clone() }, public))
    }

    /// Signs a digest; `public` must verify the signature.
    pub fn sign(&self, digest: &Digest, public: &PublicKey) -> Result<Signature, TokenError> {
        let signed = lock(&self.session).sign(&Mechanism::Ecdsa, self.handle, digest);
        let signature = Signature::normalised(&self.place.call(signed)?).ok();
        signature
            .filter(|signature| public.verifies(digest, signature))
            .ok_or_else(|| TokenError::BadSignature(self.place.clone()))
    }
}

/// A session is only ever left between two calls: one that panicked leaves it usable.
fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The private key with this label.
fn find(session: &Session, place: &Place) -> Result<ObjectHandle, TokenError> {
    let template = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Label(place.label.as_bytes().to_vec()),
    ];
    match place.call(session.find_objects(&template))?.as_slice() {
        [] => Err(TokenError::NoKey(place.clone())),
        [handle] => Ok(*handle),
        _ => Err(TokenError::SeveralKeys(place.clone())),
    }
}

/// The public key with this label, checked.
fn public_key(session: &Session, place: &Place) -> Result<PublicKey, TokenError> {
    let template =
        [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Label(place.label.as_bytes().to_vec())];
    let other = || TokenError::OtherKind(place.clone());
    let found = place.call(session.find_objects(&template))?;
    let [handle] = found.as_slice() else { return Err(other()) };
    let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
    let (mut curve, mut point) = (None, None);
    for attribute in place.call(session.get_attributes(*handle, &wanted))? {
        match attribute {
            Attribute::EcParams(bytes) => curve = Some(bytes),
            Attribute::EcPoint(bytes) => point = Some(bytes),
            _ => {}
        }
    }
    if curve.as_deref() != Some(&P256[..]) {
        return Err(other());
    }
    let point = point.ok_or_else(other)?;
    // PKCS#11 wants the point inside a DER octet string; some modules give it bare.
    let bare = match point.as_slice() {
        [0x04, len, rest @ ..] if usize::from(*len) == PUBLIC_KEY_BYTES && rest.len() == PUBLIC_KEY_BYTES => {
            rest
        }
        all => all,
    };
    PublicKey::new(bare).map_err(|_| other())
}

struct Open {
    module: PathBuf,
    token: String,
    session: Arc<Mutex<Session>>,
}

struct All {
    modules: Vec<(PathBuf, Pkcs11)>,
    sessions: Vec<Open>,
}

/// What this process has opened. A module may be initialised once in a process, so contexts stay.
static OPEN: Mutex<All> = Mutex::new(All { modules: Vec::new(), sessions: Vec::new() });

fn session(place: &Place) -> Result<Arc<Mutex<Session>>, TokenError> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let All { modules, sessions } = &mut *open;
    let known = sessions.iter().find(|open| open.module == place.module && open.token == place.token);
    if let Some(open) = known {
        return Ok(Arc::clone(&open.session));
    }
    let known = modules.iter().find(|(path, _)| *path == place.module);
    let module = if let Some((_, module)) = known {
        module.clone()
    } else {
        let module = load(&place.module)?;
        modules.push((place.module.clone(), module.clone()));
        module
    };
    let session = Arc::new(Mutex::new(log_in(&module, place)?));
    let (module, token) = (place.module.clone(), place.token.clone());
    sessions.push(Open { module, token, session: Arc::clone(&session) });
    Ok(session)
}

fn load(path: &Path) -> Result<Pkcs11, TokenError> {
    let failed = |error| TokenError::Module(path.to_owned(), error);
    let module = Pkcs11::new(path).map_err(failed)?;
    module.initialize(CInitializeArgs::OsThreads).map_err(failed)?;
    Ok(module)
}

fn log_in(module: &Pkcs11, place: &Place) -> Result<Session, TokenError> {
    let mut others = Vec::new();
    let mut found = None;
    for slot in place.call(module.get_slots_with_initialized_token())? {
        let label = place.call(module.get_token_info(slot))?.label().trim_end().to_owned();
        if label != place.token {
            others.push(label);
        } else if found.replace(slot).is_some() {
            return Err(TokenError::Ambiguous(label));
        }
    }
    let slot = found.ok_or_else(|| TokenError::NoToken(place.token.clone(), others))?;
    let session = place.call(module.open_rw_session(slot))?;
    let pin = pin::ask(&place.token).map_err(TokenError::Pin)?;
    match session.login(UserType::User, Some(&pin)) {
        Ok(()) => Ok(session),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinLocked,
            _,
        )) => Err(TokenError::WrongPin(place.token.clone())),
        Err(error) => Err(TokenError::Call(place.clone(), error)),
    }
}
