//! The scripts that run inside Redis: each makes one change to one row, so that it is made as a whole or not at all.

use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, ToRedisArgs, Value};

use super::link::Line;

/// A script, and the name under which Redis remembers it.
#[derive(Debug)]
pub(super) struct Script {
    code: String,
    sha: String,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: $($file:literal),+;)+) => {
        $(
            $(#[$doc])*
            pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(&[$(include_str!($file)),+]));
        )+
    };
}

scripts! {
    LOAD: "load.lua";
    REPLACE: "outlive.lua", "replace.lua";
    TOUCH: "outlive.lua", "touch.lua";
    RENEW: "renew.lua";
    FORGET: "forget.lua";
    INDEX: "outlive.lua", "index.lua";
    OWE: "outlive.lua", "owe.lua";
    HOLD: "hold.lua";
    PAID: "paid.lua";
    CLAIM: "hex.lua", "claim.lua";
    HOUSE: "house.lua";
    REFUSE: "outlive.lua", "refuse.lua";
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        let code = parts.concat();
        let sha = redis::Script::new(&code).get_hash().to_owned();
        Self { code, sha }
    }

    pub(super) fn call(&'static self) -> Call {
        Call {
            script: self,
            keys: Vec::new(),
            arguments: Cmd::new(),
        }
    }
}

/// A script with what it is to work on.
#[derive(Debug)]
pub(super) struct Call {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Cmd,
}

impl Call {
    pub(super) fn key(mut self, key: String) -> Self {
        self.keys.push(key);
        self
    }

    pub(super) fn keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.keys.extend(keys);
        self
    }

    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.arguments.arg(argument);
        self
    }

    /// Runs it. One that Redis has forgotten (it was started anew, a replica took over) is told once more.
    pub(super) async fn run(&self, line: &Line) -> Result<Value, RedisError> {
        let answer = line.ask(&self.command("EVALSHA", &self.script.sha)).await;
        match answer {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                line.ask(&self.command("EVAL", &self.script.code)).await
            }
            answer => answer,
        }
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut command = Cmd::new();
        command.arg(verb).arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for argument in self.arguments.args_iter() {
            if let redis::Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}
