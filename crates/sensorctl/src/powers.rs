//! The keys of the powers over devices: firmware, configuration, trust anchors and factory. Owns the folder they are found
//! in and the numbers that documents signed with them carry. R-AUTHORITY.
//!
//! `keys.jsonl` says since when which key is in force: what a former key has signed in its time stays proven.
//!
//! For each power there is `<power>.pub` (the public half, PEM) and, unless the key is in other hands, `<power>.key` or
//! `<power>.pkcs11.json` ([`crate::signer`]). A folder need not hold the private halves of all of them: who provisions
//! needs the factory's key alone.

mod history;
mod live;

pub use history::{Held, held};
pub use live::LiveKey;

use crate::folder::{self, FolderError, NewFolder};
use crate::judge::{self, Objection};
use crate::operator::now;
use crate::output::note;
use crate::signer::{self, Home, Signer, SignerError};
use protocol::document::Power;
use protocol::signed::{Document, PROVISION_DOCUMENT_BYTES_MAX, SealError, seal};
use protocol::{KeyId, PublicKey};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The powers that have a key in the folder.
pub const POWERS: [Power; 4] = [Power::Firmware, Power::Configuration, Power::Anchors, Power::Factory];

/// So far above the last number may one be that is asked for. Numbers only grow: with the highest one, by a slip of the hand, no
/// further document could ever be signed.
pub const JUMP_MAX: u32 = 1_000_000;

/// The file with the numbers of the last documents.
pub const NUMBERS: &str = "numbers.json";

/// Why the keys cannot be made or used.
#[derive(Debug)]
pub enum PowersError {
    /// A folder or a file.
    Folder(FolderError),
    /// A key.
    Signer(SignerError),
    /// There are such keys in the folder.
    Exists(PathBuf),
    /// The private and the public half of this power's key do not belong together.
    Foreign(PathBuf, Power),
    /// The history of the keys cannot be read.
    History(PathBuf, String),
    /// The file with the numbers cannot be read.
    Numbers(PathBuf, String),
    /// There is no higher number than the last one, or the one that was asked for is not higher: which document, and the last
    /// number.
    Number(String, u64),
    /// The number that was asked for is more than [`JUMP_MAX`] above the last one: which document, and the last number.
    Jump(String, u64),
    /// The document is larger than a device can hold.
    TooLong,
    /// Every device would refuse the document.
    Objection(Objection),
}

impl fmt::Display for PowersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => error.fmt(f),
            Self::Signer(error @ SignerError::Missing(..)) => {
                write!(f, "{error}: make the keys with `sensorctl authority init`")
            }
            Self::Signer(error) => error.fmt(f),
            Self::Exists(path) => write!(
                f,
                "{} holds such keys already; they were left as they are: choose another folder",
                path.display()
            ),
            Self::Foreign(folder, power) => {
                write!(f, "{power}.pub in {} is not the public half of the key beside it", folder.display())
            }
            Self::History(path, why) | Self::Numbers(path, why) => {
                write!(f, "{} cannot be used: {why}", path.display())
            }
            Self::Number(what, last) => write!(
                f,
                "the last number of a document {what:?} was {last}; devices take only a higher one: leave --number out"
            ),
            Self::Jump(what, last) => write!(
                f,
                "the last number of a document {what:?} was {last}, and a number is at most {JUMP_MAX} above the last: numbers \
                 only grow, and there is none above {}",
                u32::MAX
            ),
            Self::Objection(objection) => objection.fmt(f),
            Self::TooLong => f.write_str("the document is larger than a device can hold: give fewer roots"),
        }
    }
}

impl std::error::Error for PowersError {}

impl From<FolderError> for PowersError {
    fn from(error: FolderError) -> Self {
        Self::Folder(error)
    }
}

impl From<SignerError> for PowersError {
    fn from(error: SignerError) -> Self {
        Self::Signer(error)
    }
}

/// Makes a key for each power in the new folder `folder`, or in a token, as `home` says. Gives their public halves.
pub fn init(folder: &Path, home: &Home) -> Result<Vec<(Power, KeyId)>, PowersError> {
    if POWERS.iter().any(|power| folder.join(format!("{power}.pub")).exists()) {
        return Err(PowersError::Exists(folder.to_owned()));
    }
    let new = NewFolder::begin(folder)?;
    let mut made = Vec::new();
    for power in POWERS {
        let signer = Signer::make(&new, power.as_str(), home)?;
        new.public(&format!("{power}.pub"), signer::public_pem(signer.public()).as_bytes())?;
        made.push((power, *signer.public()));
    }
    new.public(history::KEYS, history::begin(&made).as_bytes())?;
    new.publish()?;
    Ok(made.into_iter().map(|(power, key)| (power, key.id())).collect())
}

/// The public half of a power's key.
pub fn public(folder: &Path, power: Power) -> Result<PublicKey, PowersError> {
    Ok(signer::read_public(&folder.join(format!("{power}.pub")))?)
}

