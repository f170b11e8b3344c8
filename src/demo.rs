//! `tidegate demo`: a development identity provider, a demo upstream and the gateway, in one process on loopback.

pub mod control;
pub mod http;
pub mod idp;
mod trace;
pub mod upstream;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::control::Control;
use self::http::Port;
use self::idp::{Client, Idp, PEOPLE};
use self::upstream::Upstream;
use crate::app::{self, Running};
use crate::clock::Clock;
use crate::config::{Config, Environment, Overlay};
use crate::telemetry;

/// The client that the demo's gateway is.
const CLIENT: &str = "demo";
/// Its secret: nothing here is secret, and nothing of it leaves this machine.
const CLIENT_SECRET: &str = "demo-secret";
/// The configuration that the demo runs with.
const CONFIGURATION: &str = include_str!("demo/gateway.toml");

/// What the command line asks of the demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// The gateway's port on localhost.
    pub port: u16,
    /// How long access tokens live.
    pub access_token_ttl: Duration,
    /// Where to write the configuration to go on from, if anywhere.
    pub write: Option<PathBuf>,
    /// What to do once it runs.
    pub then: Then,
}

/// What to do once the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Say where it is.
    Tell,
    /// Open it in a browser, too.
    Open,
}

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port, the runtime or the terminal can't be had.
    #[error("can't start the demo")]
    Start(#[source] io::Error),
    /// The development identity provider can't be started.
    #[error(transparent)]
    Idp(#[from] idp::Error),
    /// Its configuration is refused.
    #[error("the demo's own configuration is refused:\n{0}")]
    Config(String),
    /// The gateway can't be started or stopped.
    #[error(transparent)]
    Gateway(#[from] app::Error),
    /// The configuration can't be written.
    #[error("can't write {path}")]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Runs the demo until it is interrupted.
///
/// # Errors
/// See [`Error`].
pub fn run(options: &Options) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Error::Start)?;
    runtime.block_on(async {
        let demo = Demo::start(options).await?;
        if let Some(dir) = &options.write {
            write(dir, &demo.configuration)?;
        }
        introduce(&mut io::stdout(), &demo, options).map_err(Error::Start)?;
        if options.then == Then::Open {
            open_browser(&demo.url);
        }
        tokio::select! {
            () = trace::follow(&demo) => {}
            stopped = told_to_stop() => stopped.map_err(Error::Start)?,
        }
        demo.gateway.stop().await?;
        Ok(())
    })
}

async fn told_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Everything at work.
#[derive(Debug)]
pub struct Demo {
    /// Where people go.
    pub url: String,
    /// What the gateway runs with.
    pub configuration: String,
    /// The identity provider.
    pub idp: Idp,
    /// The application.
    pub upstream: Upstream,
    /// The gateway.
    pub gateway: Running,
}

impl Demo {
    /// Starts all three on the current runtime.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start(options: &Options) -> Result<Self, Error> {
        let url = format!("https://localhost:{}", options.port);
        let idp_port = near(options.port, 1)?;
        let upstream_port = near(options.port, 2)?;
        let configuration = configuration(options, &idp_port, &upstream_port);
        let config = load(&configuration)?;
        // One that runs in the same process may have set it up already.
        let _ = telemetry::init(&config.telemetry);
        let clock = Clock::shifted();
        let idp = idp::Options {
            clock: clock.clone(),
            access_token_ttl: options.access_token_ttl,
            clients: vec![Client::new(CLIENT, CLIENT_SECRET).for_gateway(&url)],
            trust: Some(config.state_dir.join("localhost.crt")),
            ..idp::Options::default()
        };
        let idp = Idp::start_on(idp_port, idp).await?;
        let ttl = options.access_token_ttl;
        let control = Control::new(idp.clone(), clock.clone(), ttl, CLIENT);
        let upstream = Upstream::start(upstream_port, Some(control));
        let gateway = app::start(&config, clock)?;
        Ok(Self {
            url,
            configuration,
            idp,
            upstream,
            gateway,
        })
    }
}

/// The port `by` above the gateway's, so that addresses stay the same from one demo to the next; any where it is taken.
fn near(port: u16, by: u16) -> Result<Port, Error> {
    let wanted = port.checked_add(by).unwrap_or_default();
    let reserved = http::reserve(wanted).or_else(|_| http::reserve(0));
    reserved.map_err(Error::Start)
}

fn configuration(options: &Options, idp: &Port, upstream: &Port) -> String {
    let ttl = options.access_token_ttl;
    // A swap that starts at once after the one before could not be watched.
    let before = (ttl / 6).as_secs().max(1);
    CONFIGURATION
        .replace("$PORT", &options.port.to_string())
        .replace("$IDP", &idp.number().to_string())
        .replace("$UPSTREAM", &upstream.number().to_string())
        .replace("$BEFORE", &format!("{before}s"))
        .replace("$TTL", &format!("{} s", ttl.as_secs()))
}

/// Writes `gateway.toml`; one that is there already is left alone.
fn write(dir: &Path, configuration: &str) -> Result<(), Error> {
    let path = dir.join("gateway.toml");
    let written = fs::create_dir_all(dir).and_then(|()| {
        let mut file = fs::File::create_new(&path)?;
        file.write_all(configuration.as_bytes())
    });
    written.map_err(|source| Error::Write { path, source })
}

fn introduce(out: &mut impl Write, demo: &Demo, options: &Options) -> io::Result<()> {
    let Demo { url, idp, .. } = demo;
    writeln!(out, "\n  Tidegate demo: {url}")?;
    writeln!(
        out,
        "  Its certificate was made here: tell your browser once that it is fine."
    )?;
    writeln!(
        out,
        "\n  People (no passwords; the identity provider is {}):",
        idp.issuer()
    )?;
    for person in &PEOPLE {
        writeln!(out, "    {:<6} {}", person.name, person.about)?;
    }
    let ttl = options.access_token_ttl.as_secs();
    writeln!(out, "\n  Five things to try:")?;
    writeln!(
        out,
        "    1. Open {url}/ and sign in. Look for a token in your browser: there is none."
    )?;
    writeln!(
        out,
        "    2. Reload for a while: access tokens live {ttl} s, and swaps show below."
    )?;
    writeln!(out, "    3. Open {url}/admin/ as alice, then as carol.")?;
    writeln!(
        out,
        "    4. Press the buttons of {url}/_demo: take the provider down (and up again at /public/_demo)."
    )?;
    writeln!(
        out,
        "    5. curl -k -i {url}/api/headers.json (401), and {url}/public/ (open to all)."
    )?;
    if let Some(dir) = &options.write {
        writeln!(
            out,
            "\n  Its configuration: {}",
            dir.join("gateway.toml").display()
        )?;
    }
    writeln!(out, "\n  Ctrl-C stops it. What happens:\n")?;
    out.flush()
}

/// Where there is no browser, the address on the terminal is enough.
fn open_browser(url: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let _ = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

fn load(configuration: &str) -> Result<Config, Error> {
    let overlay = Overlay {
        environment: Environment::of_process().without_overrides(),
        ..Overlay::default()
    };
    Config::parse(configuration, Path::new("gateway.toml"), &overlay)
        .map(|checked| checked.config)
        .map_err(|problems| Error::Config(problems.to_string()))
}
