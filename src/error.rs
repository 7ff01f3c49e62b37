//! The one error type of the crate. Every variant says where the trouble is and what was expected.

use std::io;
use std::path::{Path, PathBuf};

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, worded for the person who has to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// What was tried: "read", "write", "create", "rename".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A configuration value is wrong.
    #[error("`{field}` is {found}, expected {expected}")]
    Field {
        /// Path of the field in the run file, such as `rl.batch_size`.
        field: String,
        /// The value found.
        found: String,
        /// The values allowed.
        expected: String,
    },
    /// A file as a whole cannot be used: a run file, a checkpoint, a tokenizer.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Expected and found.
        message: String,
    },
    /// One row of a data file cannot be used.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The data file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Field, expected and found.
        message: String,
    },
    /// A token id that the model has no embedding for.
    #[error("token id {id} is outside the vocabulary of {vocab} tokens")]
    TokenId {
        /// The id.
        id: u32,
        /// Number of tokens that the model knows.
        vocab: usize,
    },
    /// A text does not fit the model.
    #[error("{what} has {found} tokens, the model takes at most {limit}")]
    TooLong {
        /// What is too long.
        what: String,
        /// Its length in tokens.
        found: usize,
        /// The model's limit.
        limit: usize,
    },
    /// The backend exists but this binary was built without it.
    #[error("backend `{name}` is not compiled in; rebuild with `--features {name}`")]
    BackendMissing {
        /// Name of the backend, which is also its cargo feature.
        name: &'static str,
    },
    /// The device does not compute in a number format.
    #[error("device {device} does not compute in {dtype}")]
    PrecisionMissing {
        /// The device.
        device: String,
        /// The format.
        dtype: &'static str,
    },
    /// What was asked for exists but this binary was built without it.
    #[error("{what} is not compiled in; rebuild with `--features {feature}`")]
    FeatureMissing {
        /// What was asked for.
        what: &'static str,
        /// The cargo feature that adds it.
        feature: &'static str,
    },
    /// A server that answers questions refused, or could not be reached for too long.
    #[error("{url}: {message}")]
    Endpoint {
        /// Its address.
        url: String,
        /// What it said.
        message: String,
    },
    /// The next question might cost more than is allowed.
    #[error(
        "${spent_usd:.4} are spent and the next question may pass `max_cost_usd` = {limit_usd}; \
         {n} answers are kept in {}: raise the limit and the same command goes on from here",
        answers.display()
    )]
    SpendingLimit {
        /// US dollars that the answers have cost.
        spent_usd: f64,
        /// US dollars allowed.
        limit_usd: f64,
        /// Where the answers are kept.
        answers: PathBuf,
        /// Number of answers there.
        n: usize,
    },
    /// The device failed.
    #[error("device: {message}")]
    Device {
        /// What burn reports.
        message: String,
    },
    /// A loss or a statistic stopped being a number, so that going on would only destroy weights.
    #[error("{what} is {value} at step {step}: lower the learning rate or look at the data")]
    NotFinite {
        /// Name of the quantity.
        what: &'static str,
        /// Its value.
        value: f32,
        /// Optimizer step, counted from 1.
        step: usize,
    },
    /// A model in f16 whose gradients are no numbers, however little the loss is scaled.
    #[error(
        "the gradient in f16 is not a number at step {step}, though the loss is scaled by {scale} \
         alone: f16 ends at 65504; train in bf16 or f32, or lower the learning rate"
    )]
    LossScale {
        /// The scale, which cannot fall further.
        scale: f32,
        /// Optimizer step, counted from 1.
        step: usize,
    },
    /// A policy optimisation that goes wrong in one of the usual ways, with `rl.health.stop`.
    #[error("step {step}: {symptoms}")]
    Unhealthy {
        /// Step of the loop, counted from 1.
        step: usize,
        /// What was found, and what to try.
        symptoms: String,
    },
    /// The user wished to stop; what was done is saved.
    #[error("interrupted: {stage} is saved at {place}; the same command goes on from there")]
    Interrupted {
        /// Name of the stage.
        stage: String,
        /// How far it came, such as `step 3`.
        place: String,
    },
    /// The request makes no sense for this run: a stage without its input, for instance.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Attaches what was tried and the path to an operating-system error.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A file that cannot be used, and why.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.as_ref().to_path_buf(),
            message: message.into(),
        }
    }

    /// A configuration value outside its range.
    pub fn field(
        field: impl Into<String>,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Field {
            field: field.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    /// A device failure, from any of burn's error types.
    pub fn device(source: impl std::fmt::Display) -> Self {
        Self::Device {
            message: source.to_string(),
        }
    }
}

impl From<burn::tensor::TensorReadError> for Error {
    fn from(source: burn::tensor::TensorReadError) -> Self {
        Self::device(source)
    }
}
