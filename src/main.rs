//! The program: a command line, an exit code.

use std::io;
use std::process::ExitCode;

/// Small buffers come and go with every request: the system's allocator is slower at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::run(std::env::args_os(), &mut io::stdout(), &mut io::stderr()).into()
}
