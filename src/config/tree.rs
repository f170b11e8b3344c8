//! A configuration as written: TOML's values, each with its place, in the order of the file.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
    /// As it came from a variable or a flag, before it was read as TOML.
    pub(super) raw: Option<String>,
}

/// One of TOML's values, reduced to what the configuration uses.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(Option<i64>),
    Flag(bool),
    /// Floats and dates: nothing asks for them.
    Other(&'static str),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What a person calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Other(kind) => kind,
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Keys and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

/// One key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) node: Node,
}

impl Table {
    /// Reads a file's text.
    ///
    /// # Errors
    /// All that is not TOML in it; what could be read is of no use then.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self::of(table.into_inner(), &Place::Text));
        }
        Err(errors.iter().map(|error| syntax(text, error)).collect())
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    fn of(table: DeTable<'_>, place: &impl Fn(Range<usize>) -> Place) -> Self {
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entries = entries.into_iter().map(|(key, value)| Entry {
            key_place: place(key.span()),
            key: key.into_inner().into_owned(),
            node: Node::of(value, place),
        });
        Self(entries.collect())
    }
}

impl Node {
    /// What a variable or a flag says: TOML where it is TOML, else text.
    pub(super) fn overlay(raw: &str, place: &Place) -> Self {
        let mut node = match DeValue::parse(raw) {
            Ok(value) => Self::of(value, &|_| place.clone()),
            Err(_) => Self::text(raw, place.clone()),
        };
        node.raw = Some(raw.to_owned());
        node
    }

    /// Text.
    pub(super) fn text(text: &str, place: Place) -> Self {
        Self {
            value: Value::Text(text.to_owned()),
            place,
            raw: None,
        }
    }

    /// A table without keys.
    pub(super) fn empty_table(place: Place) -> Self {
        Self {
            value: Value::Table(Table::default()),
            place,
            raw: None,
        }
    }

    fn of(value: Spanned<DeValue<'_>>, place: &impl Fn(Range<usize>) -> Place) -> Self {
        let at = place(value.span());
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => {
                Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(_) => Value::Other("a fraction"),
            DeValue::Boolean(flag) => Value::Flag(flag),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::List(
                items
                    .into_iter()
                    .map(|item| Self::of(item, place))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(Table::of(table, place)),
        };
        Self {
            value,
            place: at,
            raw: None,
        }
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let place = error.span().map_or(Place::File, |span| {
        Place::Text(span.start.min(text.len())..span.end.min(text.len()))
    });
    Problem::error(place, format!("this is not TOML: {}", error.message()))
        .label("here")
        .help("all that is not TOML has to be mended before the rest can be judged")
}
