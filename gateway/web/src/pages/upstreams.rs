//! The link to the broker, and a form that tries one.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use cardea_api::{BrokerCause, BrokerSettings, BrokerStep, BrokerTest, BrokerTrial, Reply, Request};
use maud::{Markup, html};

use super::fleet::{ago, take, unavailable};
use super::{Page, Tab, Tone, chip, fault, note, rich, said};
use crate::Web;
use crate::live::{Parts, View, stream_of};
use crate::routes::Call;
use crate::texts::{Advice, Texts};

pub(crate) async fn status(web: Arc<Web>, call: Call) -> Response {
    let view = match web.view(Duration::ZERO).await {
        Ok(view) => view,
        Err(error) => return unavailable(&web, &call, &error),
    };
    let (text, words) = (call.text, &call.text.operate);
    let mut parts = parts(text, &view, oldest(&web).await);
    let content = html! {
        h1 { (words.upstream_title) }
        div id="links" class="notes" { (take(&mut parts, "links")) }
        div class="buttons" { a class="button second" href="/broker/test" { (words.try_broker) } }
    };
    Page {
        title: words.upstream_title,
        tab: Tab::Broker,
        here: "/broker",
        live: Some("/live/broker"),
        narrow: false,
    }
    .show(&web, &call, StatusCode::OK, &content)
}

pub(crate) async fn live(web: Arc<Web>, call: Call) -> Response {
    let text = call.text;
    stream_of(web, call, move |web| {
        Box::pin(async move {
            let view = web.view(Duration::from_millis(500)).await.ok()?;
            let oldest = oldest(&web).await;
            Some(parts(text, &view, oldest))
        })
    })
}

/// When the oldest frame on disk came in.
async fn oldest(web: &Web) -> Option<u64> {
    match web.daemon.ask(Request::Oldest {}).await {
        Ok(Reply::Oldest { at }) => at,
        _ => None,
    }
}

fn parts(text: &Texts, view: &View, oldest: Option<u64>) -> Parts {
    let words = &text.operate;
    let status = &view.status;
    let (tone, state, advice) = match (status.broker.connected, status.broker.detail.is_empty()) {
        (true, true) => (Tone::Good, text.connected, words.upstream_well),
        (true, false) => (Tone::Warn, text.connected, text.broker_unwell.todo),
        (false, _) => (Tone::Bad, text.not_connected, text.broker_down.todo),
    };
    let links = html! {
        section class="card" {
            div class="row" { h2 { (text.broker) } (chip(tone, state)) }
            p class="mono" { (status.broker.url) }
            p { (advice) }
            (said(text, &status.broker.detail))
            dl class="wide" {
                div { dt { (words.outbox) } dd { ((words.outbox_more)(status.outbox_frames, status.outbox_bytes)) } }
                div {
                    dt { (words.outbox_oldest) }
                    dd {
                        @match oldest { Some(at) => ((words.outbox_since)(&ago(text, at))), None => (words.outbox_empty) }
                    }
                }
            }
            @if status.dropped > 0 { (note(Tone::Warn, text.dropped.what, &html! { p { (text.dropped.todo) } })) }
        }
        @if let Some(bridge) = &status.unsealed {
            @let well = bridge.connected && bridge.detail.is_empty();
            section class="card" {
                div class="row" {
                    h2 { (words.unsealed) }
                    (chip(if well { Tone::Good } else { Tone::Bad }, if bridge.connected { text.connected } else { text.not_connected }))
                }
                (said(text, &bridge.detail))
            }
        }
    };
    Parts::from([("links", links.into_string()), ("said", state.into())])
}

pub(crate) async fn form(web: Arc<Web>, call: Call) -> Response {
    match web.daemon.ask(Request::Configuration {}).await {
        Ok(Reply::Configuration { broker, .. }) => {
            let BrokerSettings { url, ca_file, cert_file, key_file, .. } = broker;
            let (username, password) = (String::new(), String::new());
            let trial = BrokerTrial { url, username, password, ca_file, cert_file, key_file };
            show(&web, &call, &trial, None, None)
        }
        Ok(_) => unavailable(&web, &call, "the daemon answered something else"),
        Err(error) => unavailable(&web, &call, &error),
    }
}

