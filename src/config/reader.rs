//! Reading a tree key by key: what nobody asks for is refused, and every error is kept so that all come at once.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::overlay::{Environment, resolve};
use super::problem::{Place, Problem};
use super::tree::{Entry, Node, Table, Value};

/// What all sections share.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) environment: &'a Environment,
    /// Where the configuration file is.
    pub(super) dir: PathBuf,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    /// A reader for a file in `dir`.
    pub(super) fn new(environment: &'a Environment, dir: &Path) -> Self {
        Self {
            environment,
            dir: dir.to_owned(),
            problems: RefCell::default(),
        }
    }

    /// Keeps a problem.
    pub(super) fn tell(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// All that was told.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// One value on its way to becoming something.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) node: &'a Node,
    /// Its name in messages, such as `session.idle_timeout` or `routes[2].path`.
    pub(super) path: String,
}

impl<'a> Field<'a> {
    /// An error here; `label` goes under the caret.
    pub(super) fn wrong(&self, title: impl Into<String>, label: &str, help: impl Into<String>) {
        self.reader.tell(
            Problem::error(self.node.place.clone(), title)
                .label(label)
                .help(help),
        );
    }

    /// It is of another type than `expected`, which `example` shows.
    pub(super) fn mistyped(&self, expected: &str, example: &str) {
        let title = format!(
            "`{}` must be {expected}, not {}",
            self.path,
            self.node.value.kind()
        );
        self.wrong(
            title,
            &format!("expected {expected}"),
            format!("such as {example}"),
        );
    }

    /// A warning here.
    pub(super) fn warn(&self, title: impl Into<String>, help: impl Into<String>) {
        self.reader
            .tell(Problem::warning(self.node.place.clone(), title).help(help));
    }

    /// A path as written here: relative to the file that it is written in.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        resolve(&self.reader.dir, &self.node.place, path)
    }

    /// It as a table.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        self.section_like(&format!("[{}]", self.path))
    }

    /// It as a table, of which `example` shows one.
    pub(super) fn section_like(&self, example: &str) -> Option<Section<'a>> {
        if let Value::Table(table) = &self.node.value {
            return Some(Section {
                reader: self.reader,
                place: self.node.place.clone(),
                path: self.path.clone(),
                table: Some(table),
                known: Vec::new(),
                later: Vec::new(),
            });
        }
        self.mistyped("a table", example);
        None
    }

    /// It as a list, element by element.
    pub(super) fn items(&self, example: &str) -> Option<Vec<Self>> {
        if let Value::List(items) = &self.node.value {
            let items = items.iter().enumerate().map(|(at, node)| Self {
                reader: self.reader,
                node,
                path: format!("{}[{at}]", self.path),
            });
            return Some(items.collect());
        }
        self.mistyped("a list", example);
        None
    }

    /// Its text: what came from a variable or a flag is text whatever it looks like.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match (&self.node.value, &self.node.raw) {
            (Value::Text(text), _) => Some(text),
            (Value::Integer(_) | Value::Flag(_) | Value::Other(_), Some(raw)) => Some(raw),
            (Value::Integer(_) | Value::Flag(_) | Value::Other(_), None)
            | (Value::List(_) | Value::Table(_), _) => None,
        }
    }
}

