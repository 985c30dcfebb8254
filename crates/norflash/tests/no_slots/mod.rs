//! Slots of a device that cannot be updated, for tests of everything else.

/// Gives a platform no slots.
macro_rules! cannot_be_updated {
    ($platform:ty) => {
        impl device::Slots for $platform {
            fn layout(&self) -> Option<device::SlotLayout> {
                None
            }

            fn read_running(&mut self, _: u32, _: &mut [u8]) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }

            fn read_candidate(&mut self, _: u32, _: &mut [u8]) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }

            fn discard(&mut self) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }

            fn erase(&mut self, _: u32) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }

            fn program(&mut self, _: u32, _: &[u8]) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }

            fn mark(&mut self) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }

            fn running(&mut self) -> Result<device::Running, device::StorageError> {
                Ok(device::Running::Confirmed)
            }

            fn confirm(&mut self) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }
        }
    };
}

/// Gives a platform no log.
#[allow(unused_macros, reason = "not every test needs it")]
macro_rules! keeps_no_log {
    ($platform:ty) => {
        impl device::platform::LogFlash for $platform {
            fn log_layout(&self) -> Option<device::platform::LogLayout> {
                None
            }

            fn log_read(&mut self, _: u32, _: &mut [u8]) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }

            fn log_erase(&mut self, _: u32) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }

            fn log_program(&mut self, _: u32, _: &[u8]) -> Result<(), device::StorageError> {
                Err(device::StorageError::Medium)
            }
        }
    };
}