pub(crate) async fn test(web: Arc<Web>, call: Call) -> Response {
    let field = |name: &str| call.field(name).trim().chars().filter(|c| !c.is_control()).take(256).collect();
    let trial = BrokerTrial {
        url: field("url"),
        username: field("username"),
        password: call.field("password").to_owned(),
        ca_file: field("ca_file"),
        cert_file: field("cert_file"),
        key_file: field("key_file"),
    };
    match web.daemon.ask(Request::TestBroker(trial.clone())).await {
        Ok(Reply::BrokerTest(test)) => show(&web, &call, &trial, Some(&test), None),
        Ok(_) => show(&web, &call, &trial, None, Some("the daemon answered something else")),
        Err(why) => show(&web, &call, &trial, None, Some(&why)),
    }
}

fn show(
    web: &Web,
    call: &Call,
    trial: &BrokerTrial,
    test: Option<&BrokerTest>,
    wrong: Option<&str>,
) -> Response {
    let words = &call.text.operate;
    let field = |name: &str, label: &str, value: &str, hint: Option<&str>, kind: &str| {
        html! {
            div class="field" {
                label for=(name) { (label) }
                input id=(name) name=(name) type=(kind) value=(value) maxlength="256" autocomplete="off" spellcheck="false"
                    autocapitalize="off" aria-describedby=[hint.map(|_| format!("{name}-hint"))];
                @if let Some(hint) = hint { p id={ (name) "-hint" } class="hint" { (hint) } }
            }
        }
    };
    let files = [&trial.ca_file, &trial.cert_file, &trial.key_file].iter().any(|file| !file.is_empty());
    let content = html! {
        p class="small" { a href="/broker" { "← " (words.upstream_title) } }
        h1 { (words.try_broker) }
        p class="soft" { (words.try_why) }
        (fault(wrong))
        @if let Some(test) = test { (result(call.text, trial, test)) }
        form class="card stack" method="post" action="/broker/test" autocomplete="off" {
            input type="hidden" name="token" value=(call.form_token());
            (field("url", words.broker_url, &trial.url, Some(words.broker_url_hint), "text"))
            (field("username", words.username, &trial.username, Some(words.username_hint), "text"))
            // What was typed is not sent back.
            (field("password", words.broker_password, "", None, "password"))
            details open[files] {
                summary { (words.certificates) }
                div class="stack" {
                    (field("ca_file", words.ca_file, &trial.ca_file, Some(words.file_hint), "text"))
                    (field("cert_file", words.cert_file, &trial.cert_file, None, "text"))
                    (field("key_file", words.key_file, &trial.key_file, None, "text"))
                }
            }
            button class="button" { (words.try_button) }
        }
    };
    let status = if wrong.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Page { title: words.try_broker, tab: Tab::Broker, here: "/broker/test", live: None, narrow: true }
        .show(web, call, status, &content)
}

fn result(text: &Texts, trial: &BrokerTrial, test: &BrokerTest) -> Markup {
    let words = &text.operate;
    let steps = html! {
        ul class="plain" {
            @for done in &test.passed { li { (chip(Tone::Good, step(text, *done, true))) } }
            @if let Some(failed) = &test.failed { li { (chip(Tone::Bad, step(text, failed.step, false))) } }
        }
    };
    let Some(failed) = &test.failed else {
        return html! {
            div role="alert" {
                (note(Tone::Good, words.test_works, &html! { (steps) p { ((words.test_client)(&test.client_id)) } }))
            }
            section class="card" {
                h2 { (words.paste) }
                p class="soft small" { (rich(words.paste_why)) }
                pre class="mono" tabindex="0" { (toml(trial)) }
            }
        };
    };
    let Advice { what, todo } = advice(text, failed.cause);
    html! {
        div role="alert" {
            (note(Tone::Bad, &format!("{}: {what}", words.test_failed), &html! {
                (steps)
                p { (todo) }
                (said(text, &failed.detail))
            }))
        }
    }
}

