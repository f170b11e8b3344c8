//! Whether a POST is the person's own wish, rather than another site's (CSRF). It needs no script.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Endpoints;
use super::ask::{Ask, Sender};
use crate::seal::Purpose;
use crate::token::SessionCookie;

/// What a form does. Its token is good for nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    SignOut,
    /// Ends sessions of the person's from this one.
    Sessions,
}

impl Form {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::SignOut => b"sign-out form",
            Self::Sessions => b"sessions form",
        }
    }
}

impl Endpoints {
    /// Whether the person wants it: the browser says so, or it comes with what no other site can send.
    pub(super) fn is_meant(&self, ask: &Ask, cookie: &SessionCookie, form: Form) -> bool {
        match ask.sender() {
            Sender::Own => true,
            Sender::Foreign => false,
            Sender::Unknown => ask.has_csrf_header() || self.is_form_token(ask, cookie, form),
        }
    }

    /// Shows that a form is ours and this session's, where the browser says nothing about the sender.
    pub(super) fn form_token(&self, cookie: &SessionCookie, form: Form) -> String {
        let bound = self.form_bound(cookie, form).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(self.keys.seal(Purpose::SignedOut, &bound, b""))
    }

    fn is_form_token(&self, ask: &Ask, cookie: &SessionCookie, form: Form) -> bool {
        let Some(bound) = self.form_bound(cookie, form) else {
            return false;
        };
        let token = ask.form.value("form").unwrap_or_default();
        URL_SAFE_NO_PAD
            .decode(token)
            .is_ok_and(|token| self.keys.open(Purpose::SignedOut, &bound, &token).is_ok())
    }

    /// The session rather than its cookie, which may be another one by the time that the form is sent.
    fn form_bound(&self, cookie: &SessionCookie, form: Form) -> Option<Vec<u8>> {
        let session = self.sessions.hash(cookie)?;
        Some([form.label(), session.as_bytes()].concat())
    }
}
