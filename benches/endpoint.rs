//! Labels per second against a server on the loopback that takes 50 ms for a request, at 1, 8 and
//! 64 requests at once: what dispatch, HTTP and the file of answers cost beside the waiting.
//!
//! `cargo bench --features http --bench endpoint`. A sample labels ten pairs for each request at
//! once, in both orders, so 20 requests of 50 ms in a row: a second is ideal.
#![expect(clippy::unwrap_used, reason = "a bench that fails stops")]

#[path = "../tests/endpoint/mock.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod mock;

use std::thread::sleep;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use mock::{Mock, Reaction, chat, verdict};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::label::endpoint::{EndpointAnswerer, EndpointConfig};
use rlaif::label::{Labeler, Pair, PromptedLabeler};
use rlaif::record::Context;
use rlaif::run::AnswerLog;

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 8, 64], sample_count = 5, sample_size = 1)]
fn labels(bencher: Bencher, concurrency: usize) {
    let mock = Mock::start(|seen| {
        sleep(Duration::from_millis(50));
        Reaction::Body(chat(&verdict(&seen.prompt)))
    });
    let endpoint = format!(
        "base_url = '{}', concurrency = {concurrency}",
        mock.base_url
    );
    let text = format!("model = 'judge'\nendpoints = [{{ {endpoint} }}]");
    let config: EndpointConfig = toml::from_str(&text).unwrap();
    let n = 10 * concurrency;
    let mut sample = 0;
    let fresh = || {
        // No question of an earlier sample, which would be answered from the file.
        sample += 1;
        let folder = tempfile::tempdir().unwrap();
        let log = AnswerLog::open(folder.path().join("answers.jsonl")).unwrap();
        let answerer = EndpointAnswerer::new(&config, log, StdRng::seed_from_u64(1)).unwrap();
        let row = |i| {
            (
                format!("post {sample}.{i}").into(),
                format!("quality 3 of {i}"),
            )
        };
        let rows: Vec<(Context, String)> = (0..n).map(row).collect();
        (PromptedLabeler::over(answerer).unwrap(), rows, folder)
    };
    bencher
        .with_inputs(fresh)
        .counter(ItemsCount::new(n))
        .bench_local_values(|(mut labeler, rows, folder)| {
            let pairs: Vec<Pair> = rows.iter().map(pair).collect();
            labeler.compare(&pairs).unwrap();
            folder
        });
}

fn pair((prompt, a): &(Context, String)) -> Pair<'_> {
    Pair {
        prompt_id: "1",
        prompt,
        a,
        b: "quality 5",
    }
}
