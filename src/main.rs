//! The program: a command line, an exit code.

fn main() {}
