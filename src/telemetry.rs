//! Logs: what goes where, in which form, and the one line a request leaves.

/// What `[telemetry]` says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The form of log lines.
    pub format: Format,
    /// A filter of tracing-subscriber's, such as `info` or `tidegate::session=debug`.
    pub level: String,
    /// Whether each request leaves a line.
    pub access_log: bool,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// Sets up logging for the process.
///
/// # Errors
/// When the filter can't be parsed.
pub fn init(_settings: &Settings) -> Result<(), String> {
    todo!()
}
