//! From a file, the environment and the command line to a [`Config`], or to all that is wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::overlay::{Environment, Overlay, unreadable};
use super::problem::{Place, Problem, Problems, Severity};
use super::reader::{Reader, Section};
use super::tree::Table;
use super::{Config, admin, blot, headers, idp, output, routes, server, sessions, upstreams};
use crate::forward;
use crate::telemetry::Format;

/// A configuration without errors, and what someone should know about it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it says.
    pub config: Config,
    /// What is allowed, but not good.
    pub warnings: Problems,
}

/// Far more than anybody writes; a device that never ends is read no further.
const LARGEST: u64 = 4 * 1024 * 1024;

fn read_bounded(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it has more than 4 MiB",
        ));
    }
    Ok(text)
}

impl Config {
    /// Reads `file` with `overlay` on top.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn load(file: &Path, overlay: &Overlay) -> Result<Checked, Problems> {
        match read_bounded(file) {
            Ok(text) => Self::parse(&text, file, overlay),
            Err(error) => {
                let name = file.display().to_string();
                let mut problem = unreadable(Place::File, &name, &error);
                problem.help =
                    Some("name another with --config FILE or TIDEGATE_CONFIG".to_owned());
                Err(Problems::new(file, String::new(), vec![problem]))
            }
        }
    }

    /// Reads `text` as if it stood in `file`, with `overlay` on top.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn parse(text: &str, file: &Path, overlay: &Overlay) -> Result<Checked, Problems> {
        let mut table = Table::parse(text)
            .map_err(|problems| Problems::new(file, blot::blot_lines(text), problems))?;
        let shown = blot::blot(text, &table);
        let misplaced = overlay.apply(&mut table);
        let dir = file.parent().unwrap_or(Path::new(""));
        let reader = Reader::new(&overlay.environment, dir);
        for problem in misplaced {
            reader.tell(problem);
        }
        let format = overlay.log_format.unwrap_or(Format::Json);
        let config = read(Section::root(&reader, &table), &overlay.environment, format);
        let (errors, warnings): (Vec<Problem>, Vec<Problem>) = reader
            .into_problems()
            .into_iter()
            .partition(|problem| problem.severity == Severity::Error);
        match config {
            Some(config) if errors.is_empty() => Ok(Checked {
                config,
                warnings: Problems::new(file, shown, warnings),
            }),
            _ => Err(Problems::new(file, shown, errors)),
        }
    }
}

/// Section by section. Where one is wrong the others are read all the same.
fn read(mut root: Section<'_>, environment: &Environment, log_format: Format) -> Option<Config> {
    root.optional("version", server::version);
    let server = server::server(root.section("server"));
    let external_url = server.external_url.as_ref();
    let listeners = server::listeners(root.field("listeners"), external_url);
    let tls = server::tls(root.section("tls"), external_url, &listeners);
    let idp_section = root.section("idp");
    let idps = idp::idps(&idp_section);
    let state_dir = state_dir(environment);
    let session = sessions::session(root.section("session"), root.section("store"), &state_dir);
    let store = session.as_ref().map(|session| &session.store);
    let logout = sessions::logout(root.section("logout"), store);
    let headers = headers::headers(root.section("headers"));
    let (upstreams, upstream_names) = upstreams::upstreams(&root.section("upstreams"));
    let around = routes::Surroundings {
        prefix: &server.prefix,
        upstreams: &upstream_names,
        idps: idp_section.entries().len(),
    };
    let routes = routes::routes(&mut root, &around);
    let pages = output::pages(root.section("pages"), external_url);
    let telemetry = output::telemetry(root.section("telemetry"), log_format);
    let admin = root.optional("admin", admin::admin);
    root.finish();
    let session = session?;
    Some(Config {
        external_url: server.external_url?,
        prefix: server.prefix,
        shutdown_grace: server.shutdown_grace,
        listeners,
        tls,
        idps,
        session: sessions::settings(&session, &logout),
        store: session.store,
        encryption_keys: session.encryption_keys,
        rp_initiated: logout.rp_initiated,
        post_logout_redirects: logout.post_logout_redirects,
        backchannel_logout: logout.backchannel,
        frontchannel_logout: logout.frontchannel,
        forward: forward::Settings {
            identity: headers.identity,
            strip_incoming: headers.strip_incoming,
            trusted_proxies: server.trusted_proxies,
            cookie: session.cookie.clone(),
            drain: server.shutdown_grace,
        },
        cookie: session.cookie,
        upstreams,
        routes,
        pages,
        telemetry,
        admin,
        state_dir,
    })
}

/// `$STATE_DIRECTORY` (systemd; the first of several), else `$XDG_STATE_HOME/tidegate`, else `./state`. The XDG base
/// directory specification has relative paths ignored.
fn state_dir(environment: &Environment) -> PathBuf {
    let systemd = environment
        .get("STATE_DIRECTORY")
        .and_then(|dirs| dirs.split(':').next())
        .filter(|dir| !dir.is_empty());
    let xdg = environment
        .get("XDG_STATE_HOME")
        .filter(|dir| dir.starts_with('/'));
    match (systemd, xdg) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(dir)) => Path::new(dir).join("tidegate"),
        (None, None) => PathBuf::from("state"),
    }
}
