//! The tables of a summary, to the letter.

use serde_json::json;

use super::*;

#[test]
fn columns_are_aligned() {
    let summary = json!({
        "win_rate": {
            "labeler": {
                "rlaif_vs_sft": {"rate": 0.9, "ci": [null, null], "n": 500},
            },
            "oracle": {
                "x_vs_y": {"rate": null, "n": 400},
                "rlaif_vs_sft":
                    {"rate": 0.71, "ci": [0.682, 0.739], "n": 500, "length_controlled": 0.591},
            },
        },
        "policies": {
            "rlaif": {"coverage": 0.5, "mean_length": 21.04, "hallucination_rate": 0.125},
            "sft": {"coverage": 0.25, "mean_length": 9.96},
        },
        "labeler": {"m": {"alignment": 0.8, "ci": [0.75, 0.85], "same_position": 0.1,
            "policy_alignment": 0.7, "policy_ci": [0.6, 0.8]}},
        "reward_model": {"accuracy": 0.775, "ci": [0.7, 0.8], "longer_chosen": 0.5,
            "length_correlation": null, "ece": 0.0625,
            "reliability": [{"confidence": 0.6, "accuracy": 0.5, "n": 8}]},
        "seconds": {"total": 100.25, "sft": 40.0, "aaa": 1},
        "tokens_per_second": {"generate": 1500.0},
        "peak_memory_mb": 512.0,
    });
    let expected = "\
Win rate [95% interval] (length-controlled) by judge; 400 to 500 prompts
comparison                       oracle  labeler     paper
rlaif vs sft  71.0% [68.2, 73.9] (59.1)    90.0%  71% (59)
x vs y                                -        -         -
Paper: Lee et al. 2023, arXiv:2309.00267, Table 1, summarization: other models and data, \
people as judges.

Policies: means over their completions
policy  mean length  hallucination rate  coverage
sft            10.0                   -     0.250
rlaif          21.0               12.5%     0.500

Labelers: agreement with the preferred order [95% interval], and how often the position decides
labeler           alignment  same position  on the policy's pairs     paper  paper alignment  \
paper same position
m        80.0% [75.0, 85.0]          10.0%     70.0% [60.0, 80.0]  PaLM 2 L            78.0%  \
\x20             18.0%
Paper: the labeler of the same rank by size, Tables 3 and 4, summarization: other models and data.

Reward model, on pairs it was not trained on [95% interval]
quantity                                     value
accuracy                        77.5% [70.0, 80.0]
of one that knows only lengths               50.0%
calibration error                            0.062
right where it says 60.0%               50.0% of 8

Time and memory
stage                      value
sft                       40.0 s
aaa                        1.0 s
total                    100.2 s
speed: generate  1500.0 tokens/s
peak memory             512.0 MB
";
    let found = table(&summary);
    assert_eq!(found, expected, "\n{found}");
}

#[test]
fn each_task_stands_beside_its_own_numbers() {
    let summary = |task: &str| {
        json!({
            "task": task,
            "win_rate": {"oracle": {"d_rlaif_vs_sft": {"rate": 0.7}}},
            "policies": {"sft": {"harmless_rate": 0.6}, "d_rlaif": {"harmless_rate": 0.9}},
        })
    };
    let found = table(&summary("helpful"));
    assert!(found.contains("d_rlaif vs sft   70.0%    66%\n"), "{found}");
    let found = table(&summary("harmless"));
    let expected = "\
policy   harmless rate  paper: harmless rate
sft              60.0%                   64%
d_rlaif          90.0%                     -
";
    assert!(found.contains(expected), "{found}");
    assert!(found.contains("Table 1, harmless dialogue"), "{found}");
}

#[test]
fn what_is_missing_is_left_out() {
    for summary in [json!({}), json!([1]), json!({"seed": 17, "win_rate": 3})] {
        assert_eq!(tables(&summary), []);
        assert_eq!(table(&summary), "");
    }
}
