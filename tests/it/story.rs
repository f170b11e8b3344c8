//! The whole story of a session, from the first page to the sign-out.
