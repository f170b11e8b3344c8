//! The program as it is called: what it says to which stream, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::redis::free_port;

/// A directory with a configuration, and the program in it with an environment of its own.
struct Place {
    dir: TempDir,
}

const GOOD: &str = r#"version = 1
[server]
external_url = "https://localhost:8443"
[idp.main]
issuer = "https://idp.example.com"
client_id = "gateway"
client_secret = { file = "client_secret" }
access_token = { audience = ["apps"] }
[upstreams.app]
targets = ["http://127.0.0.1:8080"]
[[routes]]
path = "/{*rest}"
upstream = "app"
auth = "session"
"#;

impl Place {
    fn with(configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("gateway.toml"), configuration).unwrap();
        fs::write(dir.path().join("client_secret"), "hush\n").unwrap();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    fn tidegate(&self, arguments: &[&str]) -> Answer {
        Answer::of(&self.command(arguments).output().unwrap())
    }
}

#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }
}

#[test]
fn help_is_an_answer_and_a_wrong_command_line_is_not() {
    let place = Place::with(GOOD);
    let help = place.tidegate(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    for word in [
        "run",
        "demo",
        "check",
        "session",
        "version",
        "TIDEGATE_CONFIG",
        "dependency is unreachable",
        "78 invalid configuration",
    ] {
        assert!(help.out.contains(word), "{word}: {}", help.out);
    }
    for wrong in [
        &[][..],
        &["serve"],
        &["run", "--sett"],
        &["check", "--format", "xml"],
        &["demo", "--access-token-ttl", "60"],
        &["check", "-q", "-v"],
    ] {
        let answer = place.tidegate(wrong);
        assert_eq!(
            (answer.code, answer.out.as_str()),
            (Some(2), ""),
            "{wrong:?}"
        );
        assert!(
            answer.err.contains("Usage") || answer.err.contains("--help"),
            "{}",
            answer.err
        );
    }
    let version = place.tidegate(&["version"]);
    assert_eq!(
        (version.code, version.out),
        (Some(0), format!("tidegate {}\n", env!("CARGO_PKG_VERSION")))
    );
    let version: Value =
        serde_json::from_str(&place.tidegate(&["version", "--format", "json"]).out).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_new_key_is_random_and_is_kept_from_others() {
    let place = Place::with(GOOD);
    let said = [0, 1].map(|_| place.tidegate(&["key", "new", "session"]));
    assert_eq!((said[0].code, said[0].err.as_str()), (Some(0), ""));
    assert_ne!(said[0].out, said[1].out);
    let key = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, said[0].out.trim_end());
    assert_eq!(key.unwrap().len(), 32);

    let answer = place.tidegate(&["key", "new", "session", "-o", "session.key"]);
    assert_eq!(
        (answer.code, answer.out.as_str(), answer.err.as_str()),
        (Some(0), "", "")
    );
    let file = place.path().join("session.key");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let written = fs::read(&file).unwrap();
    assert_eq!(written.len(), 45);
    let again = place.tidegate(&["key", "new", "session", "--output", "session.key"]);
    assert_eq!(again.code, Some(1));
    assert!(
        again.err.contains("can't be written to session.key"),
        "{}",
        again.err
    );
    assert_eq!(
        fs::read(&file).unwrap(),
        written,
        "it may be the only one that opens the sessions"
    );

    let configuration =
        format!("{GOOD}[session]\nencryption_keys = [{{ file = \"session.key\" }}]\n");
    fs::write(place.path().join("gateway.toml"), configuration).unwrap();
    assert_eq!(place.tidegate(&["check", "--strict"]).code, Some(0));
    assert_eq!(place.tidegate(&["key", "new", "sesion"]).code, Some(2));
}

#[test]
fn a_good_configuration_is_told_in_words() {
    let place = Place::with(GOOD);
    let answer = place.tidegate(&["check"]);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
    assert!(
        answer
            .out
            .contains("route      /{*rest} → app, everyone signed in\n"),
        "{}",
        answer.out
    );
    assert!(answer.out.ends_with("\nok\n"));
    assert!(!answer.out.contains("hush"));
    let report: Value =
        serde_json::from_str(&place.tidegate(&["check", "--format", "json"]).out).unwrap();
    assert_eq!(report, serde_json::json!({ "ok": true, "problems": [] }));
    let left: Vec<_> = fs::read_dir(place.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "a check leaves nothing behind: {left:?}");
}

#[test]
fn a_wrong_configuration_is_refused_by_check_and_by_run() {
    let place = Place::with(&GOOD.replace("auth =", "aut =").replace("8443", "8443/x"));
    for command in ["check", "run"] {
        let answer = place.tidegate(&[command]);
        assert_eq!(
            (answer.code, answer.out.as_str()),
            (Some(78), ""),
            "{command}"
        );
        for told in [
            "gateway.toml:3:16",
            "gateway.toml:14:1",
            "did you mean `auth`?",
            "^^^",
        ] {
            assert!(answer.err.contains(told), "{told}: {}", answer.err);
        }
        assert!(
            !answer.err.contains('\u{1b}'),
            "no colours where nobody sees them"
        );
    }
    let answer = place.tidegate(&["check", "--format", "json"]);
    assert_eq!((answer.code, answer.err.as_str()), (Some(78), ""));
    let report: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["problems"][0]["line"], 3);
    assert_eq!(report["problems"][0]["column"], 16);
    assert_eq!(report["problems"][0]["source"], "gateway.toml");
    let colored = place.tidegate(&["check", "--color", "always"]);
    assert!(colored.err.contains("\u{1b}["));
}

