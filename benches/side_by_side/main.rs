//! Tidegate beside nginx: the same upstream, the same load, interleaved rounds in one run. `./bench` starts it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a measuring program: it ends loudly where something is wrong"
)]

mod burst;
mod client;
mod load;
mod nginx;
#[path = "../../tests/it/support/ports.rs"]
mod ports;
mod process;
mod refused;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate::demo::idp::{Client as Registered, Idp, Options, Person};
use url::Url;

use client::{Answer, Client};
use nginx::Certificate;
use process::Process;
use report::{Row, Sample};

const CLIENT_ID: &str = "bench";
const CLIENT_SECRET: &str = "bench-secret-of-the-development-identity-provider";

/// What many refused tokens cost is seen by comparing these two.
const BEARER: &str = "Tidegate, bearer";
const REFUSING: &str = "the same, 100,000 refused";
/// The same once more, while more are refused all the time.
const BURST: &str = "… and 1,000 more a second";

/// How long to measure.
struct Plan {
    rounds: usize,
    each: Duration,
}

impl Plan {
    fn read() -> Self {
        if std::env::args().any(|argument| argument == "--smoke") {
            Self {
                rounds: 3,
                each: Duration::from_secs(1),
            }
        } else {
            Self {
                rounds: 5,
                each: Duration::from_secs(6),
            }
        }
    }
}

fn main() {
    let plan = Plan::read();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = runtime.block_on(Bench::start());
    runtime.block_on(bench.check());
    let rows = bench.measure(&plan);
    runtime.block_on(bench.check());
    report::print(&rows);
    report::compare(&rows, REFUSING, BEARER);
    report::compare(&rows, BURST, REFUSING);
    let file = target().join("bench/side_by_side.json");
    report::save(&rows, &file);
    println!("Every sample: {}", file.display());
}

/// All that runs while measuring.
struct Bench {
    idp: Idp,
    nginx: Process,
    nginx_url: Url,
    tidegate: Process,
    tidegate_url: Url,
    /// The same with many refused tokens.
    refusing: Process,
    refusing_url: Url,
    refusing_admin: u16,
    certificate: Certificate,
    bearer: String,
    session: String,
    _upstream: Process,
    // The last to go: what runs has its files there.
    directory: tempfile::TempDir,
}

/// One peer under one kind of load.
struct Contender<'a> {
    name: &'static str,
    process: &'a Process,
    url: &'a Url,
    headers: Vec<String>,
}

impl Bench {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificate = certificate(directory.path());
        let [upstream_port, nginx_port, tidegate_port, refusing_port] = free_ports();
        let [tidegate_admin, refusing_admin] = free_ports();
        let tidegate_url = Url::parse(&format!("https://localhost:{tidegate_port}/")).unwrap();
        let idp = identity_provider(&tidegate_url).await;
        let upstream = nginx::upstream(directory.path(), upstream_port);
        let nginx = nginx::proxy(directory.path(), nginx_port, upstream_port, &certificate);
        let refusing_url = Url::parse(&format!("https://localhost:{refusing_port}/")).unwrap();
        let start = |name, url: &Url, admin, refused| {
            let home = directory.path().join(name);
            fs::create_dir_all(&home).unwrap();
            refused::seed(&home.join("sessions.redb"), refused);
            tidegate(&home, url, (upstream_port, admin), &idp, &certificate)
        };
        let tidegate = start("tidegate", &tidegate_url, tidegate_admin, 0);
        let refusing = start("refusing", &refusing_url, refusing_admin, refused::MANY);
        for port in [upstream_port, nginx_port, tidegate_port, refusing_port] {
            until_listening(port);
        }
        let mut browser = Client::trusting(&certificate.chain);
        let session = browser.sign_in(&tidegate_url, "alice").await;
        let bearer = bearer(&idp.bearer(alice(), CLIENT_ID, &["openid"]).unwrap());
        Self {
            directory,
            idp,
            nginx,
            nginx_url: Url::parse(&format!("https://localhost:{nginx_port}/")).unwrap(),
            tidegate,
            tidegate_url,
            refusing,
            refusing_url,
            refusing_admin,
            certificate,
            bearer,
            session,
            _upstream: upstream,
        }
    }

    fn contenders(&self) -> [Contender<'_>; 5] {
        let tidegate = |name, line: &str| Contender {
            name,
            process: &self.tidegate,
            url: &self.tidegate_url,
            headers: vec![line.to_owned()],
        };
        let refusing = |name| Contender {
            name,
            process: &self.refusing,
            url: &self.refusing_url,
            headers: vec![self.bearer.clone()],
        };
        [
            Contender {
                name: "nginx, no auth",
                process: &self.nginx,
                url: &self.nginx_url,
                headers: Vec::new(),
            },
            tidegate("Tidegate, session", &self.session),
            tidegate(BEARER, &self.bearer),
            refusing(REFUSING),
            refusing(BURST),
        ]
    }

    /// Every peer forwards, and Tidegate does its duty: a proxy that lets everything pass is no peer.
    async fn check(&self) {
        let mut client = Client::trusting(&self.certificate.chain);
        for contender in self.contenders() {
            let answer = client.get(contender.url, &contender.headers).await;
            assert_eq!(answer.status, 200, "{}: {answer:?}", contender.name);
            assert_eq!(answer.body, nginx::BODY, "{}", contender.name);
            let expected = (contender.name != "nginx, no auth").then_some(alice().subject);
            assert_eq!(seen_user(&answer), expected, "{}", contender.name);
        }
        for (what, headers) in self.refused() {
            let answer = client.get(&self.tidegate_url, &headers).await;
            assert_eq!(answer.status, 401, "{what}: {answer:?}");
        }
    }

    fn refused(&self) -> [(&'static str, Vec<String>); 4] {
        let (signed, signature) = self.bearer.rsplit_once('.').unwrap();
        let forged: String = signature.chars().rev().collect();
        let expired = self.idp.forge(alice(), CLIENT_ID, |_, claims| {
            let issued = claims["iat"].as_u64().unwrap();
            claims.insert("iat".to_owned(), json!(issued - 7200));
            claims.insert("exp".to_owned(), json!(issued - 3600));
        });
        [
            ("no credential", vec![]),
            ("a forged token", vec![format!("{signed}.{forged}")]),
            ("an expired token", vec![bearer(&expired.unwrap())]),
            (
                "an invented cookie",
                vec![format!("Cookie: __Host-tidegate={}", "A".repeat(43))],
            ),
        ]
    }

    /// Each round asks every peer, each time in another order, so that a slow minute of the machine hits all.
    fn measure(&self, plan: &Plan) -> Vec<Row> {
        let contenders = self.contenders();
        let mut rows: Vec<_> = contenders
            .iter()
            .map(|contender| Row {
                name: contender.name,
                samples: Vec::new(),
                resident_kib: 0,
            })
            .collect();
        for contender in &contenders {
            self.sample(contender, Duration::from_secs(1));
        }
        for round in 0..plan.rounds {
            println!("round {} of {}", round + 1, plan.rounds);
            for turn in 0..contenders.len() {
                let index = (round + turn) % contenders.len();
                let sample = self.sample(&contenders[index], plan.each);
                rows[index].samples.push(sample);
            }
        }
        for (row, contender) in rows.iter_mut().zip(&contenders) {
            row.resident_kib = contender.process.resident_kib();
        }
        rows
    }

    fn sample(&self, contender: &Contender<'_>, duration: Duration) -> Sample {
        let before = contender.process.cpu_time();
        let url = contender.url.as_str();
        let load = || load::run(self.directory.path(), url, &contender.headers, duration);
        let seen = if contender.name == BURST {
            let (seen, refused) = burst::during(self.refusing_admin, load);
            println!("{refused} more refused a second");
            seen
        } else {
            load()
        };
        let cpu = contender.process.cpu_time().saturating_sub(before);
        assert_eq!(seen.failed, 0, "{}: {seen:?}", contender.name);
        let enough = seen.requests * nginx::BODY.len() as u64;
        assert!(seen.bytes > enough, "{}: {seen:?}", contender.name);
        Sample { seen, cpu }
    }
}

