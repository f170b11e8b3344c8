//! A line is one JSON object, and says why.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("sessions can't be written")]
struct Failed(#[source] io::Error);

#[test]
fn a_line_is_one_object_with_all_that_caused_an_error() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .event_format(Json)
        .with_writer(lines.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let error = Failed(io::Error::other("OOM \"command\"\nnot allowed"));
        tracing::error!(error = &error as &dyn Error, tries = 3, idp = %"main", late = true, "it failed");
        tracing::info!("and went on");
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [failed, went_on] = lines.as_slice() else {
        unreachable!("two lines: {text}")
    };
    assert_eq!(
        failed["error"],
        "sessions can't be written: OOM \"command\"\nnot allowed"
    );
    assert_eq!(
        (
            &failed["tries"],
            &failed["idp"],
            &failed["late"],
            &failed["level"]
        ),
        (
            &Value::from(3),
            &Value::from("main"),
            &Value::from(true),
            &Value::from("ERROR")
        )
    );
    assert_eq!(failed["message"], "it failed");
    assert_eq!(went_on["target"], "tidegate::telemetry::json::tests");
    assert!(went_on["timestamp"].as_str().unwrap().ends_with('Z'));
}
