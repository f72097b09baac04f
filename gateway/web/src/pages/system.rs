//! The machine: time, network, what is kept where; what is not there yet; what it is all made of.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use cardea_api::{Host, Reply, Request};
use maud::{Markup, html};

use super::fleet::unavailable;
use super::{Page, Tab, Tone, chip, rich};
use crate::routes::Call;
use crate::texts::Texts;
use crate::{Web, assets};

include!(concat!(env!("OUT_DIR"), "/packages.rs"));

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    let host = match web.daemon.ask(Request::Host {}).await {
        Ok(Reply::Host(host)) => host,
        Ok(_) => return unavailable(&web, &call, "the daemon answered something else"),
        Err(error) => return unavailable(&web, &call, &error),
    };
    let (text, words) = (call.text, &call.text.operate);
    let content = html! {
        h1 { (words.system) }
        (time(text, &host))
        (network(text, &web, &host))
        section class="card" {
            h2 { (words.safekeeping) }
            p { (words.safekeeping_what) }
            p { (words.safekeeping_not) }
            p { (words.reset_how) }
            div class="buttons" { a class="button second" href="/system/reset" { (text.device.reset) } }
        }
        section class="card" { h2 { (words.trust) } p { (words.trust_what) } p { (words.trust_not) } }
        section class="card" { h2 { (words.updates) } p { (words.updates_not) } }
        div class="buttons" {
            a class="button second" href="/diagnosis" { (words.diagnosis) }
            a class="button second" href="/licences" { (words.licences) }
        }
    };
    Page { title: words.system, tab: Tab::System, here: "/system", live: None, narrow: false }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

fn time(text: &Texts, host: &Host) -> Markup {
    let words = &text.operate;
    html! {
        section class="card" {
            div class="row" {
                h2 { (words.time) }
                @if host.clock_synced { (chip(Tone::Good, text.clock_synced)) }
                @else { (chip(Tone::Warn, text.clock_unsynced)) }
            }
            dl class="wide" {
                div { dt { (words.now) } dd { (utc(host.now)) } }
                div {
                    dt { (words.clock_from) }
                    dd { (if host.clock_source == "trust" { words.clock_trust } else { words.clock_auto }) }
                }
            }
            p class="soft small" { (rich(words.clock_why)) }
        }
    }
}

fn network(text: &Texts, web: &Web, host: &Host) -> Markup {
    let words = &text.operate;
    html! {
        section class="card" {
            h2 { (words.network) }
            dl class="wide" {
                div { dt { (words.host_name) } dd class="mono" { (host.name) } }
                div {
                    dt { (words.addresses) }
                    dd {
                        @for address in &host.addresses {
                            div { span class="mono" { (address.address) } " " span class="soft small" { (address.interface) } }
                        }
                        @if host.addresses.is_empty() { (words.no_addresses) }
                    }
                }
                div { dt { (words.names) } dd class="mono" { (web.hosts.join(", ")) } }
            }
            p class="soft small" { (words.network_why) }
        }
    }
}

/// Date and time without a zone of anybody's: `2026-11-28 05:08:00 UTC`.
fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3_600, rest / 60 % 60, rest % 60)
}

/// Year, month and day of so many days after 1970-01-01: years of 400 are equally long, and begin in March so that the leap day
/// is their last.
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted / ERA, shifted % ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

pub(crate) async fn licences(web: Arc<Web>, call: Call) -> Response {
    let words = &call.text.operate;
    let content = html! {
        p class="small" { a href="/about" { "← " (call.text.about) } }
        h1 { (words.licences) }
        p class="soft" { ((words.licences_why)(PACKAGES.len())) }
        div class="buttons" {
            a class="button second" href="/licences.txt" { (words.licence_texts) }
            a class="button second" href="/sbom.json" { (words.sbom) }
        }
        table {
            thead { tr { th { (words.shipped) } th { (call.text.version) } th { (call.text.licence) } } }
            tbody {
                @for (name, version, licence) in PACKAGES {
                    tr { td class="mono" { (name) } td class="mono" { (version) } td { (licence) } }
                }
            }
        }
    };
    Page { title: words.licences, tab: Tab::About, here: "/licences", live: None, narrow: false }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

pub(crate) async fn sbom(_: Arc<Web>, call: Call) -> Response {
    compressed(
        &call,
        SBOM,
        "application/vnd.cyclonedx+json; version=1.5",
        "attachment; filename=\"cardea-sbom.json\"",
    )
}

pub(crate) async fn licence_texts(_: Arc<Web>, call: Call) -> Response {
    compressed(&call, LICENCES, "text/plain; charset=utf-8", "inline")
}

/// What is only kept compressed; every browser takes that.
fn compressed(call: &Call, bytes: &'static [u8], kind: &'static str, disposition: &'static str) -> Response {
    let accepted =
        call.headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !assets::accepts(accepted, "gzip") {
        return super::refusal(call.text, StatusCode::NOT_ACCEPTABLE);
    }
    let mut response = Response::new(Body::from(bytes));
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_ENCODING, "gzip"),
        (header::VARY, "accept-encoding"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `date -u -d @… +%F\ %T`.
    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, written) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_827_696, "2000-02-29 12:34:56 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (1_835_395_200, "2028-02-29 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds * 1_000), written);
        }
    }
}
