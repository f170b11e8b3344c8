//! How a tunnel ends, over in-memory pipes and a paused clock.
