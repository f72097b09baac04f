//! Letting a lock in by its radio label, and watching it come.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Response;
use cardea_api::{ActivationOutcome, Lock, Reply, Request};
use cardea_framing::LockId;
use cardea_radio::LorawanClass;
use cardea_radio::label::{self, LabelError, Standard};
use maud::{Markup, html};
use zeroize::Zeroizing;

use super::{Page, Tab, Tone, note, refusal, said};
use crate::live::{Live, Parts, View};
use crate::routes::{Call, see_other};
use crate::texts::Texts;
use crate::{Web, keeper};

/// How long a lock is waited for: as long as the Zigbee network is open for one. LoRaWAN locks may come later as well.
const WINDOW: Duration = Duration::from_secs(4 * 60);

/// Pairings remembered at once.
pub(crate) const REMEMBERED: usize = 64;

/// A lock that was let in by this page.
#[derive(Clone, Copy)]
pub(crate) struct Pairing {
    until: Instant,
    /// Unix milliseconds: only what is heard after it counts.
    since: u64,
    /// It was let in before: stopping does not take it back.
    was_known: bool,
}

impl Live {
    fn remember(&self, lock: LockId, was_known: bool) {
        let mut pairings = self.pairings.lock().unwrap_or_else(PoisonError::into_inner);
        let was_known = was_known && pairings.get(&lock).is_none_or(|pairing| pairing.was_known);
        if pairings.len() >= REMEMBERED && !pairings.contains_key(&lock) {
            let oldest = pairings.iter().min_by_key(|(_, pairing)| pairing.until).map(|(lock, _)| *lock);
            oldest.map(|oldest| pairings.remove(&oldest));
        }
        let now = Instant::now();
        let until = now.checked_add(WINDOW).unwrap_or(now);
        pairings.insert(lock, Pairing { until, since: keeper::now(), was_known });
    }

    fn pairing(&self, lock: LockId) -> Option<Pairing> {
        self.pairings.lock().unwrap_or_else(PoisonError::into_inner).get(&lock).copied()
    }

    pub(crate) fn forget(&self, lock: LockId) {
        self.pairings.lock().unwrap_or_else(PoisonError::into_inner).remove(&lock);
    }
}

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    show(&web, &call, None)
}

/// Why a label was not taken: our words, or the daemon's.
enum Fault {
    Ours(&'static str),
    Daemon(String),
}

pub(crate) async fn submit(web: Arc<Web>, call: Call) -> Response {
    let (lock, label) = match read(&call) {
        Ok(read) => read,
        Err(words) => return show(&web, &call, Some(&Fault::Ours(words))),
    };
    // Only what this page has let in can be taken back by stopping.
    let was_known = web.view(Duration::ZERO).await.is_ok_and(|view| view.lock(lock).is_some());
    match web.daemon.ask(Request::Admit { label: label.to_string() }).await {
        Ok(Reply::Admitted { lock, .. }) => {
            tracing::info!("a lock was let in by the page");
            web.live.remember(lock, was_known);
            see_other(&format!("/pair/{lock}"))
        }
        Ok(_) => show(&web, &call, Some(&Fault::Daemon("the daemon answered something else".into()))),
        Err(error) => show(&web, &call, Some(&Fault::Daemon(error))),
    }
}

/// The label in our own form.
fn read(call: &Call) -> Result<(LockId, Zeroizing<String>), &'static str> {
    let text = call.text;
    let typed = call.field("label");
    let admission = match label::parse(typed) {
        Err(LabelError::NotALabel) | Err(LabelError::Characters) => {
            let standard = Standard::parse(typed).map_err(|error| fault(text, error))?;
            let lock = call.field("lock").trim().parse().map_err(|_| text.need_lock_id)?;
            let class = if call.field("class") == "c" { LorawanClass::C } else { LorawanClass::A };
            let mut key = Zeroizing::new([0; 16]);
            let given = call.field("app_key").trim();
            let key = match given {
                "" => None,
                given => {
                    hex::decode_to_slice(given, key.as_mut_slice()).map_err(|_| text.need_app_key)?;
                    Some((key, class))
                }
            };
            standard.admission(lock, key).map_err(|error| fault(text, error))?
        }
        other => other.map_err(|error| fault(text, error))?,
    };
    Ok((admission.lock, label::reveal(&admission)))
}

