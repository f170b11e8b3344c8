//! The pages that people see: templates, and the security headers that every page of ours carries. No script anywhere.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;

pub mod device;
pub mod moment;
#[cfg(test)]
mod tests;

/// The look of all pages, for those that are not made of a template here.
pub const STYLE: &str = include_str!("pages/style.css");
/// The gate over the wave, as an `svg` element.
pub const MARK: &str = include_str!("pages/mark.svg");

/// Sent where a template can't be rendered: people shall never see an empty page.
const PLAIN: &str =
    "<!doctype html><title>Something went wrong</title><p>Something went wrong.</p>";

const TEMPLATES: [(&str, &str); 10] = [
    ("base.html", include_str!("pages/base.html")),
    ("sign_in.html", include_str!("pages/sign_in.html")),
    ("sign_out.html", include_str!("pages/sign_out.html")),
    ("signed_out.html", include_str!("pages/signed_out.html")),
    ("sessions.html", include_str!("pages/sessions.html")),
    ("refused.html", include_str!("pages/refused.html")),
    ("problem.html", include_str!("pages/problem.html")),
    (
        "cookies_blocked.html",
        include_str!("pages/cookies_blocked.html"),
    ),
    ("admin.html", include_str!("pages/admin.html")),
    (
        "admin_end_all.html",
        include_str!("pages/admin_end_all.html"),
    ),
];

/// What `[pages]` says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The heading of every page.
    pub title: String,
}

/// All templates, parsed once.
#[derive(Debug)]
pub struct Pages {
    templates: Environment<'static>,
    /// The policy of pages without a form, of those whose forms lead nowhere but to us, and of the one whose form may lead
    /// on to the provider.
    policy: HeaderValue,
    own_form_policy: HeaderValue,
    form_policy: HeaderValue,
}

impl Pages {
    /// The built-in templates.
    pub fn new(settings: Settings) -> Self {
        // `.html` names escape everything but the two constants below.
        let mut templates = Environment::new();
        for (name, source) in TEMPLATES {
            if let Err(error) = templates.add_template(name, source) {
                tracing::error!(template = name, %error, "a page's template can't be used");
            }
        }
        templates.add_global("site_title", title(settings));
        templates.add_global("style", Value::from_safe_string(STYLE.to_owned()));
        templates.add_global("mark", Value::from_safe_string(MARK.to_owned()));
        Self {
            templates,
            policy: policy("'none'"),
            own_form_policy: policy("'self'"),
            // Chrome holds a form's redirects to `form-action` too, and where a provider sends people on to is its affair.
            form_policy: policy("'self' https: http:"),
        }
    }

    /// Renders a template of `src/pages/` with its security headers (CSP, frame-ancestors, referrer policy, no-store).
    pub fn render(
        &self,
        status: StatusCode,
        template: &str,
        context: impl Serialize,
    ) -> Response<String> {
        let page = self
            .templates
            .get_template(template)
            .and_then(|found| found.render(Serde(&context)));
        let (status, body) = match page {
            Ok(body) => (status, body),
            Err(error) => {
                tracing::error!(template, %error, "a page can't be rendered");
                (StatusCode::INTERNAL_SERVER_ERROR, PLAIN.to_owned())
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let policy = match template {
            "sign_out.html" => &self.form_policy,
            "sessions.html" | "admin.html" | "admin_end_all.html" => &self.own_form_policy,
            _ => &self.policy,
        };
        let headers = response.headers_mut();
        guard(headers);
        headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        response
    }
}

/// What every answer of our own carries, a page or not: kept nowhere, guessed at by nobody, framed by nobody, and no
/// address of ours (it may hold a code) told to another site (RFC 9700 section 4.2.4).
pub fn guard(headers: &mut HeaderMap) {
    const GUARDS: [(HeaderName, &str); 4] = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in GUARDS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

fn title(settings: Settings) -> String {
    if settings.title.is_empty() {
        return "Tidegate".to_owned();
    }
    settings.title
}

/// The style sheet is inline, and its hash is what lets exactly it in.
fn policy(form_action: &str) -> HeaderValue {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let text = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; form-action {form_action}; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'",
    ))
}
