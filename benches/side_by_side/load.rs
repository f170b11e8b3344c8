//! The load: `wrk` on keep-alive connections, and what it saw.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

/// As many as in the published figures of peers, so that they can be compared.
const CONNECTIONS: u32 = 64;

/// Reports what `wrk` knows as JSON instead of its table.
const REPORT: &str = r#"
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"bytes":%d,"failed":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"#;

/// What one run of the load saw.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Seen {
    /// Answers.
    pub requests: u64,
    /// How long it took.
    pub microseconds: u64,
    /// Of answers, heads included.
    pub bytes: u64,
    /// Requests without a good answer.
    pub failed: u64,
    /// Median latency in microseconds.
    pub p50: u64,
    /// The latency that one in a hundred exceeds, in microseconds.
    pub p99: u64,
}

/// Runs the load against `url` with these header lines, for so long.
pub fn run(directory: &Path, url: &str, headers: &[String], duration: Duration) -> Seen {
    let script = directory.join("report.lua");
    fs::write(&script, REPORT).unwrap();
    let mut command = Command::new("wrk");
    command.args(["-t", "2", "-c", &CONNECTIONS.to_string()]);
    command.args(["-d", &format!("{}s", duration.as_secs())]);
    command.arg("-s").arg(&script);
    for header in headers {
        command.args(["-H", header]);
    }
    let output = command.arg(url).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let report = printed.lines().find(|line| line.starts_with('{'));
    let report = report.unwrap_or_else(|| panic!("wrk said: {printed}"));
    serde_json::from_str(report).unwrap()
}
