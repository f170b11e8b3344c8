//! What the provider's answers mean, over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail by panicking, and is a long table at times"
)]

mod discovery;
mod grants;
mod leaving;
mod management;
pub(crate) mod server;
