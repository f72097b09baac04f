//! Passkeys: listed, added, removed, and used in place of the password.

use std::sync::Arc;
use std::time::Instant;

use axum::http::{StatusCode, header};
use axum::response::Response;
use maud::{Markup, html};

use super::account::{self, Target, Wrong};
use super::{Page, Tab, fault, refusal};
use crate::Web;
use crate::keeper;
use crate::passkey::{self, Expected, Purpose, Unfit};
use crate::routes::{Call, see_other};
use crate::tls::Whose;

const HERE: &str = "/security/passkeys";

/// The name in the browser's address, with its port. The guard has let it pass.
fn host(call: &Call) -> &str {
    call.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// The host name for which this browser could have a passkey: behind a certificate that somebody vouches for.
fn site(web: &Web, call: &Call) -> Option<String> {
    passkey::site(host(call)).filter(|_| web.tls.whose() != Whose::Gateways)
}

fn expected<'a>(web: &'a Web, call: &'a Call, purpose: Purpose) -> Expected<'a> {
    Expected {
        challenges: &web.challenges,
        purpose,
        session: session(call, purpose),
        host: host(call),
        now: keeper::now(),
    }
}

/// A challenge belongs to whoever is signed in; before that there is nobody.
fn session(call: &Call, purpose: Purpose) -> Option<crate::session::Name> {
    call.session.as_ref().filter(|_| purpose != Purpose::SignIn).map(|(id, _)| id.name())
}

fn challenge(web: &Web, call: &Call, purpose: Purpose) -> Option<String> {
    web.challenges.make(purpose, session(call, purpose), keeper::now()).ok()
}

/// The form that uses a passkey instead of the password, where there is one for this name. Shown by the script.
pub(super) fn use_one(web: &Web, call: &Call, purpose: Purpose, target: Option<Target>) -> Markup {
    let words = &call.text.device;
    let known = site(web, call).filter(|site| web.keeper.has_passkeys(site));
    let (Some(_), Some(challenge)) = (known, challenge(web, call, purpose)) else { return Markup::default() };
    let action = if purpose == Purpose::SignIn { "/sign-in/passkey" } else { "/prove/passkey" };
    html! {
        form class="card stack" method="post" action=(action) hidden data-passkey="use" data-challenge=(challenge)
            data-failed=(words.passkey_failed) {
            input type="hidden" name="token" value=(call.form_token());
            @if let Some(target) = target { input type="hidden" name="for" value=(target); }
            @for name in ["id", "client", "device", "signature"] { input type="hidden" name=(name); }
            button class="button second" { (words.passkey_use) }
            p class="small" role="status" {}
        }
    }
}

/// Whether the form is of a passkey of the owner's. A wrong one counts like a wrong password.
async fn check(web: &Web, call: &Call, purpose: Purpose) -> Result<(), Wrong> {
    account::may_try(web, call)?;
    let from = call.link.peer.ip();
    match used(web, call, purpose).await {
        Ok(()) => {
            web.rates.right(from.into());
            Ok(())
        }
        Err(unfit) => {
            tracing::warn!(%from, %unfit, "a passkey is refused");
            web.rates.wrong(from.into(), Instant::now());
            let words = call.text.device.passkey_refused.into();
            Err(Wrong { words, status: StatusCode::UNPROCESSABLE_ENTITY, wait_s: None })
        }
    }
}

async fn used(web: &Web, call: &Call, purpose: Purpose) -> Result<(), Unfit> {
    let field = |name| passkey::bytes(call.field(name));
    let id = field("id")?;
    let kept = web.keeper.passkey(&id).ok_or(Unfit::Unknown)?;
    let expected = expected(web, call, purpose);
    let counter = expected.used(&kept, &field("client")?, &field("device")?, &field("signature")?)?;
    web.keeper.advance_passkey(&id, counter, expected.now).await
}

pub(crate) async fn sign_in(web: Arc<Web>, call: Call) -> Response {
    match check(&web, &call, Purpose::SignIn).await {
        Ok(()) => account::begin(&web, &call, "/").await,
        Err(wrong) => account::show_sign_in(&web, &call, Some(wrong)),
    }
}

pub(crate) async fn prove(web: Arc<Web>, call: Call) -> Response {
    let target = Target::parse(call.field("for"));
    if let Err(wrong) = check(&web, &call, Purpose::Prove).await {
        return account::show_prove(&web, &call, target, Some(wrong));
    }
    let Some((id, _)) = &call.session else { return see_other("/sign-in") };
    match web.keeper.prove(id.name()).await {
        Ok(()) => see_other(&target.path()),
        Err(_) => refusal(call.text, StatusCode::SERVICE_UNAVAILABLE),
    }
}

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    show(&web, &call, None)
}

