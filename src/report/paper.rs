//! The paper's numbers, to be shown beside our own: one table, read by the page and the console.
//!
//! Lee et al. 2023, arXiv:2309.00267, with PaLM 2, judged by people: summarization of Reddit posts,
//! helpful and harmless dialogue.
//! Ours come from other models, other data and other judges: the direction compares, the size
//! does not. Rates are fractions of 1, as in the summary.

/// A task of the paper.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PaperTask {
    /// Summaries of Reddit posts.
    #[default]
    Summarization,
    /// Helpful dialogue.
    Helpful,
    /// Harmless dialogue, which the paper measures by a rate of its own instead of by wins.
    Harmless,
}

impl PaperTask {
    /// The task that a summary names as its `task`; summarization where it names none.
    pub fn of(name: Option<&str>) -> Self {
        match name {
            Some("helpful") => Self::Helpful,
            Some("harmless") => Self::Harmless,
            _ => Self::Summarization,
        }
    }

    /// How the paper calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Summarization => "summarization",
            Self::Helpful => "helpful dialogue",
            Self::Harmless => "harmless dialogue",
        }
    }
}

/// What the paper reports for one pair of policies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperWinRate {
    /// How often raters ranked the first policy above the second.
    pub rate: f64,
    /// The same, had both policies written equally long texts; where the paper says.
    pub length_controlled: Option<f64>,
}

/// What the paper reports for one size of labeler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaperLabeler {
    /// The labeler's model.
    pub model: &'static str,
    /// How often it preferred what people preferred.
    pub alignment: f64,
    /// How often it preferred the same position in both orders.
    pub same_position: f64,
}

/// Table 1 ("same-size" and "direct" rows included in the later versions of the paper).
const WIN_RATES: [(&str, PaperWinRate); 4] = [
    ("rlaif_vs_sft", win(0.71, Some(0.59))),
    ("d_rlaif_vs_sft", win(0.74, Some(0.65))),
    ("rlhf_vs_sft", win(0.73, Some(0.61))),
    ("rlaif_vs_rlhf", win(0.50, Some(0.47))),
];

/// The same for helpful dialogue.
const HELPFUL: [(&str, PaperWinRate); 4] = [
    ("rlaif_vs_sft", win(0.63, Some(0.61))),
    ("d_rlaif_vs_sft", win(0.66, None)),
    ("rlhf_vs_sft", win(0.64, Some(0.61))),
    ("rlaif_vs_rlhf", win(0.52, Some(0.50))),
];

/// Share of harmless answers of each policy, Table 1.
const HARMLESS: [(&str, f64); 3] = [("sft", 0.64), ("rlaif", 0.88), ("rlhf", 0.76)];

/// Alignment by size (Table 3) and share of position-driven answers (Table 4). Our sizes are
/// matched by rank, not by parameters.
const LABELERS: [(&str, PaperLabeler); 3] = [
    ("xs", labeler_of("PaLM 2 XS", 0.627, 0.56)),
    ("s", labeler_of("PaLM 2 S", 0.738, 0.21)),
    ("m", labeler_of("PaLM 2 L", 0.780, 0.18)),
];

/// The paper's numbers for a pair named as in a summary, such as `rlaif_vs_sft`.
pub fn win_rate(task: PaperTask, pair: &str) -> Option<PaperWinRate> {
    match task {
        PaperTask::Summarization => find(&WIN_RATES, pair),
        PaperTask::Helpful => find(&HELPFUL, pair),
        PaperTask::Harmless => None,
    }
}

/// The paper's share of harmless answers for a policy named as in a summary.
pub fn harmless_rate(policy: &str) -> Option<f64> {
    find(&HARMLESS, policy)
}

/// The paper's numbers for the labeler that stands in the place of our `xs`, `s` or `m`.
pub fn labeler(name: &str) -> Option<PaperLabeler> {
    find(&LABELERS, name)
}

/// The known pairs and labelers, in the order to show them in.
pub(super) fn order() -> impl Iterator<Item = &'static str> {
    let pairs = WIN_RATES.iter().map(|(name, _)| *name);
    pairs.chain(LABELERS.iter().map(|(name, _)| *name))
}

fn find<T: Copy>(rows: &[(&str, T)], name: &str) -> Option<T> {
    rows.iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, row)| row)
}

const fn win(rate: f64, length_controlled: Option<f64>) -> PaperWinRate {
    PaperWinRate {
        rate,
        length_controlled,
    }
}

const fn labeler_of(model: &'static str, alignment: f64, same_position: f64) -> PaperLabeler {
    PaperLabeler {
        model,
        alignment,
        same_position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_have_numbers() {
        let row =
            |task| win_rate(task, "d_rlaif_vs_sft").map(|row| (row.rate, row.length_controlled));
        assert_eq!(row(PaperTask::of(None)), Some((0.74, Some(0.65))));
        assert_eq!(row(PaperTask::of(Some("helpful"))), Some((0.66, None)));
        assert_eq!(row(PaperTask::of(Some("harmless"))), None);
        assert_eq!(
            (harmless_rate("rlaif"), harmless_rate("d_rlaif")),
            (Some(0.88), None)
        );
        assert_eq!(labeler("m").unwrap().model, "PaLM 2 L");
        assert_eq!(
            (win_rate(PaperTask::Helpful, "a_vs_b"), labeler("a")),
            (None, None)
        );
    }
}
