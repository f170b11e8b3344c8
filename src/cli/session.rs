//! `tidegate session`: who is signed in, and the end of that, asked of the running gateway through its admin listener.

use std::io::{self, BufRead, IsTerminal};

use serde_json::Value;

use self::client::{Client, Error};
use self::printable::{printable, printable_json};
use self::table::{Listed, card, table};
use super::arguments::{Global, ListFormat, Session, SessionEnd, Sessions};
use super::{Exit, Terminal, config_file, load};

mod client;
mod printable;
mod table;

pub(super) fn session(global: &Global, options: &Sessions, terminal: &mut Terminal<'_>) -> Exit {
    let checked = match load(global, &options.set) {
        Ok(checked) => checked,
        Err(problems) => {
            terminal.problems(&problems);
            return Exit::of_problems(&problems);
        }
    };
    let file = config_file(global.config.as_deref());
    let asked = Client::of(checked.config.admin.as_ref(), &file).and_then(|client| {
        let mut clerk = Clerk { client, terminal };
        clerk.serve(&options.what)
    });
    asked.unwrap_or_else(|error| {
        terminal.fail(&error);
        error.exit()
    })
}

struct Clerk<'a, 't> {
    client: Client,
    terminal: &'a mut Terminal<'t>,
}

impl Clerk<'_, '_> {
    fn serve(&mut self, what: &Session) -> Result<Exit, Error> {
        match what {
            Session::List { user, idp, format } => {
                self.list(user.as_deref(), idp.as_deref(), *format)
            }
            Session::Show { id, format } => self.show(id, *format),
            Session::End(end) => self.end(end),
        }
    }

    fn list(
        &mut self,
        user: Option<&str>,
        idp: Option<&str>,
        format: ListFormat,
    ) -> Result<Exit, Error> {
        let (sessions, complete) = self.client.sessions(user, idp)?;
        match format {
            ListFormat::Json => {
                let all = serde_json::json!({ "sessions": sessions, "complete": complete });
                self.terminal.say(printable_json(&all));
            }
            ListFormat::Table => {
                let listed: Vec<_> = sessions.iter().map(Listed::of).collect();
                self.terminal.say(table(&listed));
                self.note_incomplete(complete);
            }
        }
        Ok(Exit::Success)
    }

    fn show(&mut self, id: &str, format: ListFormat) -> Result<Exit, Error> {
        let session = self.client.session(id)?;
        match format {
            ListFormat::Json => self.terminal.say(printable_json(&session)),
            ListFormat::Table => self.terminal.say(card(&session)),
        }
        Ok(Exit::Success)
    }

    fn end(&mut self, end: &SessionEnd) -> Result<Exit, Error> {
        if end.all {
            return self.end_all(end.yes);
        }
        if let Some(user) = &end.user {
            return self.end_user(user, end.idp.as_deref());
        }
        let mut exit = Exit::Success;
        for id in &end.ids {
            match self.client.end(id) {
                Ok(done) => self.tell_one(id, &done),
                Err(Error::Refused { detail, .. }) => {
                    self.terminal
                        .complain(format_args!("error: {id}: {detail}\n"));
                    exit = Exit::Failure;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(exit)
    }

    fn end_user(&mut self, user: &str, idp: Option<&str>) -> Result<Exit, Error> {
        let done = self.client.end_user(user, idp)?;
        if count(&done) == 0 && self.suggest(user, idp)? {
            return Ok(Exit::Failure);
        }
        self.tell_many(&done);
        self.terminal.say(format_args!(
            "bearer tokens that were issued to {user} until now are refused\n"
        ));
        Ok(Exit::Success)
    }

    /// Nobody's subject was named: perhaps somebody's name. Tells whether it is one.
    fn suggest(&mut self, user: &str, idp: Option<&str>) -> Result<bool, Error> {
        let (sessions, _) = self.client.sessions(Some(user), idp)?;
        let mut others: Vec<_> = sessions
            .iter()
            .map(|session| (text(session, "idp"), text(session, "subject")))
            .filter(|(_, subject)| *subject != user)
            .collect();
        others.sort_unstable();
        others.dedup();
        if others.is_empty() {
            return Ok(false);
        }
        self.terminal.complain(format_args!(
            "error: no session has the subject {user:?}; a user is ended by the subject. Did you mean:\n"
        ));
        for (idp, subject) in others {
            let subject = printable(subject);
            self.terminal.complain(format_args!(
                "  tidegate session end --user {subject} --idp {idp}\n"
            ));
        }
        Ok(true)
    }

    fn end_all(&mut self, yes: bool) -> Result<Exit, Error> {
        if !yes && !io::stdin().is_terminal() {
            self.terminal.complain(
                "error: this would end all sessions, and there is no terminal to ask at: add --yes if that is meant\n",
            );
            return Ok(Exit::Usage);
        }
        if !yes && !self.is_meant() {
            self.terminal.complain("nothing was ended\n");
            return Ok(Exit::Failure);
        }
        let done = self.client.end_all()?;
        self.tell_many(&done);
        let left = done.get("unreadable").and_then(Value::as_u64);
        if let Some(left) = left.filter(|left| *left > 0) {
            self.terminal.complain(format_args!(
                "error: {left} more are sealed with an encryption key that this node does not have: end them at a node that has it\n"
            ));
            return Ok(Exit::Failure);
        }
        self.note_incomplete(done.get("complete") == Some(&Value::Bool(true)));
        Ok(Exit::Success)
    }

    fn is_meant(&mut self) -> bool {
        let place = self.client.place();
        self.terminal.complain(format_args!(
            "End all sessions of the gateway at {place}? Everybody has to sign in again. Type yes: "
        ));
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        read.is_ok() && answer.trim() == "yes"
    }

    fn tell_one(&mut self, id: &str, done: &Value) {
        let id = match text(done, "id") {
            "" => id,
            whole => whole.get(..12).unwrap_or(whole),
        };
        let refresh = revocation(text(done, "refresh_token"));
        self.terminal
            .say(format_args!("ended {id}; refresh token: {refresh}\n"));
    }

    fn tell_many(&mut self, done: &Value) {
        let ended = match count(done) {
            0 => "no session to end".to_owned(),
            1 => "ended 1 session".to_owned(),
            many => format!("ended {many} sessions"),
        };
        let refresh = revocation(text(done, "refresh_token"));
        self.terminal
            .say(format_args!("{ended}; refresh tokens: {refresh}\n"));
    }

    fn note_incomplete(&mut self, complete: bool) {
        if !complete {
            self.terminal.complain(
                "note: sessions are kept in cookies here: those that this node has not seen since its start are not known\n",
            );
        }
    }
}

fn count(done: &Value) -> u64 {
    let ended = done.get("ended").and_then(Value::as_u64);
    ended.unwrap_or_default()
}

fn text<'v>(of: &'v Value, name: &str) -> &'v str {
    let text = of.get(name).and_then(Value::as_str);
    text.unwrap_or_default()
}

fn revocation(word: &str) -> &str {
    match word {
        "confirmed" => "revoked, the identity provider confirmed it",
        "owed" => "being revoked at the identity provider",
        "not_offered" => "the identity provider offers no revocation",
        _ => "nothing to revoke",
    }
}
