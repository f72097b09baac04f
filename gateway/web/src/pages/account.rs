//! Signing in and out, the password once more, sessions, the language, and what this is.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use cardea_framing::LockId;
use maud::{Markup, html};

use super::claim::{new_password, weakness, with_cookie};
use super::{Page, Tab, fault, passkeys, refusal, rich};
use crate::Web;
use crate::history::What;
use crate::keeper::ClaimError;
use crate::passkey::Purpose;
use crate::routes::{Call, see_other};
use crate::session::COOKIE;
use crate::texts::{self, Texts};

/// What the password was asked for once more, as a word in the address: never an address itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Overview,
    Pair,
    Password,
    Certificate,
    Remove(LockId),
    /// A page of the operator: its word, and where it is.
    Operator(&'static str, &'static str),
}

/// The pages of operators that ask for the password.
const OPERATOR: [(&str, &str); 6] = [
    ("zigbee", "/radios/zigbee"),
    ("broker", "/broker/test"),
    ("diagnosis", "/diagnosis"),
    ("authority", "/security/authority"),
    ("passkeys", "/security/passkeys"),
    ("reset", "/system/reset"),
];

impl Target {
    pub(crate) fn of(path: &str, lock: Option<LockId>) -> Self {
        match (path, lock) {
            ("/pair", _) => Self::Pair,
            ("/security/password", _) => Self::Password,
            ("/security/certificate" | "/security/certificate/own", _) => Self::Certificate,
            ("/locks/{lock}/remove", Some(lock)) => Self::Remove(lock),
            // A form leads back to its page.
            (path, _) => OPERATOR
                .into_iter()
                .find(|(_, page)| path.starts_with(page))
                .map_or(Self::Overview, |(word, page)| Self::Operator(word, page)),
        }
    }

    pub(super) fn parse(word: &str) -> Self {
        match word.strip_prefix("remove-").map(str::parse) {
            Some(Ok(lock)) => Self::Remove(lock),
            _ if word == "pair" => Self::Pair,
            _ if word == "password" => Self::Password,
            _ if word == "certificate" => Self::Certificate,
            _ => OPERATOR
                .into_iter()
                .find(|(known, _)| *known == word)
                .map_or(Self::Overview, |(word, page)| Self::Operator(word, page)),
        }
    }

