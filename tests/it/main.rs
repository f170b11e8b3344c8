//! What a user could see, through real sockets: the gateway in this process, between real actors.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_imports,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "tests, and actors that not every test needs"
)]

mod support;

mod admin;
mod application;
mod audit;
mod auth0;
mod backchannel;
mod chromium;
mod cli;
mod curl;
mod demo;
mod frontchannel;
mod keycloak;
mod keycloak_logout;
mod provider;
mod redis;
mod refusal;
mod revoke;
mod session_cookie;
mod sessions;
mod sign_in;
mod sign_out;
mod story;
mod streams;
