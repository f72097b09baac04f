//! What guards this page: sessions, password, passkeys, certificate, and what was done to them.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;

use super::{Page, Tab, Tone, chip, refusal, rich};
use crate::routes::{Call, see_other};
use crate::session::Session;
use crate::tls::Whose;
use crate::{Web, keeper};

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    let (text, now) = (call.text, keeper::now());
    let mine = call.session.as_ref().map(|(id, _)| id.name());
    let since = |at: u64| (text.ago)(now.saturating_sub(at) / 1000);
    let sessions = web.keeper.sessions();
    let row = |name: &str, session: &Session, is_mine: bool| {
        html! {
            li {
                div class="item" {
                    span class="id" {
                        @if session.browser.is_empty() { (text.unnamed_browser) } @else { (browser(&session.browser)) }
                    }
                    @if is_mine {
                        (chip(Tone::Good, text.this_browser))
                    } @else {
                        form method="post" action="/security/end" {
                            input type="hidden" name="token" value=(call.form_token());
                            button class="quiet" name="session" value=(name) { (text.end) }
                        }
                    }
                    span class="more" {
                        ((text.signed_in)(&since(session.started))) " · " ((text.used)(&since(session.used)))
                    }
                }
            }
        }
    };
    let whose = web.tls.whose();
    let certificate = match whose {
        Whose::Gateways => text.certificate_why,
        Whose::Authoritys => text.device.certificate_authority,
        Whose::Owners => text.certificate_owners,
    };
    let over = web.tls.has_owners() && whose != Whose::Owners;
    let content = html! {
        h1 { (text.security) }
        section class="card" {
            h2 { (text.sessions) }
            p class="soft small" { (text.sessions_why) }
            ul class="list" {
                @for (name, session) in &sessions { (row(&hex::encode(name.0), session, Some(*name) == mine)) }
            }
            @if sessions.len() > 1 {
                form method="post" action="/security/end" {
                    input type="hidden" name="token" value=(call.form_token());
                    button class="button second" name="session" value="others" { (text.end_others) }
                }
            }
        }
        section class="card" {
            h2 { (text.password) }
            p class="soft small" { (text.password_why) }
            div class="buttons" { a class="button second" href="/security/password" { (text.change_password) } }
        }
        section class="card" {
            h2 { (text.device.passkeys) }
            p class="soft small" { (text.device.passkeys_why) }
            div class="buttons" { a class="button second" href="/security/passkeys" { (text.device.passkeys) } }
        }
        section class="card" {
            h2 { (text.history) }
            p class="soft small" { (text.history_why) }
            ul class="list" {
                @for event in web.keeper.history() {
                    li { div class="item" {
                        span { (text.history_of(event.what)) }
                        span class="soft small" { (since(event.at)) }
                    } }
                }
            }
        }
        section class="card" {
            h2 { (text.certificate) }
            p class="soft small" { (rich(certificate)) }
            p class="mono" { (web.fingerprint()) }
            @if over { p { (text.device.certificate_over) } }
            div class="buttons" {
                a class="button second" href="/security/certificate" { (text.put_certificate) }
                a class="button second" href="/security/authority" { (text.device.authority) }
            }
        }
    };
    Page { title: text.security, tab: Tab::Security, here: "/security", live: None, narrow: false }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

pub(crate) async fn end(web: Arc<Web>, call: Call) -> Response {
    let Some((id, _)) = &call.session else { return see_other("/sign-in") };
    let (mine, which) = (id.name(), call.field("session").to_owned());
    let ends =
        |name: crate::session::Name| name != mine && (which == "others" || hex::encode(name.0) == which);
    match web.keeper.end(ends).await {
        Ok(()) => see_other("/security"),
        Err(_) => refusal(call.text, StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// What a browser calls itself, as people know it.
fn browser(agent: &str) -> String {
    let first = |names: &[(&'static str, &'static str)]| {
        names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    let program = first(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = first(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (program, system) {
        (Some(program), Some(system)) => format!("{program}, {system}"),
        _ => agent.chars().take(60).collect(),
    }
}
