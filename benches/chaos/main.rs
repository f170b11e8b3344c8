//! The chaos run: gateways, store and identity provider as processes on loopback, everything that can go wrong made to go
//! wrong, and one table of what came of it. `./chaos` starts it.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measuring program: it ends loudly where something is wrong"
)]

mod chance;
mod link;
#[path = "../../tests/it/support/pki.rs"]
mod pki;
mod plan;
#[path = "../../tests/it/support/ports.rs"]
mod ports;
mod process;
mod redis;
mod report;
mod scenario;
mod tally;
mod traffic;
mod upstream;
mod verdict;
mod visitor;
mod wire;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use plan::{Plan, USAGE};

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let plan = match Plan::read() {
        Ok(plan) => plan,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", plan.seed);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let began = Instant::now();
    let rows = runtime.block_on(scenario::run(&plan, began));
    report::print(&rows, &plan);
    println!(
        "\n{:.0} s, seed {}",
        began.elapsed().as_secs_f64(),
        plan.seed
    );
    if let Some(file) = &plan.json {
        report::save(&rows, &plan, file);
    }
    if rows.iter().all(|row| row.problems.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
