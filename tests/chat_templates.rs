//! Chat templates of well-known models, held against what `transformers` renders with them
//! (`fixtures/make_chat_templates.py`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use rlaif::record::{Answer, Conversation, Message};
use rlaif::tokenizer::{ChatTemplate, Ending, SpecialTokens, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value};

const FOLDER: &str = "tests/fixtures/chat_templates";

#[derive(Deserialize)]
struct Fixture {
    special: Map<String, Value>,
    conversations: BTreeMap<String, Row>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Row {
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    chat_template_kwargs: Map<String, Value>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    conversation: String,
    add_generation_prompt: bool,
    text: Option<String>,
    error: Option<String>,
    spans: Option<Vec<(usize, usize)>>,
}

fn fixture() -> Fixture {
    let text = fs::read_to_string(Path::new(FOLDER).join("cases.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn template(name: &str, special: &Map<String, Value>) -> ChatTemplate {
    let path = Path::new(FOLDER).join(format!("{name}.jinja"));
    let text = fs::read_to_string(&path).unwrap();
    let named = special.clone();
    ChatTemplate::new(&text, &SpecialTokens { named }, &path).unwrap()
}

fn conversation(row: &Row) -> Conversation {
    Conversation {
        messages: row.messages.clone(),
        tools: row.tools.clone(),
        chat_template_kwargs: row.chat_template_kwargs.clone(),
    }
}

fn with_today(text: &str) -> String {
    let mut text = text.to_string();
    for shape in ["%Y-%m-%d", "%d %b %Y"] {
        let today = jiff::ZonedDateTime::now().strftime(shape).to_string();
        text = text.replace(&format!("{{today:{shape}}}"), &today);
    }
    text
}

#[test]
fn every_conversation_reads_as_transformers_renders_it() {
    let fixture = fixture();
    let (mut wrong, mut equal, mut refused) = (Vec::new(), 0, 0);
    for case in &fixture.cases {
        let row = conversation(&fixture.conversations[&case.conversation]);
        let ending = match case.add_generation_prompt {
            true => Ending::GenerationPrompt,
            false => Ending::Closed,
        };
        let found = template(&case.template, &fixture.special).render(&row, ending);
        let name = format!("{} {} {ending:?}", case.template, case.conversation);
        match (&case.text, found) {
            (Some(text), Ok(found)) if with_today(text) == found => equal += 1,
            (None, Err(_)) => refused += 1,
            (expected, found) => {
                let expected = expected.as_ref().map(|text| with_today(text));
                let error = &case.error;
                wrong.push(format!(
                    "{name}\nexpected {expected:?} {error:?}\nfound {found:?}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    let names: Vec<&str> = fixture
        .cases
        .iter()
        .map(|case| case.template.as_str())
        .collect();
    let n_templates = names.chunk_by(|a, b| a == b).count();
    println!(
        "{n_templates} templates: {equal} texts equal, {refused} conversations refused by both"
    );
    assert!(n_templates >= 20 && equal >= 400);
}

#[test]
fn generation_blocks_are_where_transformers_finds_them() {
    let fixture = fixture();
    let chars = |text: &str, span: &Range<usize>| {
        let count = |end: usize| text[..end].chars().count();
        (count(span.start), count(span.end))
    };
    let mut n = 0;
    for case in &fixture.cases {
        let (Some(expected), Some(text)) = (&case.spans, &case.text) else {
            continue;
        };
        let row = conversation(&fixture.conversations[&case.conversation]);
        let template = template(&case.template, &fixture.special);
        let (found, spans) = template.render_spans(&row).unwrap();
        assert_eq!(found, with_today(text));
        let spans: Vec<_> = spans
            .unwrap()
            .iter()
            .map(|span| chars(&found, span))
            .collect();
        assert_eq!(&spans, expected, "{} {}", case.template, case.conversation);
        n += 1;
    }
    assert!(n >= 60, "{n} conversations");
}

/// A model folder's tokenizer: one token a byte, but one for two line ends in a row.
fn byte_tokenizer(chat_template: &str) -> (tempfile::TempDir, Tokenizer) {
    use tokenizers::models::bpe::{BPE, Vocab};
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let mut words: Vec<String> = letters.iter().map(char::to_string).collect();
    words.push("\u{10a}\u{10a}".into());
    let ids: Vocab = words.into_iter().zip(0..).collect();
    let merges = vec![("\u{10a}".to_string(), "\u{10a}".to_string())];
    let model = BPE::builder()
        .vocab_and_merges(ids, merges)
        .build()
        .unwrap();
    let mut inner = tokenizers::Tokenizer::new(model);
    let bytes = ByteLevel::new(false, true, false);
    inner
        .with_pre_tokenizer(Some(bytes))
        .with_decoder(Some(bytes));
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    inner
        .save(folder.path().join("tokenizer.json"), false)
        .unwrap();
    write("config.json", r#"{"eos_token_id": 0}"#);
    write(
        "tokenizer_config.json",
        r#"{"bos_token": "<s>", "eos_token": "</s>"}"#,
    );
    write("chat_template.jinja", chat_template);
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    (folder, tokenizer)
}

fn turns(turns: &[(&str, &str)]) -> Conversation {
    let messages = turns.iter().map(|(role, text)| Message::new(role, text));
    Conversation {
        messages: messages.collect(),
        ..Default::default()
    }
}

#[test]
fn the_tokens_of_a_prompt_stay_when_an_answer_follows() {
    let special = fixture().special;
    let mut n = 0;
    for name in [
        "llama3",
        "qwen3",
        "qwen2_5",
        "gemma3",
        "phi3",
        "deepseek_r1_distill",
        "lfm2",
    ] {
        let text = fs::read_to_string(Path::new(FOLDER).join(format!("{name}.jinja"))).unwrap();
        let (_folder, tokenizer) = byte_tokenizer(&text);
        let template = template(name, &special);
        for answer in ["4", "\n\n4 and\n", ""] {
            let prompt = turns(&[("user", "a"), ("assistant", "b"), ("user", "2+2?")]);
            let mut ids = tokenizer.encode_chat(&prompt).unwrap();
            let rendered = tokenizer.decode(&ids).unwrap();
            let plain = Answer::from(answer);
            let following = tokenizer.encode_answer(&prompt, &plain).unwrap();
            let as_turns = Answer::from_messages(vec![Message::new("assistant", answer)]);
            assert_eq!(
                following,
                tokenizer.encode_answer(&prompt, &as_turns).unwrap()
            );
            ids.extend(following);
            let whole = tokenizer.decode(&ids).unwrap();
            assert!(whole.starts_with(&rendered), "{name}");
            let mut closed = prompt.clone();
            closed.messages.push(Message::new("assistant", answer));
            let closed = template.render(&closed, Ending::Closed).unwrap();
            if name == "deepseek_r1_distill" {
                // It opens answers with `<think>` and leaves that out of finished ones.
                assert_eq!(whole.replace("<think>\n", ""), closed, "{name}");
            } else {
                assert_eq!(whole, closed, "{name}");
            }
            n += 1;
        }
    }
    assert_eq!(n, 21);
}

#[test]
fn a_text_that_follows_keeps_the_tokens_before_it() {
    let (_folder, tokenizer) = byte_tokenizer("");
    let line = tokenizer.encode_continuation("\n").unwrap();
    let two = tokenizer.encode_continuation("\n\n").unwrap();
    assert_eq!((line.len(), two.len()), (1, 1));
    // Together the line ends would be one token, which would swallow the prompt's last.
    assert_eq!(tokenizer.encode_following("a\n", "\n").unwrap(), line);
    assert_eq!(tokenizer.encode_following("a", "\n\n").unwrap(), two);
}

#[test]
fn the_assistants_tokens_are_marked() {
    let asked = turns(&[
        ("user", "h\u{e9}"),
        ("assistant", "yes"),
        ("user", "?"),
        ("assistant", "no"),
    ]);
    let check = |template: &str, expected: &str, mask: &str| {
        let (_folder, tokenizer) = byte_tokenizer(template);
        let (ids, found) = tokenizer.encode_with_mask(&asked).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), expected);
        let found: String = found
            .iter()
            .map(|&mask| if mask == 1.0 { '1' } else { '0' })
            .collect();
        assert_eq!(found, mask);
    };
    // One digit a byte; the accented letter has two.
    let blocks = "{% for m in messages %}{{ m.role[0] }}:{% if m.role == 'assistant' %}\
        {% generation %}{{ m.content }};{% endgeneration %}{% else %}{{ m.content }};{% endif %}{% endfor %}";
    check(blocks, "u:h\u{e9};a:yes;u:?;a:no;", "000000001111000000111");
    let plain = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}\
        {% if add_generation_prompt %}a:{% endif %}";
    check(plain, "u:h\u{e9};a:yes;u:?;a:no;", "000000001111000000111");

    let forgets = "{% for m in messages %}{% if loop.last or m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}";
    let (_folder, tokenizer) = byte_tokenizer(forgets);
    let error = tokenizer.encode_with_mask(&asked).unwrap_err().to_string();
    assert!(error.contains("message 2"), "{error}");
    let ids = tokenizer.encode_conversation(&asked).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "h\u{e9}?no");
}

#[test]
fn a_tokenizer_without_a_chat_template_says_so() {
    let (folder, _) = byte_tokenizer("");
    fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let error = tokenizer.encode_chat(&turns(&[("user", "a")])).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("tokenizer.json: there is no chat template")
    );

    fs::write(folder.path().join("config.json"), "{}").unwrap();
    fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
    let error = Tokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("`eos_token_id` is missing"), "{error}");
    let named = r#"{"eos_token": {"content": "b"}, "chat_template": [{"name": "default", "template": "x"}]}"#;
    fs::write(folder.path().join("tokenizer_config.json"), named).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(tokenizer.eos(), tokenizer.encode_continuation("b").unwrap());
    let text = tokenizer
        .chat_template()
        .unwrap()
        .render(&turns(&[("user", "a")]), Ending::Closed);
    assert_eq!(text.unwrap(), "x");

    let wrong = r#"{"eos_token": "b", "chat_template": 3}"#;
    fs::write(folder.path().join("tokenizer_config.json"), wrong).unwrap();
    let error = Tokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("neither a text nor a list"), "{error}");
}
