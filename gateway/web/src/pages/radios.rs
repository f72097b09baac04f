//! The radios, and the backup and restore of a network.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use cardea_api::{DutyBand, KeptBackup, Radio, RadioDetail, Reply, Request, Secret};
use maud::{Markup, html};

use super::fleet::{coarse, take, unavailable};
use super::operate::Restore;
use super::{Page, Tab, Tone, chip, fault, note, radio_name, rich, said};
use crate::live::{Parts, View, stream};
use crate::routes::{Call, see_other};
use crate::texts::Texts;
use crate::{SealError, Web, keeper};

/// The only radio whose network can be moved.
const ZIGBEE: &str = "zigbee";

/// The fewest characters of a passphrase, as everywhere.
const SHORTEST: usize = 12;
/// The most bytes.
const LONGEST: usize = 256;

pub(crate) async fn list(web: Arc<Web>, call: Call) -> Response {
    let view = match web.view(Duration::ZERO).await {
        Ok(view) => view,
        Err(error) => return unavailable(&web, &call, &error),
    };
    let text = call.text;
    let mut parts = parts(text, &web, &view);
    let content = html! {
        h1 { (text.radios) }
        p class="soft" { (text.operate.radios_why) }
        div id="work" class="notes" { (take(&mut parts, "work")) }
        div id="radios" class="notes" { (take(&mut parts, "radios")) }
    };
    Page { title: text.radios, tab: Tab::Radios, here: "/radios", live: Some("/live/radios"), narrow: false }
        .show(&web, &call, StatusCode::OK, &content)
}

pub(crate) async fn live(web: Arc<Web>, call: Call) -> Response {
    let text = call.text;
    stream(web, call, move |web, view| parts(text, web, view))
}

fn parts(text: &Texts, web: &Web, view: &View) -> Parts {
    let words = &text.operate;
    let work = html! {
        @match web.operate.restore() {
            Some(Restore::Running) => (note(Tone::Warn, words.restore, &html! { p { (words.restoring) } })),
            Some(Restore::Done { id, channel, anew, strangers }) => {
                @let more = (words.restored_more)(&id, channel, anew, strangers);
                (note(Tone::Good, words.restored, &html! { p { (more) } }))
            },
            Some(Restore::Failed(why)) => (note(Tone::Bad, words.restore_failed, &said(text, &why))),
            None => {},
        }
    };
    let spoken = match web.operate.restore() {
        Some(Restore::Running) => words.restoring,
        Some(Restore::Done { .. }) => words.restored,
        Some(Restore::Failed(_)) => words.restore_failed,
        None => "",
    };
    let radios = html! {
        @for (name, radio) in &view.status.radios {
            (one(text, name, radio, view.radios.iter().find(|detail| detail.radio == *name)))
        }
        @if view.status.radios.is_empty() {
            (note(Tone::Bad, text.no_radio.what, &html! { p { (text.no_radio.todo) } }))
        }
    };
    Parts::from([("work", work.into_string()), ("radios", radios.into_string()), ("said", spoken.into())])
}

fn one(text: &Texts, name: &str, radio: &Radio, detail: Option<&RadioDetail>) -> Markup {
    let words = &text.operate;
    let (tone, state, advice) = match (radio.up, radio.detail.is_empty()) {
        (true, true) => (Tone::Good, text.works, None),
        (true, false) => (Tone::Warn, text.works, Some(text.radio_unwell.todo)),
        (false, _) => (Tone::Bad, text.works_not, Some(text.radio_down.todo)),
    };
    html! {
        section class="card" {
            div class="row" { h2 { (radio_name(name)) } (chip(tone, state)) }
            @if let Some(advice) = advice { p { (advice) } (said(text, &radio.detail)) }
            dl class="wide" {
                @if let Some(detail) = detail.filter(|detail| detail.moves || detail.network.is_some()) {
                    (network(text, detail, radio.backup.as_ref()))
                }
                @if radio.restarts > 0 {
                    div { dt { (text.radio) } dd { ((text.restarts)(radio.restarts)) } }
                }
            }
            @if let Some(detail) = detail.filter(|detail| !detail.duty.is_empty()) {
                h3 { (words.duty) }
                @for band in &detail.duty { (duty(text, band)) }
                p class="soft small" { (words.duty_why) }
            }
            @if detail.is_some_and(|detail| detail.moves) {
                div class="buttons" {
                    a class="button second" id="move" href="/radios/zigbee" { (words.backup_and_restore) }
                }
            }
        }
    }
}

