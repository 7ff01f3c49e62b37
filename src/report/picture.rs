//! A curve as a picture of its own, for pages that are not the report's.

use super::curves;
use super::plot::{self, Line};
use crate::error::Result;
use crate::run::RunDir;

/// How `metric` of `stage` went over the steps of a run, as the text of an SVG file; `None` where it
/// was not logged.
///
/// # Errors
/// `metrics.jsonl` cannot be read.
pub fn picture(run: &RunDir, stage: &str, metric: &str) -> Result<Option<String>> {
    let rows = curves::rows(&run.path("metrics.jsonl"))?;
    let of_stage = rows.iter().filter(|row| row.stage == stage);
    let points = of_stage.filter_map(|row| {
        let value = (*row.values.get(metric)?)?;
        Some((row.step as f64, value))
    });
    let points: Vec<(f64, f64)> = points.collect();
    if points.is_empty() {
        return Ok(None);
    }
    let line = Line {
        run_idx: 0,
        points: plot::downsample(points),
    };
    Ok(Some(plot::alone(&plot::svg(&[line])?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_takes_no_colour_from_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        let mut log = run.metrics().unwrap();
        for (step, reward) in [(1, 0.25), (2, f64::NAN), (3, 0.75)] {
            log.write("rl", step, &[("reward", reward)]).unwrap();
        }
        let svg = picture(&run, "rl", "reward").unwrap().unwrap();
        assert!(
            svg.starts_with("<svg ") && svg.contains("\n0.75\n"),
            "{svg}"
        );
        assert!(
            svg.contains("#7D7D7D") && !svg.contains("currentColor"),
            "{svg}"
        );
        assert_eq!(picture(&run, "rl", "kl").unwrap(), None);
        assert_eq!(picture(&run, "sft", "reward").unwrap(), None);
    }
}
