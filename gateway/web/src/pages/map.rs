//! Which lock is heard by which radio, how well, and behind which router. Drawn from what came in anyway and what routers said of
//! their neighbours; the same map for the same locks.

use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use cardea_api::{Lock, RadioMap, Reply, Request};
use maud::{Markup, html};

use self::ways::{Dot, Way, Ways};
use super::fleet::{coarse, unavailable};
use super::plot::Strength;
use super::{Page, Tab, radio_name};
use crate::Web;
use crate::routes::Call;
use crate::texts::Texts;

mod ways;

/// Locks that are drawn and listed, of all radios together: those that are heard worst.
const DRAWN: usize = 100;

/// Half of a drawing's side, in its own units; the radio is in the middle.
const HALF: f32 = 180.0;

/// How far from the radio routers are drawn: between two rings of locks.
const ROUTERS: f32 = 80.0;

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
    let mut maps = Vec::new();
    for detail in view.radios.iter().filter(|detail| detail.moves) {
        let asked = Request::RadioMap { radio: detail.radio.clone(), survey: false };
        // Without it, everything else can be shown all the same.
        if let Ok(Reply::RadioMap(map)) = web.daemon.ask(asked).await {
            maps.push(map);
        }
    }
    let map_of = |radio: &str| maps.iter().find(|map| map.radio == radio);
    let content = html! {
        h1 { (words.map_title) }
        p class="soft" { (words.map_why) }
        @for (radio, health) in &view.status.radios {
            (one(text, radio, health.up, of(radio), map_of(radio), most))
        }
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
fn one(
    text: &Texts,
    radio: &str,
    up: bool,
    locks: Vec<&Lock>,
    map: Option<&RadioMap>,
    most: usize,
) -> Markup {
    let words = &text.operate;
    let count = |strength| locks.iter().filter(|lock| Strength::of(lock) == strength).count();
    let [strong, fair, weak, silent] = Strength::ALL.map(count);
    let caption = (words.map_of)(radio_name(radio), strong, fair, weak, silent);
    let more = locks.len().saturating_sub(most);
    let ways = Ways::new(map, worst(locks, most));
    html! {
        section class="card map" {
            h2 { (caption) }
            @if !ways.is_empty() {
                (drawing(text, radio, up, &caption, &ways))
                @if more > 0 { p class="soft small" { ((words.map_more)(more)) } }
                @if let Some(map) = map.filter(|_| ways.has_routers()) {
                    p class="soft small" {
                        @match map.age_s {
                            Some(age) => ((words.map_asked)(&(text.ago)(coarse(age)))),
                            None => (words.map_not_asked),
                        }
                    }
                }
                details {
                    summary { (words.map_table) }
                    (table(text, &ways))
                    @if ways.has_routers() { (routers(text, &ways)) }
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

fn drawing(text: &Texts, radio: &str, up: bool, caption: &str, ways: &Ways<'_>) -> Markup {
    let size = format!("{} {} {} {}", -HALF, -HALF, 2.0 * HALF, 2.0 * HALF);
    let places = places(ways.dots());
    // Where the line to it begins: at its router, else at the radio, which hears it in whatever way.
    let from = |way: &Way<'_>| match way {
        Way::Behind { index: Some(index), .. } => places.get(*index).copied().unwrap_or_default(),
        _ => (0.0, 0.0),
    };
    html! {
        svg class="map" viewBox=(size) role="group" aria-label=(caption) {
            @for strength in Strength::ALL {
                circle class={ "ring " (strength.class()) } r=(distance(strength)) {}
                text y=(-distance(strength) - 3.0) text-anchor="middle" aria-hidden="true" { (strength.words(text)) }
            }
            @for (dot, (x, y)) in ways.dots().iter().zip(&places) {
                @let (from_x, from_y) = from(&ways.way(dot));
                @let class = match dot { Dot::Lock(lock, _) => Strength::of(lock).class(), Dot::Router(_) => "fair" };
                line class={ "link " (class) } x1=(round(from_x)) y1=(round(from_y)) x2=(round(*x)) y2=(round(*y)) {}
            }
            circle class=(if up { "radio" } else { "radio down" }) r="34" {}
            text class="name" y="4" text-anchor="middle" { (radio_name(radio)) }
            @for (dot, (x, y)) in ways.dots().iter().zip(&places) {
                @match dot {
                    Dot::Router(router) => {
                        rect class="router" x=(round(x - 6.0)) y=(round(y - 6.0)) width="12" height="12" {
                            title { (text.operate.map_router) " " (router.device) }
                        }
                    },
                    Dot::Lock(lock, _) => {
                        @let strength = Strength::of(lock);
                        a href={ "/locks/" (lock.lock) } aria-label={ (text.lock) " " (lock.lock) ", " (strength.words(text)) } {
                            circle class={ "lock " (strength.class()) } cx=(round(*x)) cy=(round(*y)) r="7" {}
                        }
                    },
                }
            }
        }
    }
}

/// Where each is drawn: a lock's strength says how far out, its place among all how far around. The angles of all rings together are
/// spread evenly, so that no line from the radio crosses a lock of another; a router comes before the locks behind it.
fn places(dots: &[Dot<'_>]) -> Vec<(f32, f32)> {
    #[expect(clippy::cast_precision_loss, reason = "a hundred locks and some routers")]
    let angle = |n: usize| TAU * n as f32 / dots.len().max(1) as f32 - TAU / 8.0;
    let place = |(n, dot): (usize, &Dot<'_>)| {
        let (sin, cos) = angle(n).sin_cos();
        let far = match dot {
            Dot::Lock(lock, _) => distance(Strength::of(lock)),
            Dot::Router(_) => ROUTERS,
        };
        (far * cos, far * sin)
    };
    dots.iter().enumerate().map(place).collect()
}

fn round(value: f32) -> String {
    format!("{value:.1}")
}

/// By way of whom, and how old that knowledge is.
fn way<'a>(text: &Texts, ways: &Ways<'a>, dot: &Dot<'a>) -> String {
    let words = &text.operate;
    let ago = |age| (text.ago)(coarse(age));
    match ways.way(dot) {
        Way::Direct { lqi, age_s } => (words.map_direct)(lqi, &ago(age_s)),
        Way::Behind { device, lqi, age_s, .. } => (words.map_behind)(device, lqi, &ago(age_s)),
        Way::Unknown => words.map_unknown.into(),
    }
}

fn table(text: &Texts, ways: &Ways<'_>) -> Markup {
    let locks = ways.dots().iter().filter_map(|dot| match dot {
        Dot::Lock(lock, _) => Some((dot, lock)),
        Dot::Router(_) => None,
    });
    html! {
        table {
            thead {
                tr {
                    th { (text.lock) } th { (text.radio) } th { (text.signal) }
                    @if ways.has_routers() { th { (text.operate.map_way) } }
                }
            }
            tbody {
                @for (dot, lock) in locks {
                    tr {
                        td { a class="mono" href={ "/locks/" (lock.lock) } { (lock.lock) } }
                        td { (radio_name(&lock.radio)) }
                        td {
                            (Strength::of(lock).words(text))
                            @if let Some(rssi) = lock.rssi { ", " (rssi) " dBm" }
                            @if let Some(lqi) = lock.lqi { ", LQI " (lqi) }
                        }
                        @if ways.has_routers() { td { (way(text, ways, dot)) } }
                    }
                }
            }
        }
    }
}

fn routers(text: &Texts, ways: &Ways<'_>) -> Markup {
    let words = &text.operate;
    html! {
        h3 { (words.map_routers) }
        table {
            thead { tr { th { (words.map_router) } th { (words.map_way) } } }
            tbody {
                @for router in ways.routers() {
                    tr {
                        td class="mono" { (router.device) }
                        td {
                            @if router.joined { (way(text, ways, &Dot::Router(router))) } @else { (words.map_router_out) }
                            @if router.answers == Some(false) { ", " (words.map_router_silent) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cardea_api::{MapBehind, MapDevice, MapKind};
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
        let forward = one(ALL[0], "zigbee", true, locks.iter().collect(), None, DRAWN).into_string();
        let backward = one(ALL[0], "zigbee", true, locks.iter().rev().collect(), None, DRAWN).into_string();
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
        let ways = Ways::new(None, drawn);
        let places = places(ways.dots());
        for (n, (x, y)) in places.iter().enumerate() {
            assert!(x.hypot(*y) <= HALF - 7.0);
            for (other_x, other_y) in &places[n + 1..] {
                assert!((x - other_x).hypot(y - other_y) > 1.0, "two locks in one place");
            }
        }
        let markup = one(ALL[0], "zigbee", true, locks.iter().collect(), None, DRAWN).into_string();
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

    fn device(n: u8, kind: MapKind, behind: Option<(&str, u8)>) -> MapDevice {
        let behind = behind.map(|(device, lqi)| MapBehind { device: device.into(), lqi, age_s: 300 });
        let lock = (kind == MapKind::Lock).then(|| LockId([1, 2, 3, 4, 5, 6, 0, n]).to_string());
        MapDevice { device: format!("{n:016x}"), kind, lock, joined: true, answers: None, behind }
    }

    /// The ends of all lines.
    fn lines(markup: &str) -> Vec<[(String, String); 2]> {
        let value = |tag: &str, name: &str| {
            let at = tag.split(&format!(" {name}=\"")).nth(1).unwrap();
            at.split('"').next().unwrap().to_owned()
        };
        let tags = markup.split("<line ").skip(1).map(|tag| tag.split('>').next().unwrap());
        tags.map(|tag| {
            let tag = format!(" {tag}");
            [(value(&tag, "x1"), value(&tag, "y1")), (value(&tag, "x2"), value(&tag, "y2"))]
        })
        .collect()
    }

    #[test]
    fn a_lock_behind_a_router_hangs_from_it_and_the_age_of_that_is_said() {
        let locks: Vec<_> = (1..=3).map(|n| lock(n, Some(-50))).collect();
        let radio = format!("{:016x}", 0xF0);
        let router = format!("{:016x}", 9);
        let mut map = RadioMap {
            radio: "zigbee".into(),
            surveying: false,
            age_s: Some(120),
            devices: vec![
                device(0xF0, MapKind::Coordinator, None),
                device(1, MapKind::Lock, Some((&radio, 201))),
                device(2, MapKind::Lock, Some((&router, 77))),
                device(3, MapKind::Lock, None),
                device(9, MapKind::Router, Some((&radio, 180))),
            ],
        };
        let shown = |map: &RadioMap| {
            one(ALL[0], "zigbee", true, locks.iter().collect(), Some(map), DRAWN).into_string()
        };
        let markup = shown(&map);
        let center = ("0.0".to_owned(), "0.0".to_owned());
        let drawn = lines(&markup);
        // The router first, then the lock behind it, then the others.
        assert_eq!(drawn.len(), 4);
        assert_eq!((&drawn[0][0], &drawn[1][0]), (&center, &drawn[0][1]), "{drawn:?}");
        assert!(drawn[2][0] == center && drawn[3][0] == center, "{drawn:?}");
        assert_eq!(markup.matches("class=\"router\"").count(), 1);
        for words in [
            "0000000000000009, LQI 77, 5 minutes ago",
            "none, LQI 201, 5 minutes ago",
            "<td>not known</td>",
            "asked for their neighbours 2 minutes ago",
        ] {
            assert!(markup.contains(words), "{words}: {markup}");
        }
        map.devices[4].answers = Some(false);
        map.age_s = None;
        let markup = shown(&map);
        assert!(markup.contains("did not answer") && markup.contains("Not all routers were asked"));
        // Without routers there is nothing to say about ways.
        map.devices.pop();
        assert!(!shown(&map).contains("By way of"));
    }
}
