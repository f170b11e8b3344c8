//! What the provider's answers mean.