fn network(text: &Texts, detail: &RadioDetail, kept: Option<&KeptBackup>) -> Markup {
    let words = &text.operate;
    html! {
        div {
            dt { (words.network_id) }
            dd { @match &detail.network { Some(id) => span class="mono" { (id) }, None => (rich(words.no_network)) } }
        }
        div { dt { (words.channel) } dd { @match detail.channel { Some(channel) => (channel), None => (text.unknown) } } }
        div {
            dt { (words.joining) }
            dd {
                @match detail.open_s { Some(left) => ((words.joining_open)(left)), None => (words.joining_closed) }
            }
        }
        @if detail.moves { (last_backup(text, kept)) }
    }
}

fn last_backup(text: &Texts, kept: Option<&KeptBackup>) -> Markup {
    let words = &text.operate;
    html! {
        div {
            dt { (words.backup_kept) }
            dd {
                @match kept {
                    None => (words.backup_none),
                    Some(kept) => @match kept.age_s(keeper::now()) {
                        None => (words.backup_unconfirmed),
                        Some(age) => ((words.backup_confirmed)(&(text.ago)(coarse(age)))),
                    },
                }
            }
        }
    }
}

fn duty(text: &Texts, band: &DutyBand) -> Markup {
    let mhz = |hz: u32| f64::from(hz) / 1e6;
    let id = format!("band{}", band.low);
    let seconds = |ms: u64| ms.div_ceil(1_000);
    html! {
        div class="meter" {
            label for=(id) { (mhz(band.low)) "–" (mhz(band.high)) " MHz" }
            meter id=(id) min="0" max=(band.budget_ms) high=(band.budget_ms * 3 / 4) value=(band.used_ms) {}
            span class="soft small" { ((text.operate.duty_of)(seconds(band.used_ms), seconds(band.budget_ms))) }
        }
    }
}

pub(crate) async fn zigbee(web: Arc<Web>, call: Call) -> Response {
    show(&web, &call, None, None)
}

/// The two forms, and what was wrong with one of them.
fn show(web: &Web, call: &Call, backup: Option<&str>, restore: Option<&str>) -> Response {
    let (text, words) = (call.text, &call.text.operate);
    let token = html! { input type="hidden" name="token" value=(call.form_token()); };
    let passphrase = |name: &str, label: &str, autocomplete: &str, hint: Option<&str>| {
        html! {
            div class="field" {
                label for=(name) { (label) }
                input id=(name) name=(name) type="password" maxlength=(LONGEST) autocomplete=(autocomplete)
                    aria-describedby=[hint.map(|_| format!("{name}-hint"))];
                @if let Some(hint) = hint { p id={ (name) "-hint" } class="hint" { (hint) } }
            }
        }
    };
    let confirm = |id: &str| {
        html! {
            div class="check" {
                input id={ (id) "-replace" } name="replace" value="yes" type="checkbox";
                label for={ (id) "-replace" } { (words.restore_replace) }
            }
            div class="check" {
                input id={ (id) "-unplugged" } name="unplugged" value="yes" type="checkbox";
                label for={ (id) "-unplugged" } { (words.restore_unplugged) }
            }
        }
    };
    let content = html! {
        p class="small" { a href="/radios" { "← " (text.radios) } }
        h1 { (words.move_title) }
        (fault(backup.or(restore)))
        form class="card stack" method="post" action="/radios/zigbee/backup" {
            h2 { (words.backup) }
            p class="soft small" { (rich(words.backup_what)) }
            (token)
            (passphrase("passphrase", words.passphrase, "new-password", Some(words.passphrase_hint)))
            (passphrase("again", words.passphrase_again, "new-password", None))
            button class="button" { (words.backup_button) }
        }
        form class="card stack" method="post" action="/radios/zigbee/restore" enctype="multipart/form-data" {
            h2 { (words.restore) }
            p class="soft small" { (words.restore_what) }
            (token)
            div class="field" {
                label for="file" { (words.restore_file) }
                input id="file" name="file" type="file" aria-describedby="file-hint";
                p id="file-hint" class="hint" { (rich(words.restore_file_hint)) }
            }
            (passphrase("opens", words.passphrase, "off", None))
            (confirm("file"))
            button class="button danger" { (words.restore_button) }
        }
        form class="card stack" method="post" action="/radios/zigbee/restore" {
            h2 { (words.restore_kept) }
            p class="soft small" { (words.backup_note) }
            (token)
            input type="hidden" name="kept" value="yes";
            (confirm("kept"))
            button class="button danger" { (words.restore_kept_button) }
        }
    };
    let wrong = backup.is_some() || restore.is_some();
    let status = if wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Page { title: words.move_title, tab: Tab::Radios, here: "/radios/zigbee", live: None, narrow: true }
        .show(web, call, status, &content)
}

