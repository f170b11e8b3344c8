//! Tidegate: a reverse proxy that lets nothing through to an upstream without a verified access token, keeps sliding
//! sessions by swapping refresh tokens on the server, and makes sign-out end access at the identity provider too.
//!
//! The three lists below are the table of contents and the law: `tests/layers.rs` reads them and refuses an import that
//! points the wrong way. ARCHITECTURE.md draws a request's way through them.

// # Frame: from the process down to one request. Each may use what follows.
pub mod cli;

pub mod demo;

pub mod app;

pub mod config;

pub mod admin;

pub mod listener;

pub mod tls;

pub mod gateway;

pub mod endpoint;

// # Path: the stages of a request. Each may use those before it, and the ground.
pub mod target;

pub mod route;

pub mod credential;

pub mod verify;

pub mod session;

pub mod authorize;

pub mod forward;

pub mod refusal;

// # Ground: the words that the rest is said in. Each may use what follows.
pub mod issuer;

pub mod connect;

pub mod inbound;

pub mod ending;

pub mod pages;

pub mod telemetry;

pub mod seal;

pub mod peer;

pub mod token;

pub mod clock;
