//! Secrets: text, `{ file = … }`, `{ env = … }` or `{ credential = … }` (systemd).

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

use super::overlay::{read_text, unreadable};
use super::problem::Place;
use super::reader::{Field, Section};
use super::tree::Value;
use super::value::text;
use crate::token::Secret;

const SHAPES: &str =
    "{ file = \"client_secret\" }, { env = \"NAME\" } or { credential = \"name\" }";

/// The least that an encryption key may hold.
const KEY_BYTES: usize = 32;

/// A secret's text.
pub(super) fn secret(field: &Field<'_>) -> Option<Secret> {
    secret_text(field).map(Secret::new)
}

/// Key material: base64 text of at least 32 bytes, or at least 32 bytes as they are.
pub(super) fn encryption_key(field: &Field<'_>) -> Option<Vec<u8>> {
    let bytes = if field.as_text().is_some() {
        warn_of_text(field);
        text(field)?.into_bytes()
    } else {
        match source(field)? {
            Source::File(path) => read(field, &path, |path| std::fs::read(path))?,
            Source::Variable(name) => variable(field, &name)?.into_bytes(),
        }
    };
    let key = key_material(bytes);
    if key.len() < KEY_BYTES {
        let path = &field.path;
        let title = format!(
            "`{path}` is too short: {} bytes, and {KEY_BYTES} are needed",
            key.len()
        );
        field.wrong(
            title,
            "too short",
            "make a good one with: tidegate key new session",
        );
        return None;
    }
    Some(key)
}

/// A file with a secret in it that is not read here.
pub(super) fn secret_file(field: &Field<'_>) -> Option<PathBuf> {
    if matches!(field.node.value, Value::Table(_))
        && let Source::File(path) = source(field)?
    {
        return Some(path);
    }
    let title = format!("`{}` must name a file", field.path);
    field.wrong(
        title,
        "expected a file",
        "such as { file = \"/etc/tidegate/tls/tls.key\" }",
    );
    None
}

/// Key material as it is written. What reads as base64 is base64 (32 letters of it are 24 bytes); anything else counts as
/// it is, but for white space around a text.
pub fn key_material(bytes: Vec<u8>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(&bytes).map(str::trim_ascii) else {
        return bytes;
    };
    BASE64_STANDARD
        .decode(text)
        .or_else(|_| BASE64_STANDARD_NO_PAD.decode(text))
        .or_else(|_| BASE64_URL_SAFE_NO_PAD.decode(text))
        .unwrap_or_else(|_| text.as_bytes().to_vec())
}

fn secret_text(field: &Field<'_>) -> Option<String> {
    if field.as_text().is_some() {
        warn_of_text(field);
        return text(field);
    }
    let secret = match source(field)? {
        Source::File(path) => read(field, &path, read_text)?,
        Source::Variable(name) => variable(field, &name)?,
    };
    if secret.is_empty() {
        let title = format!("`{}` is empty", field.path);
        field.wrong(title, "there is nothing in it", "put the secret there");
        return None;
    }
    Some(secret)
}

/// A variable is a fair place for a secret; the file is read by many, a command line by all.
fn warn_of_text(field: &Field<'_>) {
    match field.node.place {
        Place::Variable(_) => {}
        Place::Text(_) | Place::File | Place::Flag(_) => field.warn(
            format!("`{}` is a secret in plain text", field.path),
            format!("better: {SHAPES}"),
        ),
    }
}

enum Source {
    File(PathBuf),
    Variable(String),
}

fn source(field: &Field<'_>) -> Option<Source> {
    if !matches!(field.node.value, Value::Table(_)) {
        field.mistyped("a secret", SHAPES);
        return None;
    }
    let mut section = field.section()?;
    let file = section.optional("file", |f| {
        text(f).map(|path| Source::File(f.resolve(&path)))
    });
    let variable = section.optional("env", |f| text(f).map(Source::Variable));
    let credential = section.optional("credential", credential);
    finish(section, field, [file, variable, credential])
}

fn finish(section: Section<'_>, field: &Field<'_>, sources: [Option<Source>; 3]) -> Option<Source> {
    let written = section.entries().len();
    section.finish();
    let mut sources = sources.into_iter().flatten();
    let first = sources.next();
    if sources.next().is_some() || written == 0 {
        let title = format!("`{}` must say one place where the secret is", field.path);
        field.wrong(
            title,
            "expected one of file, env, credential",
            format!("such as {SHAPES}"),
        );
        return None;
    }
    first
}

/// systemd.exec(5): credentials are files in `$CREDENTIALS_DIRECTORY`.
fn credential(field: &Field<'_>) -> Option<Source> {
    let name = text(field)?;
    if name.contains('/') || name == ".." {
        let title = format!("`{}` is the name of a credential, not a path", field.path);
        field.wrong(
            title,
            "expected a name",
            "as in LoadCredential=name:/path of the systemd unit",
        );
        return None;
    }
    let Some(dir) = field.reader.environment.get("CREDENTIALS_DIRECTORY") else {
        let title = format!("`{}`: systemd hands over no credentials here", field.path);
        field.wrong(
            title,
            "CREDENTIALS_DIRECTORY is not set",
            "run as a systemd service with LoadCredential=",
        );
        return None;
    };
    Some(Source::File(PathBuf::from(dir).join(name)))
}

fn read<T>(field: &Field<'_>, path: &Path, read: impl Fn(&Path) -> io::Result<T>) -> Option<T> {
    read(path)
        .map_err(|error| {
            let place = field.node.place.clone();
            let problem = unreadable(place, &path.display().to_string(), &error);
            field
                .reader
                .tell(problem.help(format!("`{}` is read from there", field.path)));
        })
        .ok()
}

fn variable(field: &Field<'_>, name: &str) -> Option<String> {
    let value = field.reader.environment.get(name);
    if value.is_none() {
        let title = format!("the environment variable {name} is not set");
        let help = format!("`{}` is read from it", field.path);
        field.wrong(title, "named here", help);
    }
    value.map(str::to_owned)
}
