//! A browser: a person's cookies, redirects, forms and `Sec-Fetch-*` headers. It keeps every byte that it ever received.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use tidegate::clock::Clock;
use url::Url;

use super::jar::{Cookie, Jar, Sending};
use super::wire::{Error, Reply, Speaks, Wire};

const MOST_HOPS: usize = 20;

/// Where a browser has got to.
#[derive(Clone, Debug)]
pub struct Page {
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    /// Every address on the way here, this one included.
    pub hops: Vec<Url>,
}

impl Page {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| {
            panic!(
                "{} {}: not JSON ({why}): {}",
                self.status, self.url, self.body
            )
        })
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// The forms on it.
    pub fn forms(&self) -> Vec<Form> {
        let pieces = self.body.split("<form").skip(1);
        pieces.map(|piece| Form::read(piece, &self.url)).collect()
    }

    /// The form that has a button of this name and value, or whose button reads so.
    pub fn form_with(&self, button: &str) -> Option<(Form, Button)> {
        self.forms().into_iter().find_map(|form| {
            let named = |b: &&Button| b.value == button || b.text.contains(button);
            let found = form.buttons.iter().find(named)?.clone();
            Some((form, found))
        })
    }

    /// Where its links lead.
    pub fn links(&self) -> Vec<Url> {
        let pieces = self.body.split("<a ").skip(1);
        let links = pieces.filter_map(|piece| attribute(piece.split('>').next()?, "href"));
        links.filter_map(|href| self.url.join(&href).ok()).collect()
    }
}

/// A form on a page.
#[derive(Clone, Debug)]
pub struct Form {
    pub post: bool,
    pub action: Url,
    pub hidden: Vec<(String, String)>,
    pub buttons: Vec<Button>,
}

/// A button of a form.
#[derive(Clone, Debug, Default)]
pub struct Button {
    pub name: String,
    pub value: String,
    pub text: String,
    pub action: Option<String>,
}

impl Form {
    fn read(piece: &str, page: &Url) -> Self {
        let (tag, rest) = piece.split_once('>').unwrap_or((piece, ""));
        let inside = rest.split("</form").next().unwrap_or_default();
        let action = attribute(tag, "action").unwrap_or_default();
        Self {
            post: attribute(tag, "method").is_some_and(|m| m.eq_ignore_ascii_case("post")),
            action: page.join(&action).unwrap(),
            hidden: inside
                .split("<input")
                .skip(1)
                .filter_map(|input| {
                    let tag = input.split('>').next()?;
                    let value = attribute(tag, "value").unwrap_or_default();
                    Some((attribute(tag, "name")?, value))
                })
                .collect(),
            buttons: inside.split("<button").skip(1).map(Button::read).collect(),
        }
    }
}

impl Button {
    fn read(piece: &str) -> Self {
        let (tag, rest) = piece.split_once('>').unwrap_or((piece, ""));
        Self {
            name: attribute(tag, "name").unwrap_or_default(),
            value: attribute(tag, "value").unwrap_or_default(),
            text: rest
                .split("</button")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
            action: attribute(tag, "formaction"),
        }
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!("{name}=\""))? + name.len() + 2;
    let raw = tag[start..].split('"').next()?;
    let unescaped = raw
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'");
    let unescaped = unescaped
        .replace("&#x2f;", "/")
        .replace("&#x2F;", "/")
        .replace("&#123;", "{");
    Some(
        unescaped
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&"),
    )
}

/// Something that a browser asks for.
#[derive(Clone, Debug)]
struct Ask {
    method: Method,
    url: Url,
    form: Option<String>,
    navigation: bool,
    /// The page that it comes from; none when a person typed the address.
    initiator: Option<Url>,
    headers: Vec<(String, String)>,
}

/// One person's browser. Clones are tabs of it.
#[derive(Clone)]
pub struct Browser(Arc<Profile>);

struct Profile {
    base: Url,
    wire: Wire,
    clock: Clock,
    jar: Mutex<Jar>,
    received: Mutex<Vec<u8>>,
    user_agent: Mutex<String>,
}

impl Browser {
    /// A fresh one, for a site at `base`.
    pub fn new(base: Url, clock: Clock) -> Self {
        Self::over(Wire::new(Speaks::H2), base, clock)
    }

    /// The same over a wire of one's own.
    pub fn over(wire: Wire, base: Url, clock: Clock) -> Self {
        Self(Arc::new(Profile {
            base,
            wire,
            clock,
            jar: Mutex::default(),
            received: Mutex::default(),
            user_agent: Mutex::new("Mozilla/5.0 (tests)".to_owned()),
        }))
    }

    /// The same, which says of itself that it is another.
    pub fn claiming(self, user_agent: &str) -> Self {
        user_agent.clone_into(&mut self.0.user_agent.lock().unwrap());
        self
    }

    /// Signs in: opens the site, picks the person, and ends up on the site.
    pub async fn login(&self, person: &str) -> Page {
        self.login_at("/", person).await
    }

