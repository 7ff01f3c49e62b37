//! Reward models of `transformers`; `tests/fixtures/make_classifiers.py` writes them.

use rlaif::batch::Tree;
use rlaif::reward::raw_rewards;

use super::*;

#[derive(Deserialize)]
struct Expected {
    texts: Vec<Vec<u32>>,
    scores: Vec<f32>,
}

/// Where a text is padded with the end-of-text token, its score stands at the token before.
#[test]
fn scores_are_those_of_transformers() {
    for name in ["own_pad", "pad_is_eos"] {
        let dir = Path::new("tests/fixtures/classifiers").join(name);
        let model = model::load_head(&dir, &Device::flex()).unwrap();
        let text = fs::read_to_string(dir.join("expected.json")).unwrap();
        let Expected { texts, scores } = serde_json::from_str(&text).unwrap();
        let tree = |text: &Vec<u32>| Tree::single(text[..1].to_vec(), text[1..].to_vec());
        let trees: Vec<Tree> = texts.iter().map(tree).collect();
        for (found, golden) in raw_rewards(&model, &trees).unwrap().iter().zip(scores) {
            assert!(
                (found - golden).abs() < 1e-4,
                "{name}: {found}, expected {golden}"
            );
        }
    }
}
