//! One small line plot as SVG text, without words of the run: names stand in the page around it.

use std::io;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};

/// More would not be seen at the size of the plots.
pub(super) const MAX_POINTS: usize = 400;

/// Twice the size that the page shows: the backend rounds to whole units.
pub(super) const SIZE: (u32, u32) = (720, 360);
const LINE_WIDTH: u32 = 4;
pub(super) const FONT_SIZE: u32 = 32;
pub(super) const MARGINS: Margins = Margins {
    left: 130,
    right: 24,
    top: 14,
    bottom: 48,
};

/// Stands for `currentColor`, which the backend cannot write, so that axes and labels take the
/// colour of the page's text, be it dark or light.
pub(super) const INK: RGBColor = RGBColor(1, 2, 3);

/// A grey that shows on white and on black.
const GREY: &str = "#7D7D7D";

/// Okabe and Ito's colours (<https://jfly.uni-koeln.de/color/>), which colour-blind readers tell
/// apart too; those that show on white and on black come first.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

pub(super) type DrawResult = Result<(), DrawingAreaErrorKind<io::Error>>;

pub(super) struct Margins {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) top: i32,
    pub(super) bottom: i32,
}

/// One run's course of a quantity.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// Which run, for the colour.
    pub(super) run_idx: usize,
    /// Step and value.
    pub(super) points: Vec<(f64, f64)>,
}

/// The colour of a run as CSS writes it.
pub(crate) fn color(run_idx: usize) -> String {
    let RGBColor(red, green, blue) = rgb(run_idx);
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// Draws the lines; nothing when there is no point.
pub(super) fn svg(lines: &[Line]) -> Result<String> {
    if lines.iter().all(|line| line.points.is_empty()) {
        return Ok(String::new());
    }
    drawn(|area| draw(lines, area))
}

/// What `draw` draws, as SVG text.
pub(super) fn drawn(
    draw: impl FnOnce(&DrawingArea<SVGBackend, Shift>) -> DrawResult,
) -> Result<String> {
    drawn_in(SIZE, draw)
}

/// The same in another size.
pub(super) fn drawn_in(
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<SVGBackend, Shift>) -> DrawResult,
) -> Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    draw(&area)
        .and_then(|()| area.present())
        .map_err(|source| Error::file("report.html", format!("cannot draw: {source}")))?;
    drop(area);
    let RGBColor(red, green, blue) = INK;
    Ok(svg.replace(&format!("#{red:02X}{green:02X}{blue:02X}"), "currentColor"))
}

/// A drawing for a file of its own: a picture beside a page does not know the colour of its text.
pub(super) fn alone(svg: &str) -> String {
    svg.replace("currentColor", GREY)
}

/// At most [`MAX_POINTS`] points: the first, the last, and of each stretch between them the lowest
/// and the highest, so that no spike is lost and nothing is averaged.
pub(super) fn downsample(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let [first, middle @ .., last] = points.as_slice() else {
        return points;
    };
    if points.len() <= MAX_POINTS {
        return points;
    }
    let n_stretches = MAX_POINTS / 2 - 1;
    let mut kept = vec![*first];
    for stretch in 0..n_stretches {
        let start = stretch * middle.len() / n_stretches;
        let end = (stretch + 1) * middle.len() / n_stretches;
        let by_value = |a: &usize, b: &usize| middle[*a].1.total_cmp(&middle[*b].1);
        let low = (start..end).min_by(by_value).unwrap_or(start);
        let high = (start..end).max_by(by_value).unwrap_or(start);
        kept.push(middle[low.min(high)]);
        if low != high {
            kept.push(middle[low.max(high)]);
        }
    }
    kept.push(*last);
    kept
}

pub(super) fn rgb(run_idx: usize) -> RGBColor {
    PALETTE[run_idx % PALETTE.len()]
}

fn draw(lines: &[Line], area: &DrawingArea<SVGBackend, Shift>) -> DrawResult {
    let points = || lines.iter().flat_map(|line| &line.points);
    let steps = bounds(points().map(|point| point.0));
    let values = bounds(points().map(|point| point.1));
    let (x, y) = (widened(steps), widened(values));
    let mut chart = ChartBuilder::on(area)
        .margin_left(MARGINS.left)
        .margin_right(MARGINS.right)
        .margin_top(MARGINS.top)
        .margin_bottom(MARGINS.bottom)
        .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
    let axes = vec![(x.0, y.1), (x.0, y.0), (x.1, y.0)];
    chart.draw_series([PathElement::new(axes, INK.stroke_width(2))])?;
    for line in lines {
        let color = rgb(line.run_idx);
        let points = line.points.iter().copied();
        chart.draw_series(LineSeries::new(points, color.stroke_width(LINE_WIDTH)))?;
        // A line through one point cannot be seen.
        if let [point] = line.points[..] {
            chart.draw_series([Circle::new(point, LINE_WIDTH + 2, color.filled())])?;
        }
    }
    label(area, steps, values)
}

