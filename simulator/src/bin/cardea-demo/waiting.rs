//! Locks that wait to be paired, and the page with their labels: what a visitor would hold in their hands.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, serve};
use cardea_radio::{Admission, label};
use maud::{DOCTYPE, PreEscaped, html};
use tokio::net::TcpListener;

use crate::story::{Door, Seen, Story};

/// One lock in its box.
pub(crate) struct Waiting {
    pub(crate) door: Door,
    pub(crate) radio: &'static str,
    pub(crate) admission: Admission,
}

struct Shelf {
    story: Story,
    locks: Mutex<Vec<Waiting>>,
    gateway: String,
    /// Of this run.
    password: Option<String>,
}

/// Serves the page for as long as the program runs.
pub(crate) async fn serve_labels(
    story: &Story,
    locks: Vec<Waiting>,
    gateway: &str,
    password: Option<String>,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the page of labels")?;
    let address = listener.local_addr()?;
    let (story, locks, gateway) = (story.clone(), Mutex::new(locks), gateway.to_owned());
    let shelf = Arc::new(Shelf { story, locks, gateway, password });
    let router = Router::new().route("/", get(page)).route("/wake/{number}", post(wake)).with_state(shelf);
    tokio::spawn(async move { serve(listener, router).await });
    Ok(address)
}

async fn wake(State(shelf): State<Arc<Shelf>>, Path(number): Path<u64>) -> Response {
    let locks = shelf.locks.lock().unwrap_or_else(PoisonError::into_inner);
    match locks.iter().find(|lock| lock.door.number == number) {
        Some(lock) => {
            lock.door.touch();
            Redirect::to("/").into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn page(State(shelf): State<Arc<Shelf>>) -> Response {
    let locks = shelf.locks.lock().unwrap_or_else(PoisonError::into_inner);
    let joined = |number: u64| {
        let joined = |seen: &Seen| match seen {
            Seen::Lock(of, cardea_simulator::Happening::Joined) if *of == number => Some(()),
            _ => None,
        };
        !shelf.story.all(joined).is_empty()
    };
    let body = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light";
                title { "Cardea demo: locks in their boxes" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "Locks in their boxes" }
                    p {
                        "These locks are virtual. Pair one at "
                        a href=(shelf.gateway) { "the gateway's page" }
                        ": copy its radio label, the text under its code, or let the camera there see the code. "
                        @if let Some(password) = &shelf.password { "The password of this run is " code { (password) } ". " }
                        "Their owner has entered their owner codes on the platform already."
                    }
                    @for lock in locks.iter() {
                        section {
                            h2 { (lock.radio) ", lock " (lock.door.number) }
                            @match cardea_label::svg(&lock.admission) {
                                Ok(svg) => figure { (PreEscaped(svg.as_str())) },
                                Err(error) => p { (error) },
                            }
                            label for={ "label-" (lock.door.number) } { "Radio label, to copy" }
                            textarea id={ "label-" (lock.door.number) } readonly rows="3" {
                                (label::reveal(&lock.admission).as_str())
                            }
                            form method="post" action={ "/wake/" (lock.door.number) } {
                                button { "Press its pairing button" }
                                " " @if joined(lock.door.number) { "It has joined." } @else { "It looks for a gateway that lets it in." }
                            }
                        }
                    }
                }
            }
        }
    };
    Html(body.into_string()).into_response()
}

const STYLE: &str = "
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; color: #17211f; background: #f4f6f5; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem; display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
h1, main > p { grid-column: 1 / -1; margin: 0; max-width: 65ch; }
section { background: #fff; border: 1px solid #d8dfdd; border-radius: .9rem; padding: 1rem; display: grid; gap: .6rem; align-content: start; }
h2 { margin: 0; font-size: 1.1rem; } figure { margin: 0; } figure svg { width: 100%; max-width: 20rem; height: auto; display: block; margin: auto; }
textarea { font: .85rem ui-monospace, monospace; width: 100%; box-sizing: border-box; padding: .5rem; }
label { font-weight: 600; } button { font: inherit; padding: .5rem 1rem; min-height: 2.75rem; cursor: pointer; }
";
