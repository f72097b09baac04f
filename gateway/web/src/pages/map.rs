//! Which lock is heard by which radio, and how well. Drawn from what came in anyway; the same map for the same locks.

use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use cardea_api::Lock;
use maud::{Markup, html};

use super::fleet::unavailable;
use super::plot::Strength;
use super::{Page, Tab};
use crate::Web;
use crate::routes::Call;
use crate::texts::Texts;

/// Locks that are drawn and listed, of all radios together: those that are heard worst.
const DRAWN: usize = 100;

/// Half of a drawing's side, in its own units; the radio is in the middle.
const HALF: f32 = 180.0;

/// How far from the radio a strength is drawn.
const fn distance(strength: Strength) -> f32 {
    match strength {
        Strength::Strong => 60.0,
        Strength::Fair => 100.0,
        Strength::Weak => 138.0,
        Strength::Silent => 166.0,
    }
}

pub(crate) async fn page(web: Arc<Web>, call: Call) -> Response {
    let view = match web.view(Duration::ZERO).await {
        Ok(view) => view,
        Err(error) => return unavailable(&web, &call, &error),
    };
    let (text, words) = (call.text, &call.text.operate);
    let of = |radio: &str| view.locks.iter().filter(|lock| lock.radio == radio).collect::<Vec<_>>();
    let in_use =
        view.status.radios.keys().filter(|radio| view.locks.iter().any(|lock| lock.radio == **radio));
    let most = DRAWN / in_use.count().max(1);
    let content = html! {
        h1 { (words.map_title) }
        p class="soft" { (words.map_why) }
        @for (radio, health) in &view.status.radios { (one(text, radio, health.up, of(radio), most)) }
        @if view.locks.is_empty() { p class="soft" { (text.no_locks) } }
    };
    Page { title: words.map_title, tab: Tab::Map, here: "/map", live: None, narrow: false }.show(
        &web,
        &call,
        StatusCode::OK,
        &content,
    )
}

/// One radio, with `most` of its locks.
fn one(text: &Texts, radio: &str, up: bool, locks: Vec<&Lock>, most: usize) -> Markup {
    let words = &text.operate;
    let count = |strength| locks.iter().filter(|lock| Strength::of(lock) == strength).count();
    let [strong, fair, weak, silent] = Strength::ALL.map(count);
    let caption = (words.map_of)(radio, strong, fair, weak, silent);
    let more = locks.len().saturating_sub(most);
    let drawn = worst(locks, most);
    html! {
        section class="card map" {
            h2 { (caption) }
            @if !drawn.is_empty() {
                (drawing(text, radio, up, &caption, &drawn))
                @if more > 0 { p class="soft small" { ((words.map_more)(more)) } }
                details {
                    summary { (words.map_table) }
                    (table(text, &drawn))
                }
            }
        }
    }
}

/// In order of id, but only those that are heard worst where there are too many.
fn worst(mut locks: Vec<&Lock>, most: usize) -> Vec<&Lock> {
    locks.sort_by_key(|lock| (std::cmp::Reverse(Strength::of(lock)), lock.lock));
    locks.truncate(most);
    locks.sort_by_key(|lock| lock.lock);
    locks
}

fn drawing(text: &Texts, radio: &str, up: bool, caption: &str, locks: &[&Lock]) -> Markup {
    let size = format!("{} {} {} {}", -HALF, -HALF, 2.0 * HALF, 2.0 * HALF);
    html! {
        svg class="map" viewBox=(size) role="group" aria-label=(caption) {
            @for strength in Strength::ALL {
                circle class={ "ring " (strength.class()) } r=(distance(strength)) {}
                text y=(-distance(strength) - 3.0) text-anchor="middle" aria-hidden="true" { (strength.words(text)) }
            }
            @for (lock, (x, y)) in locks.iter().zip(places(locks)) {
                @let strength = Strength::of(lock);
                line class={ "link " (strength.class()) } x2=(round(x)) y2=(round(y)) {}
            }
            circle class=(if up { "radio" } else { "radio down" }) r="34" {}
            text class="name" y="4" text-anchor="middle" { (radio) }
            @for (lock, (x, y)) in locks.iter().zip(places(locks)) {
                @let strength = Strength::of(lock);
                a href={ "/locks/" (lock.lock) } aria-label={ (text.lock) " " (lock.lock) ", " (strength.words(text)) } {
                    circle class={ "lock " (strength.class()) } cx=(round(x)) cy=(round(y)) r="7" {}
                }
            }
        }
    }
}