/// Writes the smallest and the largest step and value at the ends of the axes.
fn label(
    area: &DrawingArea<SVGBackend, Shift>,
    steps: (f64, f64),
    values: (f64, f64),
) -> DrawResult {
    let text = |text: String, at: (i32, i32), pos: Pos| {
        let style = ("sans-serif", FONT_SIZE).into_font().color(&INK).pos(pos);
        area.draw(&Text::new(text, at, style))
    };
    let (width, height) = (SIZE.0 as i32, SIZE.1 as i32);
    let (left, right) = (MARGINS.left, width - MARGINS.right);
    let (top, bottom) = (MARGINS.top, height - MARGINS.bottom);
    let beside = |v_pos| Pos::new(HPos::Right, v_pos);
    let below = |h_pos| Pos::new(h_pos, VPos::Top);
    if steps.0 < steps.1 {
        text(short(steps.0), (left, bottom + 10), below(HPos::Left))?;
        text(short(steps.1), (right, bottom + 10), below(HPos::Right))?;
        text(
            "step".into(),
            ((left + right) / 2, bottom + 10),
            below(HPos::Center),
        )?;
    } else {
        let only = format!("step {}", short(steps.0));
        text(only, ((left + right) / 2, bottom + 10), below(HPos::Center))?;
    }
    if values.0 < values.1 {
        text(short(values.1), (left - 12, top), beside(VPos::Top))?;
        text(short(values.0), (left - 12, bottom), beside(VPos::Bottom))
    } else {
        text(
            short(values.0),
            (left - 12, (top + bottom) / 2),
            beside(VPos::Center),
        )
    }
}

pub(super) fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// A range of one value has no length to draw on.
pub(super) fn widened((low, high): (f64, f64)) -> (f64, f64) {
    if low < high {
        return (low, high);
    }
    let half = low.abs().max(1.0) / 2.0;
    (low - half, high + half)
}

/// A number in few characters: three significant digits, whole numbers below a million in full.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size < 1e6 && value.fract() == 0.0 {
        return format!("{}", value + 0.0);
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    let decimals = (2.0 - size.log10().floor()).clamp(0.0, 5.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_string();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_courses_stay_whole() {
        for n_points in [0, 1, 2, MAX_POINTS] {
            let points: Vec<_> = (0..n_points).map(|step| (step as f64, 0.5)).collect();
            assert_eq!(downsample(points.clone()), points);
        }
    }

    #[test]
    fn long_courses_keep_ends_and_spikes() {
        let mut points: Vec<_> = (0..10_000).map(|step| (step as f64, 0.0)).collect();
        points[0].1 = 3.0;
        points[4321].1 = 9.0;
        points[4322].1 = -9.0;
        points[9_999].1 = 4.0;
        let kept = downsample(points);
        assert!(
            kept.len() <= MAX_POINTS && kept.len() > MAX_POINTS / 4,
            "{}",
            kept.len()
        );
        assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(
            (kept[0], kept[kept.len() - 1]),
            ((0.0, 3.0), (9_999.0, 4.0))
        );
        assert!(kept.contains(&(4321.0, 9.0)) && kept.contains(&(4322.0, -9.0)));
    }

    #[test]
    fn numbers_are_short() {
        let row = [
            0.0, -0.0, 20_000.0, 0.12345, -1.5, 2.0e7, 0.00002, 1234.5, 0.1, 99.96,
        ];
        let expected = [
            "0", "0", "20000", "0.123", "-1.5", "2.0e7", "2.0e-5", "1234", "0.1", "100",
        ];
        assert_eq!(row.map(short), expected);
    }

    #[test]
    fn a_plot_is_one_svg_without_a_colour_for_text() {
        let line = |run_idx, points: &[(f64, f64)]| Line {
            run_idx,
            points: points.to_vec(),
        };
        let svg = svg(&[line(0, &[(1.0, 0.5), (2.0, 0.7)]), line(1, &[(2.0, 0.6)])]).unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"),
            "{svg}"
        );
        for part in [
            "currentColor",
            "#0072B2",
            "#D55E00",
            "\n0.5\n",
            "\n0.7\n",
            "<circle",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("#010203"), "{svg}");
        assert_eq!(super::svg(&[line(0, &[])]).unwrap(), "");
        let flat = super::svg(&[line(0, &[(3.0, 0.0)])]).unwrap();
        assert!(
            flat.contains("\nstep 3\n") && !flat.contains("NaN"),
            "{flat}"
        );
    }
}
