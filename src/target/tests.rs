//! Heads made by hand, one rule each.

use std::net::SocketAddr;

use http::Request;

use super::*;

fn peer(tls: bool, server_name: Option<&str>) -> Peer {
    Peer {
        addr: SocketAddr::from(([192, 0, 2, 1], 40000)),
        local_port: 443,
        tls,
        server_name: server_name.map(Into::into),
    }
}
