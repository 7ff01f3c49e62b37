//! An adapter becomes a model of its own.

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::{self, Loader, is_adapter};
use crate::tokenizer::Tokenizer;

/// Writes the adapter in `dir` and the model under it as one plain Hugging Face folder `out`, which
/// must not exist: a language model, or a `*ForSequenceClassification` when the adapter has a
/// scalar head. It is in the number format of `loader`.
///
/// # Errors
/// `dir` holds no adapter, it cannot be loaded, or `out` is there already or cannot be written.
pub fn merge(dir: &Path, out: &Path, mut loader: Loader) -> Result<()> {
    if !is_adapter(dir) {
        return Err(Error::file(
            dir,
            "holds no adapter_config.json, expected an adapter",
        ));
    }
    let tokenizer = Tokenizer::load(dir)?;
    std::fs::create_dir(out).map_err(Error::io("create", out))?;
    if model::has_head(dir)? {
        let mut model = loader.load_head(dir)?;
        model.backbone = model::merge(model.backbone);
        model::save_head(&model, out)?;
    } else {
        model::save(&model::merge(loader.load(dir)?), out)?;
    }
    tokenizer.save(out)
}
