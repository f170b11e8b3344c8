//! What passes as a token and what does not.
