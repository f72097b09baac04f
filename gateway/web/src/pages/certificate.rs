//! The owner's certificate: put in, taken back.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use maud::html;

use super::{Page, Tab, fault, refusal, rich};
use crate::Web;
use crate::history::What;
use crate::owner_certificate::Unfit;
use crate::routes::{Call, see_other};
use crate::texts::Texts;
use crate::tls::NotPut;

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    show(&web, &call, None)
}

pub(crate) async fn put(web: Arc<Web>, call: Call) -> Response {
    let (chain, key, tls) = (call.field("chain").to_owned(), call.secret("key"), Arc::clone(&web));
    let put = tokio::task::spawn_blocking(move || tls.tls.put(&chain, &key)).await;
    let words = match put {
        Ok(Ok(())) => {
            web.keeper.remember(What::Certificate).await;
            return see_other("/security");
        }
        Ok(Err(NotPut::Unfit(unfit))) => why(call.text, unfit),
        Ok(Err(NotPut::Disk(error))) => {
            tracing::error!(%error, "the owner's certificate cannot be stored");
            call.text.not_stored
        }
        Err(_) => call.text.not_stored,
    };
    show(&web, &call, Some(words))
}

pub(crate) async fn take_back(web: Arc<Web>, call: Call) -> Response {
    let tls = Arc::clone(&web);
    match tokio::task::spawn_blocking(move || tls.tls.take_back()).await {
        Ok(Ok(())) => {
            web.keeper.remember(What::OwnCertificate).await;
            see_other("/security")
        }
        _ => refusal(call.text, StatusCode::SERVICE_UNAVAILABLE),
    }
}

const fn why(text: &Texts, unfit: Unfit) -> &'static str {
    match unfit {
        Unfit::Chain => text.unfit_chain,
        Unfit::Key => text.unfit_key,
        Unfit::Mismatch => text.unfit_mismatch,
        Unfit::Expired => text.unfit_expired,
        Unfit::Early => text.unfit_early,
        Unfit::Order => text.unfit_order,
        Unfit::Names => text.unfit_names,
    }
}

fn show(web: &Web, call: &Call, wrong: Option<&str>) -> Response {
    let text = call.text;
    let content = html! {
        h1 { (text.put_certificate) }
        p class="soft" { (text.put_certificate_why) }
        (fault(wrong))
        form class="card stack" method="post" action="/security/certificate" autocomplete="off" {
            input type="hidden" name="token" value=(call.form_token());
            div class="field" {
                label for="chain" { (text.chain) }
                textarea id="chain" name="chain" class="mono" required rows="6" spellcheck="false"
                    aria-describedby="chain-hint" placeholder="-----BEGIN CERTIFICATE-----" { (call.field("chain")) }
                p id="chain-hint" class="hint" { (text.chain_hint) }
            }
            div class="field" {
                label for="key" { (text.key) }
                textarea id="key" name="key" class="mono" required rows="4" spellcheck="false"
                    aria-describedby="key-hint" placeholder="-----BEGIN PRIVATE KEY-----" {}
                p id="key-hint" class="hint" { (text.key_hint) }
            }
            div class="buttons" {
                button class="button" { (text.put_certificate) }
                a class="button second" href="/security" { (text.cancel) }
            }
        }
        @if web.tls.has_owners() {
            form method="post" action="/security/certificate/own" {
                input type="hidden" name="token" value=(call.form_token());
                p class="soft small" { (rich(text.own_certificate_why)) }
                button class="button second" { (text.own_certificate) }
            }
        }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let (title, here) = (text.put_certificate, "/security/certificate");
    Page { title, tab: Tab::Security, here, live: None, narrow: true }.show(web, call, status, &content)
}
