//! Patterns as a tree of segments; the most specific match wins. matchit can't have `/a/{id}` beside `/a/{*rest}`.

use super::pattern::{Part, Pattern};

/// The patterns of one host, each leading to the index of a route.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Sorted by the literal.
    literals: Vec<(Box<str>, Tree)>,
    segment: Option<Box<Tree>>,
    /// The route whose pattern ends here.
    here: Option<usize>,
    /// The route that takes whatever follows.
    rest: Option<usize>,
}

impl Tree {
    /// Adds a pattern, or tells whose it is already.
    pub(super) fn insert(&mut self, pattern: &Pattern, route: usize) -> Result<(), usize> {
        self.place(&pattern.parts, route)
    }

    fn place(&mut self, parts: &[Part], route: usize) -> Result<(), usize> {
        match parts {
            [] => occupy(&mut self.here, route),
            [Part::Rest, ..] => occupy(&mut self.rest, route),
            [Part::Segment, after @ ..] => self.segment.get_or_insert_default().place(after, route),
            [Part::Literal(literal), after @ ..] => self.grow(literal).place(after, route),
        }
    }

    fn grow(&mut self, literal: &str) -> &mut Self {
        let at = self.literals.partition_point(|(l, _)| **l < *literal);
        if self.literals.get(at).is_none_or(|(l, _)| **l != *literal) {
            self.literals.insert(at, (literal.into(), Self::default()));
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "it is there, or was just put there"
        )]
        &mut self.literals[at].1
    }

    /// Whose `path` is: empty, or a slash and more. Each node is visited at most once, since only one way leads to it.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        let Some(path) = path.strip_prefix(b"/") else {
            return self.end();
        };
        let length = path.iter().position(|&b| b == b'/').unwrap_or(path.len());
        let (segment, after) = path.split_at(length);
        self.literal(segment)
            .and_then(|tree| tree.find(after))
            .or_else(|| self.any_segment(segment)?.find(after))
            .or(self.rest)
            .or(if path.is_empty() { self.here } else { None })
    }

    /// The path ends here, without a slash.
    fn end(&self) -> Option<usize> {
        self.here
            .or(self.rest)
            .or_else(|| self.literal(b"").and_then(|slash| slash.here))
    }

    fn literal(&self, segment: &[u8]) -> Option<&Self> {
        let at = self
            .literals
            .binary_search_by(|(literal, _)| literal.as_bytes().cmp(segment))
            .ok()?;
        self.literals.get(at).map(|(_, tree)| tree)
    }

    fn any_segment(&self, segment: &[u8]) -> Option<&Self> {
        self.segment.as_deref().filter(|_| !segment.is_empty())
    }
}

fn occupy(place: &mut Option<usize>, route: usize) -> Result<(), usize> {
    match place.replace(route) {
        Some(other) => Err(other),
        None => Ok(()),
    }
}
