//! The overview, the locks, one lock, and its removal.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use cardea_api::{Lock, Request, Status};
use cardea_framing::LockId;
use maud::{Markup, html};

use super::{Page, Tab, Tone, chip, note, radio_name, refusal, said};
use crate::live::{Parts, View};
use crate::routes::{Call, see_other};
use crate::texts::{Advice, Texts};
use crate::{Web, keeper};

/// Locks on one page; more are found by the filter.
const LISTED: usize = 200;

pub(crate) async fn overview(web: Arc<Web>, call: Call) -> Response {
    let view = match web.view(Duration::ZERO).await {
        Ok(view) => view,
        Err(error) => return unavailable(&web, &call, &error),
    };
    let mut parts = overview_parts(call.text, &view);
    let (problems, cards) = (take(&mut parts, "problems"), take(&mut parts, "cards"));
    let content = html! {
        div class="head" {
            h1 { (call.text.overview) }
            a class="button" href="/pair" { (call.text.pair_title) }
        }
        div id="problems" class="notes" { (problems) }
        div id="cards" class="cards" { (cards) }
    };
    let title = call.text.overview;
    Page { title, tab: Tab::Overview, here: "/", live: Some("/live/overview"), narrow: false }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

/// A part that is made already.
pub(super) fn take(parts: &mut Parts, id: &str) -> maud::PreEscaped<String> {
    maud::PreEscaped(parts.remove(id).unwrap_or_default())
}

pub(super) fn unavailable(web: &Web, call: &Call, error: &str) -> Response {
    let Advice { what, todo } = &call.text.unavailable;
    let content = html! { h1 { (what) } p { (todo) } (said(call.text, error)) };
    Page { title: what, tab: Tab::None, here: "/", live: None, narrow: true }.show(
        web,
        call,
        StatusCode::SERVICE_UNAVAILABLE,
        &content,
    )
}

/// What needs the operator, worst first: how bad, what, whose, in whose words.
fn problems<'a>(text: &'a Texts, view: &'a View) -> Vec<(Tone, &'a Advice, &'a str, &'a str)> {
    let Status { broker, radios, clock_synced, dropped, store_failures, .. } = &view.status;
    let mut found = Vec::new();
    if *store_failures > 0 {
        found.push((Tone::Bad, &text.store_failures, "", ""));
    }
    for (name, radio) in radios {
        if !radio.up {
            found.push((Tone::Bad, &text.radio_down, radio_name(name), radio.detail.as_str()));
        } else if !radio.detail.is_empty() {
            found.push((Tone::Warn, &text.radio_unwell, radio_name(name), &radio.detail));
        }
    }
    if radios.is_empty() {
        found.push((Tone::Bad, &text.no_radio, "", ""));
    }
    if !broker.connected {
        found.push((Tone::Bad, &text.broker_down, "", &broker.detail));
    } else if !broker.detail.is_empty() {
        found.push((Tone::Warn, &text.broker_unwell, "", &broker.detail));
    }
    if *dropped > 0 {
        found.push((Tone::Warn, &text.dropped, "", ""));
    }
    if !clock_synced {
        found.push((Tone::Warn, &text.clock_bad, "", ""));
    }
    if view.locks.iter().any(|lock| lock.radio.is_empty()) {
        found.push((Tone::Warn, &text.silent, "", ""));
    }
    if view.locks.iter().any(|lock| !lock.radio.is_empty() && !lock.joined) {
        found.push((Tone::Warn, &text.not_joined_some, "", ""));
    }
    found.sort_by_key(|(tone, ..)| *tone != Tone::Bad);
    found
}

