//! `[session]`, `[store.*]` and `[logout]`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::EncryptionKeys;
use super::reader::{Field, Section};
use super::redis::{Chosen, Redis, redis};
use super::secret::encryption_key;
use super::value::{
    duration, flag, is_loopback, list, number, path, possibly_empty_list, some_duration, spoken,
    text, url, word,
};
use crate::credential;
use crate::session::{OnStoreError, Settings, StoreSettings};

/// Swaps at once per provider.
const SWAPS_AT_ONCE: usize = 64;

/// How long a request waits for a swap that it needs.
const SWAP_WAIT: Duration = Duration::from_secs(10);

/// `[session]` and `[store.*]`.
pub(super) struct Session {
    times: Times,
    shared: WhileShared,
    max_per_user: Option<NonZeroUsize>,
    swaps_at_once: usize,
    pub(super) store: StoreSettings,
    pub(super) encryption_keys: EncryptionKeys,
    pub(super) cookie: String,
}

/// What goes for a store that others share.
struct WhileShared {
    on_error: OnStoreError,
    cache_ttl: Duration,
}

/// `[logout]`.
pub(super) struct Logout {
    pub(super) rp_initiated: bool,
    pub(super) post_logout_redirects: Vec<String>,
    revoke: Vec<Token>,
    revoke_retry_for: Duration,
    refuse_for: Duration,
    pub(super) backchannel: bool,
    pub(super) frontchannel: bool,
}

/// How long sessions live and when their tokens are swapped.
pub(super) struct Times {
    idle: Duration,
    absolute: Duration,
    refresh_every: Duration,
    refresh_before: Duration,
    outage_grace: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Refresh,
    Access,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Memory,
    Disk,
    Redis,
    Cookie,
}

/// What the session room is told.
pub(super) fn settings(session: &Session, logout: &Logout) -> Settings {
    let (times, shared) = (&session.times, &session.shared);
    let in_cookie = matches!(session.store, StoreSettings::Cookie);
    Settings {
        idle_timeout: times.idle,
        absolute_timeout: times.absolute,
        refresh_before: times.refresh_before,
        refresh_every: times.refresh_every,
        outage_grace: times.outage_grace,
        max_per_user: session.max_per_user,
        swaps_at_once: session.swaps_at_once,
        swap_wait: SWAP_WAIT,
        cache_ttl: shared.cache_ttl,
        on_store_error: shared.on_error,
        cookie_room: in_cookie.then(|| credential::cookie::room(&session.cookie)),
        revoke_refresh_token: logout.revoke.contains(&Token::Refresh),
        revoke_access_token: logout.revoke.contains(&Token::Access),
        revoke_retry_for: logout.revoke_retry_for,
        refuse_for: logout.refuse_for,
    }
}

/// Reads `[session]` and `[store]`. Nothing where what it takes is missing.
pub(super) fn session(
    mut section: Section<'_>,
    stores: Section<'_>,
    state_dir: &Path,
) -> Option<Session> {
    const STORES: &[(&str, Store)] = &[
        ("memory", Store::Memory),
        ("disk", Store::Disk),
        ("redis", Store::Redis),
        ("cookie", Store::Cookie),
    ];
    let kind = section.or("store", Store::Disk, word(STORES, &[]));
    let times = times(&mut section);
    let cookie = cookie(section.section("cookie"));
    let keys = section.field("encryption_keys");
    if kind == Store::Redis && keys.is_none() {
        shared_key_is_missing(&section);
    }
    let keys = keys
        .as_ref()
        .and_then(list("[{ file = \"session.key\" }]", encryption_key));
    let max_per_user = section.or("max_per_user", 0, number(0..=100_000));
    let swaps_at_once = section.or("swaps_at_once", SWAPS_AT_ONCE, number(1..=1024));
    section.finish();
    let (disk, redis) = stores_of(stores, kind);
    let disk = disk.unwrap_or_else(|| state_dir.join("sessions.redb"));
    let made = match kind {
        Store::Memory | Store::Redis => EncryptionKeys::OfThisRun,
        Store::Cookie => EncryptionKeys::KeptIn(state_dir.join("session.key")),
        Store::Disk => EncryptionKeys::KeptIn(disk.with_file_name("session.key")),
    };
    Some(Session {
        encryption_keys: keys.map_or(made, EncryptionKeys::Given),
        store: match kind {
            Store::Memory => StoreSettings::Memory,
            Store::Cookie => StoreSettings::Cookie,
            Store::Disk => StoreSettings::Disk { path: disk },
            Store::Redis => StoreSettings::Redis(redis.settings?),
        },
        shared: WhileShared {
            on_error: redis.on_error,
            cache_ttl: redis.cache_ttl,
        },
        times,
        max_per_user: NonZeroUsize::new(max_per_user),
        swaps_at_once,
        cookie,
    })
}

/// Every node must open what another has sealed, so none may make a key of its own.
fn shared_key_is_missing(section: &Section<'_>) {
    section.missing(
        "encryption_keys",
        "encryption_keys = [{ file = \"session.key\" }], the same on every node; \
         make it with: tidegate key new session -o session.key",
    );
}

