//! Points with intervals, as SVG text: one to a line of names, or between two axes.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::plot::{DrawResult, INK, bounds, drawn_in, rgb, short, widened};
use crate::error::Result;
use crate::eval::stats::Interval;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 900;
const FONT_SIZE: u32 = 20;
/// Height of a row of names.
const ROW: i32 = 34;
const MARGIN: i32 = 24;
/// Width of a letter, about.
const LETTER: i32 = 11;
const RADIUS: i32 = 6;

/// Points that a line goes through, from left to right.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    /// Place, value and its interval.
    pub(super) points: Vec<(f64, f64, Option<Interval>)>,
}

/// A name, a value and its interval on each row; `axis` says what the value is.
pub(super) fn rows(points: &[(String, (f64, Option<Interval>))], axis: &str) -> Result<String> {
    let longest = points.iter().map(|(name, _)| name.chars().count()).max();
    let left = 2 * MARGIN + LETTER * longest.unwrap_or(0) as i32;
    let bottom = MARGIN / 2 + ROW * points.len() as i32;
    let reach = points.iter().map(|(_, (value, ci))| (*value, *ci));
    let (low, high) = widened(bounds(reach.flat_map(ends)));
    let right = WIDTH as i32 - MARGIN;
    let x = |value: f64| left + ((right - left) as f64 * (value - low) / (high - low)) as i32;
    drawn_in((WIDTH, (bottom + 2 * ROW) as u32), |area| {
        let axes = vec![(left, MARGIN / 2), (left, bottom), (right, bottom)];
        area.draw(&PathElement::new(axes, INK.stroke_width(2)))?;
        for (i, (name, (value, ci))) in points.iter().enumerate() {
            let y = MARGIN / 2 + ROW * i as i32 + ROW / 2;
            write(area, name, (left - 12, y), (HPos::Right, VPos::Center))?;
            if let Some(Interval { low, high }) = ci {
                let whisker = vec![(x(*low), y), (x(*high), y)];
                area.draw(&PathElement::new(whisker, rgb(0).stroke_width(3)))?;
            }
            area.draw(&Circle::new((x(*value), y), RADIUS, rgb(0).filled()))?;
        }
        let below = bottom + 8;
        write(area, &short(low), (left, below), (HPos::Left, VPos::Top))?;
        write(area, &short(high), (right, below), (HPos::Right, VPos::Top))?;
        let middle = (left + right) / 2;
        write(area, axis, (middle, below), (HPos::Center, VPos::Top))
    })
}

/// Series between two axes, each in its colour; `axes` says what they are, from left to right and
/// from below to above.
pub(super) fn lines(series: &[Series], [x_axis, y_axis]: [&str; 2]) -> Result<String> {
    let points = || series.iter().flat_map(|one| &one.points);
    let x = widened(bounds(points().map(|point| point.0)));
    let reach = points().map(|point| (point.1, point.2));
    let y = widened(bounds(reach.flat_map(ends)));
    let named = || {
        series
            .iter()
            .enumerate()
            .filter(|(_, one)| !one.name.is_empty())
    };
    let legend = ROW * named().count() as i32;
    let (left, right) = (4 * MARGIN, WIDTH as i32 - 2 * MARGIN);
    let (top, bottom) = (ROW + legend, ROW + legend + 380);
    let at = |(place, value): (f64, f64)| {
        let across = (right - left) as f64 * (place - x.0) / (x.1 - x.0);
        let up = (bottom - top) as f64 * (value - y.0) / (y.1 - y.0);
        (left + across as i32, bottom - up as i32)
    };
    drawn_in((WIDTH, (bottom + 2 * ROW) as u32), |area| {
        let axes = vec![(left, top), (left, bottom), (right, bottom)];
        area.draw(&PathElement::new(axes, INK.stroke_width(2)))?;
        for (i, one) in series.iter().enumerate() {
            let line = one.points.iter().map(|point| at((point.0, point.1)));
            let line: Vec<(i32, i32)> = line.collect();
            area.draw(&PathElement::new(line.clone(), rgb(i).stroke_width(3)))?;
            for (place, ci) in line.iter().zip(one.points.iter().map(|point| point.2)) {
                if let Some(ci) = ci {
                    let [low, high] = [ci.low, ci.high].map(|end| at((x.0, end)).1);
                    let whisker = vec![(place.0, low), (place.0, high)];
                    area.draw(&PathElement::new(whisker, rgb(i).stroke_width(2)))?;
                }
                area.draw(&Circle::new(*place, RADIUS, rgb(i).filled()))?;
            }
        }
        for (row, (i, one)) in named().enumerate() {
            let y = ROW * row as i32 + ROW / 2;
            let mark = vec![(left, y), (left + 40, y)];
            area.draw(&PathElement::new(mark, rgb(i).stroke_width(6)))?;
            write(area, &one.name, (left + 52, y), (HPos::Left, VPos::Center))?;
        }
        let below = bottom + 8;
        write(area, &short(x.0), (left, below), (HPos::Left, VPos::Top))?;
        write(area, &short(x.1), (right, below), (HPos::Right, VPos::Top))?;
        let middle = (left + right) / 2;
        write(area, x_axis, (middle, below), (HPos::Center, VPos::Top))?;
        write(
            area,
            &short(y.1),
            (left - 10, top),
            (HPos::Right, VPos::Top),
        )?;
        write(
            area,
            &short(y.0),
            (left - 10, bottom),
            (HPos::Right, VPos::Bottom),
        )?;
        write(area, y_axis, (left, top - 6), (HPos::Left, VPos::Bottom))
    })
}

/// Value and ends of its interval.
fn ends((value, ci): (f64, Option<Interval>)) -> [f64; 3] {
    ci.map_or([value; 3], |ci| [ci.low, value, ci.high])
}

fn write(area: &Area, text: &str, at: (i32, i32), (h, v): (HPos, VPos)) -> DrawResult {
    let style = ("sans-serif", FONT_SIZE).into_font().color(&INK);
    let style = style.pos(Pos::new(h, v));
    area.draw(&Text::new(text.to_string(), at, style))
}
