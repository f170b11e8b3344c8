//! Child processes: the gateways, and Redis with its sentinels. Each writes a log of its own.

use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::ports::free_port;

/// A program that can be killed, stopped, and started again on the same port.
pub struct Process {
    pub port: u16,
    pub log: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    child: tokio::sync::Mutex<Option<Child>>,
}

impl Process {
    pub fn new(program: &Path, arguments: Vec<String>, port: u16, log: PathBuf) -> Self {
        Self {
            port,
            log,
            program: program.to_owned(),
            arguments,
            child: tokio::sync::Mutex::default(),
        }
    }

    pub async fn start(&self) {
        let log = append(&self.log);
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|why| panic!("{}: {why}", self.program.display()));
        *self.child.lock().await = Some(child);
    }

    /// Waits until it accepts connections.
    pub async fn until_listening(&self) {
        for _ in 0..1000 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
                .await
                .is_ok()
            {
                return;
            }
            let mut child = self.child.lock().await;
            if let Some(status) = child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!(
                    "{} went down with {status}:\n{}",
                    self.program.display(),
                    self.tail(20)
                );
            }
            drop(child);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!(
            "{} does not listen:\n{}",
            self.program.display(),
            self.tail(20)
        );
    }

    /// Waits until a Redis answers, its data loaded.
    pub async fn until_pong(&self) {
        for _ in 0..1000 {
            if ask(self.port, "PING")
                .await
                .is_ok_and(|answer| answer.starts_with("+PONG"))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no PONG from port {}:\n{}", self.port, self.tail(20));
    }

    /// kill -9.
    pub async fn kill(&self) {
        if let Some(mut child) = self.child.lock().await.take() {
            child.kill().await.unwrap();
        }
    }

    /// Asks it to stop, and waits.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
        if let Some(mut child) = self.child.lock().await.take() {
            let gone = tokio::time::timeout(Duration::from_secs(40), child.wait()).await;
            gone.expect("it does not stop").unwrap();
        }
    }

    /// Sends a signal by name, such as `STOP`.
    pub async fn signal(&self, name: &str) {
        let child = self.child.lock().await;
        let Some(pid) = child.as_ref().and_then(Child::id) else {
            return;
        };
        drop(child);
        let mut kill = Command::new("kill");
        kill.args([&format!("-{name}"), &pid.to_string()]);
        assert!(kill.status().await.unwrap().success());
    }

    /// The last lines of its log.
    pub fn tail(&self, lines: usize) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn append(log: &Path) -> File {
    let opened = OpenOptions::new().create(true).append(true).open(log);
    opened.unwrap_or_else(|why| panic!("{}: {why}", log.display()))
}

/// Says one inline command to a Redis; the beginning of its answer.
pub async fn ask(port: u16, command: &str) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        let mut buffer = vec![0; 4096];
        let length = stream.read(&mut buffer).await?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
    let answer = tokio::time::timeout(Duration::from_secs(2), exchange).await;
    answer.unwrap_or(Err(late))
}

/// Loopback ports that nobody has now.
pub fn free_ports(n: usize) -> Vec<u16> {
    (0..n).map(|_| free_port()).collect()
}