fn times(section: &mut Section<'_>) -> Times {
    let idle = section.field("idle_timeout");
    let absolute = section.field("absolute_timeout");
    let before = section.field("refresh_before");
    let every = section.field("refresh_every");
    let read =
        |field: &Option<Field<'_>>, default| field.as_ref().map_or(Some(default), some_duration);
    let grace = section.field("outage_grace");
    let times = Times {
        idle: read(&idle, Duration::from_mins(30)).unwrap_or_default(),
        absolute: read(&absolute, Duration::from_hours(12)).unwrap_or(Duration::MAX),
        refresh_before: read(&before, Duration::from_mins(1)).unwrap_or_default(),
        refresh_every: read(&every, Duration::from_mins(5)).unwrap_or_default(),
        outage_grace: grace.as_ref().and_then(duration).unwrap_or_default(),
    };
    let limit = times.absolute;
    let no_longer = |what: &Option<Field<'_>>, is: Duration| {
        // A default that is longer than what was written has no effect, and nobody meant it.
        if let (true, Some(field)) = (is > limit, what) {
            let title = format!("`{}` is longer than `session.absolute_timeout`", field.path);
            let help = format!("a session ends after {} in any case", spoken(limit));
            field.wrong(title, "this would never happen", help);
        }
    };
    no_longer(&idle, times.idle);
    no_longer(&before, times.refresh_before);
    no_longer(&every, times.refresh_every);
    no_longer(&grace, times.outage_grace);
    times
}

fn cookie(mut section: Section<'_>) -> String {
    let name = section.or("name", "__Host-tidegate".to_owned(), cookie_name);
    section.optional("same_site", same_site);
    section.finish();
    name
}

/// `strict` can't work: browsers leave such a cookie out where another site leads, which the way back from every sign-in is.
fn same_site(field: &Field<'_>) -> Option<()> {
    let why = match field.as_text() {
        Some("strict") => {
            "nobody could come back from the provider signed in: the browser would leave the cookie out"
        }
        Some("none") => "every other site could use the person's session",
        Some(_) | None => return word(&[("lax", ())], &[])(field),
    };
    field.wrong(
        format!("`{}` can only be \"lax\"", field.path),
        "not this",
        why,
    );
    None
}

/// The prefix makes browsers refuse a cookie of that name that a sibling domain tries to plant (RFC 6265bis section 4.1.3.2).
fn cookie_name(field: &Field<'_>) -> Option<String> {
    let name = text(field)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let rest = name.strip_prefix("__Host-").filter(|rest| !rest.is_empty());
    if rest.is_some_and(|rest| rest.bytes().all(token)) {
        return Some(name);
    }
    let title = format!(
        "`{}` must begin with __Host- and go on with letters, digits or -",
        field.path
    );
    field.wrong(
        title,
        "expected a __Host- name",
        "such as \"__Host-tidegate\"",
    );
    None
}

fn stores_of(mut section: Section<'_>, kind: Store) -> (Option<PathBuf>, Redis) {
    let mut disk = section.section("disk");
    let path = disk.optional("path", path);
    disk.finish();
    let chosen = match kind {
        Store::Redis => Chosen::Yes,
        Store::Memory | Store::Disk | Store::Cookie => Chosen::No,
    };
    let redis = redis(section.section("redis"), chosen);
    section.finish();
    (path, redis)
}

/// Reads `[logout]`. What the provider says of its sessions takes a store that knows which ones those are here.
pub(super) fn logout(mut section: Section<'_>, store: Option<&StoreSettings>) -> Logout {
    const TOKENS: &[(&str, Token)] = &[
        ("refresh_token", Token::Refresh),
        ("access_token", Token::Access),
    ];
    let logout = Logout {
        rp_initiated: section.or("rp_initiated", true, flag),
        revoke: section.or(
            "revoke",
            vec![Token::Refresh, Token::Access],
            possibly_empty_list("[\"refresh_token\", \"access_token\"]", word(TOKENS, &[])),
        ),
        revoke_retry_for: section.or("revoke_retry_for", Duration::from_mins(10), duration),
        refuse_for: section.or("refuse_for", Duration::from_hours(24), some_duration),
        backchannel: told_of_ends(&mut section, "backchannel", store),
        frontchannel: told_of_ends(&mut section, "frontchannel", store),
        post_logout_redirects: section.or(
            "post_logout_redirects",
            Vec::new(),
            possibly_empty_list("[\"https://www.example.com/bye\"]", redirect),
        ),
    };
    section.finish();
    logout
}

fn told_of_ends(
    section: &mut Section<'_>,
    key: &'static str,
    store: Option<&StoreSettings>,
) -> bool {
    let field = section.field(key);
    let wanted = field.as_ref().map_or(Some(true), flag).unwrap_or_default();
    let can = !matches!(store, Some(StoreSettings::Cookie));
    if let (true, false, Some(field)) = (wanted, can, &field) {
        field.warn(
            format!("`{}` has no effect with session.store = \"cookie\"", field.path),
            "only a store on the server (disk, redis) knows which sessions a provider means: its endpoint is not there",
        );
    }
    wanted && can
}

/// Compared exactly, so it stays as written.
fn redirect(field: &Field<'_>) -> Option<String> {
    let parsed = url(field)?;
    if text(field)?.contains('*') {
        let title = format!("`{}`: a * matches nothing here", field.path);
        let help = "every URL is compared exactly: write out each one that is meant";
        field.wrong(title, "a * is no wildcard", help);
        return None;
    }
    if parsed.scheme() == "http" && !is_loopback(&parsed) {
        let title = format!("`{}` must be https", field.path);
        field.wrong(
            title,
            "expected https",
            "people would be sent there in the clear",
        );
        return None;
    }
    text(field)
}
