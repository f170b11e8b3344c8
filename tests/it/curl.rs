//! What the curl of Debian 12 makes of an answer that comes before its upload is over.

use std::fs;
use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::Scene;

struct Curl {
    code: Option<i32>,
    status: String,
    body: String,
    said: String,
}

async fn curl(arguments: &[&str], url: &str, upload: &str) -> Curl {
    let output: Output = Command::new("curl")
        .args([
            "-sS",
            "-k",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code} %{http_version}",
        ])
        .args(arguments)
        .args(["-H", "Expect:", "--data-binary", upload, url])
        .stdin(Stdio::null())
        .output()
        .await
        .expect("curl: run ./test");
    let out = String::from_utf8(output.stdout).unwrap();
    let (body, status) = out.rsplit_once('\n').unwrap();
    Curl {
        code: output.status.code(),
        status: status.to_owned(),
        body: body.to_owned(),
        said: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl: run ./test"]
async fn an_answer_arrives_before_the_upload_is_over() {
    let scene = Scene::start().await;
    let dir = TempDir::new().unwrap();
    for (size, version, number) in [
        (100_000, "--http2", "2"),
        (300_000, "--http2", "2"),
        (10_000_000, "--http2", "2"),
        (100_000, "--http1.1", "1.1"),
        (10_000_000, "--http1.1", "1.1"),
    ] {
        let file = dir.path().join("upload");
        fs::write(&file, vec![b'x'; size]).unwrap();
        let upload = format!("@{}", file.display());
        for (path, more, status) in [
            ("app", &[][..], 401),
            ("oauth2/start", &[], 405),
            ("oauth2/nothing", &[], 404),
            ("app", &["-X", "TRACE"], 405),
        ] {
            let url = scene.url().join(path).unwrap();
            let arguments = [&[version], more].concat();
            let told = curl(&arguments, url.as_str(), &upload).await;
            let place = format!("{size} bytes by {version} to {path}: {}", told.said);
            assert_eq!(told.status, format!("{status} {number}"), "{place}");
            assert_eq!(told.code, Some(0), "{place}");
            assert!(told.body.contains("request_id"), "{place}: {}", told.body);
        }
    }
}
