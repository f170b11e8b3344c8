//! Builds every part, binds first, starts the workers and the background tasks, and drains: the only composer.