#[test]
fn the_configuration_is_looked_for_in_order() {
    let place = Place::with(GOOD);
    fs::write(place.path().join("broken.toml"), "version = 2").unwrap();
    let by_variable = |arguments: &[&str], name: &str| {
        Answer::of(
            &place
                .command(arguments)
                .env("TIDEGATE_CONFIG", name)
                .output()
                .unwrap(),
        )
    };
    assert_eq!(by_variable(&["check"], "broken.toml").code, Some(78));
    assert_eq!(
        by_variable(&["check", "-c", "gateway.toml"], "broken.toml").code,
        Some(0)
    );
    assert_eq!(
        by_variable(&["-c", "gateway.toml", "check"], "broken.toml").code,
        Some(0)
    );
    let missing = place.tidegate(&["run", "-c", "nowhere.toml"]);
    assert_eq!(missing.code, Some(78));
    assert!(
        missing
            .err
            .contains("can't read the file nowhere.toml: there is no such file"),
        "{}",
        missing.err
    );
}

#[test]
fn variables_and_flags_come_on_top() {
    let place = Place::with(GOOD);
    let with = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("TIDEGATE__SESSION__IDLE_TIMEOUT", "15m");
        Answer::of(&command.output().unwrap())
    };
    assert!(with(&["check"]).out.contains("15m idle"));
    assert!(
        with(&["check", "--set", "session.idle_timeout=10m"])
            .out
            .contains("10m idle")
    );
    let wrong = with(&[
        "check",
        "--set",
        "session.idle_timeout=10",
        "--log-level",
        "loud",
    ]);
    assert_eq!(wrong.code, Some(78));
    assert!(
        wrong.err.contains("--> --set session.idle_timeout"),
        "{}",
        wrong.err
    );
    assert!(wrong.err.contains("loud is not a level"), "{}", wrong.err);
}

#[test]
fn warnings_let_pass_unless_strict() {
    let place = Place::with(&GOOD.replace("{ file = \"client_secret\" }", "\"hunter2\""));
    let answer = place.tidegate(&["check"]);
    assert_eq!(answer.code, Some(0));
    assert!(
        answer
            .err
            .contains("warning: `idp.main.client_secret` is a secret in plain text"),
        "{}",
        answer.err
    );
    assert!(
        answer.out.ends_with("\nok, with 1 warning\n"),
        "{}",
        answer.out
    );
    assert!(!format!("{answer:?}").contains("hunter2"));
    assert_eq!(place.tidegate(&["check", "--strict"]).code, Some(78));
}

