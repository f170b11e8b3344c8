//! A configuration's text with its secrets blotted out, so that an error can show the lines around it.

use std::ops::Range;

use super::problem::Place;
use super::tree::{Node, Table, Value};

/// The text with every secret that `table` holds replaced by stars of the same length.
pub(super) fn blot(text: &str, table: &Table) -> String {
    let mut spans = Vec::new();
    collect(table, &mut spans);
    blot_spans(text, &spans)
}

/// The same for a text that is not TOML: whatever follows `=` on a line that names a secret.
pub(super) fn blot_lines(text: &str) -> String {
    let mut spans = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let value = line.find('=').filter(|_| is_secret_name(line));
        if let Some(at) = value {
            spans.push(start + at + 1..start + line.trim_end().len());
        }
        start += line.len();
    }
    blot_spans(text, &spans)
}

/// Words that are part of the name of what is secret.
const SECRET_WORDS: [&str; 5] = ["secret", "password", "passwd", "token", "key"];

/// Whether a key, perhaps misspelt, is likely to hold a secret.
fn is_secret_name(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| {
        SECRET_WORDS.iter().any(|word| {
            part.contains(word) || strsim::damerau_levenshtein(part, word) <= word.len() / 4
        })
    })
}

fn collect(table: &Table, spans: &mut Vec<Range<usize>>) {
    for entry in &table.0 {
        let secret = is_secret_name(&entry.key);
        let nodes = match &entry.node.value {
            Value::List(items) => items.as_slice(),
            Value::Table(inner) => {
                collect(inner, spans);
                continue;
            }
            Value::Text(_) | Value::Integer(_) | Value::Flag(_) | Value::Other(_) => {
                std::slice::from_ref(&entry.node)
            }
        };
        for node in nodes {
            collect_value(node, secret, spans);
        }
    }
}

fn collect_value(node: &Node, secret: bool, spans: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Table(table) => collect(table, spans),
        Value::Text(text) if secret || names_a_password(text) => {
            if let Place::Text(span) = &node.place {
                spans.push(span.clone());
            }
        }
        Value::Text(_) | Value::Integer(_) | Value::Flag(_) | Value::Other(_) | Value::List(_) => {}
    }
}

/// `scheme://user:password@host`, or with one in the query, where some programs want it.
fn names_a_password(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| {
        let query = rest.split_once('?').map(|(_, query)| query);
        let query = query.unwrap_or_default().to_ascii_lowercase();
        rest.contains('@') || SECRET_WORDS.iter().any(|word| query.contains(word))
    })
}

fn blot_spans(text: &str, spans: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        for byte in bytes.get_mut(span.clone()).into_iter().flatten() {
            if !matches!(byte, b'"' | b'\'' | b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    }
    // Spans cover whole characters, so this is UTF-8; were it not, showing nothing is the safe way out.
    String::from_utf8(bytes).unwrap_or_default()
}
