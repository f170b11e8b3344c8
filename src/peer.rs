//! Who is on the wire, as the listener saw it: never from a header.

use std::net::SocketAddr;
use std::sync::Arc;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// The port of ours that it came to.
    pub local_port: u16,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The name that it asked for in TLS (SNI, RFC 6066 section 3), in lower case.
    pub server_name: Option<Arc<str>>,
}
