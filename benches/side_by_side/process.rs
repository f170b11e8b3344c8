//! A child process and what it costs.

use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process that is ended with this value.
pub struct Process(Child);

impl Process {
    /// Starts it, silent on standard output.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().map(Self)
    }

    /// The CPU time that it, its threads and its child processes have used so far.
    ///
    /// The scheduler counts it in nanoseconds: the ticks of `/proc/PID/stat` would round a short run.
    pub fn cpu_time(&self) -> Duration {
        let pids = family(self.0.id());
        let threads = pids
            .iter()
            .flat_map(|pid| entries(&format!("/proc/{pid}/task")));
        let nanoseconds = threads.filter_map(|thread| {
            let line = fs::read_to_string(format!("{thread}/schedstat")).ok()?;
            line.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Resident memory of it and its child processes, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let sizes = family(self.0.id()).into_iter().filter_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        });
        sizes.sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nginx's workers end with their master when it is asked, not when it is killed.
        let pid = self.0.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        if asked.is_err() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let mut all = vec![pid];
    all.extend(
        children
            .split_whitespace()
            .filter_map(|c| c.parse::<u32>().ok()),
    );
    all
}

fn entries(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|e| e.ok()?.path().to_str().map(str::to_owned));
    paths.collect()
}