    /// The same, from a deep link.
    pub async fn login_at(&self, path: &str, person: &str) -> Page {
        let page = self.get(path).await;
        let page = self.press(&page, person).await;
        assert_eq!(
            page.url.origin(),
            self.0.base.origin(),
            "signing in as {person} ended at {} with {}:\n{}",
            page.url,
            page.status,
            page.body
        );
        page
    }

    /// Types an address (or a path of the site) and follows wherever it leads.
    pub async fn get(&self, address: &str) -> Page {
        self.follow(self.typed(address)).await
    }

    /// The same without following: the first answer.
    pub async fn glance(&self, address: &str) -> Page {
        self.step(&self.typed(address), Vec::new()).await.unwrap()
    }

    /// The same, where there may be no answer.
    pub async fn try_get(&self, address: &str) -> Result<Page, Error> {
        self.step(&self.typed(address), Vec::new()).await
    }

    /// Follows a link on a page.
    pub async fn click(&self, page: &Page, to: &Url) -> Page {
        let mut ask = self.typed(to.as_str());
        ask.initiator = Some(page.url.clone());
        self.follow(ask).await
    }

    /// Presses the button with this value or text on a page.
    pub async fn press(&self, page: &Page, button: &str) -> Page {
        let (form, button) = page.form_with(button).unwrap_or_else(|| {
            panic!(
                "no button {button:?} at {} ({}):\n{}",
                page.url, page.status, page.body
            )
        });
        self.follow(self.submission(page, &form, &button)).await
    }

    /// The same without following: the first answer.
    pub async fn press_once(&self, page: &Page, button: &str) -> Page {
        let (form, button) = page.form_with(button).expect("no such button");
        let ask = self.submission(page, &form, &button);
        self.step(&ask, Vec::new()).await.unwrap()
    }

