//! A shipped labeler answers questions.

use super::*;

fn answerer() -> LocalAnswerer {
    LocalAnswerer::load(Path::new("models/labeler-xs"), &Device::flex()).unwrap()
}

fn question(text: &str) -> Question {
    Question {
        prefix: "You are an expert summary rater.".into(),
        text: text.into(),
        ending: "\n\nSCORE:".into(),
    }
}

#[test]
fn a_question_that_does_not_fit_is_left_out_alone() {
    let mut answerer = answerer();
    let answers = ["1", "2"].map(String::from);
    let long = question(&" summary".repeat(600));
    let questions = [question(" summary"), long, question(" text")];
    let found = answerer.choose(&questions, &answers).unwrap();
    let lengths = questions
        .each_ref()
        .map(|question| answerer.count_tokens(question).unwrap().unwrap());
    let (found_len, limit) = (lengths[1], answerer.max_len().unwrap());
    assert!(found_len > limit);
    let too_long = NoAnswer::TooLong {
        found: found_len,
        limit,
    };
    assert_eq!(found[1].value, Err(too_long));
    assert_eq!(
        (found[1].usage.requests, found[1].usage.prompt_tokens),
        (1, 0)
    );
    for i in [0, 2] {
        let alone = answerer.choose(&questions[i..=i], &answers).unwrap();
        let [a, b] = [&found[i], &alone[0]].map(|row| row.value.as_ref().unwrap());
        assert!((a.log_probs[0] - b.log_probs[0]).abs() < 1e-5);
        assert!((a.log_probs[0].exp() + a.log_probs[1].exp() - 1.0).abs() < 1e-5);
        assert_eq!(found[i].usage.prompt_tokens, lengths[i] as u64);
    }
}

/// The template writes what the plain questions say, so both are answered alike.
#[test]
fn a_chat_is_the_text_that_its_template_writes() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir("models/labeler-xs").unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let template = "<s>{% for message in messages %} {{ message.role }} : {{ message.content }} \
        {% endfor %}{% if add_generation_prompt %} assistant : {% endif %}";
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let load = || LocalAnswerer::load(folder.path(), &Device::flex()).unwrap();
    let (mut plain, mut chat) = (load(), load().with_format(Format::Chat).unwrap());
    let questions = [question(" summary"), question(" text")];
    let written = |question: &Question| Question {
        prefix: " user : You are an expert summary rater.".into(),
        text: format!("{} assistant :", question.text),
        ending: " SCORE:".into(),
    };
    let answers = ["1", "2"].map(String::from);
    let found = chat.choose(&questions, &answers).unwrap();
    let expected = plain
        .choose(&questions.each_ref().map(written), &answers)
        .unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        let [a, b] = [found, expected].map(|row| row.value.as_ref().unwrap().log_probs[0]);
        assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        assert_eq!(found.usage.prompt_tokens, expected.usage.prompt_tokens);
    }
    assert!(answerer().with_format(Format::Chat).is_err());
}

#[test]
fn texts_follow_their_seeds_and_end_at_a_stop() {
    let mut answerer = answerer();
    let request = |text, seed| Request {
        question: question(text),
        seed,
    };
    let requests = [
        request(" summary", 1),
        request(" summary", 2),
        request(" text", 1),
    ];
    let mut decoding = Decoding {
        temperature: 1.0,
        max_new_tokens: 12,
        ..Decoding::default()
    };
    let mut written = |requests: &[Request], decoding: &Decoding| -> Vec<Reply> {
        let answers = answerer.write(requests, decoding).unwrap();
        answers.into_iter().map(|row| row.value.unwrap()).collect()
    };
    let all = written(&requests, &decoding);
    assert_ne!(all[0], all[1], "another seed, another text");
    for i in 0..3 {
        assert_eq!(all[i], written(&requests[i..=i], &decoding)[0]);
    }
    let (start, _) = all[0].text.split_at(all[0].text.len() / 2);
    let stop: String = all[0].text[start.len()..].chars().take(3).collect();
    decoding.stop = vec![stop.clone()];
    let stopped = &written(&requests[..1], &decoding)[0];
    let end = all[0].text.find(&stop).unwrap();
    assert_eq!(
        (stopped.text.as_str(), stopped.finished),
        (&all[0].text[..end], true)
    );
    decoding.max_new_tokens = 600;
    let answers = answerer.write(&requests[..1], &decoding).unwrap();
    assert_eq!(answers[0].value.as_ref().unwrap_err().kind(), "too_long");
}
