//! Redis servers for tests: real ones, on loopback, with all they write in a directory of their own; gone when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[path = "ports.rs"]
mod ports;
pub use ports::free_port;

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Child>,
    arguments: Vec<String>,
    password: Option<String>,
    dir: tempfile::TempDir,
    pub port: u16,
}

/// What it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Text(Vec<u8>),
    Number(i64),
    Nothing,
    List(Vec<Reply>),
    Error(String),
}

impl Reply {
    pub fn text(&self) -> String {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Number(number) => number.to_string(),
            Self::Nothing => String::new(),
            Self::Error(why) => why.clone(),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Reply::text).collect();
                items.join("\n")
            }
        }
    }

    pub fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            _ => panic!("not a number: {self:?}"),
        }
    }

    pub fn list(&self) -> Vec<Reply> {
        match self {
            Self::List(items) => items.clone(),
            _ => panic!("not a list: {self:?}"),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(bytes) => bytes.clone(),
            _ => panic!("not text: {self:?}"),
        }
    }
}

impl RedisServer {
    /// One that writes down all it is told at once, so that it may be killed.
    pub fn start() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// One with these arguments.
    pub fn with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&a| a.to_owned()).collect();
        Self::begin(arguments, None)
    }

    /// One that asks the default user for a password.
    pub fn with_password(password: &str) -> Self {
        let arguments = vec!["--requirepass".to_owned(), password.to_owned()];
        Self::begin(arguments, Some(password.to_owned()))
    }

    /// One that is reached over TLS too, at `port` instead, with a certificate for localhost in these files.
    pub fn with_tls(cert: &Path, key: &Path) -> Self {
        let port = free_port().to_string();
        let (cert, key) = (cert.display().to_string(), key.display().to_string());
        let mut server = Self::with(&[
            "--tls-port",
            &port,
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &cert,
            "--tls-auth-clients",
            "no",
        ]);
        server.port = port.parse().unwrap();
        server
    }

    fn begin(arguments: Vec<String>, password: Option<String>) -> Self {
        Self::begin_in(tempfile::tempdir().unwrap(), arguments, password)
    }

    fn begin_in(dir: tempfile::TempDir, arguments: Vec<String>, password: Option<String>) -> Self {
        let mut server = Self {
            process: None,
            arguments,
            password,
            dir,
            port: 0,
        };
        // Somebody may take the port between its choice and its use.
        for _ in 0..20 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server does not start: {}", server.log());
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    fn launch(&mut self) -> bool {
        let port = self.port.to_string();
        let dir = self.dir().display().to_string();
        let sentinel = self.dir().join("sentinel.conf");
        let mut command = Command::new("redis-server");
        if sentinel.exists() {
            command.arg(sentinel).arg("--sentinel");
        } else {
            command.args(["--save", ""]);
        }
        let process = command
            .args(["--port", &port, "--dir", &dir, "--logfile", "log"])
            .args(["--bind", "127.0.0.1", "--daemonize", "no"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server (./test --setup redis)");
        self.process = Some(process);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if self.answers() {
                return true;
            }
            if self.process.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn answers(&self) -> bool {
        // Another process's server may sit on the port.
        let Some(info) = self.try_ask(&[b"INFO", b"server"]) else {
            return false;
        };
        let info = info.text();
        let process = self.process.as_ref().unwrap().id();
        info.contains(&format!("process_id:{process}\r"))
    }

    fn bus(&self) -> String {
        let at = self.arguments.iter().position(|a| a == "--cluster-port");
        self.arguments[at.unwrap() + 1].clone()
    }

    /// SIGKILL: as when the power goes.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again after it was killed: same port, same files.
    pub fn restart(&mut self) {
        assert!(self.launch(), "{}", self.log());
    }

    /// All that it was ever told, as it wrote it down: nothing in there is compressed.
    pub fn written(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.dir().join("appendonlydir")).unwrap();
        let files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.flatten().collect()
    }

    /// Forgets all it has on disk; to be called between [`Self::kill`] and [`Self::restart`].
    pub fn wipe(&self) {
        let _ = std::fs::remove_dir_all(self.dir().join("appendonlydir"));
        let _ = std::fs::remove_file(self.dir().join("dump.rdb"));
    }

    /// Stands still, and so do all who wait for it.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Goes on after [`Self::pause`].
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// Asks it as an administrator would.
    pub fn ask(&self, words: &[&str]) -> Reply {
        let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        self.ask_bytes(&words)
    }

    /// The same, with bytes.
    pub fn ask_bytes(&self, words: &[&[u8]]) -> Reply {
        self.try_ask(words).expect("an answer of redis-server")
    }

    fn try_ask(&self, words: &[&[u8]]) -> Option<Reply> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .ok()?;
        let mut stream = BufReader::new(stream);
        if let Some(password) = &self.password {
            exchange(&mut stream, &[b"AUTH", password.as_bytes()])?;
        }
        exchange(&mut stream, words)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A cluster of three masters.
#[derive(Debug)]
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start() -> Self {
        let nodes: Vec<_> = (0..3).map(|_| Self::node()).collect();
        for (node, range) in
            nodes
                .iter()
                .zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")])
        {
            let (first, last) = range;
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        for node in nodes.iter().skip(1) {
            let (port, bus) = (node.port.to_string(), node.bus());
            nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let cluster = Self { nodes };
        wait_for("the cluster", || cluster.is_whole());
        cluster
    }

    fn node() -> RedisServer {
        let bus = free_port().to_string();
        RedisServer::with(&[
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
            "--cluster-port",
            &bus,
        ])
    }

    fn is_whole(&self) -> bool {
        self.nodes.iter().all(|node| {
            let info = node.ask(&["CLUSTER", "INFO"]).text();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        })
    }
}

/// A master with a replica, and three sentinels that watch them under the name `mymaster`.
#[derive(Debug)]
pub struct RedisSentinels {
    pub servers: Vec<RedisServer>,
    pub sentinels: Vec<RedisServer>,
}

impl RedisSentinels {
    pub fn start() -> Self {
        let master = RedisServer::with(&[]);
        let port = master.port.to_string();
        let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
        wait_for("the replica", || {
            let info = replica.ask(&["INFO", "replication"]).text();
            info.contains("master_link_status:up")
        });
        let sentinels = (0..3).map(|_| Self::sentinel(&port)).collect();
        let all = Self {
            servers: vec![master, replica],
            sentinels,
        };
        wait_for("the sentinels", || {
            all.sentinels.iter().all(|sentinel| {
                let master = sentinel.ask(&["SENTINEL", "MASTER", "mymaster"]).list();
                let words: Vec<_> = master.iter().map(Reply::text).collect();
                let field = |name: &str| {
                    let at = words.iter().position(|word| word == name);
                    at.map(|at| words[at + 1].clone()).unwrap_or_default()
                };
                field("num-slaves") == "1" && field("num-other-sentinels") == "2"
            })
        });
        all
    }

    fn sentinel(master: &str) -> RedisServer {
        let dir = tempfile::tempdir().unwrap();
        let conf = format!(
            "sentinel monitor mymaster 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds mymaster 1000\n\
             sentinel failover-timeout mymaster 5000\n"
        );
        std::fs::write(dir.path().join("sentinel.conf"), conf).unwrap();
        RedisServer::begin_in(dir, Vec::new(), None)
    }
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn exchange(stream: &mut BufReader<TcpStream>, words: &[&[u8]]) -> Option<Reply> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend(format!("${}\r\n", word.len()).into_bytes());
        request.extend(*word);
        request.extend(b"\r\n");
    }
    stream.get_mut().write_all(&request).ok()?;
    reply(stream)
}

fn reply(stream: &mut BufReader<TcpStream>) -> Option<Reply> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1)?;
    let reply = match kind {
        "+" => Reply::Text(rest.as_bytes().to_vec()),
        "-" => Reply::Error(rest.to_owned()),
        ":" => Reply::Number(rest.parse().ok()?),
        "$" if rest == "-1" => Reply::Nothing,
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>().ok()? + 2];
            stream.read_exact(&mut bytes).ok()?;
            bytes.truncate(bytes.len() - 2);
            Reply::Text(bytes)
        }
        "*" if rest == "-1" => Reply::Nothing,
        "*" => {
            let items = (0..rest.parse::<usize>().ok()?).map(|_| reply(stream));
            Reply::List(items.collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Some(reply)
}