/// Why a passphrase does not do.
fn unfit(text: &Texts, passphrase: &str) -> Option<&'static str> {
    let words = &text.operate;
    let short = passphrase.chars().count() < SHORTEST || passphrase.contains(['\n', '\r']);
    let long = passphrase.len() > LONGEST;
    short.then_some(words.passphrase_short).or(long.then_some(words.passphrase_long))
}

pub(crate) async fn backup(web: Arc<Web>, call: Call) -> Response {
    let (text, words) = (call.text, &call.text.operate);
    let passphrase = call.secret("passphrase");
    let wrong = unfit(text, &passphrase)
        .or((call.field("again") != passphrase.as_str()).then_some(words.passphrase_differ));
    if let Some(wrong) = wrong {
        return show(&web, &call, Some(wrong), None);
    }
    let Ok(_one) = web.operate.sealings.try_acquire() else {
        return show(&web, &call, Some(words.busy), None);
    };
    let (id, plain) = match web.daemon.ask(Request::BackUpNetwork { radio: ZIGBEE.into() }).await {
        Ok(Reply::Backup { id, file, .. }) => (id, file),
        Ok(_) => return show(&web, &call, Some("the daemon answered something else"), None),
        Err(why) => return show(&web, &call, Some(&why), None),
    };
    match web.daemon.seal(plain, passphrase).await {
        Ok(sealed) => {
            tracing::info!("an encrypted backup of the Zigbee network was downloaded from the page");
            download(&sealed, &format!("cardea-zigbee-{id}.age"), "application/octet-stream")
        }
        Err(error) => show(&web, &call, Some(&error.to_string()), None),
    }
}

/// A file to be saved. `name` is ours, of letters, digits, `-` and `.`.
pub(super) fn download(file: &Secret, name: &str, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(file.as_bytes().to_vec()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

pub(crate) async fn restore(web: Arc<Web>, call: Call) -> Response {
    let (text, words) = (call.text, &call.text.operate);
    let refuse = |why: &str| show(&web, &call, None, Some(why));
    if call.field("unplugged") != "yes" {
        return refuse(words.restore_need_unplugged);
    }
    let replace = call.field("replace") == "yes";
    let file = match (call.field("kept") == "yes", &call.file) {
        (true, _) => Secret::default(),
        (false, Some(file)) if !file.as_bytes().is_empty() => {
            let Ok(_one) = web.operate.sealings.try_acquire() else { return refuse(words.busy) };
            match web.daemon.open((**file).clone(), call.secret("opens")).await {
                Ok(plain) if plain.as_bytes().is_empty() => return refuse(words.restore_no_file),
                Ok(plain) => plain,
                Err(SealError::WrongPassphrase) => return refuse(words.passphrase_wrong),
                Err(SealError::Other(why)) => return refuse(&format!("{} {why}", text.said)),
            }
        }
        (false, _) => return refuse(words.restore_no_file),
    };
    if !web.operate.begin_restore() {
        return refuse(words.busy);
    }
    tracing::warn!("a restore of the Zigbee network was ordered from the page");
    let web = Arc::clone(&web);
    // It goes on when the browser goes away.
    tokio::spawn(async move {
        let bytes = u32::try_from(file.as_bytes().len()).unwrap_or(u32::MAX);
        let request = Request::RestoreNetwork { radio: ZIGBEE.into(), replace, bytes, file };
        web.operate.end_restore(match web.daemon.ask(request).await {
            Ok(Reply::Restored { id, channel, anew, strangers, .. }) => {
                Restore::Done { id, channel, anew, strangers }
            }
            Ok(_) => Restore::Failed("the daemon answered something else".into()),
            Err(why) => Restore::Failed(why),
        });
    });
    see_other("/radios")
}
