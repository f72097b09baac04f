//! What people see.

pub(crate) mod account;
pub(crate) mod authority;
pub(crate) mod certificate;
pub(crate) mod claim;
pub(crate) mod fleet;
pub(crate) mod logs;
pub(crate) mod map;
pub(crate) mod operate;
pub(crate) mod pair;
pub(crate) mod passkeys;
pub(crate) mod plot;
pub(crate) mod radios;
pub(crate) mod reset;
pub(crate) mod security;
pub(crate) mod system;
pub(crate) mod upstreams;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::{DOCTYPE, Markup, html};

use crate::Web;
use crate::assets::{ICON, SCRIPT, STYLE};
use crate::routes::Call;
use crate::texts::{self, Advice, Texts};

/// A state, in colour, shape and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warn,
    Bad,
    Idle,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Idle => "idle",
        }
    }
}

pub(crate) fn chip(tone: Tone, words: &str) -> Markup {
    html! { span class={ "chip " (tone.class()) } { (words) } }
}

pub(crate) fn note(tone: Tone, title: &str, more: &Markup) -> Markup {
    html! { section class={ "note " (tone.class()) } { h2 { (title) } (more) } }
}

/// What people call a radio that the configuration and the command line call so.
pub(crate) fn radio_name(radio: &str) -> &str {
    match radio {
        "zigbee" => "Zigbee",
        "lora" => "LoRaWAN",
        "subghz" => "433 MHz",
        other => other,
    }
}

/// What is wrong with a form, read out at once.
pub(crate) fn fault(words: Option<&str>) -> Markup {
    html! { @if let Some(words) = words { div class="note bad" role="alert" { p { (rich(words)) } } } }
}

/// A text with commands between back quotes.
pub(crate) fn rich(text: &str) -> Markup {
    html! {
        @for (n, part) in text.split('`').enumerate() {
            @if n % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// The daemon's own words; it speaks English.
pub(crate) fn said(text: &Texts, words: &str) -> Markup {
    html! { @if !words.is_empty() { p class="small" { (text.said) " " span lang="en" { (words) } } } }
}

/// Where the links of the head lead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tab {
    Overview,
    Locks,
    Pair,
    Radios,
    Broker,
    Map,
    Log,
    System,
    Security,
    About,
    /// None of them: nobody is signed in.
    None,
}

/// A page around its content.
pub(crate) struct Page<'a> {
    pub(crate) title: &'a str,
    pub(crate) tab: Tab,
    /// The page's own path, for coming back in another language.
    pub(crate) here: &'a str,
    /// Where its events come from.
    pub(crate) live: Option<&'a str>,
    pub(crate) narrow: bool,
}

impl Page<'_> {
    pub(crate) fn show(&self, web: &Web, call: &Call, status: StatusCode, content: &Markup) -> Response {
        let token = call.form_token();
        let bar = html! {
            header class="top" {
                div class="bar" {
                    a class="brand" href="/" {
                        img src=(ICON.path) alt="" width="32" height="32";
                        span { "Cardea" small { (web.settings.gateway) } }
                    }
                    form method="post" action="/language" {
                        input type="hidden" name="token" value=(token);
                        input type="hidden" name="back" value=(self.here);
                        @for other in texts::ALL.into_iter().filter(|other| other.tag != call.text.tag) {
                            button class="quiet" name="tag" value=(other.tag) lang=(other.tag) { (other.name) }
                        }
                    }
                    @if call.session.is_some() {
                        form method="post" action="/sign-out" {
                            input type="hidden" name="token" value=(token);
                            button class="quiet" { (call.text.sign_out) }
                        }
                    }
                }
                @if call.session.is_some() { (self.tabs(call.text)) }
            }
        };
        let content = html! {
            div id="lost" class="note warn" role="status" hidden { p { (call.text.lost) } }
            (content)
            p id="said" class="unseen" role="status" {}
        };
        let html = document(call.text, self.title, &bar, &content, (self.narrow, self.live));
        respond(status, html)
    }

    fn tabs(&self, text: &Texts) -> Markup {
        let tabs = [
            (Tab::Overview, "/", text.overview),
            (Tab::Locks, "/locks", text.locks),
            (Tab::Pair, "/pair", text.pair),
            (Tab::Radios, "/radios", text.radios),
            (Tab::Broker, "/broker", text.operate.upstream),
            (Tab::Map, "/map", text.operate.map),
            (Tab::Log, "/log", text.operate.logs),
            (Tab::System, "/system", text.operate.system),
            (Tab::Security, "/security", text.security),
            (Tab::About, "/about", text.about),
        ];
        html! {
            nav class="tabs" aria-label=(text.sections) {
                @for (tab, path, name) in tabs {
                    a href=(path) aria-current=[(tab == self.tab).then_some("page")] { (name) }
                }
            }
        }
    }
}

