//! Models in 16 bits: no further from their 32-bit selves than `transformers` is, the same with and
//! without a cache, and the same again when they have been written and read.
//! `tests/fixtures/make_precision.py` measured the distances.

use std::collections::BTreeMap;

use burn::tensor::DType;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::batch::{Batch, Tree};
use rlaif::generate::{SamplingConfig, generate};
use rlaif::log_prob::token_log_probs;
use rlaif::model::Loader;
use rlaif::precision::Precision;

use super::*;

#[derive(Deserialize)]
struct Measured {
    families: BTreeMap<String, Family>,
}

/// Distances of the logits from those of 32 bits.
#[derive(Deserialize)]
struct Family {
    bf16: Distance,
    f16: Distance,
}

#[derive(Deserialize)]
struct Distance {
    rms: f32,
    largest: f32,
}

fn load_in(dir: &Path, precision: Precision) -> Transformer {
    let mut loader = Loader::new(&Device::flex())
        .in_precision(precision)
        .unwrap();
    loader.load(dir).unwrap()
}

fn distance(found: &TensorData, golden: &[f32]) -> Distance {
    let found = found.try_to_vec::<f32>().unwrap();
    assert_eq!(found.len(), golden.len());
    let apart = || found.iter().zip(golden).map(|(a, b)| (a - b).abs());
    Distance {
        rms: (apart().map(|x| x * x).sum::<f32>() / found.len() as f32).sqrt(),
        largest: apart().fold(0.0, f32::max),
    }
}

/// The largest distance of a few hundred logits varies with every rounding; twice that of
/// `transformers` is a logit that went wrong by more than rounding. The root of the mean square is
/// steadier.
#[test]
fn logits_are_rounded_as_little_as_in_transformers() {
    let text = fs::read_to_string("tests/fixtures/precision.json").unwrap();
    let measured: Measured = serde_json::from_str(&text).unwrap();
    for family in FAMILIES {
        let Expected {
            prompts,
            logits: golden,
            ..
        } = expected(family);
        let golden: Vec<f32> = golden.into_iter().flatten().collect();
        let theirs = &measured.families[family];
        let formats = [
            (Precision::Bf16, &theirs.bf16),
            (Precision::F16, &theirs.f16),
        ];
        for (precision, theirs) in formats {
            let model = load_in(&folder(family), precision);
            assert_eq!(model.precision(), precision);
            let ours = distance(&logits(&model, &prompts[0]), &golden);
            let what = format!(
                "{family} in {}: rms {} ({}), largest {} ({})",
                precision.name(),
                ours.rms,
                theirs.rms,
                ours.largest,
                theirs.largest
            );
            // Not zero: the weights are in 16 bits.
            assert!(ours.rms > 0.0 && ours.rms < 1.5 * theirs.rms, "{what}");
            assert!(ours.largest < 2.0 * theirs.largest, "{what}");
        }
    }
}

/// What the sampler says of its tokens and what the training pass says of them differ by rounding:
/// two logits of size 2 and 8 bits, at most a few times `2 * 2^-8`.
#[test]
fn sampling_and_training_agree_in_bf16() {
    for family in FAMILIES {
        let model = load_in(&folder(family), Precision::Bf16);
        let prompts = expected(family).prompts;
        let config = SamplingConfig {
            max_new_tokens: 12,
            ..Default::default()
        };
        let mut rng = StdRng::seed_from_u64(3);
        let samples = generate(&model, &prompts, 2, &[], &config, &mut rng).unwrap();
        for (i, sample) in samples.iter().enumerate() {
            let tree = Tree::single(prompts[i / 2].clone(), sample.tokens.clone());
            let batch = Batch::new(&[tree], 64, 64, &Device::flex()).unwrap();
            let log_probs = token_log_probs(&model, &batch, 1.0).into_data();
            assert_eq!(log_probs.dtype(), DType::F32);
            let apart = distance(&log_probs, &sample.log_probs);
            assert!(apart.rms < 0.05, "{family}: {}", apart.rms);
        }
    }
}

