//! The store's own processes: one Redis with an append-only file, or a master with a replica and three sentinels.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::link::Link;
use crate::plan::Store;
use crate::process::{Process, ask, free_ports};

/// A running store.
pub struct Redis {
    pub servers: Vec<Process>,
    sentinels: Vec<Process>,
}

impl Redis {
    pub async fn start(store: Store, dir: &Path) -> Option<Self> {
        match store {
            Store::Disk => None,
            Store::Redis => Some(Self {
                servers: vec![server(dir, "redis", free_ports(1)[0], None).await],
                sentinels: Vec::new(),
            }),
            Store::Sentinel => Some(Self::watched(dir).await),
        }
    }

    async fn watched(dir: &Path) -> Self {
        let ports = free_ports(5);
        let master = server(dir, "redis-a", ports[0], None).await;
        let replica = server(dir, "redis-b", ports[1], Some(ports[0])).await;
        for _ in 0..500 {
            let told = ask(replica.port, "INFO replication")
                .await
                .unwrap_or_default();
            if told.contains("master_link_status:up") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut sentinels = Vec::new();
        for (number, port) in ports[2..].iter().enumerate() {
            sentinels.push(sentinel(dir, number, *port, ports[0]).await);
        }
        for sentinel in &sentinels {
            until_it_knows_the_others(sentinel).await;
        }
        Self {
            servers: vec![master, replica],
            sentinels,
        }
    }

    /// What lies between a gateway and the store; none where sentinels tell the gateways where to go.
    pub fn link(&self) -> Option<Link> {
        self.sentinels
            .is_empty()
            .then(|| Link::to(self.servers[0].port))
    }

    /// The section of the configuration, for a gateway with this link.
    pub fn section(&self, link: Option<&Link>) -> String {
        let url = if let Some(link) = link {
            format!("redis://127.0.0.1:{}/0", link.port())
        } else {
            let hosts = self
                .sentinels
                .iter()
                .map(|s| format!("127.0.0.1:{}", s.port));
            let hosts: Vec<_> = hosts.collect();
            format!("redis+sentinel://{}/main/0", hosts.join(","))
        };
        format!("[store.redis]\nurl = \"{url}\"\non_error = \"deny\"")
    }

    /// The port of the master as the sentinels have it.
    pub async fn master(&self) -> Option<u16> {
        let told = ask(
            self.sentinels[0].port,
            "SENTINEL GET-MASTER-ADDR-BY-NAME main",
        )
        .await;
        told.ok()?.lines().nth(4)?.trim().parse().ok()
    }

    pub async fn end(&self) {
        for process in self.sentinels.iter().chain(&self.servers) {
            process.kill().await;
        }
    }
}

async fn server(dir: &Path, name: &str, port: u16, master: Option<u16>) -> Process {
    let data = dir.join(name);
    fs::create_dir_all(&data).unwrap();
    let mut arguments = format!(
        "--port {port} --bind 127.0.0.1 --protected-mode no --save  --appendonly yes --appendfsync always --dir {}",
        data.display()
    );
    if let Some(master) = master {
        arguments.push_str(" --replicaof 127.0.0.1 ");
        arguments.push_str(&master.to_string());
    }
    // `--save` takes an empty word.
    let arguments = arguments.split(' ').map(str::to_owned).collect();
    let log = dir.join(format!("{name}.log"));
    let process = Process::new(Path::new("redis-server"), arguments, port, log);
    process.start().await;
    process.until_pong().await;
    process
}

async fn sentinel(dir: &Path, number: usize, port: u16, master: u16) -> Process {
    let file = dir.join(format!("sentinel-{number}.conf"));
    let text = format!(
        "port {port}\nbind 127.0.0.1\nprotected-mode no\ndir {}\n\
         sentinel monitor main 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds main 1000\n\
         sentinel failover-timeout main 4000\n",
        dir.display()
    );
    fs::write(&file, text).unwrap();
    let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
    let log = dir.join(format!("sentinel-{number}.log"));
    let process = Process::new(Path::new("redis-server"), arguments, port, log);
    process.start().await;
    process.until_pong().await;
    process
}

async fn until_it_knows_the_others(sentinel: &Process) {
    for _ in 0..500 {
        let told = ask(sentinel.port, "INFO sentinel")
            .await
            .unwrap_or_default();
        if told.contains("slaves=1,sentinels=3") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!(
        "a sentinel does not know the others:\n{}",
        sentinel.tail(20)
    );
}

impl Redis {
    /// What the store has of a session, by its hash in hex.
    pub async fn row(&self, hash: &str) -> String {
        let tag = &hash[..2];
        let command = format!("HMGET tidegate:{{{tag}}}:s:{hash} fence generation ended");
        let row = ask(self.servers[0].port, &command)
            .await
            .unwrap_or_default();
        let lines: Vec<&str> = row
            .lines()
            .filter(|line| !line.starts_with(['*', '$']))
            .collect();
        let lease = ask(
            self.servers[0].port,
            &format!("GET tidegate:{{{tag}}}:l:{hash}"),
        )
        .await;
        format!(
            "fence, generation, ended: {lines:?}; leased: {}",
            lease.is_ok_and(|l| !l.starts_with("$-1"))
        )
    }
}
