//! The pages that people see: templates, and the security headers that every page of ours carries. No script anywhere.

use http::{Response, StatusCode};
use serde::Serialize;

/// What `[pages]` says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The heading of every page.
    pub title: String,
}

/// All templates, parsed once.
#[derive(Debug)]
pub struct Pages {}

impl Pages {
    /// The built-in templates.
    pub fn new(_settings: Settings) -> Self {
        todo!()
    }

    /// Renders a template of `src/pages/` with its security headers (CSP, frame-ancestors, referrer policy, no-store).
    pub fn render(
        &self,
        _status: StatusCode,
        _template: &str,
        _context: impl Serialize,
    ) -> Response<String> {
        todo!()
    }
}
