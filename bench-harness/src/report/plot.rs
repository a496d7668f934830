//! Line charts as SVG. Classes name what things are; the page's style sheet gives them colours.

use std::fmt::Write as _;

use super::html::escape;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 42.0;
/// Lines with at most so many points show each of them.
const DOTS_MAX: usize = 60;
/// The style sheet has so many colours.
const COLORS: usize = 4;
const NINES_MAX: f64 = 12.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// Of values from 1 on; smaller ones are drawn as 1.
    Log,
    /// Of quantiles as the number of their nines: 2 is the 99th percentile.
    Nines,
}

pub(super) struct Axis {
    pub label: &'static str,
    pub scale: Scale,
}

pub(super) struct Series {
    pub name: &'static str,
    /// By x; without y there is a gap.
    pub points: Vec<(f64, Option<f64>)>,
}

pub(super) struct Chart<'a> {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// Points that do not count.
    pub crosses: Vec<(f64, f64)>,
    /// A horizontal line at what was asked for.
    pub bound: Option<f64>,
    /// Across the whole chart.
    pub stamp: Option<&'a str>,
}

impl Chart<'_> {
    /// Empty when there is nothing to be seen.
    pub(super) fn figure(&self) -> String {
        let drawn = || self.series.iter().flat_map(|series| &series.points);
        let xs = drawn().map(|(x, _)| *x);
        let xs = xs.chain(self.crosses.iter().map(|(x, _)| *x));
        let ys = drawn().filter_map(|(_, y)| *y);
        let ys = ys.chain(self.crosses.iter().map(|(_, y)| *y));
        let ys: Vec<f64> = ys.chain(self.bound).collect();
        if drawn().all(|(_, y)| y.is_none()) && self.crosses.is_empty() {
            return String::new();
        }
        let frame = Frame {
            x: Span::new(self.x.scale, xs),
            y: Span::new(self.y.scale, ys.into_iter()),
        };
        let mut svg = format!(
            "<figure><figcaption>{}{}</figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.title),
            self.legend(),
            escape(self.title)
        );
        frame.draw(&mut svg, self.x.label, self.y.label);
        self.draw_lines(&mut svg, &frame);
        svg.push_str("</svg></figure>\n");
        svg
    }

    fn legend(&self) -> String {
        let mut text = String::new();
        for (index, series) in self.series.iter().enumerate() {
            let (color, name) = (index % COLORS, escape(series.name));
            let _ = write!(text, "<span class=\"k{color}\">&#9644; {name}</span>");
        }
        text
    }

    fn draw_lines(&self, svg: &mut String, frame: &Frame) {
        if let Some(bound) = self.bound {
            let (y, right) = (frame.y_at(bound), WIDTH - RIGHT);
            let _ = writeln!(svg, "<path class=\"bound\" d=\"M{LEFT} {y:.1}H{right}\"/>");
        }
        for (index, series) in self.series.iter().enumerate() {
            draw_series(svg, frame, series, index % COLORS);
        }
        for &(x, y) in &self.crosses {
            let (x, y) = (frame.x_at(x), frame.y_at(y));
            let _ = writeln!(
                svg,
                "<path class=\"cross\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\"/>",
                x - 4.0,
                y - 4.0
            );
        }
        if let Some(stamp) = self.stamp {
            let (x, y, stamp) = (WIDTH / 2.0, HEIGHT / 2.0, escape(stamp));
            let _ = writeln!(
                svg,
                "<text class=\"stamp\" x=\"{x}\" y=\"{y}\">{stamp}</text>"
            );
        }
    }
}

fn draw_series(svg: &mut String, frame: &Frame, series: &Series, color: usize) {
    let (mut path, mut is_open) = (String::new(), false);
    for &(x, y) in &series.points {
        if let Some(y) = y {
            let (x, y) = (frame.x_at(x), frame.y_at(y));
            let letter = if is_open { 'L' } else { 'M' };
            let _ = write!(path, "{letter}{x:.1} {y:.1}");
        }
        is_open = y.is_some();
    }
    let _ = writeln!(svg, "<path class=\"s{color}\" d=\"{path}\"/>");
    if series.points.len() > DOTS_MAX {
        return;
    }
    for &(x, y) in &series.points {
        if let Some(y) = y {
            let (x, y) = (frame.x_at(x), frame.y_at(y));
            let _ = writeln!(
                svg,
                "<circle class=\"s{color}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.2\"/>"
            );
        }
    }
}

/// Where values lie on the drawing.
struct Frame {
    x: Span,
    y: Span,
}

impl Frame {
    fn x_at(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_at(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, svg: &mut String, x_label: &str, y_label: &str) {
        let (floor, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for tick in self.x.ticks() {
            let (x, text) = (self.x_at(tick), self.x.show(tick));
            let below = floor + 17.0;
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{floor}\"/>\
                 <text class=\"below\" x=\"{x:.1}\" y=\"{below}\">{text}</text>"
            );
        }
        for tick in self.y.ticks() {
            let (y, text) = (self.y_at(tick), self.y.show(tick));
            let (left, middle) = (LEFT - 7.0, y + 4.0);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text class=\"left\" x=\"{left}\" y=\"{middle:.1}\">{text}</text>"
            );
        }
        let (x, y) = (f64::midpoint(LEFT, right), HEIGHT - 6.0);
        let (x_label, y_label, half) = (escape(x_label), escape(y_label), floor / 2.0);
        let _ = writeln!(
            svg,
            "<text class=\"below\" x=\"{x}\" y=\"{y}\">{x_label}</text>\
             <text class=\"below\" transform=\"translate(12 {half}) rotate(-90)\">{y_label}</text>"
        );
    }
}