/// What was found out by a step.
const fn step(text: &Texts, step: BrokerStep, good: bool) -> &'static str {
    let text = &text.operate;
    match (step, good) {
        (BrokerStep::Settings, true) => text.step_settings,
        (BrokerStep::Settings, false) => text.step_settings_not,
        (BrokerStep::Name, true) => text.step_name,
        (BrokerStep::Name, false) => text.step_name_not,
        (BrokerStep::Tcp, true) => text.step_tcp,
        (BrokerStep::Tcp, false) => text.step_tcp_not,
        (BrokerStep::Tls, true) => text.step_tls,
        (BrokerStep::Tls, false) => text.step_tls_not,
        (BrokerStep::Login, true) => text.step_login,
        (BrokerStep::Login, false) => text.step_login_not,
        (BrokerStep::Subscribe, true) => text.step_subscribe,
        (BrokerStep::Subscribe, false) => text.step_subscribe_not,
    }
}

const fn advice(text: &Texts, cause: BrokerCause) -> &Advice {
    let text = &text.operate;
    match cause {
        BrokerCause::Settings => &text.cause_settings,
        BrokerCause::NameUnknown => &text.cause_name_unknown,
        BrokerCause::PortClosed => &text.cause_port_closed,
        BrokerCause::Unreachable => &text.cause_unreachable,
        BrokerCause::Silent => &text.cause_silent,
        BrokerCause::Issuer => &text.cause_issuer,
        BrokerCause::Expired => &text.cause_expired,
        BrokerCause::NotYet => &text.cause_not_yet,
        BrokerCause::OtherName => &text.cause_other_name,
        BrokerCause::Certificate => &text.cause_certificate,
        BrokerCause::Tls => &text.cause_tls,
        BrokerCause::Version => &text.cause_version,
        BrokerCause::ClientId => &text.cause_client_id,
        BrokerCause::NotReady => &text.cause_not_ready,
        BrokerCause::Password => &text.cause_password,
        BrokerCause::NotAuthorised => &text.cause_not_authorised,
        BrokerCause::MayNotSubscribe => &text.cause_may_not_subscribe,
        BrokerCause::NotMqtt => &text.cause_not_mqtt,
    }
}

/// The section of the configuration that a trial stands for. The password is a file's, as everywhere.
fn toml(trial: &BrokerTrial) -> String {
    let mut lines = vec!["[mqtt]".to_owned(), format!("url = {}", quoted(&trial.url))];
    let has_password = !trial.password.is_empty();
    let password_file = if has_password { "/etc/cardea/mqtt-password" } else { "" };
    for (key, value) in [
        ("username", trial.username.as_str()),
        ("password_file", password_file),
        ("ca_file", &trial.ca_file),
        ("cert_file", &trial.cert_file),
        ("key_file", &trial.key_file),
    ] {
        if !value.is_empty() {
            lines.push(format!("{key} = {}", quoted(value)));
        }
    }
    lines.join("\n")
}

/// A basic string of TOML. Control characters were taken out of what was typed.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_for_the_configuration_has_no_password_and_ends_no_string_early() {
        let trial = BrokerTrial {
            url: "mqtts://b:8883".into(),
            username: "x\"\nca_file = \"\\y".replace('\n', ""),
            password: "Geheimnis".into(),
            ca_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
        };
        let shown = toml(&trial);
        assert!(!shown.contains("Geheimnis") && shown.contains("/etc/cardea/mqtt-password"), "{shown}");
        assert_eq!(
            shown.lines().nth(2).unwrap(),
            r#"username = "x\"ca_file = \"\\y""#,
            "a quote in a name stays in it"
        );
        assert!(!shown.contains("ca_file = \"\""));
    }
}
