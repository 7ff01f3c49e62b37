//! What is asked.

use std::io::Write;

use super::*;
use crate::label::exemplar::ExemplarConfig;
use crate::label::tests::{asked, labeler, pair};
use crate::label::{Labeler, LabelerConfig};

#[test]
fn exemplars_come_between_preamble_and_text() {
    let shots = |shots| ExemplarConfig {
        shots,
        ..ExemplarConfig::default()
    };
    let config = AskConfig {
        prompt: "harmless-base".into(),
        exemplars: shots(2),
        ..AskConfig::default()
    };
    let (texts, _) = asked(&config);
    let (one, rest) = texts[0]
        .split_once(">>>>>>>> Example >>>>>>>>\n\nContext - ")
        .unwrap();
    assert!(one.ends_with("the most harmful.\n\n"), "{one}");
    let (first, second) = rest.split_once(">>>>>>>> Example >>>>>>>>").unwrap();
    assert!(first.ends_with("Preferred Response=2\n\n"), "{first}");
    let (second, sample) = second
        .split_once(">>>>>>>> Follow the instructions")
        .unwrap();
    assert!(second.ends_with("Preferred Response=1\n\n"), "{second}");
    assert!(
        sample.contains("Context - text\nResponse 1 - x"),
        "{sample}"
    );
    let too_many = AskConfig {
        exemplars: shots(3),
        ..config
    };
    let error = Asking::new(&too_many, 1).err().unwrap().to_string();
    assert!(
        error.contains("`labeler.ask.exemplars.shots` is 3"),
        "{error}"
    );
}

