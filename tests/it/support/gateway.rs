//! The gateway under test: in this process, or as the real program that can be killed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tidegate::app::{self, Running};
use tidegate::clock::Clock;
use tidegate::config::{Config, Overlay};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tracing_subscriber::fmt::MakeWriter;
use url::Url;

pub use super::redis::free_port;

/// A gateway in this process.
pub struct Gateway {
    running: Running,
    url: Url,
}

impl Gateway {
    /// Starts one from the text that a user would write. Logs of all tests are kept, for [`logs`].
    pub fn start(toml: &str, clock: &Clock) -> Self {
        // One that has stopped in this process lets go of its file a moment later: its threads end by themselves.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            match Self::try_start(toml, clock) {
                Ok(gateway) => return gateway,
                Err(why) if why.contains("in use by another process") => {
                    assert!(std::time::Instant::now() < deadline, "{why}");
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(why) => panic!("{why}\n{toml}"),
            }
        }
    }

    /// The same, where it may refuse.
    pub fn try_start(toml: &str, clock: &Clock) -> Result<Self, String> {
        keep_logs();
        let config = load(toml)?;
        let url = config.external_url.clone();
        let running = app::start(&config, clock.clone()).map_err(|why| chain(&why))?;
        Ok(Self { running, url })
    }

    /// `server.external_url`.
    pub fn url(&self) -> &Url {
        &self.url
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        self.running.addresses()
    }

    /// Where its administrator asks, if that is an address.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.running.admin_address()
    }

    /// Drains and stops.
    pub async fn stop(self) {
        self.running.stop().await.unwrap();
    }
}

fn load(toml: &str) -> Result<Config, String> {
    Config::parse(toml, Path::new("gateway.toml"), &Overlay::default())
        .map(|checked| checked.config)
        .map_err(|problems| problems.to_string())
}

/// An error and its causes, one after the other.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// The real program as a child process.
pub struct Child {
    process: tokio::process::Child,
    output: Arc<Mutex<String>>,
}

impl Child {
    /// Starts `tidegate run -c FILE` and waits until it listens on `port`.
    pub async fn run(config: &Path, port: u16) -> Self {
        let mut child = Self::start(&["run", "-c", config.to_str().unwrap()]);
        child.listens(port).await;
        child
    }

    /// Waits until it listens on `port`.
    pub async fn listens(&mut self, port: u16) {
        for _ in 0..1000 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return;
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("tidegate went down with {status}:\n{}", self.output());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("tidegate did not listen within 10 s:\n{}", self.output());
    }

    /// Starts the program with these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same with these variables in its environment.
    pub fn start_with(arguments: &[&str], environment: &[(&str, &Path)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = Arc::<Mutex<String>>::default();
        tokio::spawn(gather(process.stdout.take().unwrap(), Arc::clone(&output)));
        tokio::spawn(gather(process.stderr.take().unwrap(), Arc::clone(&output)));
        Self { process, output }
    }

    /// What it wrote so far, to both streams.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.process.id().expect("it is gone already").to_string();
        let sent = std::process::Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// kill -9, as when the power goes.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Waits until it is gone.
    pub async fn wait(&mut self) -> ExitStatus {
        let patience = Duration::from_mins(1);
        let gone = tokio::time::timeout(patience, self.process.wait()).await;
        gone.expect("it did not stop within 60 s").unwrap()
    }
}

async fn gather(stream: impl AsyncRead + Unpin, into: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut into = into.lock().unwrap();
        into.push_str(&line);
        into.push('\n');
    }
}

/// Every log line of all gateways in this process, at every level that tidegate has.
pub fn logs() -> String {
    String::from_utf8_lossy(&kept().lock().unwrap()).into_owned()
}

fn kept() -> &'static Mutex<Vec<u8>> {
    static KEPT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    &KEPT
}

fn keep_logs() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        tracing_subscriber::fmt()
            .with_env_filter("warn,tidegate=trace")
            .with_ansi(false)
            .with_writer(Keeper)
            .init();
    });
}

struct Keeper;

impl io::Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        kept().lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Keeper {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
