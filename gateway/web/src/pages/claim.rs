//! Claiming the gateway: all there is before it is done.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::html;

use super::{Page, Tab, fault, rich};
use crate::Web;
use crate::keeper::ClaimError;
use crate::password::{self, Weak};
use crate::routes::{Call, see_other};
use crate::texts::Texts;

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    show(&web, &call, None)
}

pub(crate) async fn submit(web: Arc<Web>, call: Call) -> Response {
    let password = call.secret("password");
    if let Err(weak) = password::check(&password, &web.settings.gateway) {
        return show(&web, &call, Some(weakness(call.text, weak)));
    }
    if call.field("again") != password.as_str() {
        return show(&web, &call, Some(call.text.differ));
    }
    let words = match web.keeper.claim(call.field("code"), password).await {
        Ok(()) => return super::account::begin(&web, &call, "/").await,
        Err(ClaimError::Claimed) => return see_other("/"),
        Err(ClaimError::NoCode | ClaimError::Unclaimed) => call.text.no_code,
        Err(ClaimError::NotConfirmed) => call.text.not_confirmed,
        Err(ClaimError::WrongCode) => {
            tracing::warn!(from = %call.link.peer.ip(), "wrong claim code");
            call.text.wrong_code
        }
        Err(ClaimError::Busy) => call.text.busy,
        Err(ClaimError::Store(error)) => {
            tracing::error!(error, "the claim cannot be stored");
            call.text.not_stored
        }
    };
    show(&web, &call, Some(words))
}

pub(crate) async fn recover_page(web: Arc<Web>, call: Call) -> Response {
    show_recover(&web, &call, None)
}

pub(crate) async fn recover(web: Arc<Web>, call: Call) -> Response {
    let (text, password) = (call.text, call.secret("password"));
    if let Err(weak) = password::check(&password, &web.settings.gateway) {
        return show_recover(&web, &call, Some(weakness(text, weak)));
    }
    if call.field("again") != password.as_str() {
        return show_recover(&web, &call, Some(text.differ));
    }
    let words = match web.keeper.finish_recovery(call.field("code"), password).await {
        Ok(()) => return super::account::begin(&web, &call, "/security").await,
        Err(ClaimError::WrongCode) => {
            tracing::warn!(from = %call.link.peer.ip(), "wrong recovery code");
            text.wrong_recovery_code
        }
        Err(ClaimError::Busy) => text.busy,
        Err(ClaimError::Store(error)) => {
            tracing::error!(error, "the new password cannot be stored");
            text.not_stored
        }
        Err(_) => text.no_recovery,
    };
    show_recover(&web, &call, Some(words))
}

fn show_recover(web: &Web, call: &Call, wrong: Option<&str>) -> Response {
    let text = call.text;
    let content = html! {
        h1 { (text.recover_title) }
        p class="soft" { (text.recover_why) }
        (fault(wrong))
        form class="card stack" method="post" action="/recover" {
            @if !web.keeper.may_recover() { div class="note idle" { p { (rich(text.no_recovery)) } pre { code { "cardea recover" } } } }
            div class="field" {
                label for="code" { (text.recovery_code) }
                input id="code" name="code" class="mono" required maxlength="40" autocomplete="off" spellcheck="false"
                    autocapitalize="characters" placeholder="XXXX-XXXX-XXXX-XXXX" value=(call.field("code"));
            }
            (new_password(text))
            button class="button" { (text.change_password) }
        }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Page { title: text.recover_title, tab: Tab::None, here: "/recover", live: None, narrow: true }
        .show(web, call, status, &content)
}

pub(crate) const fn weakness(text: &Texts, weak: Weak) -> &'static str {
    match weak {
        Weak::Short => text.too_short,
        Weak::Long => text.too_long,
        Weak::Common => text.too_common,
    }
}

fn show(web: &Web, call: &Call, wrong: Option<&str>) -> Response {
    let text = call.text;
    let content = html! {
        h1 { (text.claim) }
        p class="soft" { (text.claim_why) }
        (fault(wrong))
        form class="card stack" method="post" action="/claim" {
            div class="field" {
                label for="code" { (text.claim_code) }
                input id="code" name="code" class="mono" required maxlength="40" autocomplete="off" spellcheck="false"
                    autocapitalize="characters" placeholder="XXXX-XXXX-XXXX-XXXX" aria-describedby="code-hint"
                    value=(call.field("code"));
                p id="code-hint" class="hint" { (rich(text.claim_code_hint)) }
            }
            (new_password(text))
            @if web.keeper.confirmed().is_some() {
                div class="note good" { p { (text.claim_confirmed) } }
            } @else {
                div class="note idle" {
                    h2 { (text.claim_presence) }
                    p { (if web.settings.button { text.device.claim_button } else { text.claim_presence_hint }) }
                    pre { code { "cardea claim --confirm" } }
                }
            }
            button class="button" { (text.claim_button) }
        }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Page { title: text.claim, tab: Tab::None, here: "/claim", live: None, narrow: true }
        .show(web, call, status, &content)
}

pub(crate) fn new_password(text: &Texts) -> maud::Markup {
    html! {
        div class="field" {
            label for="password" { (text.new_password) }
            input id="password" name="password" type="password" required minlength=(password::SHORTEST)
                maxlength=(password::LONGEST) autocomplete="new-password" aria-describedby="password-hint";
            p id="password-hint" class="hint" { (text.new_password_hint) }
        }
        div class="field" {
            label for="again" { (text.again) }
            input id="again" name="again" type="password" required maxlength=(password::LONGEST)
                autocomplete="new-password";
        }
    }
}

/// A session's cookie.
pub(crate) fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(mut value) = HeaderValue::from_str(cookie) {
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}
