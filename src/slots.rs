//! The two slots for firmware, through Zephyr's flash map and MCUboot's own code for the trailers. Owns the way there;
//! never what may be installed, when, or whether it stays. R-BOOT-VERIFY, R-FW-ATOMIC, R-FW-HEALTH.

use crate::fault::{self, Fault};
use crate::ffi;
use crate::settings::Platform;
use device::{Running, SlotLayout, Slots, StorageError};
use protocol::image::{Header, Version};

/// Version of the image that runs; `None` where it has no header, because no bootloader has started it. native_sim takes what
/// lies in slot 0 of its flash for the image that runs.
pub fn version() -> Option<Version> {
    let mut header = [0; Header::BYTES];
    // SAFETY: the pointer and the length are those of one array, which outlives the call.
    check(unsafe { ffi::shim_slots_read_running(0, header.as_mut_ptr(), header.len()) }).ok()?;
    Header::decode(&header).ok().map(|header| header.version)
}

/// How the image that runs came to run. What cannot be read counts as being on trial: an image that stays starts again as
/// it is.
pub fn is_on_trial() -> bool {
    // SAFETY: takes nothing and gives a number.
    unsafe { ffi::shim_slots_on_trial() != 0 }
}

impl Slots for Platform {
    fn layout(&self) -> Option<SlotLayout> {
        let mut layout = ffi::shim_slots_layout::default();
        // SAFETY: the pointer is valid for the call.
        check(unsafe { ffi::shim_slots_layout(&raw mut layout) }).ok()?;
        Some(SlotLayout { capacity: layout.capacity, sector: layout.sector, word: layout.word })
    }

    fn read_running(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        // SAFETY: the pointer and the length are those of one slice, which outlives the call; Zephyr checks the offset.
        check(unsafe { ffi::shim_slots_read_running(offset, bytes.as_mut_ptr(), bytes.len()) })
    }

    fn read_candidate(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        // SAFETY: as above.
        check(unsafe { ffi::shim_slots_read_candidate(offset, bytes.as_mut_ptr(), bytes.len()) })
    }

    fn discard(&mut self) -> Result<(), StorageError> {
        // SAFETY: takes nothing.
        check(unsafe { ffi::shim_slots_discard() })
    }

    fn erase(&mut self, offset: u32) -> Result<(), StorageError> {
        // SAFETY: takes a number, which is checked.
        check(unsafe { ffi::shim_slots_erase(offset) })
    }

    fn program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        // SAFETY: as for reading.
        check(unsafe { ffi::shim_slots_write(offset, bytes.as_ptr(), bytes.len()) })
    }

    fn mark(&mut self) -> Result<(), StorageError> {
        // SAFETY: takes nothing.
        check(unsafe { ffi::shim_slots_mark() })
    }

    fn running(&mut self) -> Result<Running, StorageError> {
        if fault::is(Fault::NeverConfirms) {
            return Ok(Running::Confirmed);
        }
        // SAFETY: takes nothing and gives a number.
        match unsafe { ffi::shim_slots_on_trial() } {
            0 => Ok(Running::Confirmed),
            1 => Ok(Running::OnTrial),
            _ => Err(StorageError::Medium),
        }
    }

    fn confirm(&mut self) -> Result<(), StorageError> {
        // SAFETY: takes nothing.
        check(unsafe { ffi::shim_slots_confirm() })
    }
}

/// Every failure is the flash's: what the device asks for is within the layout.
fn check(error: i32) -> Result<(), StorageError> {
    if error == 0 { Ok(()) } else { Err(StorageError::Medium) }
}
