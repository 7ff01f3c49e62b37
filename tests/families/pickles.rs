//! Checkpoints of older versions of `transformers`; `tests/fixtures/make_pickles.py` writes them.

use super::*;

fn pickles(name: &str) -> PathBuf {
    Path::new("tests/fixtures/pickles").join(name)
}

#[test]
fn pickled_weights_are_those_of_the_other_file() {
    check_logits(
        "gpt2",
        &model::load(&pickles("sharded"), &Device::flex()).unwrap(),
    );
    // 8 bits of mantissa: the logits of the rounded weights, which are of size 10, are near.
    let prompt = [5, 17, 33, 2];
    let rounded = model::load(&pickles("single"), &Device::flex()).unwrap();
    let numbers = |model: &Transformer| logits(model, &prompt).try_to_vec::<f32>().unwrap();
    let (found, golden) = (numbers(&rounded), numbers(&load("gpt2")));
    assert!(found != golden);
    for (found, golden) in found.iter().zip(golden) {
        assert!((found - golden).abs() < 0.3, "{found} {golden}");
    }
}

/// The file would make a file when PyTorch of old had read it; the weights beside that are read.
#[test]
fn a_pickle_runs_nothing() {
    let model = model::load(&pickles("hostile"), &Device::flex()).unwrap();
    assert!(!Path::new("pickled_command_ran").exists());
    check_logits("gpt2", &model);
}

/// As from safetensors.
#[test]
fn tensors_that_do_not_fit_are_listed_too() {
    let copy = tempfile::tempdir().unwrap();
    for name in ["pytorch_model.bin", "config.json"] {
        fs::copy(pickles("single").join(name), copy.path().join(name)).unwrap();
    }
    let path = copy.path().join("config.json");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("\"n_layer\": 2", "\"n_layer\": 3")).unwrap();
    let error = model::load(copy.path(), &Device::flex()).map(|_| ());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("pytorch_model.bin: does not fit the model"),
        "{error}"
    );
    assert!(
        error.contains("missing tensor `transformer.h.2.attn.c_attn.weight`"),
        "{error}"
    );
    for len in [0, 3, 500] {
        let bytes = fs::read(pickles("single").join("pytorch_model.bin")).unwrap();
        fs::write(copy.path().join("pytorch_model.bin"), &bytes[..len]).unwrap();
        let error = model::load(copy.path(), &Device::flex()).map(|_| ());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("pytorch_model.bin: "), "{error}");
    }
}
