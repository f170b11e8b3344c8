//! The command line: `run`, `demo`, `check`, `session`, `key`, `version`.

mod arguments;
mod check;
mod exit;
mod key;
mod session;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Parser;

use self::arguments::{Arguments, Command, Global, VersionFormat};
use crate::config::{Checked, Coloring, Config, Environment, Overlay, Problems};
use crate::telemetry::{self, Color, Format};
use crate::{app, demo};

pub use exit::Exit;

/// Where a configuration is looked for when nobody names one.
const PLACES: [&str; 2] = ["gateway.toml", "/etc/tidegate/gateway.toml"];

/// Does what the command line asks, and says so to `out` and `err`.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(answer) => return print_usage(&answer, out, err),
    };
    let mut terminal = Terminal {
        out,
        err,
        color: arguments.global.color.into(),
    };
    match &arguments.command {
        Command::Run(options) => serve(&arguments.global, &options.set, &mut terminal),
        Command::Demo(_) if arguments.global.config.is_some() => {
            terminal.complain("error: the demo takes no configuration file: leave --config and TIDEGATE_CONFIG out\n");
            Exit::Usage
        }
        Command::Demo(options) => show(options, &mut terminal),
        Command::Check(options) => check::check(&arguments.global, options, &mut terminal),
        Command::Session(options) => session::session(&arguments.global, options, &mut terminal),
        Command::Key(options) => key::key(options, &mut terminal),
        Command::Version { format } => version(*format, &mut terminal),
    }
}

/// Where answers go.
struct Terminal<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    color: Color,
}

impl Terminal<'_> {
    /// What was asked for. A reader that went away (`| head`) wants no more of it.
    fn say(&mut self, text: impl std::fmt::Display) {
        let _ = write!(self.out, "{text}").and_then(|()| self.out.flush());
    }

    /// What went wrong.
    fn complain(&mut self, text: impl std::fmt::Display) {
        let _ = write!(self.err, "{text}").and_then(|()| self.err.flush());
    }

    fn problems(&mut self, problems: &Problems) {
        let coloring = self.coloring_of(&io::stderr());
        self.complain(problems.render(coloring));
    }

    /// An error and its causes.
    fn fail(&mut self, error: &dyn Error) {
        let mut text = format!("error: {error}\n");
        let mut next = error.source();
        while let Some(cause) = next {
            text.extend(["  caused by: ", &cause.to_string(), "\n"]);
            next = cause.source();
        }
        self.complain(text);
    }

    fn coloring_of(&self, stream: &impl IsTerminal) -> Coloring {
        if self.color.applies_to(stream) {
            Coloring::Colored
        } else {
            Coloring::Plain
        }
    }
}

fn print_usage(answer: &clap::Error, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let text = answer.render();
    let (stream, colored): (&mut dyn Write, bool) = if answer.use_stderr() {
        (err, Color::Auto.applies_to(&io::stderr()))
    } else {
        (out, Color::Auto.applies_to(&io::stdout()))
    };
    let _ = if colored {
        write!(stream, "{}", text.ansi())
    } else {
        write!(stream, "{text}")
    };
    if answer.use_stderr() {
        Exit::Usage
    } else {
        Exit::Success
    }
}

fn serve(global: &Global, set: &[String], terminal: &mut Terminal<'_>) -> Exit {
    let mut config = match load(global, set) {
        Ok(Checked { config, warnings }) => {
            terminal.problems(&warnings);
            config
        }
        Err(problems) => {
            terminal.problems(&problems);
            return Exit::of_problems(&problems);
        }
    };
    config.telemetry.color = terminal.color;
    if let Err(error) = telemetry::init(&config.telemetry) {
        terminal.fail(&error);
        return Exit::Config;
    }
    if config.telemetry.format == Format::Pretty && !global.quiet {
        terminal.complain(format_args!(
            "Tidegate {}\n\n{}\n",
            VERSION,
            config.summary()
        ));
    }
    match app::run(&config) {
        Ok(()) => Exit::Success,
        Err(error) => {
            terminal.fail(&error);
            Exit::of_app(&error)
        }
    }
}

fn show(options: &arguments::Demo, terminal: &mut Terminal<'_>) -> Exit {
    let options = demo::Options {
        port: options.port,
        access_token_ttl: options.access_token_ttl,
        write: options.write.clone(),
        then: if options.open {
            demo::Then::Open
        } else {
            demo::Then::Tell
        },
    };
    match demo::run(&options) {
        Ok(()) => Exit::Success,
        Err(error) => {
            terminal.fail(&error);
            Exit::of_demo(&error)
        }
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn version(format: VersionFormat, terminal: &mut Terminal<'_>) -> Exit {
    match format {
        VersionFormat::Human => terminal.say(format_args!("tidegate {VERSION}\n")),
        VersionFormat::Json => {
            let version = serde_json::json!({ "name": "tidegate", "version": VERSION });
            terminal.say(format_args!("{version}\n"));
        }
    }
    Exit::Success
}

/// The configuration that the command line leads to. What the general flags say comes last, as the strongest.
fn load(global: &Global, set: &[String]) -> Result<Checked, Problems> {
    let overlay = Overlay {
        environment: Environment::of_process(),
        set: set.iter().cloned().chain(global.settings()).collect(),
        log_format: io::stdout().is_terminal().then_some(Format::Pretty),
    };
    Config::load(&config_file(global.config.as_deref()), &overlay)
}

fn config_file(named: Option<&Path>) -> PathBuf {
    let [first, rest @ ..] = PLACES.map(Path::new);
    let found = || {
        let mut places = std::iter::once(first).chain(rest);
        places.find(|place| place.exists())
    };
    named.or_else(found).unwrap_or(first).to_owned()
}
