//! At most one new thing at a time, or nobody could say which of them cut the device off. Owns who has to wait for whom; each
//! trial is its machine's. R-NET-CONFIG, R-SECRET-ROTATE, R-ROOTS, R-FW-HEALTH.
//!
//! | on trial | begins | decided by | goes back | after a restart |
//! |---|---|---|---|---|
//! | identity, roots | with the next connection | which of three attempts in four gets through | the former one, in the fourth | goes on: it is in the record |
//! | configuration | when it comes | the service is reached, a new time server has answered | after its bound | begun again, three times at most |
//! | firmware | when the bootloader starts it | it is healthy for long enough | after its deadline | the bootloader goes back |

/// What is on trial now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trials {
    /// An identity or a list of roots.
    pub identity: bool,
    /// A change of the configuration.
    pub configuration: bool,
    /// The image that runs.
    pub firmware: bool,
}

/// What may have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// A change of the configuration that cuts nobody off. Firmware on trial: the one before it might not be able to read it.
    Change,
    /// A change that has to prove itself.
    Reach,
    /// A connection with another identity or other roots.
    Credentials,
    /// A restart that somebody asks for: it would end a trial.
    Restart,
}

impl Trials {
    /// Whether this may begin now.
    pub(crate) const fn allow(self, what: Begins) -> bool {
        match what {
            Begins::Change | Begins::Restart => !self.configuration && !self.firmware,
            Begins::Reach => !self.configuration && !self.firmware && !self.identity,
            Begins::Credentials => !self.configuration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_new_thing_waits_for_exactly_those_that_it_could_be_mistaken_for() {
        let none = Trials::default();
        let (identity, configuration, firmware) = (
            Trials { identity: true, ..none },
            Trials { configuration: true, ..none },
            Trials { firmware: true, ..none },
        );
        for (what, waits_for) in [
            (Begins::Change, [false, true, true]),
            (Begins::Reach, [true, true, true]),
            (Begins::Credentials, [false, true, false]),
            (Begins::Restart, [false, true, true]),
        ] {
            assert!(none.allow(what), "{what:?}");
            let waits = [identity, configuration, firmware].map(|trials| !trials.allow(what));
            assert_eq!(waits, waits_for, "{what:?}");
        }
    }
}
