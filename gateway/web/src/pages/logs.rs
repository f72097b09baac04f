//! The newest lines of the log, and the bundle for somebody who helps.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use cardea_api::{LogLevel, LogLine, Reply, Request};
use maud::{Markup, html};

use super::fleet::{ago, encoded, take, unavailable};
use super::operate::level;
use super::radios::download;
use super::{Page, Tab, chip, fault};
use crate::Web;
use crate::live::{Parts, stream_of};
use crate::routes::Call;
use crate::texts::Texts;

/// Lines on the page, and bytes of their text.
const SHOWN: u32 = 100;
const BYTES: usize = 24 * 1024;

/// Which lines are wanted.
#[derive(Clone)]
struct Filter {
    level: LogLevel,
    words: String,
}

impl Filter {
    fn of(call: &Call) -> Self {
        let words = call.query("q").trim().chars().filter(|c| !c.is_control()).take(64).collect();
        Self { level: call.query("level").parse().unwrap_or(LogLevel::Info), words }
    }

    fn query(&self) -> String {
        format!("level={}&q={}", self.level.as_str(), encoded(&self.words))
    }
}

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    let (text, words, filter) = (call.text, &call.text.operate, Filter::of(&call));
    let mut parts = match parts(&web, text, &filter).await {
        Ok(parts) => parts,
        Err(error) => return unavailable(&web, &call, &error),
    };
    let content = html! {
        h1 { (words.logs) }
        p class="soft" { (words.log_why) }
        form class="filter" method="get" action="/log" role="search" {
            div class="field" {
                label for="q" { (words.log_words) }
                input id="q" name="q" type="search" value=(filter.words) maxlength="64" autocomplete="off";
            }
            div class="field" {
                label for="level" { (words.log_level) }
                select id="level" name="level" {
                    @for one in LogLevel::ALL {
                        option value=(one.as_str()) selected[one == filter.level] { (level(text, one).1) }
                    }
                }
            }
            button class="button second" { (text.filter) }
        }
        div id="lines" { (take(&mut parts, "lines")) }
        div class="buttons" { a class="button second" href="/diagnosis" { (words.diagnosis) } }
    };
    let (here, live) = (format!("/log?{}", filter.query()), format!("/live/log?{}", filter.query()));
    Page { title: words.logs, tab: Tab::Log, here: &here, live: Some(&live), narrow: false }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

pub(crate) async fn live(web: Arc<Web>, call: Call) -> Response {
    let (text, filter) = (call.text, Filter::of(&call));
    stream_of(web, call, move |web| {
        let filter = filter.clone();
        Box::pin(async move { parts(&web, text, &filter).await.ok() })
    })
}

async fn parts(web: &Web, text: &Texts, filter: &Filter) -> Result<Parts, String> {
    let Filter { level, words } = filter.clone();
    let request = Request::Logs { after: 0, level: Some(level), words, most: SHOWN };
    match web.daemon.ask(request).await? {
        Reply::Logs(logs) => Ok(Parts::from([("lines", lines(text, &logs.lines).into_string())])),
        _ => Err("the daemon answered something else".into()),
    }
}

/// Newest first: what has just happened is what one looks for, and the page does not jump.
fn lines(text: &Texts, lines: &[LogLine]) -> Markup {
    let mut bytes = 0_usize;
    let fits = |line: &&LogLine| {
        bytes = bytes.saturating_add(line.text.len());
        bytes <= BYTES
    };
    html! {
        @if lines.is_empty() { p class="soft" { (text.operate.log_none) } }
        @else {
            ul class="list log" {
                @for line in lines.iter().rev().take_while(fits) {
                    @let (tone, name) = level(text, line.level);
                    li {
                        div class="item" {
                            span class="mono" lang="en" { (line.text) }
                            (chip(tone, name))
                            span class="more" { (ago(text, line.at)) " · " span class="mono" { (line.part) } }
                        }
                    }
                }
            }
        }
    }
}

pub(crate) async fn diagnosis(web: Arc<Web>, call: Call) -> Response {
    show(&web, &call, None)
}

fn show(web: &Web, call: &Call, wrong: Option<&str>) -> Response {
    let words = &call.text.operate;
    let content = html! {
        p class="small" { a href="/log" { "← " (words.logs) } }
        h1 { (words.diagnosis) }
        (fault(wrong))
        form class="card stack" method="post" action="/diagnosis" {
            p { (words.diagnosis_why) }
            input type="hidden" name="token" value=(call.form_token());
            button class="button" { (words.diagnosis_button) }
        }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Page { title: words.diagnosis, tab: Tab::Log, here: "/diagnosis", live: None, narrow: true }
        .show(web, call, status, &content)
}

pub(crate) async fn bundle(web: Arc<Web>, call: Call) -> Response {
    match web.daemon.ask(Request::Diagnose {}).await {
        Ok(Reply::Bundle { file, .. }) => download(&file, "cardea-diagnosis.tar.gz", "application/gzip"),
        Ok(_) => show(&web, &call, Some("the daemon answered something else")),
        Err(why) => show(&web, &call, Some(&why)),
    }
}
