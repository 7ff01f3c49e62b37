//! The drawings of a report on labels, as SVG text: a reliability diagram and bars. Words of the
//! labels' own stand in the page around them.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::plot::{DrawResult, FONT_SIZE, INK, MARGINS, SIZE, drawn, rgb, short};
use crate::error::Result;
use crate::eval::reliability::Bin;

const LINE_WIDTH: u32 = 3;
/// Radius of the point of a bin that holds all labels.
const LARGEST_POINT: f64 = 22.0;
const SMALLEST_POINT: f64 = 5.0;

/// Bars beside each other.
pub(super) struct Bars {
    /// What stands below each.
    pub(super) names: Vec<String>,
    /// For each series a bar per name; `None` where there is nothing to draw.
    pub(super) series: Vec<Vec<Option<Bar>>>,
    /// Top of the axis; the largest bar where absent.
    pub(super) top: Option<f64>,
    /// A level to compare with.
    pub(super) level: Option<f64>,
}

/// A bar from 0 to a value, perhaps with its interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bar {
    pub(super) value: f64,
    pub(super) interval: Option<(f64, f64)>,
}

/// How often labels are right by their confidence, with the line on which they would be calibrated;
/// larger points stand for more labels.
pub(super) fn reliability(bins: &[Bin]) -> Result<String> {
    let n_all: usize = bins.iter().map(|bin| bin.n).sum();
    drawn(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin_left(MARGINS.left)
            .margin_right(MARGINS.right)
            .margin_top(MARGINS.top)
            .margin_bottom(MARGINS.bottom)
            .build_cartesian_2d(0.5..1.0, 0.0..1.0)?;
        let axes = vec![(0.5, 1.0), (0.5, 0.0), (1.0, 0.0)];
        chart.draw_series([PathElement::new(axes, INK.stroke_width(2))])?;
        let diagonal = vec![(0.5, 0.5), (1.0, 1.0)];
        chart.draw_series([PathElement::new(diagonal, INK.mix(0.5).stroke_width(2))])?;
        let points = bins.iter().filter_map(|bin| {
            let share = bin.n as f64 / n_all.max(1) as f64;
            let radius = (LARGEST_POINT * share.sqrt()).max(SMALLEST_POINT) as i32;
            Some(((bin.confidence?, bin.accuracy?), radius))
        });
        let points: Vec<_> = points.collect();
        let line = points.iter().map(|(point, _)| *point);
        chart.draw_series(LineSeries::new(line, rgb(0).stroke_width(LINE_WIDTH)))?;
        let circle = |(point, radius): (_, i32)| Circle::new(point, radius, rgb(0).filled());
        chart.draw_series(points.into_iter().map(circle))?;
        ends(area, ["0.5", "1"], ["0", "1"], "confidence")
    })
}

/// Draws bars.
pub(super) fn bars(bars: &Bars) -> Result<String> {
    let values = bars.series.iter().flatten().flatten();
    let reach = |bar: &Bar| bar.interval.map_or(bar.value, |(_, high)| high);
    let largest = values.map(reach).fold(0.0, f64::max);
    let top = bars
        .top
        .unwrap_or(if largest > 0.0 { largest } else { 1.0 });
    let (n_names, n_series) = (bars.names.len().max(1), bars.series.len().max(1));
    drawn(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin_left(MARGINS.left)
            .margin_right(MARGINS.right)
            .margin_top(MARGINS.top)
            .margin_bottom(MARGINS.bottom)
            .build_cartesian_2d(0.0..n_names as f64, 0.0..top)?;
        let width = 0.8 / n_series as f64;
        for (series, cells) in bars.series.iter().enumerate() {
            let bars = cells.iter().enumerate();
            for (i, bar) in bars.filter_map(|(i, bar)| Some((i, (*bar)?))) {
                let left = i as f64 + 0.1 + series as f64 * width;
                let corners = [(left, 0.0), (left + width, bar.value)];
                chart.draw_series([Rectangle::new(corners, rgb(series).filled())])?;
                if let Some((low, high)) = bar.interval {
                    let x = left + width / 2.0;
                    let whisker = vec![(x, low), (x, high)];
                    chart.draw_series([PathElement::new(whisker, INK.stroke_width(3))])?;
                }
            }
        }
        let end = n_names as f64;
        if let Some(level) = bars.level {
            let line = vec![(0.0, level), (end, level)];
            chart.draw_series([PathElement::new(line, INK.mix(0.5).stroke_width(2))])?;
        }
        let axes = vec![(0.0, top), (0.0, 0.0), (end, 0.0)];
        chart.draw_series([PathElement::new(axes, INK.stroke_width(2))])?;
        let span = SIZE.0 as i32 - MARGINS.left - MARGINS.right;
        for (i, name) in bars.names.iter().enumerate() {
            let x = MARGINS.left + span * (2 * i as i32 + 1) / (2 * n_names as i32);
            below(area, name, x, HPos::Center)?;
        }
        beside(area, &short(top), MARGINS.top, VPos::Top)?;
        beside(area, "0", SIZE.1 as i32 - MARGINS.bottom, VPos::Bottom)
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn ends(area: &Area, x: [&str; 2], y: [&str; 2], axis: &str) -> DrawResult {
    let (left, right) = (MARGINS.left, SIZE.0 as i32 - MARGINS.right);
    below(area, x[0], left, HPos::Left)?;
    below(area, axis, (left + right) / 2, HPos::Center)?;
    below(area, x[1], right, HPos::Right)?;
    beside(area, y[0], SIZE.1 as i32 - MARGINS.bottom, VPos::Bottom)?;
    beside(area, y[1], MARGINS.top, VPos::Top)
}

fn below(area: &Area, text: &str, x: i32, h_pos: HPos) -> DrawResult {
    let y = SIZE.1 as i32 - MARGINS.bottom + 10;
    write(area, text, (x, y), Pos::new(h_pos, VPos::Top))
}

fn beside(area: &Area, text: &str, y: i32, v_pos: VPos) -> DrawResult {
    write(
        area,
        text,
        (MARGINS.left - 12, y),
        Pos::new(HPos::Right, v_pos),
    )
}

fn write(area: &Area, text: &str, at: (i32, i32), pos: Pos) -> DrawResult {
    let style = ("sans-serif", FONT_SIZE).into_font().color(&INK).pos(pos);
    area.draw(&Text::new(text.to_string(), at, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_points_are_drawn() {
        let bar = |value| {
            Some(Bar {
                value,
                interval: Some((value - 0.1, value + 0.1)),
            })
        };
        let svg = bars(&Bars {
            names: vec!["one".into(), "two".into()],
            series: vec![vec![bar(0.5), None], vec![bar(0.25), bar(0.75)]],
            top: Some(1.0),
            level: Some(0.5),
        })
        .unwrap();
        // Three bars, and two colours.
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        for part in ["#0072B2", "#D55E00", "\none\n", "\n1\n", "currentColor"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        let bin = |n, confidence: f64, accuracy: f64| Bin {
            low: 0.5,
            high: 0.55,
            n,
            confidence: Some(confidence),
            accuracy: Some(accuracy),
        };
        let empty = Bin {
            n: 0,
            confidence: None,
            accuracy: None,
            ..bin(0, 0.0, 0.0)
        };
        let svg = reliability(&[bin(9, 0.52, 0.4), empty, bin(1, 0.9, 1.0)]).unwrap();
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("#010203"), "{svg}");
    }
}
