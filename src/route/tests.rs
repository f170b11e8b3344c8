//! Which route a path finds, and which have more than one meaning.
