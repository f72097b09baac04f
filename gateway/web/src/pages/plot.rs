//! How strong a signal is, and drawn over time.

use cardea_api::{HeardSample, Lock};
use maud::{Markup, html};

use super::operate::signal;
use crate::texts::Texts;

/// The drawing's size, in its own units: about the pixels of a phone, so that its numbers are as large there as other text.
const WIDTH: u32 = 360;
const HEIGHT: u32 = 130;
/// Room for the numbers at the left, and around.
const LEFT: u32 = 44;
const EDGE: u32 = 10;

/// How well a lock is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    Strong,
    Fair,
    Weak,
    /// Never since the start.
    Silent,
}

impl Strength {
    pub(super) const ALL: [Self; 4] = [Self::Strong, Self::Fair, Self::Weak, Self::Silent];

    /// By the numbers that its radio gives. LoRa hears far below what Zigbee needs, so where there is a signal-to-noise ratio
    /// that counts; 802.15.4 receivers end at about -95 dBm.
    pub(super) fn of(lock: &Lock) -> Self {
        let by = |value: f32, fair: f32, strong: f32| match value {
            value if value >= strong => Self::Strong,
            value if value >= fair => Self::Fair,
            _ => Self::Weak,
        };
        match (lock.heard, lock.snr, lock.rssi, lock.lqi) {
            (None, ..) => Self::Silent,
            (_, Some(snr), ..) => by(snr, -10.0, 0.0),
            (_, None, Some(rssi), _) => by(f32::from(rssi), -85.0, -70.0),
            (_, None, None, Some(lqi)) => by(f32::from(lqi), 80.0, 160.0),
            (_, None, None, None) => Self::Fair,
        }
    }

    pub(super) const fn words(self, text: &Texts) -> &'static str {
        match self {
            Self::Strong => text.operate.strong,
            Self::Fair => text.operate.fair,
            Self::Weak => text.operate.weak,
            Self::Silent => text.operate.not_heard,
        }
    }

    /// A class of the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Strong => "strong",
            Self::Fair => "fair",
            Self::Weak => "weak",
            Self::Silent => "silent",
        }
    }
}

/// What is drawn of a sample: dBm where there are any, else the link quality.
fn value(sample: &HeardSample) -> Option<f32> {
    sample.rssi.map(f32::from).or_else(|| sample.lqi.map(f32::from))
}

/// A line over time. The numbers are in a table beside it; for those who do not see it there is one sentence.
pub(super) fn plot(text: &Texts, heard: &[HeardSample]) -> Markup {
    let points: Vec<(u64, f32)> = heard.iter().filter_map(|s| Some((s.at, value(s)?))).collect();
    let (Some(first), Some(last), Some(newest)) = (points.first(), points.last(), heard.last()) else {
        return html! {};
    };
    let (low, high) = range(points.iter().map(|(_, value)| *value));
    let span = last.0.saturating_sub(first.0).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a drawing of a few hundred units")]
    let x = |at: u64| {
        let share = at.saturating_sub(first.0) as f32 / span as f32;
        (LEFT + EDGE) as f32 + share * (WIDTH - LEFT - 2 * EDGE) as f32
    };
    #[expect(clippy::cast_precision_loss, reason = "a drawing of a few hundred units")]
    let y = |value: f32| EDGE as f32 + (high - value) / (high - low) * (HEIGHT - 2 * EDGE) as f32;
    let line: Vec<String> = points.iter().map(|(at, v)| format!("{:.1},{:.1}", x(*at), y(*v))).collect();
    let label = format!("{}: {}", text.operate.history, signal(text, newest));
    html! {
        svg class="plot" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) {
            @for mark in [high, low] {
                line class="grid" x1=(LEFT) x2=(WIDTH - EDGE) y1=(format!("{:.1}", y(mark))) y2=(format!("{:.1}", y(mark))) {}
                text x=(LEFT - 6) y=(format!("{:.1}", y(mark) + 4.0)) text-anchor="end" { (mark) }
            }
            polyline points=(line.join(" ")) {}
            @for (at, v) in &points { circle cx=(format!("{:.1}", x(*at))) cy=(format!("{:.1}", y(*v))) r="2" {} }
        }
    }
}

/// Tens around all values, never empty.
fn range(values: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let low = values.clone().fold(f32::INFINITY, f32::min);
    let high = values.fold(f32::NEG_INFINITY, f32::max);
    let (low, high) = ((low / 10.0).floor() * 10.0, (high / 10.0).ceil() * 10.0);
    if high > low { (low, high) } else { (low, low + 10.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::texts::ALL;

    fn sample(at: u64, rssi: i16) -> HeardSample {
        HeardSample { at, rssi: Some(rssi), snr: None, lqi: None, frames: 1 }
    }

    #[test]
    fn a_history_of_any_length_and_range_stays_inside_its_drawing() {
        for values in
            [vec![-70], vec![-70, -70], vec![-120, -20, -55], vec![0, -10], vec![i16::MIN, i16::MAX]]
        {
            let heard: Vec<_> =
                (0..).zip(&values).map(|(n, rssi)| sample(1_800_000_000_000 + n * 60_000, *rssi)).collect();
            let svg = plot(ALL[0], &heard).into_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            assert_eq!(points.split(' ').count(), values.len());
            for point in points.split(' ') {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f32, f32) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT as f32..=WIDTH as f32).contains(&x), "{point}");
                assert!((0.0..=HEIGHT as f32).contains(&y), "{point}");
            }
        }
        assert!(plot(ALL[0], &[]).into_string().is_empty());
    }
}
