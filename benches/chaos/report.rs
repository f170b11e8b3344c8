//! The table, and the raw figures.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::plan::Plan;
use crate::verdict::Row;

const HEADS: [&str; 13] = [
    "scenario",
    "requests",
    "200",
    "503",
    "other",
    "swaps",
    "at once",
    "reuse",
    "lost",
    "healed",
    "unauthorised",
    "revoked/owed",
    "verdict",
];

/// Prints one row for each scenario, then what was measured beside and what is broken.
pub fn print(rows: &[Row], plan: &Plan) {
    let table: Vec<[String; 13]> = rows.iter().map(cells).collect();
    let widths: Vec<usize> = (0..HEADS.len())
        .map(|at| {
            let longest = table
                .iter()
                .map(|row| row[at].len())
                .max()
                .unwrap_or_default();
            longest.max(HEADS[at].len())
        })
        .collect();
    println!();
    print_line(&HEADS.map(str::to_owned), &widths);
    for row in &table {
        print_line(row, &widths);
    }
    println!();
    for row in rows {
        for note in &row.notes {
            println!("{}: {note}", row.name);
        }
    }
    for row in rows.iter().filter(|row| !row.problems.is_empty()) {
        println!(
            "\n{} is BROKEN (--only {} --seed {}):",
            row.name, row.name, plan.seed
        );
        for problem in row.problems.iter().take(12) {
            println!("  {problem}");
        }
        if row.problems.len() > 12 {
            println!("  and {} more", row.problems.len() - 12);
        }
        println!("  evidence: target/chaos/{}/evidence.txt", row.name);
    }
}

fn print_line(cells: &[String; 13], widths: &[usize]) {
    let padded = cells
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(at, (cell, width))| {
            if at == 0 || at == 13 {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
    let padded: Vec<_> = padded.collect();
    println!("{}", padded.join("  ").trim_end());
}

fn cells(row: &Row) -> [String; 13] {
    let lost: Vec<_> = row
        .lost
        .iter()
        .map(|(cause, n)| format!("{n} {cause}"))
        .collect();
    let lost = if lost.is_empty() {
        "0".to_owned()
    } else {
        lost.join(", ")
    };
    let verdict = if row.problems.is_empty() {
        "holds"
    } else {
        "BROKEN"
    };
    [
        row.name.to_owned(),
        row.requests.to_string(),
        row.ok.to_string(),
        row.unavailable.to_string(),
        row.other.to_string(),
        row.swaps.to_string(),
        row.at_once.to_string(),
        row.reuses.to_string(),
        lost,
        row.healed.to_string(),
        row.unauthorised.to_string(),
        format!("{}/{}", row.confirmed, row.owed),
        verdict.to_owned(),
    ]
}

/// Writes the raw figures.
pub fn save(rows: &[Row], plan: &Plan, file: &Path) {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let lost = row
                .lost
                .iter()
                .map(|(cause, n)| (cause.to_string(), json!(n)));
            json!({
                "scenario": row.name,
                "seconds": row.seconds,
                "sessions": row.visitors,
                "requests": row.requests,
                "answered_200": row.ok,
                "answered_503": row.unavailable,
                "other": row.other,
                "other_by_kind": row.kinds,
                "swaps": row.swaps,
                "refreshes_at_once": row.at_once,
                "reuse_detections": row.reuses,
                "lost": lost.collect::<serde_json::Map<_, _>>(),
                "healed": row.healed,
                "unauthorised_forwards": row.unauthorised,
                "revocations_owed": row.owed,
                "revocations_confirmed": row.confirmed,
                "measured": row.notes,
                "problems": row.problems,
            })
        })
        .collect();
    let all = json!({ "seed": plan.seed, "smoke": plan.smoke, "gateways": plan.nodes, "scenarios": rows });
    fs::write(file, format!("{all:#}\n")).unwrap();
}
