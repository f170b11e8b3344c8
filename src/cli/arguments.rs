//! What can be written on the command line.
#![expect(clippy::doc_markdown, reason = "these comments are what --help says")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::telemetry::Color;

/// A reverse proxy that lets nothing through without a verified access token.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    about,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 success, 1 failure at run time, 2 wrong command line, 3 unclean shutdown, \
                  69 a dependency is unreachable, 77 no permission to bind or read, 78 invalid configuration."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// The configuration; else ./gateway.toml, then /etc/tidegate/gateway.toml
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "TIDEGATE_CONFIG"
    )]
    pub(super) config: Option<PathBuf>,
    /// As telemetry.log_level: error, warn, info, debug, trace, or a filter
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// As telemetry.log_format
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// When to colour (NO_COLOR is respected)
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: ColorChoice,
    /// Say less: warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

impl Global {
    /// The keys that these flags stand for, as `--set` takes them.
    pub(super) fn settings(&self) -> Vec<String> {
        let level = match (&self.log_level, self.quiet, self.verbose) {
            (Some(level), _, _) => Some(level.as_str()),
            (None, true, _) => Some("warn"),
            (None, false, 0) => None,
            (None, false, 1) => Some("info,tidegate=debug"),
            (None, false, _) => Some("info,tidegate=trace"),
        };
        let format = self.log_format.map(|format| match format {
            LogFormat::Json => "json",
            LogFormat::Pretty => "pretty",
        });
        let level = level.map(|level| format!("telemetry.log_level={level}"));
        let format = format.map(|format| format!("telemetry.log_format={format}"));
        level.into_iter().chain(format).collect()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve
    Run(Run),
    /// Try it: an identity provider, an application and the gateway in one process on loopback
    Demo(Demo),
    /// Read the configuration and say what it comes to, or all that is wrong with it
    Check(Check),
    /// Who is signed in, and the end of that: asked of the running gateway through [admin]
    Session(Sessions),
    /// Make keys
    #[command(subcommand)]
    Key(Key),
    /// Say which version this is
    Version {
        /// For whom
        #[arg(long, default_value = "human")]
        format: VersionFormat,
    },
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Override a key, such as session.idle_timeout=15m
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Don't reload when files change (this version never does)
    #[arg(long)]
    no_watch: bool,
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The gateway's port on localhost
    #[arg(long, default_value_t = 8443)]
    pub(super) port: u16,
    /// Open a browser
    #[arg(long)]
    pub(super) open: bool,
    /// How long access tokens live
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(super) access_token_ttl: Duration,
    /// Write the demo's configuration there, to go on from
    #[arg(long, value_name = "DIR")]
    pub(super) write: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Sessions {
    /// Override a key, such as admin.address=127.0.0.1:9902
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub(super) set: Vec<String>,
    #[command(subcommand)]
    pub(super) what: Session,
}

#[derive(Debug, Subcommand)]
pub(super) enum Session {
    /// All sessions, the newest first
    List {
        /// Only this user's: the subject; where no session has that one, a user name or an e-mail address
        #[arg(long)]
        user: Option<String>,
        /// Only those of this identity provider: NAME of [idp.NAME]
        #[arg(long, value_name = "NAME")]
        idp: Option<String>,
        /// For whom
        #[arg(long, default_value = "table")]
        format: ListFormat,
    },
    /// All that is known of one
    Show {
        /// Its id, or the first 8 or more letters of it
        id: String,
        /// For whom
        #[arg(long, default_value = "table")]
        format: ListFormat,
    },
    /// End sessions here, at once and on every node, and revoke what they hold
    End(SessionEnd),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct SessionEnd {
    /// Their ids, or the first 8 or more letters of each
    #[arg(conflicts_with_all = ["user", "all"], value_name = "ID")]
    pub(super) ids: Vec<String>,
    /// All of this user, named by the subject; bearer tokens that were issued to them are refused too
    #[arg(long, conflicts_with = "all", value_name = "SUBJECT")]
    pub(super) user: Option<String>,
    /// Whose user, where there is more than one identity provider
    #[arg(long, requires = "user", value_name = "NAME")]
    pub(super) idp: Option<String>,
    /// All there are
    #[arg(long)]
    pub(super) all: bool,
    /// Don't ask whether --all is meant
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ListFormat {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Make a new key, as base64
    New(NewKey),
}

#[derive(Debug, Args)]
pub(super) struct NewKey {
    /// What it is for: session is one for session.encryption_keys
    pub(super) kind: KeyKind,
    /// Write it to a new file that only its owner may read, instead of saying it
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum KeyKind {
    Session,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Override a key, such as session.idle_timeout=15m
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Take warnings for errors
    #[arg(long)]
    pub(super) strict: bool,
    /// For whom
    #[arg(long, default_value = "human")]
    pub(super) format: CheckFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogFormat {
    Json,
    Pretty,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ColorChoice {
    Auto,
    Always,
    Never,
}

impl From<ColorChoice> for Color {
    fn from(choice: ColorChoice) -> Self {
        match choice {
            ColorChoice::Auto => Self::Auto,
            ColorChoice::Always => Self::Always,
            ColorChoice::Never => Self::Never,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CheckFormat {
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum VersionFormat {
    Human,
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a number with its unit, such as 60s or 5m".to_owned())
}