fn alice() -> &'static Person {
    Person::named("alice").unwrap()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn seen_user(answer: &Answer) -> Option<&str> {
    answer.headers.get("x-seen-user")?.to_str().ok()
}

/// Its tokens outlive the benchmark: what is measured is a request, not a swap.
async fn identity_provider(gateway: &Url) -> Idp {
    let origin = gateway.origin().ascii_serialization();
    let client = Registered::new(CLIENT_ID, CLIENT_SECRET).for_gateway(&origin);
    let options = Options {
        clients: vec![client],
        access_token_ttl: Duration::from_hours(2),
        ..Options::default()
    };
    Idp::start(options).await.unwrap()
}

fn tidegate(
    home: &Path,
    url: &Url,
    (upstream, admin): (u16, u16),
    idp: &Idp,
    certificate: &Certificate,
) -> Process {
    let (origin, issuer) = (url.origin().ascii_serialization(), idp.issuer());
    let (chain, key) = (certificate.chain.display(), certificate.key.display());
    let text = format!(
        r#"version = 1
[server]
external_url = "{origin}"
[tls]
certificates = [{{ cert = "{chain}", key = {{ file = "{key}" }} }}]
[idp.main]
issuer = "{issuer}"
client_id = "{CLIENT_ID}"
client_secret = {{ file = "client_secret" }}
access_token = {{ audience = ["apps"] }}
[upstreams.app]
targets = ["http://127.0.0.1:{upstream}"]
[[routes]]
path = "/{{*rest}}"
upstream = "app"
auth = "any"
[admin]
address = "127.0.0.1:{admin}"
token = {{ file = "admin_token" }}
[telemetry]
access_log = {{ path = "off" }}
"#
    );
    fs::write(home.join("admin_token"), burst::TOKEN).unwrap();
    fs::write(home.join("client_secret"), CLIENT_SECRET).unwrap();
    let config = home.join("gateway.toml");
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program());
    command.arg("run").arg("-c").arg(&config);
    command.current_dir(home).env("STATE_DIRECTORY", home);
    Process::start(&mut command).expect("the build: ./bench makes it")
}

/// The release build, as shipped; `--dev`: the development build, whose ratios to itself still mean something.
fn program() -> PathBuf {
    if std::env::args().any(|argument| argument == "--dev") {
        return PathBuf::from(env!("CARGO_BIN_EXE_tidegate"));
    }
    target().join("release/tidegate")
}

fn certificate(directory: &Path) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = Certificate {
        chain: directory.join("tls.crt"),
        key: directory.join("tls.key"),
    };
    fs::write(&certificate.chain, made.cert.pem()).unwrap();
    fs::write(&certificate.key, made.signing_key.serialize_pem()).unwrap();
    certificate
}

fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| ports::free_port())
}

fn until_listening(port: u16) {
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target")
}