/// The private half of a power's key. From the first time on that it is used, it is in the history of the folder.
pub fn signer(folder: &Path, power: Power) -> Result<Signer, PowersError> {
    let signer = Signer::open(folder, power.as_str())?;
    if *signer.public() != public(folder, power)? {
        return Err(PowersError::Foreign(folder.to_owned(), power));
    }
    if let Err(error) = history::note(folder, power, signer.public()) {
        // What it signs is good all the same.
        note!("{error}: when this key is replaced, nobody will know that it was in force now");
    }
    Ok(signer)
}

/// Signs a document that devices take; what every device would refuse is not signed ([`judge`]).
pub fn sign<'b>(signer: &Signer, document: &impl Document<'b>) -> Result<Vec<u8>, PowersError> {
    judge::document(document, signer.public().id(), now()).map_err(PowersError::Objection)?;
    let mut out = vec![0; PROVISION_DOCUMENT_BYTES_MAX];
    let sealed = seal(document, signer.public().id(), &mut out, |digest| signer.sign(digest));
    let len = sealed.map_err(|error| match error {
        SealError::TooLong => PowersError::TooLong,
        SealError::Signer(error) => PowersError::Signer(error),
    })?;
    out.truncate(len);
    Ok(out)
}

/// The numbers of the last documents by kind, kept in `numbers.json` of a folder. While this lives, no other process gets
/// a number from there.
#[derive(Debug)]
pub struct Numbers {
    path: PathBuf,
    last: BTreeMap<String, u64>,
    _lock: File,
}

impl Numbers {
    /// Reads the numbers of `folder`; waits for another process that has them.
    pub fn open(folder: &Path) -> Result<Self, PowersError> {
        let lock = folder::lock(&folder.join(".numbers.lock"))?;
        let path = folder.join(NUMBERS);
        let last = if path.exists() {
            serde_json::from_str(&folder::read(&path)?)
                .map_err(|error| PowersError::Numbers(path.clone(), error.to_string()))?
        } else {
            BTreeMap::new()
        };
        Ok(Self { path, last, _lock: lock })
    }

    /// The next number of a document of this kind, `first` for the first one, or the one that was asked for, which must be
    /// higher than all before. It is stored before it is given: one that was not used is lost, and none is used twice.
    pub fn next(&mut self, kind: &str, first: u32, wanted: Option<u32>) -> Result<u32, PowersError> {
        let next = self.choose(kind, first, wanted)?;
        self.store(kind, next.into())?;
        Ok(next)
    }

    /// The number that [`Self::next`] would give where none is asked for; it is not used up.
    pub fn peek(&self, kind: &str, first: u32) -> Result<u32, PowersError> {
        self.choose(kind, first, None)
    }

    /// The number `number` is proven to have been used: the next one is above. It is stored with that one.
    pub fn used(&mut self, kind: &str, number: u32) {
        let last = self.last.entry(kind.to_owned()).or_default();
        *last = u64::from(number).max(*last);
    }

    fn choose(&self, kind: &str, first: u32, wanted: Option<u32>) -> Result<u32, PowersError> {
        let before = u64::from(first.saturating_sub(1));
        let last = self.last(kind).map_or(before, |last| last.max(before));
        if wanted.is_some_and(|wanted| u64::from(wanted) > last.saturating_add(JUMP_MAX.into())) {
            return Err(PowersError::Jump(kind.to_owned(), last));
        }
        let next = wanted.map_or_else(|| last.checked_add(1), |wanted| Some(wanted.into()));
        let next = next.filter(|next| *next > last).and_then(|next| u32::try_from(next).ok());
        next.ok_or_else(|| PowersError::Number(kind.to_owned(), last))
    }

    /// The same for numbers of 64 bits that follow the clock: `now`, or one more than the last where that is higher.
    pub fn next_after(&mut self, kind: &str, now: u64, wanted: Option<u64>) -> Result<u64, PowersError> {
        let last = self.last(kind);
        let next = wanted.or_else(|| last.map_or(Some(now), |last| Some(now.max(last.checked_add(1)?))));
        let next = next.ok_or_else(|| PowersError::Number(kind.to_owned(), last.unwrap_or_default()))?;
        self.store(kind, next)?;
        Ok(next)
    }

    /// The last number of a document of this kind that was signed by the authority in `folder`; `None` where none was, or its
    /// numbers are kept elsewhere. Writes nothing.
    pub fn last_in(folder: &Path, kind: &str) -> Result<Option<u64>, PowersError> {
        if folder.join(NUMBERS).exists() { Ok(Self::open(folder)?.last(kind)) } else { Ok(None) }
    }

    /// The last number of a document of this kind.
    pub fn last(&self, kind: &str) -> Option<u64> {
        self.last.get(kind).copied()
    }

