//! Ports for what a test starts.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// A port that nobody listens on. It is below those that the system gives to outgoing connections: among hundreds of them
/// one would now and then take the port before the program that it is for.
pub fn free_port() -> u16 {
    loop {
        let random = RandomState::new().hash_one(0);
        let port = 12_000 + u16::try_from(random % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
