//! What labels can say: short lists, so that the number of series is known beforehand.

use serde::{Deserialize, Serialize};

/// A label, or several, with all values that it can have.
pub trait Label: Copy {
    /// How many values there are.
    const COUNT: usize;

    /// All values, each at its [`Label::index`].
    fn all() -> Vec<Self>;

    /// Which of them this is.
    fn index(self) -> usize;

    /// Names and values as they are written.
    fn labels(self) -> Vec<(&'static str, &'static str)>;
}

macro_rules! label {
    ($(#[$about:meta])* $name:ident, $label:literal: $($(#[$what:meta])* $value:ident = $text:literal,)+) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$what])* $value,)+
        }

        impl Label for $name {
            const COUNT: usize = [$($text),+].len();

            fn all() -> Vec<Self> {
                vec![$(Self::$value),+]
            }

            fn index(self) -> usize {
                self as usize
            }

            fn labels(self) -> Vec<(&'static str, &'static str)> {
                vec![($label, self.word())]
            }
        }

        impl $name {
            /// The value as it is written.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    };
}

label! {
    /// What a sign-in came to.
    LoginOutcome, "outcome":
    /// A session began.
    SignedIn = "signed_in",
    /// The browser had one by then: another tab was faster.
    AlreadySignedIn = "already_signed_in",
    /// The person, or a rule at the provider, said no.
    Declined = "declined",
    /// The provider answered with an error.
    ProviderError = "provider_error",
    /// The answer is not the provider's that was asked (RFC 9207), or not to be understood.
    BadAnswer = "bad_answer",
    /// The code was refused: too old, or used before.
    CodeRefused = "code_refused",
    /// The ID token is missing or failed a check.
    BadIdToken = "bad_id_token",
    /// The access token would be refused on every request.
    BadAccessToken = "bad_access_token",
    /// All of the person's sessions ended meanwhile.
    Ended = "ended",
    /// The provider, or its keys, could not be had.
    Unavailable = "unavailable",
    /// The session store could not keep the session.
    StoreFailed = "store_failed",
}

label! {
    /// What the exchange of a refresh token came to.
    SwapOutcome, "outcome":
    /// New tokens.
    Swapped = "swapped",
    /// The provider refused the refresh token: the session ended.
    Refused = "refused",
    /// The same, after an exchange whose outcome was unknown.
    LostInFlight = "lost_in_flight",
    /// The provider was not there.
    Unavailable = "unavailable",
    /// It was asked, and no usable answer came.
    UnknownOutcome = "unknown_outcome",
    /// The provider refuses the gateway's client.
    ClientRefused = "client_refused",
    /// What came can't be accepted: the session ended.
    BadAnswer = "bad_answer",
    /// The session had ended when the answer came.
    TooLate = "too_late",
    /// Another node did it.
    Elsewhere = "elsewhere",
}

label! {
    /// What a fetch of signing keys came to.
    KeysOutcome, "outcome":
    /// A key set.
    Fetched = "fetched",
    /// None; the old one stays.
    Failed = "failed",
}

label! {
    /// Why a session ended.
    Ending, "reason":
    /// The person signed out.
    SignedOut = "signed_out",
    /// The person signed in anew in the same browser.
    Replaced = "replaced",
    /// More sessions of one person than there may be.
    Displaced = "displaced",
    /// The person ended it from another session.
    Dismissed = "dismissed",
    /// An administrator.
    Administrator = "administrator",
    /// The provider's back-channel logout.
    BackChannel = "back_channel",
    /// The provider's front-channel logout.
    FrontChannel = "front_channel",
    /// Idle for too long.
    Idle = "idle",
    /// The absolute deadline.
    Absolute = "absolute",
    /// The provider refused the refresh token.
    Refused = "refused",
    /// The refresh token was lost in flight.
    LostInFlight = "lost_in_flight",
    /// What a swap brought could not be accepted.
    BadAnswer = "bad_answer",
    /// The access token ended, and there was nothing to renew it with.
    Expired = "expired",
    /// The store no longer has it.
    Forgotten = "forgotten",
}

label! {
    /// What was still open when its session ended.
    StreamKind, "kind":
    /// A WebSocket: closed with a close frame.
    WebSocket = "websocket",
    /// Events or records without an end of their own: ended between two of them.
    Events = "events",
    /// Any other answer: broken off.
    Response = "response",
    /// A request whose answer had not begun: refused.
    Request = "request",
}

/// Why a stream was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnding {
    /// Its session ended.
    Session(Ending),
    /// Its bearer token is refused.
    Token,
}

impl Label for StreamEnding {
    const COUNT: usize = Ending::COUNT + 1;

    fn all() -> Vec<Self> {
        let sessions = Ending::all().into_iter().map(Self::Session);
        sessions.chain([Self::Token]).collect()
    }

    fn index(self) -> usize {
        match self {
            Self::Session(ending) => ending.index(),
            Self::Token => Ending::COUNT,
        }
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Session(ending) => ending.labels(),
            Self::Token => vec![("reason", "token_refused")],
        }
    }
}