#[test]
fn exemplars_of_a_file_are_drawn_by_seed() {
    let mut file = tempfile::Builder::new()
        .suffix(".jsonl")
        .tempfile()
        .unwrap();
    for i in 0..20 {
        let row = format!(r#"{{"prompt":"p{i}","chosen":"good{i}","rejected":"bad{i}"}}"#);
        writeln!(file, "{row}").unwrap();
    }
    let config = |draw, prompt: &str| AskConfig {
        prompt: prompt.into(),
        exemplars: ExemplarConfig {
            shots: 2,
            file: Some(file.path().into()),
            draw,
        },
        ..AskConfig::default()
    };
    let prefixes = |draw| {
        let mut labeler = labeler(&config(draw, "summary-base"), |_| Ok(vec![0.5, 0.5]));
        let text = "text".into();
        let pairs = ["a", "b"].map(|a| pair(&text, a, "y"));
        labeler.compare(&pairs).unwrap();
        let shown = |i: usize| {
            labeler.answerer.asked[i]
                .split(">>> Follow")
                .next()
                .unwrap()
                .to_string()
        };
        [shown(0), shown(2)]
    };
    let [first, again] = prefixes(Draw::First);
    assert!(first == again && first.contains("Text - p0") && first.contains("Text - p1"));
    let [run, same] = prefixes(Draw::Run);
    assert!(run == same && run != first);
    let [one, other] = prefixes(Draw::Pair);
    assert!(one != other);
    assert_eq!(prefixes(Draw::Pair), [one, other], "the seed decides");
    // Whichever is shown first, the answer names the better one, or the worse one.
    for (prompt, named) in [("summary-base", "good"), ("harmless-base", "bad")] {
        let (texts, _) = asked(&config(Draw::Run, prompt));
        for example in texts[0].split(">>> Example").skip(1) {
            let (_, answer) = example.split_once("Preferred ").unwrap();
            let answer = answer.split('=').nth(1).unwrap()[..1].to_string();
            let line = example
                .lines()
                .find(|line| line.contains(&format!(" {answer} - {named}")));
            assert!(line.is_some(), "{example}");
        }
    }
}

#[test]
fn every_pair_has_its_principle() {
    let config = AskConfig {
        prompt: "constitutional".into(),
        ..AskConfig::default()
    };
    let mut labeler = labeler(&config, |_| Ok(vec![0.8, 0.2]));
    let text = "Human: hi".into();
    let names: Vec<String> = (0..40).map(|i| i.to_string()).collect();
    let pairs: Vec<Pair> = names.iter().map(|a| pair(&text, a, "y")).collect();
    labeler.compare(&pairs).unwrap();
    let principles = &Prompt::load("constitutional").unwrap().file.principles;
    let asked = &labeler.answerer.asked;
    let of = |text: &String| {
        principles
            .iter()
            .position(|principle| text.contains(principle))
    };
    let found: Vec<usize> = asked.iter().map(|text| of(text).unwrap()).collect();
    assert!(
        found.chunks(2).all(|orders| orders[0] == orders[1]),
        "{found:?}"
    );
    let distinct: std::collections::BTreeSet<usize> = found.into_iter().collect();
    assert!(distinct.len() > 8, "{distinct:?}");
    assert!(
        asked[0].contains("Options:\n(A) 0\n(B) y\nThe answer is:"),
        "{}",
        asked[0]
    );
}

#[test]
fn a_text_that_is_too_long_loses_its_beginning_in_both_orders() {
    let config = AskConfig {
        truncation: Truncation::KeepEnd,
        ..AskConfig::default()
    };
    let mut labeler = labeler(&config, |_| Ok(vec![0.5, 0.5]));
    labeler.answerer.max_len = Some(240);
    let text = ("x".repeat(100) + "END").into();
    let found = labeler.compare(&[pair(&text, "one", "another")]).unwrap();
    assert!(found[0].truncated);
    let asked = &labeler.answerer.asked;
    // 16 tokens are left for the answer.
    assert!(
        asked.iter().all(|text| text.chars().count() == 224),
        "{asked:?}"
    );
    assert!(
        asked.iter().all(|text| text.contains("xEND\nSummary 1")),
        "{asked:?}"
    );
    let short = "short".into();
    let found = labeler.compare(&[pair(&short, "one", "another")]).unwrap();
    assert!(!found[0].truncated);
}

#[test]
fn a_run_file_says_what_is_asked() {
    let read = |text: &str| -> Result<LabelerConfig, String> {
        let config: LabelerConfig = toml::from_str(text).map_err(|e| e.to_string())?;
        config.validate("labeler").map_err(|e| e.to_string())?;
        Ok(config)
    };
    let member = "labeler = { kind = 'local', model = 'm', ask = { prompt = 'helpful-base' } }";
    let text =
        format!("kind = 'ensemble'\ncombine = 'vote'\nmembers = [{{ weight = 2.0, {member} }}]");
    let written = toml::to_string(&read(&text).unwrap()).unwrap();
    assert_eq!(read(&written).unwrap(), read(&text).unwrap());
    let refused = |ask: &str, says: &str| {
        let error = read(&format!("kind = 'local'\nmodel = 'm'\nask = {{ {ask} }}")).unwrap_err();
        assert!(error.contains(says), "{error}");
    };
    refused("promt = 'x'", "unknown field `promt`");
    refused("clamp = [0.6, 0.4]", "`labeler.ask.clamp` is [0.6, 0.4]");
    refused(
        "rationale = { samples = 4 }",
        "`labeler.ask.rationale.decoding.temperature`",
    );
    refused(
        "exemplars = { draw = 'run' }",
        "`labeler.ask.exemplars.shots`",
    );
    refused(
        "rationale = { decoding = { stop = [''] } }",
        "decoding.stop",
    );
    let error = read("kind = 'ensemble'\nmembers = []").unwrap_err();
    assert!(error.contains("`labeler.members` is empty"), "{error}");
    let wrong = AskConfig {
        prompt: "yes-no".into(),
        ..AskConfig::default()
    };
    let error = Asking::new(&wrong, 1).err().unwrap().to_string();
    assert!(error.contains("`labeler.ask.prompt` is yes-no"), "{error}");
    assert_eq!(Prompt::load("yes-no").unwrap().file.task, Task::Score);
}
