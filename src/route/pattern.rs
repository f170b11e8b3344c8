//! A route's path as written, in segments: literals, `{segment}`, and `{*rest}` at the end.

use super::readings;
use crate::target;

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// In a target's normal form.
    Literal(Box<str>),
    /// `{name}`: any one segment that is not empty.
    Segment,
    /// `{*name}`: whatever follows, or nothing.
    Rest,
}

/// A parsed pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) parts: Vec<Part>,
}

impl Pattern {
    /// Parses `text`, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err("the path must begin with a slash".to_owned());
        };
        let last = inner.split('/').count() - 1;
        let parts = inner
            .split('/')
            .enumerate()
            .map(|(index, segment)| Part::parse(segment, index == last))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { parts })
    }

    /// What every path that it matches begins with.
    pub(super) fn literal_start(&self) -> String {
        self.parts
            .iter()
            .map_while(|part| match part {
                Part::Literal(literal) => Some(format!("/{literal}")),
                Part::Segment | Part::Rest => None,
            })
            .collect()
    }

    pub(super) fn is_cased(&self) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Literal(literal) => literal.bytes().any(|b| b.is_ascii_uppercase()),
            Part::Segment | Part::Rest => false,
        })
    }

    /// The same in lower case.
    pub(super) fn folded(&self) -> Self {
        let parts = self.parts.iter().map(|part| match part {
            Part::Literal(literal) => Part::Literal(literal.to_ascii_lowercase().into()),
            Part::Segment => Part::Segment,
            Part::Rest => Part::Rest,
        });
        Self {
            parts: parts.collect(),
        }
    }
}

impl Part {
    fn parse(segment: &str, last: bool) -> Result<Self, String> {
        match segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(name) if name.starts_with('*') => {
                named(segment, name.trim_start_matches('*'))?;
                if !last {
                    return Err(format!("{segment} must be the last segment"));
                }
                Ok(Self::Rest)
            }
            Some(name) => named(segment, name).map(|()| Self::Segment),
            None => literal(segment, last).map(Self::Literal),
        }
    }
}

fn named(segment: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['{', '}', '*']) {
        return Err(format!(
            "{segment} needs a name, such as {{id}} or {{*rest}}"
        ));
    }
    Ok(())
}

/// A literal as a target's path has it, so that both spellings of one character match.
fn literal(segment: &str, last: bool) -> Result<Box<str>, String> {
    if segment.contains(['{', '}', '*']) {
        return Err(format!(
            "{segment}: a placeholder is a whole segment, {{name}}, or {{*name}} at the end"
        ));
    }
    if segment.contains(['?', '#']) {
        return Err(format!("{segment}: a path has no query and no fragment"));
    }
    if segment.is_empty() && !last {
        return Err("the path has an empty segment".to_owned());
    }
    let encoded = readings::encode_foreign(segment);
    let normal = target::normal_path(&format!("/{encoded}"))
        .map_err(|error| format!("{segment}: {error}"))?;
    match normal.strip_prefix('/') {
        Some(literal) if segment.is_empty() || !literal.is_empty() => Ok(literal.into()),
        Some(_) | None => Err(format!("{segment}: a dot segment matches nothing")),
    }
}
