//! The key of a power in a program that runs for long: when the files of the key are replaced, the new one signs. Owns the moment
//! of the change and says so. R-AUTHORITY.

use super::{PowersError, signer};
use crate::folder::Version;
use crate::output::note;
use crate::signer::Signer;
use protocol::document::Power;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The files of a key, as they were when it was read.
type Versions = [Option<Version>; 3];

/// The private half of a power's key in a folder, whichever is in force.
pub struct LiveKey {
    folder: PathBuf,
    power: Power,
    read: Mutex<(Versions, Arc<Signer>)>,
}

impl fmt::Debug for LiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveKey")
            .field("folder", &self.folder)
            .field("power", &self.power)
            .finish_non_exhaustive()
    }
}

fn versions(folder: &Path, power: Power) -> Versions {
    ["pub", "key", "pkcs11.json"].map(|end| Version::of(&folder.join(format!("{power}.{end}"))))
}

impl LiveKey {
    /// Opens the key.
    pub fn open(folder: &Path, power: Power) -> Result<Self, PowersError> {
        // Before the files: what is replaced while they are read is read once more.
        let versions = versions(folder, power);
        let read = Mutex::new((versions, Arc::new(signer(folder, power)?)));
        Ok(Self { folder: folder.to_owned(), power, read })
    }

    /// The key that is in force now. Where the files were replaced by something that cannot be used, the one from before.
    pub fn now(&self) -> Arc<Signer> {
        let versions = versions(&self.folder, self.power);
        // Both are replaced together.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0 != versions {
            read.0 = versions;
            let (power, folder, old) = (self.power, self.folder.display(), read.1.public().id());
            match signer(&self.folder, self.power) {
                Ok(new) if new.public().id() == old => {}
                Ok(new) => {
                    let id = new.public().id();
                    note!(
                        "the key of {power} in {folder} was replaced: {id} signs from now on, and no more {old}"
                    );
                    read.1 = Arc::new(new);
                }
                Err(error) => {
                    note!("{error}; the key from before, {old}, signs for {power} until that is mended");
                }
            }
        }
        Arc::clone(&read.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::powers::{self, POWERS};
    use crate::signer::Home;

    #[test]
    fn a_key_that_is_replaced_under_a_program_is_used_when_both_halves_are_there() {
        let temporary = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| temporary.path().join(name));
        for folder in [&first, &second] {
            powers::init(folder, &Home::Files).unwrap();
        }
        let power = POWERS[1];
        let live = LiveKey::open(&first, power).unwrap();
        let (old, new) = (live.now().public().id(), powers::public(&second, power).unwrap().id());
        let copy = |name: &str| std::fs::copy(second.join(name), first.join(name)).unwrap();
        copy("configuration.pub");
        assert_eq!(live.now().public().id(), old, "half of it is no key");
        copy("configuration.key");
        assert_eq!(live.now().public().id(), new);
        std::fs::write(first.join("configuration.key"), "rubbish").unwrap();
        assert_eq!(live.now().public().id(), new);
        std::fs::remove_file(first.join("configuration.key")).unwrap();
        assert_eq!(live.now().public().id(), new);
    }
}
