//! Real sockets on both sides: what an upstream is told, and what a client gets back.