/// A table that is being read. [`Section::finish`] refuses what was not asked for.
#[derive(Debug)]
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    place: Place,
    path: String,
    table: Option<&'a Table>,
    known: Vec<&'static str>,
    later: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The whole configuration.
    pub(super) fn root(reader: &'a Reader<'a>, table: &'a Table) -> Self {
        Self {
            reader,
            place: Place::File,
            path: String::new(),
            table: Some(table),
            known: Vec::new(),
            later: Vec::new(),
        }
    }

    /// The value of `key`, which is thereby known.
    pub(super) fn field(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.known.push(key);
        let node = &self.table?.get(key)?.node;
        Some(self.named(key, node))
    }

    /// `key` read by `read`; nothing where it is left out or wrong.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<T> {
        read(&self.field(key)?)
    }

    /// `key` read by `read`; `default` where it is left out. Where it is wrong nothing will be made of the rest either.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// `key` read by `read`, which must be there; `example` is a line that would do.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Field<'a>) -> Option<T>,
    ) -> Option<T> {
        let field = self.field(key);
        if field.is_none() {
            self.missing(key, example);
        }
        read(&field?)
    }

    /// `key` is not there, and must be.
    pub(super) fn missing(&self, key: &str, example: &str) {
        let title = format!("`{}` is missing", self.name(key));
        self.wrong(title, "here", format!("add {example}"));
    }

    /// An error of the section as a whole.
    pub(super) fn wrong(&self, title: impl Into<String>, label: &str, help: impl Into<String>) {
        self.reader.tell(
            Problem::error(self.place.clone(), title)
                .label(label)
                .help(help),
        );
    }

    /// A warning about `key`, which is not there.
    pub(super) fn warn(&self, key: &str, what: &str, help: &str) {
        let title = format!("`{}` {what}", self.name(key));
        self.reader
            .tell(Problem::warning(self.place.clone(), title).help(help));
    }

    /// A table within; an empty one where it is left out.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let read = self.optional(key, Field::section);
        self.or_empty(key, read)
    }

    /// The same where people like to write it in one line, as `example` has it.
    pub(super) fn section_like(&mut self, key: &'static str, example: &str) -> Self {
        let read = self.optional(key, |field| field.section_like(example));
        self.or_empty(key, read)
    }

    fn or_empty(&self, key: &str, read: Option<Self>) -> Self {
        read.unwrap_or_else(|| Self {
            reader: self.reader,
            place: self.place.clone(),
            path: self.name(key),
            table: None,
            known: Vec::new(),
            later: Vec::new(),
        })
    }

    /// All entries, whatever their keys: the reader of each judges it.
    pub(super) fn entries(&self) -> Vec<(&'a Entry, Field<'a>)> {
        let entries = self.table.into_iter().flat_map(|table| &table.0);
        entries
            .map(|entry| (entry, self.named(&entry.key, &entry.node)))
            .collect()
    }

    /// Keys of the contract that this version does not act on yet. Ignoring one would be a hole (CVE-2021-21411).
    pub(super) fn later(&mut self, keys: &[&'static str]) {
        self.later.extend_from_slice(keys);
    }

    /// Refuses every key that was not asked for.
    pub(super) fn finish(self) {
        for entry in self.table.into_iter().flat_map(|table| &table.0) {
            let key = entry.key.as_str();
            if self.later.contains(&key) {
                self.reader.tell(not_yet(&entry.key_place, &self.name(key)));
            } else if !self.known.contains(&key) {
                self.unknown(entry);
            }
        }
    }

    fn unknown(&self, entry: &Entry) {
        let place = if self.path.is_empty() {
            "here".to_owned()
        } else {
            format!("in `{}`", self.path)
        };
        let candidates = self.known.iter().chain(&self.later).copied();
        // What is written already was not meant again.
        let written = |key: &&str| self.table.is_some_and(|table| table.get(key).is_some());
        let (written, free): (Vec<_>, Vec<_>) = candidates.partition(written);
        let near = suggestion(&entry.key, free.into_iter().chain(written));
        let help = near.map_or_else(
            || format!("known {place}: {}", self.known_keys()),
            |near| format!("did you mean `{near}`?"),
        );
        self.reader.tell(
            Problem::error(
                entry.key_place.clone(),
                format!("unknown key `{}`", self.name(&entry.key)),
            )
            .label(format!("not known {place}"))
            .help(help),
        );
    }

    fn known_keys(&self) -> String {
        let mut known = self.known.clone();
        known.sort_unstable();
        known.dedup();
        known.join(", ")
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn named(&self, key: &str, node: &'a Node) -> Field<'a> {
        Field {
            reader: self.reader,
            node,
            path: self.name(key),
        }
    }
}

/// `what` is in the contract, but not in this version.
pub(super) fn not_yet(place: &Place, what: &str) -> Problem {
    Problem::error(
        place.clone(),
        format!("`{what}` is not supported by this version yet"),
    )
    .label("not supported yet")
    .help("take it out: a setting that nothing acts on is never accepted in silence")
}

/// The candidate that a person most likely meant: at most every third letter may be wrong.
pub(super) fn suggestion<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
