//! The command line: `run`, `demo`, `check`, `version`.
