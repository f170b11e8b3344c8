//! What is wrong with a configuration, and where: rendered with the line and a caret under the very column.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file: bytes of its text.
    Text(Range<usize>),
    /// The file as a whole.
    File,
    /// An environment variable.
    Variable(String),
    /// A `--set`, by its key.
    Flag(String),
}

impl Place {
    /// In the order of the file, then variables, then flags.
    fn rank(&self) -> (u8, usize) {
        match self {
            Self::File => (0, 0),
            Self::Text(span) => (1, span.start),
            Self::Variable(_) => (2, 0),
            Self::Flag(_) => (3, 0),
        }
    }
}

/// Whether it can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can't.
    Error,
    /// It can, but someone should know.
    Warning,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The configuration says something that it may not.
    Invalid,
    /// A file that it names may not be read by us.
    Permission,
}

/// One thing that is wrong. It never holds a secret's text.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) place: Place,
    pub(super) severity: Severity,
    pub(super) cause: Cause,
    /// What is wrong, whole without the rest.
    pub(super) title: String,
    /// What stands under the caret.
    pub(super) label: String,
    /// What to do.
    pub(super) help: Option<String>,
}

impl Problem {
    /// An error of what the configuration says.
    pub(super) fn error(place: Place, title: impl Into<String>) -> Self {
        Self {
            place,
            severity: Severity::Error,
            cause: Cause::Invalid,
            title: title.into(),
            label: String::new(),
            help: None,
        }
    }

    /// A warning.
    pub(super) fn warning(place: Place, title: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(place, title)
        }
    }

    /// With these words under the caret.
    pub(super) fn label(self, label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..self
        }
    }

    /// With this advice.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

/// What is wrong with one configuration, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    name: String,
    /// The file's text with every secret blotted out.
    text: String,
    list: Vec<Problem>,
}

/// One problem for programs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// Whether it can go on.
    pub severity: Severity,
    /// The file, the variable or the flag.
    pub source: String,
    /// The line in the file, counted from 1.
    pub line: Option<usize>,
    /// The column in characters, counted from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problems {
    pub(super) fn new(name: &Path, text: String, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.place.rank());
        Self {
            name: name.display().to_string(),
            text,
            list,
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is nothing wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether all that is wrong is that files may not be read.
    pub fn are_permissions(&self) -> bool {
        !self.is_empty() && self.list.iter().all(|p| p.cause == Cause::Permission)
    }

    /// For programs.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.list.iter().map(|problem| self.entry(problem))
    }

    /// For people.
    pub fn render(&self, coloring: Coloring) -> String {
        let renderer = match coloring {
            Coloring::Plain => Renderer::plain(),
            Coloring::Colored => Renderer::styled(),
        };
        let mut text = String::new();
        for problem in &self.list {
            text.push_str(&renderer.render(&[self.group(problem)]));
            text.push_str("\n\n");
        }
        text
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let group = Group::with_title(level.primary_title(problem.title.as_str()));
        let group = match &problem.place {
            Place::Text(span) => group.element(
                Snippet::source(self.text.as_str())
                    .path(self.name.as_str())
                    .annotation(
                        AnnotationKind::Primary
                            .span(span.clone())
                            .label(problem.label.as_str()),
                    ),
            ),
            Place::File => group.element(Origin::path(self.name.as_str())),
            Place::Variable(_) | Place::Flag(_) => {
                group.element(Origin::path(self.source(&problem.place)))
            }
        };
        match &problem.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }

    fn source(&self, place: &Place) -> String {
        match place {
            Place::Text(_) | Place::File => self.name.clone(),
            Place::Variable(name) => format!("environment variable {name}"),
            Place::Flag(key) => format!("--set {key}"),
        }
    }

    fn entry(&self, problem: &Problem) -> Entry {
        let (line, column) = match &problem.place {
            Place::Text(span) => position(&self.text, span.start).unzip(),
            Place::File | Place::Variable(_) | Place::Flag(_) => (None, None),
        };
        Entry {
            severity: problem.severity,
            source: self.source(&problem.place),
            line,
            column,
            message: problem.title.clone(),
            help: problem.help.clone(),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Coloring::Plain).trim_end())
    }
}

impl std::error::Error for Problems {}

/// Whether a rendering carries colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coloring {
    /// No escape sequences.
    Plain,
    /// For a terminal.
    Colored,
}

/// Line and column, counted from 1, of a byte of `text`.
fn position(text: &str, at: usize) -> Option<(usize, usize)> {
    let before = text.get(..at)?;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start..)?.chars().count() + 1;
    Some((line, column))
}
