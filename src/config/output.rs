//! `[telemetry]` and `[pages]`.

use super::reader::{Field, Section, not_yet, suggestion};
use super::value::{possibly_empty_list, text, word};
use crate::pages;
use crate::telemetry::{AccessSettings, AuditSettings, Color, Format, Settings, check_level};

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

const FORMATS: &[(&str, Format)] = &[("json", Format::Json), ("pretty", Format::Pretty)];

/// Reads `[telemetry]`.
pub(super) fn telemetry(mut section: Section<'_>, default_format: Format) -> Settings {
    let format = section.or("log_format", default_format, word(FORMATS, &["logfmt"]));
    let level = section.or("log_level", "info".to_owned(), level);
    let example = "access_log = { path = \"-\" }";
    let access_log = access_log(section.section_like("access_log", example), format);
    let audit_log = section.optional("audit_log", audit_log);
    section.later(&["otlp"]);
    section.finish();
    Settings {
        format,
        level,
        access_log,
        audit_log,
        color: Color::Auto,
    }
}

/// tracing takes any word for a target, so a misspelt level would be accepted and log everything.
fn level(field: &Field<'_>) -> Option<String> {
    let level = text(field)?;
    let mut words = level
        .split(',')
        .map(str::trim)
        .filter(|part| !part.contains('='));
    if let Some(wrong) = words.find(|word| !LEVELS.contains(&word.to_ascii_lowercase().as_str())) {
        let help = match suggestion(wrong, LEVELS.into_iter()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!(
                "write one of {}, or a filter such as \"info,tidegate::session=debug\"",
                LEVELS.join(", ")
            ),
        };
        field.wrong(
            format!("`{}`: {wrong} is not a level", field.path),
            "expected a level",
            help,
        );
        return None;
    }
    if check_level(&level).is_err() {
        let title = format!("`{}` is not a filter", field.path);
        field.wrong(
            title,
            "expected a level or a filter",
            "such as \"info,tidegate::session=debug\"",
        );
        return None;
    }
    Some(level)
}

fn access_log(mut section: Section<'_>, default_format: Format) -> Option<AccessSettings> {
    let written = section.or("path", true, destination);
    let format = section.or("format", default_format, word(FORMATS, &["combined"]));
    let exclude = section.or(
        "exclude",
        Vec::new(),
        possibly_empty_list("[\"/healthz\"]", request_path),
    );
    section.finish();
    written.then_some(AccessSettings { format, exclude })
}

/// Standard output, a file, or nowhere.
fn audit_log(field: &Field<'_>) -> Option<AuditSettings> {
    let mut section = field.section_like("audit_log = { path = \"-\" }")?;
    let to = section.required("path", "path = \"-\", or a file", |field| {
        Some(match text(field)?.as_str() {
            "-" => Some(AuditSettings::Stdout),
            "off" => None,
            path => Some(AuditSettings::File(field.resolve(path))),
        })
    });
    section.finish();
    to.flatten()
}

/// Standard output, or nowhere.
fn destination(field: &Field<'_>) -> Option<bool> {
    match text(field)?.as_str() {
        "-" => Some(true),
        "off" => Some(false),
        path => {
            let problem = not_yet(&field.node.place, &format!("{} = \"{path}\"", field.path));
            field
                .reader
                .tell(problem.help("supported: \"-\" (standard output), \"off\""));
            None
        }
    }
}

fn request_path(field: &Field<'_>) -> Option<Box<str>> {
    let path = text(field)?;
    if path.starts_with('/') && !path.contains(['?', '#', '*']) {
        return Some(path.into_boxed_str());
    }
    let title = format!("`{}` is not a path", field.path);
    field.wrong(
        title,
        "expected a path",
        "such as \"/healthz\"; it is compared exactly",
    );
    None
}

/// Reads `[pages]`.
pub(super) fn pages(mut section: Section<'_>, external_url: Option<&url::Url>) -> pages::Settings {
    let host = external_url
        .and_then(url::Url::host_str)
        .unwrap_or_default();
    let title = section.or("title", host.to_owned(), text);
    section.later(&["logo", "templates", "languages"]);
    section.finish();
    pages::Settings { title }
}
