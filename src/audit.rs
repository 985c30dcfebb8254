//! The security log's flash partition, as the devicetree has it: `log_partition`. Owns its shape, never what is recorded
//! there: that is `device::audit`'s. R-LOG.

use crate::flash::{Area, FlashError};
use crate::settings::Platform;
use crate::{error, ffi};
use device::{LogFlash, LogLayout, StorageError};

const LAYOUT: LogLayout = LogLayout {
    size: ffi::SHIM_LOG_SIZE as u32,
    sector: ffi::SHIM_LOG_ERASE as u32,
    word: ffi::SHIM_LOG_WRITE as u32,
};

const _: () = assert!(
    LAYOUT.size.is_multiple_of(LAYOUT.sector) && LAYOUT.size / LAYOUT.sector >= 3,
    "log_partition needs at least three whole sectors, and should have 64 KiB: make it longer"
);
const _: () = assert!(
    LAYOUT.sector >= 512 && LAYOUT.word <= 32,
    "log_partition lies in flash with sectors below 512 bytes or words above 32: the log needs other flash"
);

impl LogFlash for Platform {
    fn log_layout(&self) -> Option<LogLayout> {
        // A device whose flash is not what it was built for works on without its log, and says so.
        let checked = Area::Log
            .check()
            .inspect_err(|error| error!("log_partition cannot be used, nothing is recorded: {error}"));
        checked.ok().map(|()| LAYOUT)
    }

    fn log_read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), StorageError> {
        Area::Log.read(offset, bytes).map_err(medium)
    }

    fn log_erase(&mut self, offset: u32) -> Result<(), StorageError> {
        Area::Log.erase(offset, LAYOUT.sector).map_err(medium)
    }

    fn log_program(&mut self, offset: u32, bytes: &[u8]) -> Result<(), StorageError> {
        Area::Log.write(offset, bytes).map_err(medium)
    }
}

/// Every failure is the flash's: what the device asks for is within the layout.
fn medium(_: FlashError) -> StorageError {
    StorageError::Medium
}