/// Where each lock is drawn: its strength says how far out, its place among all how far around. The angles of all rings together are
/// spread evenly, so that no line crosses a lock of another.
fn places(locks: &[&Lock]) -> Vec<(f32, f32)> {
    #[expect(clippy::cast_precision_loss, reason = "at most a hundred")]
    let angle = |n: usize| TAU * n as f32 / locks.len().max(1) as f32 - TAU / 8.0;
    let place = |(n, lock): (usize, &&Lock)| {
        let (sin, cos) = angle(n).sin_cos();
        let far = distance(Strength::of(lock));
        (far * cos, far * sin)
    };
    locks.iter().enumerate().map(place).collect()
}

fn round(value: f32) -> String {
    format!("{value:.1}")
}

fn table(text: &Texts, locks: &[&Lock]) -> Markup {
    html! {
        table {
            thead { tr { th { (text.lock) } th { (text.radio) } th { (text.signal) } } }
            tbody {
                @for lock in locks {
                    tr {
                        td { a class="mono" href={ "/locks/" (lock.lock) } { (lock.lock) } }
                        td { (lock.radio) }
                        td {
                            (Strength::of(lock).words(text))
                            @if let Some(rssi) = lock.rssi { ", " (rssi) " dBm" }
                            @if let Some(lqi) = lock.lqi { ", LQI " (lqi) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cardea_framing::LockId;

    use super::*;
    use crate::texts::ALL;

    fn lock(n: u16, rssi: Option<i16>) -> Lock {
        let [high, low] = n.to_be_bytes();
        Lock {
            lock: LockId([1, 2, 3, 4, 5, 6, high, low]),
            radio: "zigbee".into(),
            joined: true,
            sleepy: false,
            address: None,
            heard: rssi.map(|_| 1),
            rssi,
            snr: None,
            lqi: None,
            pending: 0,
            activation: None,
        }
    }

    #[test]
    fn the_same_locks_make_the_same_map_in_whatever_order_they_come() {
        let locks: Vec<_> = (0..40).map(|n| lock(n, Some(-40 - i16::try_from(n).unwrap()))).collect();
        let forward = one(ALL[0], "zigbee", true, locks.iter().collect(), DRAWN).into_string();
        let backward = one(ALL[0], "zigbee", true, locks.iter().rev().collect(), DRAWN).into_string();
        assert_eq!(forward, backward);
    }

    #[test]
    fn of_a_thousand_locks_those_that_are_heard_worst_are_drawn_apart_and_inside() {
        let locks: Vec<_> = (0..1_000)
            .map(|n| lock(n, (n % 10 != 0).then_some(-30 - i16::try_from(n % 60).unwrap())))
            .collect();
        let drawn = worst(locks.iter().collect(), DRAWN);
        assert_eq!(drawn.len(), DRAWN);
        assert!(
            drawn.iter().all(|lock| Strength::of(lock) == Strength::Silent),
            "there are a hundred of them"
        );
        let places = places(&drawn);
        for (n, (x, y)) in places.iter().enumerate() {
            assert!(x.hypot(*y) <= HALF - 7.0);
            for (other_x, other_y) in &places[n + 1..] {
                assert!((x - other_x).hypot(y - other_y) > 1.0, "two locks in one place");
            }
        }
        let markup = one(ALL[0], "zigbee", true, locks.iter().collect(), DRAWN).into_string();
        assert_eq!(markup.matches("class=\"lock ").count(), DRAWN);
        assert!(markup.contains("900 more"));
    }

    #[test]
    fn strength_is_by_the_numbers_of_the_lock_s_own_radio() {
        let with = |rssi, snr, lqi| Strength::of(&Lock { snr, lqi, ..lock(1, rssi) });
        assert_eq!(with(Some(-110), Some(2.0), None), Strength::Strong, "LoRa hears below the noise");
        assert_eq!(with(Some(-120), Some(-15.0), None), Strength::Weak);
        assert_eq!(with(Some(-60), None, Some(40)), Strength::Strong);
        assert_eq!(with(Some(-90), None, None), Strength::Weak);
        assert_eq!(with(None, None, None), Strength::Silent);
    }
}
