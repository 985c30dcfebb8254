//! Since when which key of a power is in force, as far as this folder has seen. Owns the file `keys.jsonl` in the folder of the
//! keys, a line for each key that came into force; says nothing of keys in use. R-AUTHORITY, R-LOG.
//!
//! A new key comes as files that are copied over the former ones, so it is noted when it is first used; what is replaced
//! was noted before, when it was made or used.

use super::{POWERS, PowersError, public};
use crate::folder;
use protocol::PublicKey;
use protocol::document::Power;
use serde::{Deserialize, Serialize};
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The file.
pub(super) const KEYS: &str = "keys.jsonl";

/// A key of a power, and until when it was in force; `None` where it is, or where nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The key.
    pub key: PublicKey,
    /// When another one took its place.
    pub until: Option<OffsetDateTime>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: String,
    power: String,
    key: String,
}

/// A key that came into force.
struct Entry {
    at: OffsetDateTime,
    power: Power,
    key: PublicKey,
}

impl Entry {
    fn now(power: Power, key: &PublicKey) -> Self {
        let now = OffsetDateTime::now_utc();
        Self { at: now.replace_nanosecond(0).unwrap_or(now), power, key: *key }
    }

    fn to_line(&self) -> String {
        let line = Line {
            at: self.at.format(&Rfc3339).expect("a date of this era has a text"),
            power: self.power.to_string(),
            key: base16ct::lower::encode_string(self.key.as_bytes()),
        };
        format!("{}\n", serde_json::to_string(&line).expect("texts in an object are JSON"))
    }

    fn from_line(line: &str) -> Result<Self, String> {
        let Line { at, power, key } = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let at = OffsetDateTime::parse(&at, &Rfc3339).map_err(|error| error.to_string())?;
        let known = POWERS.into_iter().find(|known| known.as_str() == power);
        let bytes = base16ct::lower::decode_vec(&key).map_err(|error| error.to_string())?;
        let key = PublicKey::new(&bytes).map_err(|error| error.to_string())?;
        Ok(Self { at, power: known.ok_or_else(|| format!("{power:?} is no power"))?, key })
    }
}

/// The history of keys that were just made.
pub(super) fn begin(keys: &[(Power, PublicKey)]) -> String {
    keys.iter().map(|(power, key)| Entry::now(*power, key).to_line()).collect()
}

fn read(folder: &Path) -> Result<Vec<Entry>, PowersError> {
    let path = folder.join(KEYS);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = folder::read(&path)?;
    let entry = |(number, line)| {
        let wrong = |why| PowersError::History(path.clone(), format!("line {}: {why}", number + 1));
        Entry::from_line(line).map_err(wrong)
    };
    text.lines().enumerate().map(entry).collect()
}

/// Notes that `key` is in force, where that is not known yet.
pub(super) fn note(folder: &Path, power: Power, key: &PublicKey) -> Result<(), PowersError> {
    let is_newest = |entries: &[Entry]| {
        entries.iter().rfind(|entry| entry.power == power).is_some_and(|entry| entry.key == *key)
    };
    if is_newest(&read(folder)?) {
        return Ok(());
    }
    let path = folder.join(KEYS);
    let _turn = folder::turn(&path)?;
    let mut entries = read(folder)?;
    if !is_newest(&entries) {
        entries.push(Entry::now(power, key));
        let text: String = entries.iter().map(Entry::to_line).collect();
        folder::replace(&path, text.as_bytes())?;
    }
    Ok(())
}

/// The key of a power that is in force, and behind it those that were, the newest first.
pub fn held(folder: &Path, power: Power) -> Result<Vec<Held>, PowersError> {
    let current = public(folder, power)?;
    let entries = read(folder)?;
    let entries: Vec<&Entry> = entries.iter().filter(|entry| entry.power == power).collect();
    let mut held = vec![Held { key: current, until: None }];
    for (place, entry) in entries.iter().enumerate().rev() {
        if held.iter().all(|known| known.key != entry.key) {
            held.push(Held { key: entry.key, until: entries.get(place + 1).map(|next| next.at) });
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::powers::{self, POWERS};
    use crate::signer::Home;

    /// Replaces the configuration's key by that of `other`, as an operator does.
    fn replace(folder: &Path, other: &Path) {
        for name in ["configuration.pub", "configuration.key"] {
            std::fs::copy(other.join(name), folder.join(name)).unwrap();
        }
    }

    #[test]
    fn a_key_that_was_replaced_is_known_with_its_end_once_the_new_one_is_used() {
        let temporary = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| temporary.path().join(name));
        for folder in [&first, &second] {
            powers::init(folder, &Home::Files).unwrap();
        }
        let power = POWERS[1];
        let (old, new) = (public(&first, power).unwrap(), public(&second, power).unwrap());
        assert_eq!(held(&first, power).unwrap(), [Held { key: old, until: None }]);
        let before = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
        replace(&first, &second);
        // Nobody has used it: when the former one ended is not known.
        assert_eq!(held(&first, power).unwrap(), [new, old].map(|key| Held { key, until: None }));
        powers::signer(&first, power).unwrap();
        powers::signer(&first, power).unwrap();
        let both = held(&first, power).unwrap();
        assert_eq!((both[0], both[1].key, both.len()), (Held { key: new, until: None }, old, 2));
        assert!(both[1].until.unwrap() >= before);
        assert_eq!(held(&first, POWERS[0]).unwrap().len(), 1, "of another power nothing has changed");
        // A folder from before there was a history begins one.
        std::fs::remove_file(second.join(KEYS)).unwrap();
        powers::signer(&second, power).unwrap();
        assert_eq!(read(&second).unwrap().len(), 1);
        std::fs::write(first.join(KEYS), "rubbish\n").unwrap();
        assert!(matches!(held(&first, power), Err(PowersError::History(..))));
        assert!(powers::signer(&first, power).is_ok(), "what it signs is good all the same");
    }

    #[test]
    fn many_that_use_a_new_key_at_once_note_it_once() {
        let temporary = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| temporary.path().join(name));
        for folder in [&first, &second] {
            powers::init(folder, &Home::Files).unwrap();
        }
        for name in ["firmware", "configuration", "anchors", "factory"] {
            for end in ["pub", "key"] {
                let name = format!("{name}.{end}");
                std::fs::copy(second.join(&name), first.join(&name)).unwrap();
            }
        }
        std::thread::scope(|scope| {
            for power in POWERS.into_iter().cycle().take(16) {
                let first = &first;
                scope.spawn(move || powers::signer(first, power).unwrap());
            }
        });
        assert_eq!(read(&first).unwrap().len(), 2 * POWERS.len());
    }
}