label! {
    /// What a request had to wait for.
    WaitedFor, "on":
    /// The identity provider: its access token had ended.
    Swap = "swap",
    /// The store: the session was not in memory.
    Store = "store",
}

label! {
    /// Why a token is to be revoked.
    #[derive(Default, Serialize, Deserialize)]
    RevocationSource, "source":
    /// The person signed out.
    #[default]
    SignOut = "sign_out",
    /// A sign-in came to nothing, or took the place of an earlier session.
    SignIn = "sign_in",
    /// A session ran out, or was gone from the store.
    Expiry = "expiry",
    /// What a swap brought came too late, or could not be accepted.
    Swap = "swap",
    /// The person ended a session from another.
    MySessions = "my_sessions",
    /// An administrator.
    Administrator = "administrator",
    /// The provider's logout.
    ProviderLogout = "provider_logout",
    /// A client of the revocation endpoint.
    Client = "client",
}

label! {
    /// What is to be revoked.
    RevocationTarget, "target":
    /// A refresh token.
    RefreshToken = "refresh_token",
    /// An access token.
    AccessToken = "access_token",
    /// All that a user has at a provider.
    User = "user",
}

label! {
    /// What came of one try.
    RevocationOutcome, "outcome":
    /// The provider confirmed it.
    Confirmed = "confirmed",
    /// It stays owed, and is tried again.
    Failed = "failed",
    /// The provider offers no revocation.
    NotOffered = "not_offered",
    /// The token has expired, or was tried for long enough.
    Dropped = "dropped",
}

label! {
    /// What the session store was asked.
    StoreOperation, "op":
    /// For a session.
    Load = "load",
    /// To keep a new session.
    Create = "create",
    /// To note that a swap begins.
    Mark = "mark",
    /// To keep what a swap brought.
    Save = "save",
    /// To refuse tokens.
    Refuse = "refuse",
    /// To note activity.
    Touch = "touch",
    /// To end a session.
    End = "end",
    /// To forget what is over.
    Forget = "forget",
    /// To keep, hold or strike what is owed to providers, or to say it.
    Debts = "debts",
    /// What has expired.
    Due = "due",
    /// Which sessions there are, or belong to a user or to a session at a provider.
    Find = "find",
    /// How much there is.
    Census = "census",
    /// To keep a swap's lease, or whose turn it is to keep house.
    Lease = "lease",
}

impl<A: Label, B: Label> Label for (A, B) {
    const COUNT: usize = A::COUNT * B::COUNT;

    fn all() -> Vec<Self> {
        let firsts = A::all().into_iter();
        firsts
            .flat_map(|a| B::all().into_iter().map(move |b| (a, b)))
            .collect()
    }

    fn index(self) -> usize {
        self.0.index() * B::COUNT + self.1.index()
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        [self.0.labels(), self.1.labels()].concat()
    }
}

impl<A: Label, B: Label, C: Label> Label for (A, B, C) {
    const COUNT: usize = A::COUNT * B::COUNT * C::COUNT;

    fn all() -> Vec<Self> {
        let pairs = A::all()
            .into_iter()
            .flat_map(|a| B::all().into_iter().map(move |b| (a, b)));
        pairs
            .flat_map(|(a, b)| C::all().into_iter().map(move |c| (a, b, c)))
            .collect()
    }

    fn index(self) -> usize {
        (self.0.index() * B::COUNT + self.1.index()) * C::COUNT + self.2.index()
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        [self.0.labels(), self.1.labels(), self.2.labels()].concat()
    }
}