pub(crate) fn overview_parts(text: &Texts, view: &View) -> Parts {
    let problems = problems(text, view);
    let summary = if problems.is_empty() { text.all_well.into() } else { (text.things)(problems.len()) };
    let notes = html! {
        @if problems.is_empty() {
            (note(Tone::Good, text.all_well, &html! { p { (text.all_well_more) } }))
        }
        @for (tone, advice, whose, words) in &problems {
            @let title = if whose.is_empty() { advice.what.to_owned() } else { format!("{}: {whose}", advice.what) };
            (note(*tone, &title, &html! { p { (advice.todo) } (said(text, words)) }))
        }
    };
    Parts::from([
        ("problems", notes.into_string()),
        ("cards", cards(text, view).into_string()),
        ("said", summary),
    ])
}

fn cards(text: &Texts, View { status, locks, .. }: &View) -> Markup {
    let works = |up: bool, detail: &str| match (up, detail.is_empty()) {
        (true, true) => Tone::Good,
        (true, false) => Tone::Warn,
        (false, _) => Tone::Bad,
    };
    let needing = locks.iter().filter(|lock| state(text, lock).0 == Tone::Warn).count();
    html! {
        section class="card" {
            div class="row" {
                h2 { a href="/locks" { (text.locks) } }
                @if needing > 0 { a href="/locks?state=needs" { (chip(Tone::Warn, &(text.things)(needing))) } }
            }
            p class="big" { (status.locks) }
            @if locks.is_empty() { p class="soft small" { (text.no_locks) } }
        }
        section class="card" {
            h2 { (text.radios) }
            @for (name, radio) in &status.radios {
                div class="row" {
                    span { (radio_name(name)) @if radio.restarts > 0 { " " span class="soft small" { ((text.restarts)(radio.restarts)) } } }
                    (chip(works(radio.up, &radio.detail), if radio.up { text.works } else { text.works_not }))
                }
            }
            @if status.radios.is_empty() { p class="soft small" { (text.no_radio.what) } }
        }
        section class="card" {
            div class="row" {
                h2 { (text.broker) }
                @let words = if status.broker.connected { text.connected } else { text.not_connected };
                (chip(works(status.broker.connected, &status.broker.detail), words))
            }
            p class="mono" { (status.broker.url) }
        }
        section class="card" {
            h2 { (text.waiting) }
            p class="big" { (status.outbox_frames) }
            p class="soft small" { ((text.waiting_more)(status.outbox_bytes)) }
        }
        section class="card" {
            div class="row" {
                h2 { (text.clock) }
                @if status.clock_synced { (chip(Tone::Good, text.clock_synced)) }
                @else { (chip(Tone::Warn, text.clock_unsynced)) }
            }
            p class="soft small" { (text.running) " " ((text.lasted)(coarse(status.uptime_s))) }
        }
    }
}

/// So that a page that only shows the time that passes is not sent each second.
pub(super) const fn coarse(seconds: u64) -> u64 {
    match seconds {
        0..=9 => seconds,
        10..=119 => seconds / 10 * 10,
        _ => seconds / 60 * 60,
    }
}

/// Of the list.
pub(crate) struct Filter {
    words: String,
    only_needing: bool,
}

impl Filter {
    pub(crate) fn of(call: &Call) -> Self {
        let words =
            call.query("q").trim().to_lowercase().chars().filter(|c| !c.is_control()).take(64).collect();
        Self { words, only_needing: call.query("state") == "needs" }
    }

    fn fits(&self, text: &Texts, lock: &Lock) -> bool {
        (!self.only_needing || state(text, lock).0 == Tone::Warn)
            && (self.words.is_empty()
                || lock.lock.to_string().contains(&self.words)
                || lock.radio.to_lowercase().contains(&self.words)
                || radio_name(&lock.radio).to_lowercase().contains(&self.words))
    }
}

/// How a lock is, as far as a gateway can know.
pub(super) fn state(text: &Texts, lock: &Lock) -> (Tone, &'static str) {
    match (lock.radio.is_empty(), lock.joined, lock.sleepy) {
        (true, ..) => (Tone::Warn, text.without_radio),
        (false, false, _) => (Tone::Warn, text.not_joined),
        (false, true, true) => (Tone::Idle, text.joined_sleepy),
        (false, true, false) => (Tone::Good, text.joined_listening),
    }
}