pub(crate) async fn add(web: Arc<Web>, call: Call) -> Response {
    let made = || {
        let (client, device) = (passkey::bytes(call.field("client"))?, passkey::bytes(call.field("device"))?);
        expected(&web, &call, Purpose::Add).made(&client, &device, call.field("name"))
    };
    match made() {
        Ok(passkey) => match web.keeper.add_passkey(passkey).await {
            Ok(()) => see_other(HERE),
            Err(error) => {
                tracing::warn!(error, "a passkey is not added");
                show(&web, &call, Some(call.text.not_stored))
            }
        },
        Err(unfit) => {
            tracing::warn!(%unfit, "a passkey is not added");
            show(&web, &call, Some(call.text.device.passkey_refused))
        }
    }
}

pub(crate) async fn remove(web: Arc<Web>, call: Call) -> Response {
    let which = call.field("passkey").to_owned();
    match web.keeper.remove_passkeys(|mark| hex::encode(mark) == which).await {
        Ok(()) => see_other(HERE),
        Err(_) => refusal(call.text, StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn show(web: &Web, call: &Call, wrong: Option<&str>) -> Response {
    let (text, words, now) = (call.text, &call.text.device, keeper::now());
    let since = |at: u64| (text.ago)(now.saturating_sub(at) / 1000);
    let all = web.keeper.passkeys();
    let content = html! {
        h1 { (words.passkeys) }
        p class="soft" { (words.passkeys_why) }
        (fault(wrong))
        section class="card" {
            @if all.is_empty() { p { (words.passkeys_none) } }
            ul class="list" {
                @for (mark, passkey) in &all {
                    li { div class="item" {
                        span class="id" { @if passkey.name.is_empty() { (words.passkey_unnamed) } @else { (passkey.name) } }
                        form method="post" action="/security/passkeys/remove" {
                            input type="hidden" name="token" value=(call.form_token());
                            button class="quiet" name="passkey" value=(hex::encode(mark))
                                aria-label={ (words.passkey_remove) ": " (passkey.name) } { (words.passkey_remove) }
                        }
                        span class="more" {
                            (passkey.site) " · "
                            @match passkey.used {
                                Some(at) => ((text.used)(&since(at))),
                                None => (words.passkey_never_used),
                            }
                        }
                    } }
                }
            }
        }
        (adding(web, call))
        p { a href="/security" { (text.security) } }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Page { title: words.passkeys, tab: Tab::Security, here: HERE, live: None, narrow: true }
        .show(web, call, status, &content)
}

fn adding(web: &Web, call: &Call) -> Markup {
    let words = &call.text.device;
    let challenge = challenge(web, call, Purpose::Add);
    let (Some(_), Some(challenge)) = (site(web, call), challenge) else {
        return html! { div class="note warn" { p { (words.passkeys_need) } } };
    };
    if !web.keeper.has_room_for_passkeys() {
        return html! { div class="note warn" { p { (words.passkeys_full) } } };
    }
    // One account: a second passkey on the same device replaces the first there.
    let user = passkey::text(web.settings.gateway.as_bytes());
    html! {
        noscript { div class="note warn" { p { (words.passkey_no_script) } } }
        form class="card stack" method="post" action=(HERE) hidden autocomplete="off" data-passkey="add"
            data-challenge=(challenge) data-user=(user) data-name=(web.settings.gateway) data-failed=(words.passkey_failed) {
            input type="hidden" name="token" value=(call.form_token());
            @for name in ["client", "device"] { input type="hidden" name=(name); }
            div class="field" {
                label for="name" { (words.passkey_name) }
                input id="name" name="name" maxlength="40" aria-describedby="name-hint";
                p id="name-hint" class="hint" { (words.passkey_name_hint) }
            }
            button class="button" { (words.passkey_add) }
            p class="small" role="status" {}
        }
    }
}
