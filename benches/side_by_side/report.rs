//! Medians, ratios, and every sample as JSON.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::Seen;

/// One run of the load against one peer.
pub struct Sample {
    /// What the load saw.
    pub seen: Seen,
    /// CPU time of all the peer's processes meanwhile.
    pub cpu: Duration,
}

impl Sample {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn figures(&self) -> Figures {
        let requests = self.seen.requests.max(1) as f64;
        Figures {
            per_second: requests / (self.seen.microseconds.max(1) as f64 / 1e6),
            cpu: self.cpu.as_secs_f64() * 1e6 / requests,
            p50: self.seen.p50 as f64,
            p99: self.seen.p99 as f64,
        }
    }
}

/// What is compared: CPU, p50 and p99 in microseconds.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
}

/// A peer's samples.
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// One a round.
    pub samples: Vec<Sample>,
    /// KiB of all its processes after the last round.
    pub resident_kib: u64,
}

impl Row {
    fn medians(&self) -> Figures {
        let all: Vec<_> = self.samples.iter().map(Sample::figures).collect();
        let median = |of: fn(&Figures) -> f64| {
            let mut values: Vec<_> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Figures {
            per_second: median(|f| f.per_second),
            cpu: median(|f| f.cpu),
            p50: median(|f| f.p50),
            p99: median(|f| f.p99),
        }
    }
}

/// Prints medians and their ratios to the first row.
pub fn print(rows: &[Row]) {
    let base = rows[0].medians();
    println!(
        "{:<26} {:>11} {:>20} {:>9} {:>9} {:>8} {:>8} {:>8}",
        "", "requests/s", "CPU s/1000 requests", "p50 us", "p99 us", "x CPU", "x req/s", "RSS MiB"
    );
    for row in rows {
        let m = row.medians();
        println!(
            "{:<26} {:>11.0} {:>20.5} {:>9.0} {:>9.0} {:>8.2} {:>8.2} {:>8}",
            row.name,
            m.per_second,
            m.cpu / 1e3,
            m.p50,
            m.p99,
            m.cpu / base.cpu,
            m.per_second / base.per_second,
            row.resident_kib / 1024,
        );
    }
    println!(
        "\nMedians. x CPU: CPU time a request beside {}'s, lower is better; x req/s: higher is better.",
        rows[0].name
    );
}

/// What one row costs more than another, round by round: both were asked in each.
pub fn compare(rows: &[Row], name: &str, beside: &str) {
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    let (Some(one), Some(other)) = (find(name), find(beside)) else {
        return;
    };
    let pairs = one.samples.iter().zip(&other.samples);
    let ratios = pairs.map(|(one, other)| one.figures().cpu / other.figures().cpu);
    let mut ratios: Vec<_> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "{name}: {:.3} times the CPU a request of {beside} (median of {} rounds, {:.3} to {:.3})",
        ratios[ratios.len() / 2],
        ratios.len(),
        ratios[0],
        ratios[ratios.len() - 1],
    );
}

/// Writes every sample.
pub fn save(rows: &[Row], file: &Path) {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let samples: Vec<Value> = row
                .samples
                .iter()
                .map(|s| {
                    json!({
                        "requests": s.seen.requests,
                        "microseconds": s.seen.microseconds,
                        "failed": s.seen.failed,
                        "cpu_nanoseconds": u64::try_from(s.cpu.as_nanos()).unwrap_or(u64::MAX),
                        "p50_microseconds": s.seen.p50,
                        "p99_microseconds": s.seen.p99,
                    })
                })
                .collect();
            json!({ "peer": row.name, "resident_kib": row.resident_kib, "samples": samples })
        })
        .collect();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, format!("{:#}\n", Value::Array(rows))).unwrap();
}
