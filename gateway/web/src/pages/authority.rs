//! The gateway's own authority: made, downloaded, forgotten.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::html;

use super::{Page, Tab, fault, refusal};
use crate::history::What;
use crate::routes::{Call, see_other};
use crate::{Web, tls};

const HERE: &str = "/security/authority";

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    show(&web, &call, None)
}

pub(crate) async fn make(web: Arc<Web>, call: Call) -> Response {
    let of = Arc::clone(&web);
    let made = tokio::task::spawn_blocking(move || of.tls.make_authority(&of.settings.gateway)).await;
    match made.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(()) => {
            web.keeper.remember(What::Authority).await;
            see_other(HERE)
        }
        Err(error) => {
            tracing::error!(error, "the gateway's authority cannot be made");
            show(&web, &call, Some(call.text.not_stored))
        }
    }
}

pub(crate) async fn forget(web: Arc<Web>, call: Call) -> Response {
    let of = Arc::clone(&web);
    match tokio::task::spawn_blocking(move || of.tls.forget_authority()).await {
        Ok(Ok(())) => {
            web.keeper.remember(What::NoAuthority).await;
            see_other(HERE)
        }
        _ => refusal(call.text, StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// What phones install: the certificate alone, which is no secret.
pub(crate) async fn download(web: Arc<Web>, call: Call) -> Response {
    let Some(der) = web.tls.authority() else { return refusal(call.text, StatusCode::NOT_FOUND) };
    let mut response = Response::new(Body::from(der));
    for (name, value) in [
        (header::CONTENT_TYPE, "application/x-x509-ca-cert"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"cardea-authority.crt\""),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn show(web: &Web, call: &Call, wrong: Option<&str>) -> Response {
    let (text, words) = (call.text, &call.text.device);
    let authority = web.tls.authority();
    let token = html! { input type="hidden" name="token" value=(call.form_token()); };
    let content = html! {
        h1 { (words.authority) }
        p { (words.authority_why) }
        p class="soft" { (words.authority_risk) }
        (fault(wrong))
        @if let Some(der) = &authority {
            section class="card" {
                dl class="wide" {
                    div { dt { (words.authority_fingerprint) } dd class="mono" { (tls::sha256(der)) } }
                }
                div class="buttons" {
                    a class="button" href="/security/authority/cardea-authority.crt" download { (words.authority_download) }
                }
            }
            section class="card" {
                h2 { (words.authority_install) }
                ul class="plain" {
                    li { (words.authority_iphone) }
                    li { (words.authority_android) }
                    li { (words.authority_computer) }
                }
            }
        }
        section class="card" {
            h2 { (words.authority_names) }
            p class="mono" { (web.hosts.iter().filter(|name| *name != "localhost").cloned().collect::<Vec<_>>().join(", ")) }
            form method="post" action=(HERE) {
                (token)
                @if authority.is_some() { button class="button second" { (words.authority_again) } }
                @else { button class="button" { (words.authority_make) } }
            }
        }
        @if authority.is_some() {
            form method="post" action="/security/authority/forget" {
                (token)
                p class="soft small" { (words.authority_forget_why) }
                button class="button second" { (words.authority_forget) }
            }
        }
        p { a href="/security" { (text.security) } }
    };
    let status = if wrong.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Page { title: words.authority, tab: Tab::Security, here: HERE, live: None, narrow: true }
        .show(web, call, status, &content)
}