/// The part of a scale that is shown.
struct Span {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Span {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (least, most) = finite.fold((f64::MAX, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let (low, high) = match scale {
            Scale::Linear => {
                let step = step(most);
                (0.0, (most / step).ceil().max(1.0) * step)
            }
            Scale::Log => {
                let low = round_125(least.max(1.0).min(most.max(1.0)), f64::floor);
                let high = round_125(most.max(1.0), f64::ceil);
                (low, if high > low { high } else { low * 10.0 })
            }
            Scale::Nines => (0.0, most.ceil().clamp(1.0, NINES_MAX)),
        };
        Self { scale, low, high }
    }

    /// 0 at the low end, 1 at the high end.
    fn share(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            Scale::Linear | Scale::Nines => (value - self.low) / (self.high - self.low),
        };
        share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        let to = |step: f64| {
            let count = (self.high / step + 1e-9).floor() as u32;
            (0..=count).map(|index| f64::from(index) * step).collect()
        };
        match self.scale {
            Scale::Linear => to(step(self.high)),
            Scale::Nines => to(1.0),
            Scale::Log => self.log_ticks(),
        }
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades: &[f64] = if self.high / self.low > 2_000.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        (first..=last)
            .flat_map(|power| decades.iter().map(move |one| one * 10_f64.powi(power)))
            .filter(|tick| *tick >= self.low * 0.999 && *tick <= self.high * 1.001)
            .collect()
    }

    fn show(&self, tick: f64) -> String {
        if self.scale == Scale::Nines {
            return nines(tick as usize);
        }
        show(tick)
    }
}

/// The percentile with so many nines.
fn nines(count: usize) -> String {
    match count {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        _ => format!("99.{} %", "9".repeat(count - 2)),
    }
}

/// Short, as on an axis: 250, 50K, 1.5M.
pub(super) fn show(value: f64) -> String {
    let trim = |value: f64| {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value {
        value if value >= 1e6 => format!("{}M", trim(value / 1e6)),
        value if value >= 1e3 => format!("{}K", trim(value / 1e3)),
        value => trim(value),
    }
}

/// The gap between the ticks of a scale from zero: 1, 2 or 5 times a power of ten, four to ten of
/// them.
fn step(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    round_125(most / 5.0, f64::floor)
}

/// To 1, 2 or 5 times a power of ten, down with `floor`, up with `ceil`.
fn round_125(value: f64, round: fn(f64) -> f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let is_up = round(0.5) > 0.0;
    let steps = [1.0, 2.0, 5.0, 10.0].map(|one| one * decade);
    let found = if is_up {
        steps.into_iter().find(|step| *step >= value * 0.999_999)
    } else {
        steps.into_iter().rfind(|step| *step <= value * 1.000_001)
    };
    found.unwrap_or(decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let cases: [(Scale, &[f64], &[&str]); 7] = [
            (Scale::Linear, &[0.93], &["0", "0.2", "0.4"]),
            (Scale::Linear, &[9.0], &["0", "1", "2"]),
            (Scale::Linear, &[0.0], &["0", "0.2", "0.4"]),
            (
                Scale::Log,
                &[30.0, 400.0],
                &["20", "50", "100", "200", "500"],
            ),
            (
                Scale::Log,
                &[3.0, 400_000.0],
                &["10", "100", "1K", "10K", "100K"],
            ),
            (Scale::Log, &[1_000.0], &["1K", "2K", "5K", "10K"]),
            (Scale::Nines, &[2.4], &["0 %", "90 %", "99 %", "99.9 %"]),
        ];
        for (scale, values, expected) in cases {
            let span = Span::new(scale, values.iter().copied());
            let ticks: Vec<String> = span.ticks().into_iter().map(|t| span.show(t)).collect();
            let start: Vec<&str> = ticks.iter().map(String::as_str).collect();
            assert!(
                start.starts_with(expected),
                "{scale:?} {values:?}: {start:?}"
            );
            assert!(ticks.len() <= 12, "{ticks:?}");
            for value in values {
                assert!((0.0..=1.0).contains(&span.share(*value)), "{value}");
            }
        }
    }

    #[test]
    fn odd_values_are_drawn_inside() {
        for values in [
            &[0.0][..],
            &[f64::INFINITY, 0.5],
            &[f64::NAN],
            &[1e-9, 1e12],
        ] {
            for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
                let span = Span::new(scale, values.iter().copied());
                assert!(span.high > span.low, "{scale:?} {values:?}");
                assert!(span.ticks().len() < 60, "{scale:?} {values:?}");
            }
        }
    }

    #[test]
    fn lines_break_at_gaps() {
        let chart = |points: Vec<(f64, Option<f64>)>| Chart {
            title: "t",
            x: Axis {
                label: "x",
                scale: Scale::Linear,
            },
            y: Axis {
                label: "y",
                scale: Scale::Linear,
            },
            series: vec![Series { name: "s", points }],
            crosses: Vec::new(),
            bound: None,
            stamp: None,
        };
        let values = [Some(1.0), Some(2.0), None, Some(3.0)];
        let points = values.iter().enumerate().map(|(x, y)| (x as f64, *y));
        let figure = chart(points.collect()).figure();
        let path = figure
            .lines()
            .find(|line| line.contains("class=\"s0\""))
            .unwrap();
        assert_eq!(
            (path.matches('M').count(), path.matches('L').count()),
            (2, 1)
        );
        assert_eq!(chart(vec![(1.0, None)]).figure(), "");
    }
}
