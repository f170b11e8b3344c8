//! nginx twice: as the upstream of all, and as the peer that proxies TLS and checks nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Process;

/// What the upstream answers everybody.
pub const BODY: &str = concat!(
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
);

/// Answers 200 bytes, and shows who the proxy says is asking.
pub fn upstream(directory: &Path, port: u16) -> Process {
    let http = format!(
        "keepalive_requests 1000000000;
         server {{
           listen 127.0.0.1:{port} reuseport;
           location / {{ add_header X-Seen-User $http_x_forwarded_user; return 200 {BODY}; }}
         }}"
    );
    start(directory, "upstream", &http)
}

/// A plain TLS proxy with connections kept to the upstream.
pub fn proxy(directory: &Path, port: u16, upstream: u16, certificate: &Certificate) -> Process {
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let http = format!(
        "upstream app {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
         keepalive_requests 1000000000;
         server {{
           listen 127.0.0.1:{port} ssl reuseport;
           ssl_protocols TLSv1.3;
           ssl_certificate {chain};
           ssl_certificate_key {key};
           location / {{
             proxy_pass http://app;
             proxy_http_version 1.1;
             proxy_set_header Connection '';
             proxy_set_header Host $host;
             proxy_set_header X-Forwarded-For $remote_addr;
             proxy_set_header X-Forwarded-Proto https;
           }}
         }}"
    );
    start(directory, "proxy", &http)
}

/// PEM files.
pub struct Certificate {
    /// The chain.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

fn start(directory: &Path, name: &str, http: &str) -> Process {
    let home = directory.join(name);
    fs::create_dir_all(&home).unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    let temporary = "client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;";
    let text = format!(
        "worker_processes {cores};
         daemon off;
         pid nginx.pid;
         error_log stderr crit;
         events {{ worker_connections 1024; }}
         http {{ access_log off; default_type text/plain; {temporary} {http} }}"
    );
    fs::write(home.join("nginx.conf"), text).unwrap();
    let mut command = Command::new(program());
    command.arg("-p").arg(&home).args(["-c", "nginx.conf"]);
    command.args(["-e", "stderr"]);
    Process::start(&mut command).unwrap()
}

/// Debian keeps it where an ordinary user's PATH doesn't lead.
fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    }
}
