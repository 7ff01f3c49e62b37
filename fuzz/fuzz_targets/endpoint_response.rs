//! What a server answers, up to the probabilities of the answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rlaif::label::endpoint::read_response;

fuzz_target!(|data: &str| {
    for answers in [&["1", "2"][..], &["A", "AB", "B"], &["1", "10", "2"]] {
        let answers: Vec<String> = answers.iter().map(|answer| answer.to_string()).collect();
        if let Ok(Some(log_probs)) = read_response(data, &answers) {
            assert_eq!(log_probs.len(), answers.len());
            assert!(log_probs.iter().all(|p| !p.is_nan() && *p <= 1e-6), "{log_probs:?}");
        }
    }
});