/// The superuser may read anything, so the program runs as nobody where the tests run as root.
#[test]
fn a_file_that_may_not_be_read_is_77() {
    const NOBODY: u32 = 65534;
    let place = Place::with(GOOD);
    let secret = place.path().join("client_secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let as_root = fs::read(&secret).is_ok();
    // Where nobody can get at it: the path to the build's own may be closed.
    let program = place.path().join("tidegate");
    if as_root {
        fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for command in ["check", "run"] {
        let mut command = if as_root {
            let mut nobodys = Command::new(&program);
            nobodys.arg(command).current_dir(place.path()).env_clear();
            nobodys.uid(NOBODY).gid(NOBODY);
            nobodys
        } else {
            place.command(&[command])
        };
        let answer = Answer::of(&command.output().unwrap());
        assert_eq!(answer.code, Some(77), "{}", answer.err);
        assert!(answer.err.contains("no permission"), "{}", answer.err);
    }
}

#[test]
fn certificates_that_can_not_be_used_are_found_by_check() {
    let tls = "[tls]\ncertificates = [{ cert = \"tls.crt\", key = { file = \"tls.key\" } }]\n";
    let place = Place::with(&format!("{GOOD}{tls}"));
    let answer = place.tidegate(&["check"]);
    assert_eq!(answer.code, Some(78));
    assert!(answer.err.contains("tls.crt"), "{}", answer.err);
}

#[test]
fn every_certificate_and_key_that_can_not_be_used_is_said_at_once_by_its_key() {
    let upstream =
        "[upstreams.app]\ntargets = [\"https://127.0.0.1:8443\"]\ntls = { ca = \"ca.pem\" }\n";
    let tls = "[tls]\ncertificates = [
        { cert = \"a.crt\", key = { file = \"a.key\" } },
        { cert = \"b.crt\", key = { file = \"b.key\" } },
    ]\n";
    let place = Place::with(&format!(
        "{}{tls}",
        GOOD.replace(
            "[upstreams.app]\ntargets = [\"http://127.0.0.1:8080\"]\n",
            upstream
        )
    ));
    fs::write(place.path().join("a.crt"), "nothing").unwrap();
    fs::write(place.path().join("b.key"), "nothing").unwrap();
    let said = [
        "`tls.certificates[0].cert`: there is no certificate in ",
        "`tls.certificates[0].key`: can't read ",
        "`tls.certificates[1].cert`: can't read ",
        "`tls.certificates[1].key`: there is no private key in ",
        "`upstreams.app.tls.ca`: can't read ",
    ];
    for command in ["run", "check"] {
        let answer = place.tidegate(&[command]);
        assert_eq!(answer.code, Some(78), "{}", answer.err);
        for line in said {
            assert!(
                answer.err.contains(line),
                "{command}: {line}: {}",
                answer.err
            );
        }
    }
    let json = place.tidegate(&["check", "--format", "json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["problems"].as_array().unwrap().len(), said.len());
}

#[test]
fn an_address_that_is_taken_is_said_and_is_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listener =
        format!("[[listeners]]\naddress = \"{address}\"\n[session]\nstore = \"memory\"\n");
    let answer = Place::with(&format!("{GOOD}{listener}")).tidegate(&["run"]);
    assert_eq!(answer.code, Some(1), "{}", answer.err);
    assert!(
        answer.err.contains(&format!("can't listen on {address}")),
        "{}",
        answer.err
    );
}

#[test]
fn run_serves_leaves_a_line_for_each_request_and_stops_when_told() {
    let port = free_port();
    let more = format!(
        "[[routes]]\npath = \"/public\"\nupstream = \"app\"\nauth = \"none\"\n\
         [[listeners]]\naddress = \"127.0.0.1:{port}\"\nprotocol = \"http\"\n[session]\nstore = \"memory\"\n"
    );
    let place = Place::with(&format!("{GOOD}{more}"));
    let mut child = place
        .command(&[
            "run",
            "--set",
            "upstreams.app.targets=[\"http://127.0.0.1:9\"]",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    request(port, "/public?token=hunter2");
    let line = out
        .lines()
        .map(|line| line.unwrap())
        .find(|line| line.contains("tidegate::access"))
        .unwrap();
    let pid = child.id().to_string();
    let tell = |signal: &str| {
        let told = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(told.success());
    };
    // A reload that is not there yet must not end what is running.
    tell("-HUP");
    assert!(request(port, "/public").starts_with("HTTP/1.1 502"));
    tell("-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["url.path"], "/public");
    assert_eq!(line["http.response.status_code"], 502);
    assert!(!line.to_string().contains("hunter2"));
}

/// Waits until someone listens, then asks and hears the answer out.
fn request(port: u16, path: &str) -> String {
    use std::io::{Read, Write};
    let mut tries = 0;
    let mut stream = loop {
        tries += 1;
        match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) if tries < 1000 => std::thread::sleep(std::time::Duration::from_millis(10)),
            Err(error) => panic!("nobody listens: {error}"),
        }
    };
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn the_demo_takes_no_configuration() {
    let place = Place::with(GOOD);
    let answer = place.tidegate(&["demo", "-c", "gateway.toml"]);
    assert_eq!(answer.code, Some(2), "{}", answer.err);
    assert!(
        answer.err.contains("takes no configuration"),
        "{}",
        answer.err
    );
}

#[test]
fn a_configuration_without_an_end_is_read_no_further() {
    let answer = Place::with(GOOD).tidegate(&["check", "-c", "/dev/zero"]);
    assert_eq!(answer.code, Some(78), "{}", answer.err);
}
