//! What the environment and the command line say on top of the file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::{Cause, Place, Problem};
use super::tree::{Entry, Node, Table, Value};

/// What a variable that overrides a key begins with.
const PREFIX: &str = "TIDEGATE__";

/// The end of a variable whose value stands in a file.
const FILE: &str = "_FILE";

/// The process's environment, or one made up.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own. Variables that are not UTF-8 are left out: none of ours can be.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The same without the variables that override keys.
    #[must_use]
    pub fn without_overrides(mut self) -> Self {
        self.0.retain(|name, _| !name.starts_with(PREFIX));
        self
    }

    /// A variable's value; an empty one counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What comes on top of the file.
#[derive(Clone, Default)]
pub struct Overlay {
    /// `TIDEGATE__SECTION__KEY`, and what secrets by `{ env = … }` and the defaults ask for.
    pub environment: Environment,
    /// Each `--set KEY=VALUE`.
    pub set: Vec<String>,
    /// What `telemetry.log_format` is when nobody says.
    pub log_format: Option<crate::telemetry::Format>,
}

/// Without the values: they may be secrets.
impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay")
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

impl Overlay {
    /// Puts it on top of `table`: first the environment, then `--set`.
    pub(super) fn apply(&self, table: &mut Table) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, value) in &self.environment.0 {
            if let Some(path) = name.strip_prefix(PREFIX) {
                problems.extend(self.apply_variable(table, name, path, value).err());
            }
        }
        for setting in &self.set {
            problems.extend(apply_flag(table, setting).err());
        }
        problems
    }

    fn apply_variable(
        &self,
        table: &mut Table,
        name: &str,
        path: &str,
        value: &str,
    ) -> Result<(), Problem> {
        let place = Place::Variable(name.to_owned());
        let Some(path_of_text) = path.strip_suffix(FILE) else {
            return put(table, &segments(path), Node::overlay(value, &place));
        };
        let twin = name.strip_suffix(FILE).unwrap_or(name);
        if self.environment.get(twin).is_some() {
            let title = format!("{name} and {twin} are both set");
            return Err(Problem::error(place, title).help("unset one of them"));
        }
        let text = read_text(Path::new(value)).map_err(|e| unreadable(place.clone(), value, &e))?;
        put(table, &segments(path_of_text), Node::text(&text, place))
    }
}

/// A file's text without the newline that editors leave at its end.
///
/// # Errors
/// When it can't be read or is not UTF-8.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// A file that a configuration names can't be read.
pub(super) fn unreadable(place: Place, path: &str, error: &io::Error) -> Problem {
    let kind = error.kind();
    let cause = if kind == io::ErrorKind::PermissionDenied {
        Cause::Permission
    } else {
        Cause::Invalid
    };
    let known = [
        (io::ErrorKind::NotFound, "there is no such file"),
        (io::ErrorKind::PermissionDenied, "no permission"),
        (io::ErrorKind::InvalidData, "it is not UTF-8 text"),
    ];
    let known = known.iter().find(|(known, _)| *known == kind);
    let why = known.map_or_else(|| error.to_string(), |(_, why)| (*why).to_owned());
    Problem {
        cause,
        ..Problem::error(place, format!("can't read the file {path}: {why}")).label("named here")
    }
}

/// Where a path written in `place` begins: beside the configuration file, or for variables and flags where we stand.
pub(super) fn resolve(dir: &Path, place: &Place, path: &str) -> PathBuf {
    match place {
        Place::Text(_) | Place::File => dir.join(path),
        Place::Variable(_) | Place::Flag(_) => PathBuf::from(path),
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("__").map(str::to_ascii_lowercase).collect()
}

fn apply_flag(table: &mut Table, setting: &str) -> Result<(), Problem> {
    let shape = "write --set section.key=value";
    let Some((key, value)) = setting.split_once('=') else {
        // The whole might be a secret with its key forgotten.
        let title = "--set needs a key, `=` and a value";
        return Err(Problem::error(Place::Flag("…".to_owned()), title).help(shape));
    };
    let key = key.trim();
    let place = Place::Flag(key.to_owned());
    let path = dotted(key)
        .ok_or_else(|| Problem::error(place.clone(), "this is not a key").help(shape))?;
    put(table, &path, Node::overlay(value, &place))
}

/// A dotted key as TOML reads it, quotes and all.
fn dotted(key: &str) -> Option<Vec<String>> {
    let text = format!("{key} = 0");
    let mut table = DeTable::parse(&text).ok()?.into_inner();
    let mut path = Vec::new();
    loop {
        if table.len() != 1 {
            return None;
        }
        let (key, value) = table.into_iter().next()?;
        path.push(key.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(path),
            DeValue::String(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => return None,
        }
    }
}

/// Puts `node` where `path` leads, making the tables on the way.
fn put(table: &mut Table, path: &[String], node: Node) -> Result<(), Problem> {
    let Some((key, rest)) = path.split_first() else {
        return Ok(());
    };
    let place = node.place.clone();
    let at = table
        .0
        .iter()
        .position(|entry| entry.key.eq_ignore_ascii_case(key));
    let at = at.unwrap_or_else(|| {
        table.0.push(Entry {
            key: key.clone(),
            key_place: place.clone(),
            node: Node::empty_table(place.clone()),
        });
        table.0.len() - 1
    });
    let Some(entry) = table.0.get_mut(at) else {
        return Ok(());
    };
    if rest.is_empty() {
        entry.key_place = place;
        entry.node = node;
        return Ok(());
    }
    put_below(&mut entry.node, key, rest, node)
}

fn put_below(parent: &mut Node, key: &str, rest: &[String], node: Node) -> Result<(), Problem> {
    let kind = parent.value.kind();
    let place = node.place.clone();
    match (&mut parent.value, rest.split_first()) {
        (Value::Table(inner), _) => put(inner, rest, node),
        (Value::List(items), Some((index, rest))) => {
            let count = items.len();
            let item = index.parse().ok().and_then(|at: usize| items.get_mut(at));
            let title = format!("`{key}` has no element {index}: it has {count}, counted from 0");
            let item = item.ok_or_else(|| Problem::error(place, title))?;
            if rest.is_empty() {
                *item = node;
                return Ok(());
            }
            put_below(item, index, rest, node)
        }
        (Value::Text(_) | Value::Integer(_) | Value::Flag(_) | Value::Other(_), _)
        | (Value::List(_), None) => {
            let title = format!("`{key}` is {kind}, not a table: nothing can be set in it");
            Err(Problem::error(place, title))
        }
    }
}
