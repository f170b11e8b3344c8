//! Logs: what goes where, in which form, the one line a request leaves, and the one a decision leaves. And what is counted.

mod access;
pub mod audit;
mod json;
mod line;
pub mod metrics;
mod observed;
mod request_id;
mod writer;

use std::io::IsTerminal;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

pub use access::{Access, AccessLog};
pub use audit::Audit;
pub use metrics::Metrics;
pub use observed::Observed;
pub use request_id::RequestId;

/// What `[telemetry]` says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The form of log lines.
    pub format: Format,
    /// A filter of tracing-subscriber's, such as `info` or `tidegate::session=debug`.
    pub level: String,
    /// The line that each request leaves; none means that it leaves none.
    pub access_log: Option<AccessSettings>,
    /// Where the audit log goes, if there is one.
    pub audit_log: Option<AuditSettings>,
    /// Whether log lines for people are coloured.
    pub color: Color,
}

/// What `[telemetry].access_log` says.
#[derive(Clone, Debug)]
pub struct AccessSettings {
    /// The form of its lines.
    pub format: Format,
    /// Paths that leave no line, compared exactly.
    pub exclude: Vec<Box<str>>,
}

/// What `[telemetry].audit_log` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditSettings {
    /// Standard output.
    Stdout,
    /// A file, made with mode 0600 and appended to.
    File(PathBuf),
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// Whether what a person reads is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to colour what goes to `stream`.
    pub fn applies_to(self, stream: &impl IsTerminal) -> bool {
        match self {
            Self::Auto => {
                stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            }
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Why logging can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter can't be parsed.
    #[error("the log level {level:?} can't be understood")]
    Level {
        /// What was asked for.
        level: String,
        /// Why not.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// It was set up before.
    #[error("logging is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the process: to standard output, where containers look for it.
///
/// # Errors
/// When the filter can't be parsed, or logging was set up before.
pub fn init(settings: &Settings) -> Result<(), Error> {
    use tracing_subscriber::util::SubscriberInitExt;

    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&settings.level)?)
        .with_ansi(settings.color.applies_to(&std::io::stdout()));
    match settings.format {
        Format::Json => builder.event_format(json::Json).finish().try_init(),
        Format::Pretty => builder.with_target(false).finish().try_init(),
    }
    .map_err(Error::Twice)
}

/// Whether `level` is a filter that [`init`] understands.
///
/// # Errors
/// When it can't be parsed.
pub fn check_level(level: &str) -> Result<(), Error> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, Error> {
    EnvFilter::builder()
        .parse(level)
        .map_err(|source| Error::Level {
            level: level.to_owned(),
            source,
        })
}
