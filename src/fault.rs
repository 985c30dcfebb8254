//! What is made to be wrong with this image, for tests of updates (Kconfig: SENSOR_TEST_FAULTS). Owns the question; nothing
//! is ever wrong in a build for hardware. R-FW-HEALTH.

/// Faults above the drivers, by the build number in the image's version. Those below are in test_faults.c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every attempt to connect fails.
    CannotConnect = 3,
    /// The sensor never answers.
    SensorDead = 4,
    /// It does not know that it is on trial.
    NeverConfirms = 5,
}

/// True where this is wrong with the image.
pub fn is(fault: Fault) -> bool {
    #[cfg(CONFIG_SENSOR_TEST_FAULTS)]
    // SAFETY: takes nothing and reads a number.
    return unsafe { crate::ffi::shim_test_fault() } == fault as u32;
    #[cfg(not(CONFIG_SENSOR_TEST_FAULTS))]
    {
        let _none = fault;
        false
    }
}
