//! Real handshakes, and what is said of files that do not fit.
