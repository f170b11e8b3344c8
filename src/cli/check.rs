//! `tidegate check`: what a configuration comes to, or all that is wrong with it.

use serde_json::json;

use super::arguments::{self, CheckFormat, Global};
use super::exit::Exit;
use super::{Terminal, load};
use crate::config::{Checked, Problems, Unusable};

/// Reads the configuration and every file that it names.
pub(super) fn check(
    global: &Global,
    options: &arguments::Check,
    terminal: &mut Terminal<'_>,
) -> Exit {
    let checked = match load(global, &options.set) {
        Ok(checked) => checked,
        Err(problems) => return refuse(&problems, options.format, terminal),
    };
    // The certificate for localhost is made at the start: a check leaves nothing behind.
    if let Err(files) = checked.config.certificates() {
        return refuse_files(&files, options.format, terminal);
    }
    let exit = if options.strict && !checked.warnings.is_empty() {
        Exit::Config
    } else {
        Exit::Success
    };
    match options.format {
        CheckFormat::Json => terminal.say(format_args!("{}\n", report(exit, &checked.warnings))),
        CheckFormat::Human if global.quiet => terminal.problems(&checked.warnings),
        CheckFormat::Human => tell(exit, &checked, terminal),
    }
    exit
}

fn tell(exit: Exit, checked: &Checked, terminal: &mut Terminal<'_>) {
    terminal.problems(&checked.warnings);
    let verdict = match (exit, checked.warnings.len()) {
        (Exit::Success, 0) => "ok".to_owned(),
        (Exit::Success, 1) => "ok, with 1 warning".to_owned(),
        (Exit::Success, many) => format!("ok, with {many} warnings"),
        (_, 1) => "refused: 1 warning, and --strict".to_owned(),
        (_, many) => format!("refused: {many} warnings, and --strict"),
    };
    terminal.say(format_args!("{}\n{verdict}\n", checked.config.summary()));
}

fn refuse(problems: &Problems, format: CheckFormat, terminal: &mut Terminal<'_>) -> Exit {
    let exit = Exit::of_problems(problems);
    match format {
        CheckFormat::Json => terminal.say(format_args!("{}\n", report(exit, problems))),
        CheckFormat::Human => {
            terminal.problems(problems);
            let count = match problems.len() {
                1 => "1 error".to_owned(),
                many => format!("{many} errors"),
            };
            terminal.complain(format_args!("{count}\n"));
        }
    }
    exit
}

fn refuse_files(files: &Unusable, format: CheckFormat, terminal: &mut Terminal<'_>) -> Exit {
    match format {
        CheckFormat::Json => {
            let problems: Vec<_> = files
                .lines()
                .map(|line| json!({ "severity": "error", "message": line }))
                .collect();
            terminal.say(format_args!(
                "{}\n",
                json!({ "ok": false, "problems": problems })
            ));
        }
        CheckFormat::Human => terminal.fail(files),
    }
    if files.are_permissions() {
        Exit::Permission
    } else {
        Exit::Config
    }
}

fn report(exit: Exit, problems: &Problems) -> serde_json::Value {
    let problems: Vec<_> = problems.entries().collect();
    json!({ "ok": exit == Exit::Success, "problems": problems })
}
