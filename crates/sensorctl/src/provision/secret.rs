//! The documented second way: a key that is made here and put into the device. Owns the memory that it is in for those
//! moments: never in swap, in a core dump or in a file, and wiped. R-INITIAL-SECRET.
//!
//! What this cannot reach: copies that the processor's registers and the stack had while the public half was computed and the
//! frame was written. The process therefore gives no core dump and cannot be traced, and whoever needs more lets the
//! device make its own key, which is the first way.

use super::exchange::Room;
use crate::signer;
use protocol::PublicKey;
use protocol::provisioning::frame::FRAME_BYTES_MAX;
use protocol::provisioning::{MESSAGE_BYTES_MAX, SCALAR_BYTES};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::fmt;
use zeroize::Zeroize;

/// Why no key can be made here.
#[derive(Debug)]
pub enum SecretError {
    /// The memory cannot be locked.
    Locked(region::Error),
    /// Core dumps cannot be turned off.
    Dumpable(rustix::io::Errno),
    /// The random generator gives no numbers.
    Random,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(error) => write!(
                f,
                "memory for a key cannot be kept out of swap: {error}; raise `ulimit -l`, or let the device make its key"
            ),
            Self::Dumpable(error) => write!(f, "core dumps cannot be turned off: {error}"),
            Self::Random => f.write_str("the system's random generator gives no numbers"),
        }
    }
}

impl std::error::Error for SecretError {}

/// From here on the process leaves no core dump and other processes of the same user cannot read its memory.
pub fn harden() -> Result<(), SecretError> {
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, nothing).map_err(SecretError::Dumpable)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(SecretError::Dumpable)
}

/// Memory of its own pages, so that unlocking it unlocks nothing else.
pub struct Locked {
    /// Unlocks before the memory is given back.
    _guard: region::LockGuard,
    memory: Vec<u8>,
    begin: usize,
    len: usize,
}

impl Locked {
    /// `len` zeros.
    pub fn new(len: usize) -> Result<Self, SecretError> {
        let page = region::page::size();
        let size = len.next_multiple_of(page);
        let memory = vec![0; size + page];
        let address = memory.as_ptr().addr();
        let begin = address.next_multiple_of(page) - address;
        let pages = memory.get(begin..begin + size).unwrap_or_default();
        let guard = region::lock(pages.as_ptr(), size).map_err(SecretError::Locked)?;
        Ok(Self { _guard: guard, memory, begin, len })
    }

    fn bytes(&self) -> &[u8] {
        self.memory.get(self.begin..self.begin + self.len).unwrap_or_default()
    }
}

impl Room for Locked {
    fn room(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.begin..self.begin + self.len).unwrap_or_default()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Before the guard unlocks it: fields are dropped after this.
        self.memory.zeroize();
    }
}

/// A private key that is to be put into a device.
pub struct Secret {
    scalar: Locked,
    public: PublicKey,
}

impl Secret {
    /// A new one.
    pub fn generate() -> Result<Self, SecretError> {
        let mut scalar = Locked::new(SCALAR_BYTES)?;
        loop {
            signer::random(scalar.room()).map_err(|_| SecretError::Random)?;
            // One in 2^32 numbers is not below the order of the group.
            let Ok(key) = p256::SecretKey::from_slice(scalar.bytes()) else { continue };
            let public = PublicKey::new(&key.public_key().to_sec1_bytes());
            let public = public.map_err(|_| SecretError::Random)?;
            return Ok(Self { scalar, public });
        }
    }

    /// The private scalar.
    pub fn scalar(&self) -> &[u8] {
        self.scalar.bytes()
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Memory in which a message with a key can be written.
    pub fn room() -> Result<Locked, SecretError> {
        Locked::new(MESSAGE_BYTES_MAX + FRAME_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_key_lies_in_locked_memory_as_long_as_it_lives() {
        let before = locked_kib();
        let (first, second) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let page = region::page::size() as u64 / 1024;
        assert_eq!(locked_kib(), before + 2 * page);
        assert_ne!(first.public(), second.public());
        drop(first);
        assert_eq!(locked_kib(), before + page, "the other one stays locked");
        assert_eq!(second.scalar().len(), SCALAR_BYTES);
        drop(second);
        assert_eq!(locked_kib(), before);
    }
}