    pub(crate) fn path(self) -> String {
        match self {
            Self::Overview => "/".into(),
            Self::Pair => "/pair".into(),
            Self::Password => "/security/password".into(),
            Self::Certificate => "/security/certificate".into(),
            Self::Remove(lock) => format!("/locks/{lock}/remove"),
            Self::Operator(_, page) => page.into(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overview => f.write_str("overview"),
            Self::Pair => f.write_str("pair"),
            Self::Password => f.write_str("password"),
            Self::Certificate => f.write_str("certificate"),
            Self::Remove(lock) => write!(f, "remove-{lock}"),
            Self::Operator(word, _) => f.write_str(word),
        }
    }
}

/// Begins a session in this browser, under a new id whatever the browser came with.
pub(crate) async fn begin(web: &Web, call: &Call, path: &str) -> Response {
    let browser = call.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let before = call.session.as_ref().map(|(id, _)| id.name());
    match web.keeper.begin(browser, before).await {
        Ok(id) => with_cookie(see_other(path), &id.set_cookie()),
        Err(error) => {
            tracing::error!(error, "a session cannot be stored");
            refusal(call.text, StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

pub(crate) async fn sign_in_page(web: Arc<Web>, call: Call) -> Response {
    show_sign_in(&web, &call, None)
}

pub(crate) async fn sign_in(web: Arc<Web>, call: Call) -> Response {
    match check(&web, &call).await {
        Ok(()) => begin(&web, &call, "/").await,
        Err(wrong) => show_sign_in(&web, &call, Some(wrong)),
    }
}

/// Why a password or a passkey did not do.
pub(super) struct Wrong {
    pub(super) words: String,
    pub(super) status: StatusCode,
    pub(super) wait_s: Option<u64>,
}

/// An address with too many wrong ones has to wait.
pub(super) fn may_try(web: &Web, call: &Call) -> Result<(), Wrong> {
    let Some(left) = web.rates.must_wait(call.link.peer.ip().into(), Instant::now()) else { return Ok(()) };
    let seconds = left.as_secs().saturating_add(1);
    let words = (call.text.wait)(seconds);
    Err(Wrong { words, status: StatusCode::TOO_MANY_REQUESTS, wait_s: Some(seconds) })
}

async fn check(web: &Web, call: &Call) -> Result<(), Wrong> {
    let from = call.link.peer.ip();
    may_try(web, call)?;
    match web.keeper.is_owner(call.secret("password")).await {
        Ok(true) => {
            web.rates.right(from.into());
            Ok(())
        }
        Ok(false) => {
            if web.rates.wrong(from.into(), Instant::now()) {
                tracing::warn!(%from, "five wrong passwords: this address has to wait");
            }
            let words = call.text.wrong_password.into();
            Err(Wrong { words, status: StatusCode::UNPROCESSABLE_ENTITY, wait_s: None })
        }
        Err(_) => {
            let words = call.text.busy.into();
            Err(Wrong { words, status: StatusCode::SERVICE_UNAVAILABLE, wait_s: Some(1) })
        }
    }
}

fn finish(mut response: Response, wrong: Option<&Wrong>) -> Response {
    if let Some(seconds) = wrong.and_then(|wrong| wrong.wait_s) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn status(wrong: Option<&Wrong>) -> StatusCode {
    wrong.map_or(StatusCode::OK, |wrong| wrong.status)
}

fn password_field(text: &Texts) -> Markup {
    html! {
        div class="field" {
            label for="password" { (text.password) }
            input id="password" name="password" type="password" required autocomplete="current-password" autofocus
                maxlength=(crate::password::LONGEST);
        }
    }
}

pub(super) fn show_sign_in(web: &Web, call: &Call, wrong: Option<Wrong>) -> Response {
    let text = call.text;
    let content = html! {
        h1 { (text.sign_in) }
        (fault(wrong.as_ref().map(|wrong| wrong.words.as_str())))
        form class="card stack" method="post" action="/sign-in" {
            input type="hidden" name="token" value=(call.form_token());
            (password_field(text))
            button class="button" { (text.sign_in) }
        }
        (passkeys::use_one(web, call, Purpose::SignIn, None))
        p class="small soft" { (rich(text.forgotten)) " " a href="/recover" { (text.recover) } }
    };
    let page = Page { title: text.sign_in, tab: Tab::None, here: "/sign-in", live: None, narrow: true };
    finish(page.show(web, call, status(wrong.as_ref()), &content), wrong.as_ref())
}

pub(crate) async fn prove_page(web: Arc<Web>, call: Call) -> Response {
    show_prove(&web, &call, Target::parse(call.query("for")), None)
}

pub(crate) async fn prove(web: Arc<Web>, call: Call) -> Response {
    let target = Target::parse(call.field("for"));
    if let Err(wrong) = check(&web, &call).await {
        return show_prove(&web, &call, target, Some(wrong));
    }
    let Some((id, _)) = &call.session else { return see_other("/sign-in") };
    match web.keeper.prove(id.name()).await {
        Ok(()) => see_other(&target.path()),
        Err(_) => refusal(call.text, StatusCode::SERVICE_UNAVAILABLE),
    }
}

pub(super) fn show_prove(web: &Web, call: &Call, target: Target, wrong: Option<Wrong>) -> Response {
    let text = call.text;
    let content = html! {
        h1 { (text.prove) }
        p class="soft" { (text.prove_why) }
        (fault(wrong.as_ref().map(|wrong| wrong.words.as_str())))
        form class="card stack" method="post" action="/prove" {
            input type="hidden" name="token" value=(call.form_token());
            input type="hidden" name="for" value=(target);
            (password_field(text))
            div class="buttons" {
                button class="button" { (text.go_on) }
                a class="button second" href="/" { (text.cancel) }
            }
        }
        (passkeys::use_one(web, call, Purpose::Prove, Some(target)))
    };
    let here = format!("/prove?for={target}");
    let page = Page { title: text.prove, tab: Tab::None, here: &here, live: None, narrow: true };
    finish(page.show(web, call, status(wrong.as_ref()), &content), wrong.as_ref())
}

pub(crate) async fn sign_out(web: Arc<Web>, call: Call) -> Response {
    if let Some((id, _)) = &call.session {
        let name = id.name();
        if let Err(error) = web.keeper.end(|other| other == name).await {
            tracing::error!(error, "the end of a session cannot be stored");
        }
    }
    with_cookie(
        see_other("/sign-in"),
        &format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"),
    )
}

pub(crate) async fn password_page(web: Arc<Web>, call: Call) -> Response {
    show_password(&web, &call, None)
}

pub(crate) async fn password(web: Arc<Web>, call: Call) -> Response {
    let password = call.secret("password");
    if let Err(weak) = crate::password::check(&password, &web.settings.gateway) {
        return show_password(&web, &call, Some(weakness(call.text, weak)));
    }
    if call.field("again") != password.as_str() {
        return show_password(&web, &call, Some(call.text.differ));
    }
    let mine = call.session.as_ref().map(|(id, _)| id.name());
    match web.keeper.set_password(password, What::Password, mine).await {
        Ok(()) => see_other("/security"),
        Err(ClaimError::Busy) => show_password(&web, &call, Some(call.text.busy)),
        Err(error) => {
            tracing::error!(%error, "the new password cannot be stored");
            show_password(&web, &call, Some(call.text.not_stored))
        }
    }
}

fn show_password(web: &Web, call: &Call, wrong: Option<&str>) -> Response {
    let text = call.text;
    let content = html! {
        h1 { (text.change_password) }
        p class="soft" { (text.password_why) }
        (fault(wrong))
        form class="card stack" method="post" action="/security/password" {
            input type="hidden" name="token" value=(call.form_token());
            (new_password(text))
            div class="buttons" {
                button class="button" { (text.change_password) }
                a class="button second" href="/security" { (text.cancel) }
            }
        }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (title, here) = (text.change_password, "/security/password");
    Page { title, tab: Tab::Security, here, live: None, narrow: true }.show(web, call, status, &content)
}

pub(crate) async fn language(_: Arc<Web>, call: Call) -> Response {
    // Only a path of ours: `//elsewhere` would be somebody else's.
    let back = call.field("back");
    let local = back.starts_with('/')
        && !back.starts_with("//")
        && back.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'?' | b'=' | b'&' | b'%' | b'+')
        });
    let response = see_other(if local { back } else { "/" });
    match texts::by_tag(call.field("tag")) {
        Some(chosen) => with_cookie(
            response,
            &format!(
                "{}={}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=31536000",
                texts::COOKIE,
                chosen.tag
            ),
        ),
        None => response,
    }
}

pub(crate) async fn about(web: Arc<Web>, call: Call) -> Response {
    let text = call.text;
    let content = html! {
        h1 { (text.about) }
        section class="card" {
            p { (text.about_what) }
            p { (text.about_blind) }
            p { (text.about_never) }
        }
        section class="card" {
            dl class="wide" {
                div { dt { (text.gateway) } dd class="mono" { (web.settings.gateway) } }
                div { dt { (text.version) } dd { "Cardea " (env!("CARGO_PKG_VERSION")) } }
                div { dt { (text.licence) } dd { (env!("CARGO_PKG_LICENSE")) } }
            }
            p { a href="/licences" { (text.operate.licences) } }
        }
    };
    Page { title: text.about, tab: Tab::About, here: "/about", live: None, narrow: false }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_password_leads_to_is_one_of_our_pages() {
        let lock = LockId([0x11; 8]);
        let operator = OPERATOR.map(|(word, page)| Target::Operator(word, page));
        let own =
            [Target::Overview, Target::Pair, Target::Password, Target::Certificate, Target::Remove(lock)];
        for target in own.into_iter().chain(operator) {
            assert_eq!(Target::parse(&target.to_string()), target);
        }
        for other in ["//evil.example", "https://evil.example", "remove-../../x", "", "remove-"] {
            assert_eq!(Target::parse(other).path(), "/");
        }
    }
}