    /// A form post from a page of the site itself.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Page {
        self.post_from(&self.0.base.clone(), path, form).await
    }

    /// A form post from a page at `initiator`, which may be another site's.
    pub async fn post_from(&self, initiator: &Url, path: &str, form: &[(&str, &str)]) -> Page {
        let mut ask = self.typed(path);
        ask.method = Method::POST;
        ask.form = Some(encode(form.iter().copied()));
        ask.initiator = Some(initiator.clone());
        self.follow(ask).await
    }

    /// What a script on a page of the site does: `fetch(path)`.
    pub async fn fetch(&self, path: &str) -> Page {
        self.fetch_with(Method::GET, path, &[]).await
    }

    /// `fetch(path, { method, headers })`; redirects are not followed, so that they show.
    pub async fn fetch_with(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Page {
        let mut ask = self.typed(path);
        ask.method = method;
        ask.navigation = false;
        ask.initiator = Some(self.0.base.clone());
        let headers = headers.iter();
        ask.headers = headers.map(|(n, v)| ((*n).into(), (*v).into())).collect();
        self.step(&ask, Vec::new()).await.unwrap()
    }

    /// The `Cookie` header that a page load of the site would send.
    pub fn cookie_line(&self) -> String {
        let sending = Sending {
            cross_site: false,
            top_level: true,
            safe_method: true,
        };
        let jar = self.0.jar.lock().unwrap();
        jar.line(&self.0.base, sending, &self.0.clock)
            .unwrap_or_default()
    }

    /// A cookie by name.
    pub fn cookie(&self, name: &str) -> Option<Cookie> {
        self.0.jar.lock().unwrap().find(name).cloned()
    }

    /// All cookies of the site that a person would find in the developer tools.
    pub fn cookies(&self) -> Vec<Cookie> {
        self.0.jar.lock().unwrap().all().to_vec()
    }

    /// The gateway's session cookie.
    pub fn session_cookie(&self) -> Option<Cookie> {
        self.cookie("__Host-tidegate")
    }

    /// Puts a cookie back as it was.
    pub fn put_cookie(&self, cookie: Cookie) {
        self.0.jar.lock().unwrap().put(cookie);
    }

    /// A new browser with the cookies of this one: what someone who stole them has.
    pub fn stolen(&self) -> Self {
        let thief = Self::new(self.0.base.clone(), self.0.clock.clone());
        for cookie in self.cookies() {
            thief.put_cookie(cookie);
        }
        thief
    }

    /// Forgets all cookies.
    pub fn forget(&self) {
        self.0.jar.lock().unwrap().clear();
    }

    /// `Set-Cookie` lines that a browser would have refused.
    pub fn refused_cookies(&self) -> Vec<String> {
        self.0.jar.lock().unwrap().refused.clone()
    }

    /// Everything that the gateway, the applications and the provider ever sent to this browser: heads and bodies.
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.0.received.lock().unwrap()).into_owned()
    }

    pub fn base(&self) -> &Url {
        &self.0.base
    }

    fn typed(&self, address: &str) -> Ask {
        Ask {
            method: Method::GET,
            url: self.0.base.join(address).unwrap(),
            form: None,
            navigation: true,
            initiator: None,
            headers: Vec::new(),
        }
    }

    fn submission(&self, page: &Page, form: &Form, button: &Button) -> Ask {
        let to = button
            .action
            .as_deref()
            .map(|to| page.url.join(to).unwrap());
        let mut ask = self.typed(to.unwrap_or_else(|| form.action.clone()).as_str());
        let pressed = (!button.name.is_empty()).then_some((&button.name, &button.value));
        let hidden = form.hidden.iter().map(|(name, value)| (name, value));
        let pairs = hidden.chain(pressed).map(|(n, v)| (n.as_str(), v.as_str()));
        ask.initiator = Some(page.url.clone());
        if form.post {
            ask.method = Method::POST;
            ask.form = Some(encode(pairs));
        } else {
            ask.url.query_pairs_mut().clear().extend_pairs(pairs);
        }
        ask
    }

    async fn follow(&self, mut ask: Ask) -> Page {
        let mut hops = Vec::new();
        for _ in 0..MOST_HOPS {
            let page = self.step(&ask, hops.clone()).await.unwrap();
            let to = page.header("location");
            if !page.status.is_redirection() || to.is_empty() {
                return page;
            }
            hops.push(ask.url.clone());
            let keeps_method = matches!(page.status.as_u16(), 307 | 308);
            if !keeps_method && ask.method != Method::HEAD {
                ask.method = Method::GET;
                ask.form = None;
            }
            ask.url = page.url.join(to).unwrap();
        }
        panic!("over {MOST_HOPS} redirects: {hops:?}");
    }

    /// One request and its answer. `hops` are the addresses that redirected here.
    async fn step(&self, ask: &Ask, hops: Vec<Url>) -> Result<Page, Error> {
        let site = site(ask.initiator.as_ref(), hops.iter().chain([&ask.url]));
        let request = self.request(ask, site);
        let reply = self.0.wire.send(&ask.url, request).await?;
        self.keep(&ask.url, &reply);
        let mut hops = hops;
        hops.push(ask.url.clone());
        Ok(Page {
            url: ask.url.clone(),
            status: reply.status,
            body: reply.text(),
            headers: reply.headers,
            hops,
        })
    }

    fn request(&self, ask: &Ask, site: &'static str) -> Request<Full<Bytes>> {
        let accept = if ask.navigation {
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        } else {
            "*/*"
        };
        let mut request = Request::builder()
            .method(&ask.method)
            .header(
                header::USER_AGENT,
                self.0.user_agent.lock().unwrap().as_str(),
            )
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_LANGUAGE, "en")
            .header("sec-fetch-site", site)
            .header(
                "sec-fetch-mode",
                if ask.navigation { "navigate" } else { "cors" },
            )
            .header(
                "sec-fetch-dest",
                if ask.navigation { "document" } else { "empty" },
            );
        if ask.navigation {
            request = request.header("sec-fetch-user", "?1");
        }
        if let (Some(initiator), false) = (&ask.initiator, ask.method.is_safe()) {
            request = request.header(header::ORIGIN, initiator.origin().ascii_serialization());
        }
        let sending = Sending {
            cross_site: site == "cross-site",
            top_level: ask.navigation,
            safe_method: ask.method.is_safe(),
        };
        let cookies = self
            .0
            .jar
            .lock()
            .unwrap()
            .line(&ask.url, sending, &self.0.clock);
        if let Some(line) = cookies {
            request = request.header(header::COOKIE, line);
        }
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if ask.form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Bytes::from(ask.form.clone().unwrap_or_default());
        request.body(Full::new(body)).unwrap()
    }

    fn keep(&self, url: &Url, reply: &Reply) {
        let mut received = self.0.received.lock().unwrap();
        received.extend(format!("\n{url} → {}\n", reply.status).bytes());
        for (name, value) in &reply.headers {
            received.extend(name.as_str().bytes().chain(*b": "));
            received.extend(value.as_bytes().iter().chain(b"\n"));
        }
        received.extend(&reply.body);
        drop(received);
        let mut jar = self.0.jar.lock().unwrap();
        for line in reply.headers.get_all(header::SET_COOKIE) {
            jar.set(line.to_str().unwrap_or_default(), url, &self.0.clock);
        }
    }
}

/// `Sec-Fetch-Site` (Fetch Metadata section 2.4): the worst of all addresses on the way. Sites are schemeful, so that http
/// and https on localhost are two.
fn site<'a>(initiator: Option<&Url>, ways: impl Iterator<Item = &'a Url>) -> &'static str {
    let Some(initiator) = initiator else {
        return "none";
    };
    let mut site = "same-origin";
    for url in ways {
        if url.origin() == initiator.origin() {
            continue;
        }
        if url.scheme() != initiator.scheme() || url.host() != initiator.host() {
            return "cross-site";
        }
        site = "same-site";
    }
    site
}

fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs);
    form.finish()
}