const fn fault(text: &Texts, error: LabelError) -> &'static str {
    match error {
        LabelError::NotALabel => text.label_not,
        LabelError::Version => text.label_version,
        LabelError::Radio => text.label_radio,
        LabelError::Check => text.label_check,
        LabelError::InstallCode => text.label_code,
        LabelError::NoAppKey => text.need_app_key,
        LabelError::Characters => text.label_characters,
        LabelError::Parts { .. } | LabelError::Hex { .. } | LabelError::Class | LabelError::Address => {
            text.label_digits
        }
    }
}

fn show(web: &Web, call: &Call, wrong: Option<&Fault>) -> Response {
    let text = call.text;
    // A label that was refused may be mended; a key is not sent back.
    let other = !call.field("lock").is_empty()
        || matches!(wrong, Some(Fault::Ours(words)) if *words == text.need_lock_id || *words == text.need_app_key);
    let content = html! {
        h1 { (text.pair_title) }
        p class="soft" { (text.pair_why) }
        @match wrong {
            Some(Fault::Ours(words)) => div class="note bad" role="alert" { p { (words) } },
            Some(Fault::Daemon(words)) => div class="note bad" role="alert" { (said(text, words)) },
            None => {},
        }
        // Shown by the script where the browser can read codes. The picture has no name: no form sends it.
        section id="scan" class="card" hidden data-none=(text.scan_none) data-done=(text.scan_done)
            data-other=(text.scan_other) data-denied=(text.scan_denied) {
            div class="buttons" {
                label class="button second" for="photo" { (text.scan_photo) }
                input id="photo" class="unseen" type="file" accept="image/*" capture="environment";
                button id="camera" class="button second" type="button" { (text.scan_camera) }
            }
            video id="view" class="view" muted playsinline hidden aria-label=(text.scan_camera) {}
            p id="scanned" class="small" role="status" { (text.scan_why) }
        }
        form class="card stack" method="post" action="/pair" autocomplete="off" {
            input type="hidden" name="token" value=(call.form_token());
            div class={ "field" @if wrong.is_some() { " wrong" } } {
                label for="label" { (text.label) }
                textarea id="label" name="label" class="mono" required maxlength="256" rows="3" autocapitalize="off"
                    autocomplete="off" spellcheck="false" aria-describedby="label-hint" { (call.field("label")) }
                p id="label-hint" class="hint" { (text.label_hint) }
            }
            details open[other] {
                summary { (text.other_label) }
                div class="stack" {
                    p class="hint" { (text.other_label_why) }
                    div class="field" {
                        label for="lock" { (text.lock_id) }
                        input id="lock" name="lock" class="mono" maxlength="16" autocomplete="off" spellcheck="false"
                            aria-describedby="lock-hint" value=(call.field("lock"));
                        p id="lock-hint" class="hint" { (text.lock_id_hint) }
                    }
                    div class="field" {
                        label for="app_key" { (text.app_key) }
                        input id="app_key" name="app_key" class="mono" maxlength="32" autocomplete="off"
                            spellcheck="false" aria-describedby="key-hint";
                        p id="key-hint" class="hint" { (text.app_key_hint) }
                    }
                    div class="field" {
                        label for="class" { (text.class) }
                        select id="class" name="class" {
                            option value="a" { (text.class_a) }
                            option value="c" selected[call.field("class") == "c"] { (text.class_c) }
                        }
                    }
                }
            }
            div class="note warn" { p { (text.owner_code_note) } }
            button class="button" { (text.let_in) }
        }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Page { title: text.pair_title, tab: Tab::Pair, here: "/pair", live: None, narrow: true }
        .show(web, call, status, &content)
}

pub(crate) async fn progress(web: Arc<Web>, call: Call) -> Response {
    let text = call.text;
    let Ok(view) = web.view(Duration::ZERO).await else {
        return refusal(text, StatusCode::SERVICE_UNAVAILABLE);
    };
    let Some(lock) = call.lock().filter(|lock| view.lock(*lock).is_some()) else {
        return refusal(text, StatusCode::NOT_FOUND);
    };
    let mut made = parts(text, &web, &view, lock, &call.form_token());
    let mut part = |id: &str| maud::PreEscaped(made.remove(id).unwrap_or_default());
    let content = html! {
        h1 { (text.pairing) " " span class="mono" { (lock) } }
        div id="outcome" class="notes" { (part("outcome")) }
        section class="card" {
            ol id="steps" class="steps" { (part("steps")) }
            div id="time" { (part("time")) }
        }
        div id="actions" class="buttons" { (part("actions")) }
    };
    let (here, live) = (format!("/pair/{lock}"), format!("/live/pair/{lock}"));
    Page { title: text.pairing, tab: Tab::Pair, here: &here, live: Some(&live), narrow: true }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

/// How far a lock has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not in the network yet, and how many seconds are left.
    Coming(u64),
    Late,
    Joined,
    Heard,
    /// The platform has spoken.
    Said(ActivationOutcome),
}

fn stage(pairing: Option<Pairing>, lock: &Lock) -> Stage {
    // Only what comes after the label was given counts: a lock that is paired again was heard before.
    let since = pairing.map_or(0, |pairing| pairing.since);
    if let Some(word) = lock.activation.filter(|word| lock.joined && word.heard >= since) {
        return Stage::Said(word.outcome);
    }
    match (lock.joined, lock.heard.is_some_and(|at| at >= since)) {
        (true, true) => Stage::Heard,
        (true, false) => Stage::Joined,
        (false, _) => {
            let left =
                pairing.map(|pairing| pairing.until.saturating_duration_since(Instant::now()).as_secs());
            left.filter(|left| *left > 0).map_or(Stage::Late, Stage::Coming)
        }
    }
}

pub(crate) fn parts(text: &Texts, web: &Web, view: &View, id: LockId, token: &str) -> Parts {
    let Some(lock) = view.lock(id) else {
        let gone = html! { p { (text.no_such_lock) } };
        return Parts::from([
            ("outcome", gone.into_string()),
            ("steps", String::new()),
            ("time", String::new()),
            ("actions", String::new()),
        ]);
    };
    let pairing = web.live.pairing(id);
    let stage = stage(pairing, lock);
    let (words, time) = match stage {
        Stage::Coming(left) => (text.step_join_now, Some(left)),
        Stage::Late => (text.step_join_late, None),
        Stage::Joined => (text.step_heard_now, None),
        Stage::Heard => (text.paired, None),
        Stage::Said(outcome) => (short(text, outcome), None),
    };
    let outcome = html! {
        @if stage == Stage::Heard { (note(Tone::Good, text.paired, &html! { p { (text.paired_more) } })) }
        @match stage {
            Stage::Said(outcome) => (word(text, outcome)),
            _ => {}
        }
        @if stage == Stage::Late { (note(Tone::Warn, text.time_over, &html! { p { (text.step_join_late) } })) }
    };
    let may_take_back = pairing.is_some_and(|pairing| !pairing.was_known);
    let actions = html! {
        @match stage {
            Stage::Heard | Stage::Said(_) => {
                a class="button" id="another" href="/pair" { (text.pair_another) }
                a class="button second" id="show" href={ "/locks/" (id) } { (text.show_lock) }
            }
            Stage::Joined => a class="button second" id="show" href={ "/locks/" (id) } { (text.show_lock) },
            Stage::Coming(_) | Stage::Late => {
                @if stage == Stage::Late { a class="button" id="again" href="/pair" { (text.try_again) } }
                @if may_take_back {
                    form method="post" action={ "/pair/" (id) "/cancel" } {
                        input type="hidden" name="token" value=(token);
                        button class="button second" id="stop" { (text.give_up) }
                    }
                }
            }
        }
    };
    let time = html! {
        @if let Some(left) = time {
            p class="soft small" { (text.time_left) }
            p class="clock" role="timer" aria-live="off" { (left / 60) ":" (format!("{:02}", left % 60)) }
        }
    };
    Parts::from([
        ("outcome", outcome.into_string()),
        ("steps", steps(text, stage, view.status.platform_keys > 0).into_string()),
        ("time", time.into_string()),
        ("actions", actions.into_string()),
        ("said", words.into()),
    ])
}

/// The platform's word in a few words.
pub(super) const fn short(text: &Texts, outcome: ActivationOutcome) -> &'static str {
    match outcome {
        ActivationOutcome::Activated => text.device.activated,
        ActivationOutcome::WrongCode => text.device.wrong_code.what,
        ActivationOutcome::Owned => text.device.owned.what,
    }
}