    fn store(&mut self, kind: &str, next: u64) -> Result<(), PowersError> {
        if let Some(last) = self.last(kind).filter(|last| next <= *last) {
            return Err(PowersError::Number(kind.to_owned(), last));
        }
        self.last.insert(kind.to_owned(), next);
        let text = serde_json::to_string(&self.last)
            .map_err(|error| PowersError::Numbers(self.path.clone(), error.to_string()))?;
        folder::replace(&self.path, format!("{text}\n").as_bytes()).map_err(PowersError::Folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::document::{Action, Audience, Command};
    use protocol::signed::Envelope;

    #[test]
    fn every_power_has_a_key_of_its_own_and_none_is_made_twice() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("authority");
        let made = init(&folder, &Home::Files).unwrap();
        let mut ids: Vec<_> = made.iter().map(|(_, id)| *id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), POWERS.len());
        for (power, id) in made {
            assert_eq!(signer(&folder, power).unwrap().public().id(), id);
        }
        assert!(matches!(init(&folder, &Home::Files), Err(PowersError::Exists(_))));
    }

    #[test]
    fn halves_of_different_keys_are_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("authority");
        init(&folder, &Home::Files).unwrap();
        std::fs::copy(folder.join("factory.pub"), folder.join("anchors.pub")).unwrap();
        assert!(matches!(signer(&folder, Power::Anchors), Err(PowersError::Foreign(..))));
    }

    #[test]
    fn a_document_verifies_with_the_key_of_its_power_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("authority");
        init(&folder, &Home::Files).unwrap();
        let document = Command { audience: Audience::All, number: 7, expires_s: 9, action: Action::Rotate };
        let signed = sign(&signer(&folder, Power::Configuration).unwrap(), &document).unwrap();
        let envelope = Envelope::decode(&signed).unwrap();
        let verify = |power| envelope.verify::<Command>(&public(&folder, power).unwrap());
        assert_eq!(verify(Power::Configuration).unwrap().into_inner(), document);
        assert!(verify(Power::Anchors).is_err());
    }

    #[test]
    fn numbers_grow_for_each_kind_and_are_never_given_twice() {
        let temporary = tempfile::tempdir().unwrap();
        let next = |kind, wanted| Numbers::open(temporary.path()).unwrap().next(kind, 1, wanted);
        assert_eq!((next("roots", None).unwrap(), next("roots", None).unwrap()), (1, 2));
        assert_eq!((next("rotate", None).unwrap(), next("roots", Some(9)).unwrap()), (1, 9));
        assert!(matches!(next("roots", Some(9)), Err(PowersError::Number(_, 9))));
        std::fs::write(temporary.path().join(NUMBERS), r#"{"roots":4294967294}"#).unwrap();
        assert_eq!(next("roots", Some(u32::MAX)).unwrap(), u32::MAX);
        assert!(matches!(next("roots", None), Err(PowersError::Number(_, 4_294_967_295))));
        std::fs::write(temporary.path().join(NUMBERS), "rubbish").unwrap();
        assert!(matches!(Numbers::open(temporary.path()), Err(PowersError::Numbers(..))));
    }

    #[test]
    fn a_number_is_not_far_above_the_last_one_and_a_peek_uses_none_up() {
        let temporary = tempfile::tempdir().unwrap();
        let next = |wanted| Numbers::open(temporary.path()).unwrap().next("roots", 2, wanted);
        for far in [JUMP_MAX + 2, u32::MAX] {
            assert!(matches!(next(Some(far)), Err(PowersError::Jump(_, 1))), "{far}");
        }
        assert_eq!(next(Some(JUMP_MAX + 1)).unwrap(), JUMP_MAX + 1);
        let mut numbers = Numbers::open(temporary.path()).unwrap();
        assert_eq!((numbers.peek("roots", 2).unwrap(), numbers.peek("new", 2).unwrap()), (JUMP_MAX + 2, 2));
        // What is proven to have been used lies as high as it lies.
        numbers.used("roots", 3_000_000_000);
        numbers.used("roots", 5);
        assert_eq!(numbers.next("roots", 2, None).unwrap(), 3_000_000_001);
    }

    #[test]
    fn numbers_that_follow_the_clock_grow_when_it_goes_back_too() {
        let temporary = tempfile::tempdir().unwrap();
        let next = |now, wanted| Numbers::open(temporary.path()).unwrap().next_after("image", now, wanted);
        assert_eq!((next(50, None).unwrap(), next(90, None).unwrap(), next(70, None).unwrap()), (50, 90, 91));
        assert!(matches!(next(99, Some(91)), Err(PowersError::Number(_, 91))));
        assert_eq!(next(0, Some(u64::MAX)).unwrap(), u64::MAX);
        assert!(matches!(next(99, None), Err(PowersError::Number(..))));
    }

    #[test]
    fn two_processes_never_get_the_same_number() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        let take = || (0..20).map(|_| Numbers::open(folder).unwrap().next("roots", 1, None).unwrap());
        let mut all: Vec<u32> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| take().collect::<Vec<_>>()));
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        assert_eq!(all, (1..=80).collect::<Vec<_>>());
    }
}
