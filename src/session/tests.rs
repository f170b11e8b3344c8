//! The swap's invariants (design: refresh.md), each held over real sockets against a provider that detects reuse.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unchecked_time_subtraction,
    reason = "a test may fail by panicking"
)]

mod answers;
mod client;
mod common;
mod cookie;
mod deadlines;
mod dismiss;
mod end;
mod errors;
mod explore;
mod house;
mod idp;
mod limit;
mod nodes;
mod ready;
mod refuse;
mod restart;
mod rotation;
mod saving;
mod streams;
mod survey;
mod swap;
mod users;
