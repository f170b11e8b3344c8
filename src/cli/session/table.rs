//! Sessions as a table that fits a terminal, and one as a card.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use super::printable::printable;
use super::text;
use crate::clock::{Clock, in_words};

/// How many letters of an id are shown, as in the log, unless more are needed to tell two apart.
const LETTERS: usize = 12;
/// The widest that a column gets. Together with the id, and two blanks between columns, that is 100 at most.
const WIDEST: [usize; 6] = [27, 12, 8, 8, 8, 15];
const HEADS: [&str; 6] = ["USER", "IDP", "BEGAN", "SEEN", "ENDS IN", "FROM"];

/// A session as a row.
pub(super) struct Listed {
    id: String,
    cells: [String; 6],
}

impl Listed {
    pub(super) fn of(session: &Value) -> Self {
        let person = ["user", "email", "subject"].map(|name| text(session, name));
        let person = person.into_iter().find(|name| !name.is_empty());
        let ends = until(text(session, "idle_end")).min(until(text(session, "absolute_end")));
        let cells = [
            person.unwrap_or_default().to_owned(),
            text(session, "idp").to_owned(),
            in_words(ago(text(session, "created"))),
            in_words(ago(text(session, "last_seen"))),
            in_words(ends),
            text(session, "address").to_owned(),
        ];
        Self {
            id: text(session, "id").to_owned(),
            cells: cells.map(|cell| printable(&cell)),
        }
    }
}

/// All of them, at most 100 columns wide.
pub(super) fn table(sessions: &[Listed]) -> String {
    if sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let letters = letters_to_tell_apart(sessions);
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = sessions.iter().filter_map(|s| s.cells.get(column));
        let longest = cells.map(|cell| cell.chars().count()).max();
        let head = HEADS.get(column).map_or(0, |head| head.len());
        let widest = WIDEST.get(column).copied().unwrap_or_default();
        longest.unwrap_or_default().max(head).min(widest)
    });
    let heads = HEADS.map(str::to_owned);
    let mut out = row("SESSION", letters, &heads, &widths);
    for session in sessions {
        let id = session.id.get(..letters).unwrap_or(&session.id);
        out.push_str(&row(id, letters, &session.cells, &widths));
    }
    out
}

/// One, with everything that is known of it.
pub(super) fn card(session: &Value) -> String {
    let Some(fields) = session.as_object() else {
        return String::new();
    };
    let mut out = String::new();
    for (name, value) in fields {
        let value = match value {
            Value::Null => continue,
            Value::String(text) => printable(text),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        let name = name.replace('_', " ");
        // A string takes whatever is written to it.
        let _ = writeln!(out, "{name:<18}{value}");
    }
    out
}

fn row(id: &str, letters: usize, cells: &[String; 6], widths: &[usize; 6]) -> String {
    let mut out = format!("{id:<letters$}");
    for (cell, width) in cells.iter().zip(widths) {
        let cell = cut(cell, *width);
        let _ = write!(out, "  {cell:<width$}");
    }
    format!("{}\n", out.trim_end())
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(['…']).collect()
}

fn letters_to_tell_apart(sessions: &[Listed]) -> usize {
    let longest = sessions.iter().map(|s| s.id.len()).max();
    let longest = longest.unwrap_or(LETTERS);
    let tells_apart = |letters: &usize| {
        let mut seen = HashSet::new();
        sessions.iter().all(|s| seen.insert(s.id.get(..*letters)))
    };
    (LETTERS..=longest).find(tells_apart).unwrap_or(longest)
}

fn ago(moment: &str) -> Duration {
    let now = i64::try_from(Clock::System.now().as_secs()).unwrap_or(i64::MAX);
    let then = moment.parse().map_or(now, jiff::Timestamp::as_second);
    Duration::from_secs(u64::try_from(now.saturating_sub(then)).unwrap_or_default())
}

fn until(moment: &str) -> Duration {
    let now = i64::try_from(Clock::System.now().as_secs()).unwrap_or(i64::MAX);
    let then = moment.parse().map_or(now, jiff::Timestamp::as_second);
    Duration::from_secs(u64::try_from(then.saturating_sub(now)).unwrap_or_default())
}
