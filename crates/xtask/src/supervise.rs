//! Runs a piece of work as a process of its own and sees to its end: its time limit, a signal to this process, and that no
//! program of it is left behind. Owns the processes below this one; never knows what the work is.

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::{HashMap, HashSet};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// How the work ended.
#[derive(Debug)]
pub enum Ended {
    /// By itself.
    Status(ExitStatus),
    /// It was ended because its time was over.
    Late,
    /// It was ended because this process got this signal.
    Signal(i32),
}

/// How often the work is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How long programs get to end in order, and then to be gone on a busy machine.
const PATIENCE: [(Signal, Duration); 2] =
    [(Signal::TERM, Duration::from_secs(10)), (Signal::KILL, Duration::from_secs(60))];

/// Runs `command` to its end, or ends it after `limit` or when this process is told to end. Whichever it is, nothing that it
/// has started runs afterwards, in whatever group or session.
pub fn run(command: &mut Command, limit: Option<Duration>) -> Result<Ended> {
    // Before anything starts: a signal from here on is not missed.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    // Programs whose parent has ended become children of this process.
    set_child_subreaper(Some(getpid()))?;
    let started = Instant::now();
    let words = crate::process::words(command);
    let mut child = command.spawn().with_context(|| format!("`{words}` cannot be started"))?;
    let ended = loop {
        let status = child.try_wait()?;
        // What ends the work may be the signal that this process got, too: Ctrl-C reaches both.
        if let Some(signal) = signals.pending().next() {
            break Ended::Signal(signal);
        }
        if let Some(status) = status {
            break Ended::Status(status);
        }
        if limit.is_some_and(|limit| started.elapsed() > limit) {
            break Ended::Late;
        }
        std::thread::sleep(LOOK);
    };
    end_all()?;
    Ok(ended)
}

/// Ends this process as one does that a signal has ended.
pub fn exit_for(signal: i32) -> ! {
    std::process::exit(128 + signal)
}

/// Ends every process below this one, those that come up meanwhile too.
fn end_all() -> Result<()> {
    for (signal, patience) in PATIENCE {
        let deadline = Instant::now() + patience;
        let mut told = HashSet::new();
        while Instant::now() < deadline {
            reap();
            let running = below(getpid())?;
            if running.is_empty() {
                return Ok(());
            }
            for pid in running {
                if told.insert(pid) {
                    // It may have ended since it was listed.
                    let _gone = kill_process(pid, signal);
                }
            }
            std::thread::sleep(LOOK);
        }
    }
    anyhow::bail!("programs that were killed are still there: {:?}", below(getpid())?)
}

/// Takes note of every child that has ended.
fn reap() {
    while let Ok(Some(_)) | Err(Errno::INTR) = wait(WaitOptions::NOHANG) {}
}

/// Every process that this one has started, directly or not.
fn below(root: Pid) -> Result<Vec<Pid>> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut all, mut next) = (Vec::new(), vec![root]);
    while let Some(pid) = next.pop() {
        let own = children.remove(&pid).unwrap_or_default();
        all.extend(&own);
        next.extend(own);
    }
    Ok(all)
}

/// `None` where the process has gone.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; behind it come the state and the parent.
    let (_, fields) = stat.rsplit_once(')')?;
    Pid::from_raw(fields.split_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::{Ended, below, getpid, run};
    use std::process::Command;
    use std::time::{Duration, Instant};

    /// One test for both, because each ends everything below this process.
    #[test]
    fn work_over_its_limit_is_ended_with_all_that_it_has_started_and_other_work_ends_as_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let lasting = folder.path().join("lasting");
        // A program in a session of its own, one that ignores the request to end, and one that waits for them.
        let script = "setsid sleep 600 & (trap '' TERM; while :; do sleep 1; done) & touch \"$0\"; wait";
        let mut command = Command::new("sh");
        let ended = run(command.args(["-c", script]).arg(&lasting), Some(Duration::from_secs(3))).unwrap();
        assert!(matches!(ended, Ended::Late) && lasting.exists(), "{ended:?}");
        assert_eq!(below(getpid()).unwrap(), []);

        for (code, left) in [(0, ""), (7, "setsid sleep 600 &")] {
            let started = Instant::now();
            let script = format!("{left} exit {code}");
            let ended =
                run(Command::new("sh").args(["-c", &script]), Some(Duration::from_secs(300))).unwrap();
            assert!(matches!(ended, Ended::Status(status) if status.code() == Some(code)), "{ended:?}");
            assert!(started.elapsed() < Duration::from_secs(200));
            assert_eq!(below(getpid()).unwrap(), []);
        }
    }
}