fn document(
    text: &Texts,
    title: &str,
    bar: &Markup,
    content: &Markup,
    (narrow, live): (bool, Option<&str>),
) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(text.tag) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Cardea" }
                link rel="stylesheet" href=(STYLE.path);
                link rel="icon" type="image/svg+xml" href=(ICON.path);
                script src=(SCRIPT.path) defer {}
                @if live.is_some() { noscript { meta http-equiv="refresh" content="5"; } }
            }
            body data-live=[live] {
                a class="skip" href="#main" { (text.skip) }
                (bar)
                main id="main" class=[narrow.then_some("narrow")] { (content) }
                footer { (text.footer) }
            }
        }
    }
}

fn respond(status: StatusCode, html: Markup) -> Response {
    let mut response = Response::new(Body::from(html.into_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A page without a head: nothing on it leads anywhere.
pub(crate) fn last(text: &Texts, title: &str, content: &Markup) -> Response {
    respond(StatusCode::OK, document(text, title, &html! {}, content, (true, None)))
}

/// A page for those who get none. It says nothing about the gateway, so anybody may have it.
pub(crate) fn refusal(text: &Texts, status: StatusCode) -> Response {
    let Advice { what, todo } = match status {
        StatusCode::FORBIDDEN => &text.forbidden,
        StatusCode::NOT_FOUND => &text.not_found,
        StatusCode::MISDIRECTED_REQUEST => &text.wrong_host,
        StatusCode::TOO_MANY_REQUESTS => &text.too_many,
        StatusCode::PAYLOAD_TOO_LARGE => &text.too_large,
        StatusCode::REQUEST_TIMEOUT => &text.too_slow,
        StatusCode::SERVICE_UNAVAILABLE => &text.unavailable,
        _ => &text.bad_request,
    };
    let content = html! {
        h1 { (what) }
        p { (rich(todo)) }
        @if status != StatusCode::MISDIRECTED_REQUEST {
            div class="buttons" { a class="button" href="/" { (text.overview) } }
        }
    };
    let mut response = respond(status, document(text, what, &html! {}, &content, (true, None)));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    response
}

/// What plain HTTP says: where the page is, and why the browser will warn. `host` is the visitor's, when it is one of ours.
///
/// The fingerprint is not on it: whoever sits in between would write their own.
pub(crate) fn signpost(text: &Texts, host: Option<&str>, https: u16, is_root: bool) -> Response {
    let Some(host) = host else { return plain_only(refusal(text, StatusCode::MISDIRECTED_REQUEST)) };
    let name = match host.rfind(':').filter(|_| !host.ends_with(']')) {
        Some(at) => host.get(..at).unwrap_or(host),
        None => host,
    };
    let target = if https == 443 { format!("https://{name}/") } else { format!("https://{name}:{https}/") };
    if !is_root {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        if let Ok(target) = HeaderValue::from_str(&target) {
            response.headers_mut().insert(header::LOCATION, target);
        }
        return plain_only(response);
    }
    // No style sheet: this page is all that plain HTTP has.
    let html = html! {
        (DOCTYPE)
        html lang=(text.tag) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Cardea" }
            }
            body {
                main {
                    h1 { (text.signpost) }
                    p { (text.signpost_why) }
                    p { (rich(text.signpost_check)) }
                    p { a href=(target) { (text.signpost_go) } }
                }
            }
        }
    };
    plain_only(respond(StatusCode::OK, html))
}

fn plain_only(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
