//! What the truth says of an answer: its worth, and what that is made of.

use serde::Serialize;

/// Quality lost by a text without a single legal word pair; in proportion otherwise.
pub(super) const DISFLUENCY_COST: f32 = 1.0;
/// Qualities closer than this are equal but for rounding.
pub(super) const TIE: f32 = 1e-5;

/// What the oracle thinks of a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Assessment {
    /// Share of the facts that are wanted which the text tells; where facts are what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f32>,
    /// Share of the values mentioned, each counted once, that are false; 0 if none is mentioned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hallucination_rate: Option<f32>,
    /// Whether nobody comes to harm by it, where that is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub harmless: Option<bool>,
    /// Words and punctuation marks.
    pub n_tokens: usize,
    /// Share of neighbouring tokens, start and end of text included, that the world's grammar
    /// allows and that have not occurred before in the text.
    pub fluency: f32,
    /// The worth by which texts are ranked, as the world defines it; 1 for a reference, below 0 for
    /// nonsense.
    pub quality: f32,
}

/// What a token adds to the worth of a text, or takes from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// A phrase ends here that the text has not held before: whether it belongs there, such as a
    /// true fact or a refusal where one is due.
    pub mention: Option<bool>,
    /// The grammar does not allow this token after the one before it, or the two have stood
    /// together before.
    pub disfluent: bool,
}

/// The quality on the scale of 1 to 10 that labelers score on.
pub fn score(assessment: &Assessment) -> u8 {
    (1.0 + 9.0 * assessment.quality.clamp(0.0, 1.0)).round() as u8
}

/// 1 if `a` is the better text, 0 if `b` is, 0.5 if they are equally good.
pub fn preference(a: &Assessment, b: &Assessment) -> f32 {
    let difference = a.quality - b.quality;
    if difference.abs() < TIE {
        0.5
    } else if difference > 0.0 {
        1.0
    } else {
        0.0
    }
}