pub(super) fn ago(text: &Texts, heard: u64) -> String {
    (text.ago)(coarse(keeper::now().saturating_sub(heard) / 1000))
}

pub(crate) async fn locks(web: Arc<Web>, call: Call) -> Response {
    let view = match web.view(Duration::ZERO).await {
        Ok(view) => view,
        Err(error) => return unavailable(&web, &call, &error),
    };
    let (text, filter) = (call.text, Filter::of(&call));
    let list = take(&mut locks_parts(text, &view, &filter), "list");
    let state = if filter.only_needing { "needs" } else { "" };
    let query = format!("q={}&state={state}", encoded(&filter.words));
    let content = html! {
        div class="head" {
            h1 { (text.locks) }
            a class="button" href="/pair" { (text.pair_title) }
        }
        form class="filter" method="get" action="/locks" role="search" {
            div class="field" {
                label for="q" { (text.search) }
                input id="q" name="q" type="search" value=(filter.words) maxlength="64" autocomplete="off";
            }
            div class="field" {
                label for="state" { (text.state) }
                select id="state" name="state" {
                    option value="" { (text.any) }
                    option value="needs" selected[filter.only_needing] { (text.needs_you) }
                }
            }
            button class="button second" { (text.filter) }
        }
        div id="list" { (list) }
    };
    let (here, live) = (format!("/locks?{query}"), format!("/live/locks?{query}"));
    Page { title: text.locks, tab: Tab::Locks, here: &here, live: Some(&live), narrow: false }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

/// For an address.
pub(super) fn encoded(words: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    words.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

pub(crate) fn locks_parts(text: &Texts, view: &View, filter: &Filter) -> Parts {
    let mut fitting: Vec<&Lock> = view.locks.iter().filter(|lock| filter.fits(text, lock)).collect();
    // Those that need somebody first.
    fitting.sort_by_key(|lock| (state(text, lock).0 != Tone::Warn, lock.lock));
    let more = fitting.len().saturating_sub(LISTED);
    let list = html! {
        @if view.locks.is_empty() { p class="soft" { (text.no_locks) } }
        @else if fitting.is_empty() { p class="soft" { (text.none_found) } }
        @else {
            ul class="list" {
                @for lock in fitting.iter().take(LISTED) {
                    @let (tone, words) = state(text, lock);
                    li {
                        a class="item" id={ "l" (lock.lock) } href={ "/locks/" (lock.lock) } {
                            span class="id mono" { (lock.lock) }
                            (chip(tone, words))
                            span class="more" {
                                @if !lock.radio.is_empty() { (radio_name(&lock.radio)) " · " }
                                @match lock.heard {
                                    Some(at) => ((text.heard)(&ago(text, at))),
                                    None => (text.never_heard),
                                }
                            }
                        }
                    }
                }
            }
            @if more > 0 { p class="soft small" { ((text.more_locks)(more)) } }
        }
    };
    Parts::from([("list", list.into_string())])
}

pub(crate) async fn lock(web: Arc<Web>, call: Call) -> Response {
    let view = match web.view(Duration::ZERO).await {
        Ok(view) => view,
        Err(error) => return unavailable(&web, &call, &error),
    };
    let text = call.text;
    let Some(lock) = call.lock().and_then(|id| view.lock(id)) else {
        return refusal(text, StatusCode::NOT_FOUND);
    };
    let id = lock.lock;
    let facts = take(&mut lock_parts(text, &view, id), "facts");
    let mut trace = super::operate::trace_parts(&web, text, id).await;
    let content = html! {
        p class="small" { a href="/locks" { "← " (text.locks) } }
        h1 { (text.lock) " " span class="mono" { (id) } }
        section id="facts" class="card" { (facts) }
        section class="card" { h2 { (text.operate.history) } div id="history" { (take(&mut trace, "history")) } }
        section class="card" {
            h2 { (text.operate.commands) }
            p class="soft small" { (text.operate.commands_why) }
            div id="commands" { (take(&mut trace, "commands")) }
        }
        div class="note idle" { p { (text.blind) } }
        div class="buttons" { a class="button second" href={ "/locks/" (id) "/remove" } { (text.remove) } }
    };
    let (here, live) = (format!("/locks/{id}"), format!("/live/locks/{id}"));
    Page { title: text.lock, tab: Tab::Locks, here: &here, live: Some(&live), narrow: false }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

pub(crate) fn lock_parts(text: &Texts, view: &View, id: LockId) -> Parts {
    let Some(lock) = view.lock(id) else {
        let gone = html! { p { (text.no_such_lock) } };
        return Parts::from([("facts", gone.into_string()), ("said", text.no_such_lock.into())]);
    };
    let (tone, words) = state(text, lock);
    let signal = [
        lock.rssi.map(|v| format!("{v} dBm")),
        lock.snr.map(|v| format!("SNR {v:.1} dB")),
        lock.lqi.map(|v| format!("LQI {v}")),
    ];
    let signal: Vec<String> = signal.into_iter().flatten().collect();
    let facts = html! {
        div { (chip(tone, words)) }
        dl class="wide" {
            div { dt { (text.radio) } dd { @if lock.radio.is_empty() { (text.without_radio) } @else { (radio_name(&lock.radio)) } } }
            div { dt { (text.last_heard) } dd { @match lock.heard { Some(at) => (ago(text, at)), None => (text.never_heard) } } }
            div { dt { (text.signal) } dd { @if signal.is_empty() { (text.unknown) } @else { (signal.join(", ")) } } }
            @if let Some(word) = lock.activation {
                div { dt { (text.device.activation) } dd { (super::pair::short(text, word.outcome)) " · " (ago(text, word.heard)) } }
            }
            div { dt { (text.commands) } dd { ((text.commands_waiting)(lock.pending)) } }
            div { dt { (text.site_address) } dd { @match lock.address { Some(address) => (address), None => (text.unknown) } } }
        }
    };
    Parts::from([("facts", facts.into_string()), ("said", words.into())])
}

pub(crate) async fn remove_page(web: Arc<Web>, call: Call) -> Response {
    show_remove(&web, &call, None).await
}

async fn show_remove(web: &Web, call: &Call, error: Option<&str>) -> Response {
    let text = call.text;
    let view = match web.view(Duration::ZERO).await {
        Ok(view) => view,
        Err(error) => return unavailable(web, call, &error),
    };
    let Some(lock) = call.lock().and_then(|id| view.lock(id)) else {
        return refusal(text, StatusCode::NOT_FOUND);
    };
    let id = lock.lock;
    let content = html! {
        h1 { (text.remove_title) }
        p { span class="mono" { (id) } }
        @if let Some(error) = error { div class="note bad" role="alert" { (said(text, error)) } }
        section class="card" { p { (text.remove_what) } p { (text.remove_keeps) } }
        form class="buttons" method="post" action={ "/locks/" (id) "/remove" } {
            input type="hidden" name="token" value=(call.form_token());
            button class="button danger" { (text.remove) }
            a class="button second" href={ "/locks/" (id) } { (text.keep) }
        }
    };
    let here = format!("/locks/{id}/remove");
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Page { title: text.remove_title, tab: Tab::Locks, here: &here, live: None, narrow: true }
        .show(web, call, status, &content)
}

pub(crate) async fn remove(web: Arc<Web>, call: Call) -> Response {
    let Some(lock) = call.lock() else { return refusal(call.text, StatusCode::NOT_FOUND) };
    match web.daemon.ask(Request::Remove { lock }).await {
        Ok(_) => {
            tracing::info!("a lock was removed by the page");
            web.live.forget(lock);
            see_other("/locks")
        }
        Err(error) => show_remove(&web, &call, Some(&error)).await,
    }
}