#[test]
fn a_folder_is_in_the_format_of_its_model() {
    for family in ["llama", "gpt2", "phi3", "gemma3"] {
        for (precision, name, stored) in [
            (Precision::F32, "float32", "F32"),
            (Precision::Bf16, "bfloat16", "BF16"),
            (Precision::F16, "float16", "F16"),
        ] {
            let model = load_in(&folder(family), precision);
            let written = tempfile::tempdir().unwrap();
            model::save(&model, written.path()).unwrap();
            let config = fs::read_to_string(written.path().join("config.json")).unwrap();
            let config: serde_json::Value = serde_json::from_str(&config).unwrap();
            assert_eq!(config["dtype"], name, "{family}");
            let weights = fs::read(written.path().join("model.safetensors")).unwrap();
            let weights = safetensors::SafeTensors::deserialize(&weights).unwrap();
            for (tensor, view) in weights.tensors() {
                assert_eq!(format!("{:?}", view.dtype()), stored, "{tensor}");
            }
            let again = load_in(written.path(), precision);
            let prompt = &expected(family).prompts[0];
            let (left, right) = (logits(&model, prompt), logits(&again, prompt));
            assert_eq!(left.as_bytes(), right.as_bytes(), "{family}");
        }
    }
}

/// 10 kB hold some of the tensors; the embedding, 8192 bytes in 32 bits, lies with others or alone.
#[test]
fn shards_hold_the_same_model() {
    for precision in [Precision::F32, Precision::Bf16] {
        let model = load_in(&folder("llama"), precision);
        let [whole, cut] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        model::save(&model, whole.path()).unwrap();
        model::save_in_shards(&model, cut.path(), 10_000).unwrap();
        assert!(whole.path().join("model.safetensors").exists());
        assert!(!cut.path().join("model.safetensors").exists());
        let text = fs::read_to_string(cut.path().join("model.safetensors.index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_str(&text).unwrap();
        let names: BTreeMap<String, String> =
            serde_json::from_value(index["weight_map"].clone()).unwrap();
        let (mut bytes, mut numbers, mut files) = (0, 0, 0);
        for entry in fs::read_dir(cut.path()).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            if !file.ends_with(".safetensors") {
                continue;
            }
            let data = fs::read(&path).unwrap();
            let tensors = safetensors::SafeTensors::deserialize(&data).unwrap();
            let mut size = 0;
            for (name, view) in tensors.tensors() {
                assert_eq!(names[&name], file);
                size += view.data().len();
                numbers += view.shape().iter().product::<usize>();
            }
            assert!(size <= 10_000, "{file}: {size}");
            bytes += size;
            files += 1;
        }
        assert!(files > 1);
        assert!(
            names
                .values()
                .all(|name| name.ends_with(&format!("-of-{files:05}.safetensors")))
        );
        assert_eq!(index["metadata"]["total_size"], bytes);
        assert_eq!(index["metadata"]["total_parameters"], numbers);
        let prompt = &expected("llama").prompts[0];
        let found = [whole, cut].map(|dir| logits(&load_in(dir.path(), precision), prompt));
        assert_eq!(found[0].as_bytes(), found[1].as_bytes());
    }
}

#[test]
fn numbers_beyond_f16_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data: Vec<u8> = 1e5f32.to_le_bytes().repeat(64 * 32);
    for entry in fs::read_dir(folder("llama")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let changed: Vec<_> = tensors.tensors();
    let changed = changed.into_iter().map(|(name, view)| {
        let data = match name.as_str() {
            "model.embed_tokens.weight" => &data,
            _ => view.data(),
        };
        let view = safetensors::tensor::TensorView::new(view.dtype(), view.shape().to_vec(), data);
        (name, view.unwrap())
    });
    safetensors::serialize_to_file(changed, None, &path).unwrap();
    load_in(dir.path(), Precision::Bf16);
    let mut loader = Loader::new(&Device::flex())
        .in_precision(Precision::F16)
        .unwrap();
    let said = loader.load(dir.path()).unwrap_err().to_string();
    let expected = "model.safetensors: tensor `model.embed_tokens.weight` leaves the range of f16";
    assert!(said.ends_with(expected), "{said}");
}
