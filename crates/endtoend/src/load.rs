//! What a process costs, as the kernel counts it. Owns nothing.

use std::fs;

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, the same on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has taken since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Processor time in seconds.
    pub cpu_s: f64,
    /// Most memory that was resident, in KiB.
    pub resident_kib: u64,
    /// Bytes given to it by system calls: what came over its sockets, and what it read from files.
    pub taken: u64,
    /// Bytes that it gave to system calls.
    pub given: u64,
}

impl Load {
    /// Of the process with this number; `None` where it is gone.
    pub fn of(pid: u32) -> Option<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let stat = read("stat")?;
        // Fields are counted from behind the name, which may contain anything: 12 and 13 are user and system time.
        let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
        let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
        let number = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let (status, io) = (read("status")?, read("io")?);
        Some(Self {
            cpu_s: ticks / TICKS_PER_SECOND,
            resident_kib: number(&status, "VmHWM:").unwrap_or(0),
            taken: number(&io, "rchar:")?,
            given: number(&io, "wchar:")?,
        })
    }

    /// What was added since `before`; memory as it is now.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_s: self.cpu_s - before.cpu_s,
            resident_kib: self.resident_kib,
            taken: self.taken - before.taken,
            given: self.given - before.given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Load;

    #[test]
    fn this_process_has_cost_something_and_one_that_is_not_there_nothing() {
        let load = Load::of(std::process::id()).unwrap();
        assert!(load.resident_kib > 0 && load.taken > 0, "{load:?}");
        assert_eq!(Load::of(u32::MAX), None);
    }
}
