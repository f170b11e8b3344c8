//! How the process ends: the exit codes that scripts and service managers rely on (sysexits.h where it has one).

use std::error::Error;
use std::io;
use std::process::ExitCode;

use crate::config::Problems;
use crate::{app, demo};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Success,
    /// 1: something went wrong while running.
    Failure,
    /// 2: the command line can't be understood.
    Usage,
    /// 3: the grace period passed with requests under way.
    Unclean,
    /// 69 (`EX_UNAVAILABLE`): the gateway, or what it depends on, can't be reached.
    Unreachable,
    /// 77 (`EX_NOPERM`): no permission to bind or read.
    Permission,
    /// 78 (`EX_CONFIG`): the configuration is wrong.
    Config,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Unclean => 3,
            Self::Unreachable => 69,
            Self::Permission => 77,
            Self::Config => 78,
        }
    }

    /// Of a configuration that is refused.
    pub(super) fn of_problems(problems: &Problems) -> Self {
        if problems.are_permissions() {
            Self::Permission
        } else {
            Self::Config
        }
    }

    /// Of a gateway that didn't start or stop as it should.
    pub(super) fn of_app(error: &app::Error) -> Self {
        if lacks_permission(error) {
            return Self::Permission;
        }
        match error {
            app::Error::Files(files) if files.are_permissions() => Self::Permission,
            app::Error::Bind { .. }
            | app::Error::BindAdmin { .. }
            | app::Error::AuditLog { .. }
            | app::Error::Store(_)
            | app::Error::Start(_) => Self::Failure,
            app::Error::Files(_)
            | app::Error::Tls(_)
            | app::Error::EncryptionKey { .. }
            | app::Error::Route { .. } => Self::Config,
            app::Error::Unclean(_) => Self::Unclean,
        }
    }

    /// Of a demo that didn't start or stop as it should.
    pub(super) fn of_demo(error: &demo::Error) -> Self {
        match error {
            demo::Error::Gateway(error) => Self::of_app(error),
            other if lacks_permission(other) => Self::Permission,
            demo::Error::Start(_)
            | demo::Error::Idp(_)
            | demo::Error::Config(_)
            | demo::Error::Write { .. } => Self::Failure,
        }
    }
}

impl Exit {
    /// Of anything else that failed.
    pub(super) fn of_any(error: &(dyn Error + 'static)) -> Self {
        if lacks_permission(error) {
            Self::Permission
        } else {
            Self::Failure
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Whether the system refused it, somewhere among the causes.
fn lacks_permission(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        let refused = cause
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
        if refused {
            return true;
        }
        next = cause.source();
    }
    false
}
