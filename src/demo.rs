//! `tidegate demo`: a development identity provider, a demo upstream and the gateway, in one process on loopback.

pub mod control;
pub mod http;
pub mod idp;
pub mod upstream;