/// What the platform says, and what to do.
pub(super) fn word(text: &Texts, outcome: ActivationOutcome) -> Markup {
    let said = &text.device;
    let (tone, what, todo) = match outcome {
        ActivationOutcome::Activated => (Tone::Good, said.activated, said.activated_more),
        ActivationOutcome::WrongCode => (Tone::Bad, said.wrong_code.what, said.wrong_code.todo),
        ActivationOutcome::Owned => (Tone::Bad, said.owned.what, said.owned.todo),
    };
    note(tone, what, &html! { p { (todo) } p class="small soft" { (said.signed_by) } })
}

/// The last one is there only where the platform's word can be believed.
fn steps(text: &Texts, stage: Stage, with_word: bool) -> Markup {
    let join = match stage {
        Stage::Coming(_) => ("now", text.step_join_now),
        Stage::Late => ("late", text.step_join_late),
        Stage::Joined | Stage::Heard | Stage::Said(_) => ("done", text.step_join_done),
    };
    let heard = match stage {
        Stage::Coming(_) | Stage::Late => ("", text.step_heard_wait),
        Stage::Joined => ("now", text.step_heard_now),
        Stage::Heard | Stage::Said(_) => ("done", text.step_heard_done),
    };
    let activate = match stage {
        Stage::Heard => ("now", text.device.step_activate_now),
        Stage::Said(ActivationOutcome::Activated) => ("done", text.device.step_activate_done),
        Stage::Said(outcome) => ("late", short(text, outcome)),
        Stage::Coming(_) | Stage::Late | Stage::Joined => ("", text.device.step_activate_wait),
    };
    let all = [
        (("done", text.step_let_in_more), text.step_let_in),
        (join, text.step_join),
        (heard, text.step_heard),
        (activate, text.device.step_activate),
    ];
    let shown = if with_word { all.len() } else { all.len() - 1 };
    html! {
        @for (n, ((class, more), name)) in all.into_iter().take(shown).enumerate() {
            li class=(class) aria-current=[(class == "now").then_some("step")] {
                span class="mark" aria-hidden="true" { @if class == "done" { "✓" } @else { (n + 1) } }
                strong { (name) }
                span class="soft small" { (more) }
            }
        }
    }
}

pub(crate) async fn cancel(web: Arc<Web>, call: Call) -> Response {
    let Some(lock) = call.lock() else { return refusal(call.text, StatusCode::NOT_FOUND) };
    let Ok(view) = web.view(Duration::ZERO).await else {
        return refusal(call.text, StatusCode::SERVICE_UNAVAILABLE);
    };
    let joined = view.lock(lock).is_none_or(|lock| lock.joined);
    // Without the password only what was let in a moment ago, and has not come, is taken back.
    if joined || web.live.pairing(lock).is_none_or(|pairing| pairing.was_known) {
        return see_other(&format!("/pair/{lock}"));
    }
    match web.daemon.ask(Request::Remove { lock }).await {
        Ok(_) => {
            web.live.forget(lock);
            see_other("/pair")
        }
        Err(_) => refusal(call.text, StatusCode::SERVICE_UNAVAILABLE),
    }
}
