//! Factory reset: what it erases, what stays, and the gateway's name typed before it is done.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use cardea_api::{Reply, Request, ResetBy};
use maud::{Markup, html};

use super::{Page, Tab, Tone, fault, last, note, rich, said};
use crate::Web;
use crate::routes::Call;

const HERE: &str = "/system/reset";

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    show(&web, &call, None)
}

pub(crate) async fn reset(web: Arc<Web>, call: Call) -> Response {
    let words = &call.text.device;
    if call.field("gateway").trim() != web.settings.gateway {
        return show(&web, &call, Some(&fault(Some(words.reset_mistyped))));
    }
    match web
        .daemon
        .ask(Request::FactoryReset { gateway: web.settings.gateway.clone(), by: ResetBy::Page })
        .await
    {
        Ok(Reply::Done) => {
            let content = html! {
                h1 { (words.reset) }
                (note(Tone::Warn, words.reset_done, &html! { p { (rich(words.reset_done_more)) } }))
            };
            last(call.text, words.reset_done, &content)
        }
        Ok(_) => show(&web, &call, Some(&fault(Some("the daemon answered something else")))),
        Err(error) => {
            let why = html! { div class="note bad" role="alert" { (said(call.text, &error)) } };
            show(&web, &call, Some(&why))
        }
    }
}

fn show(web: &Web, call: &Call, wrong: Option<&Markup>) -> Response {
    let (text, words) = (call.text, &call.text.device);
    let content = html! {
        h1 { (words.reset) }
        @if let Some(wrong) = wrong { (wrong) }
        section class="note bad" {
            h2 { (words.reset_what) }
            ul { @for one in words.reset_erased { li { (one) } } }
        }
        section class="card" {
            h2 { (words.reset_kept_title) }
            ul { @for one in words.reset_kept { li { (one) } } }
        }
        form class="card stack" method="post" action=(HERE) autocomplete="off" {
            input type="hidden" name="token" value=(call.form_token());
            div class="field" {
                label for="gateway" { ((words.reset_type)(&web.settings.gateway)) }
                input id="gateway" name="gateway" class="mono" required maxlength="64" autocapitalize="off" spellcheck="false";
            }
            div class="buttons" {
                button class="button danger" { (words.reset_button) }
                a class="button second" href="/system" { (text.cancel) }
            }
        }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Page { title: words.reset, tab: Tab::System, here: HERE, live: None, narrow: true }
        .show(web, call, status, &content)
}
