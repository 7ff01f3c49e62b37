//! A model under its optimizer: steps, and what is needed to go on after one.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::store::{ModuleRecord, RecordError};

use super::loss_scaling::Scaler;
use super::masters::{Masters, precision_of};
use super::{LossScaling, OptimConfig};
use crate::error::{Error, Result};
use crate::model::{Activations, Backward};
use crate::precision::{LossScale, Precision, gradients_in_f32};

/// Files of a saved learner; burn adds its own ending to the first two.
const MODEL: &str = "model";
const OPTIM: &str = "optim";
const STEP: &str = "step";

/// A model and its optimizer. Values in, values out: an update that kept a second handle on the
/// weights would have to copy them.
///
/// Of weights in 16 bits it holds a copy in 32, which is what the optimizer moves and what a
/// checkpoint has. The losses of a model in f16 are scaled ([`LossScaling`]), and a step whose
/// gradient is not finite is skipped: it counts as a step and moves nothing.
pub struct Learner<M> {
    /// The weights, on a device that records gradients. Those in 16 bits are made from the copy at
    /// every step.
    pub model: M,
    masters: Option<Masters<M>>,
    /// Of a model in f16.
    scaler: Option<Scaler>,
    optim: ModuleOptimizer,
    config: OptimConfig,
    step: usize,
    total_steps: usize,
}

impl<M: Module> Learner<M> {
    pub(super) fn new(
        model: M,
        optim: ModuleOptimizer,
        config: OptimConfig,
        total_steps: usize,
    ) -> Self {
        let model = model.train();
        let is_f16 = precision_of(&model) == Precision::F16;
        Self {
            masters: Masters::of(&model),
            scaler: is_f16.then(|| Scaler::new(LossScaling::default())),
            model,
            optim,
            config,
            step: 0,
            total_steps,
        }
    }

    /// The same with another scaling of the losses, if they are scaled at all.
    #[must_use]
    pub fn with_loss_scaling(mut self, config: LossScaling) -> Self {
        self.scaler = self.scaler.map(|_| Scaler::new(config));
        self
    }

    /// Takes one step down `loss`; returns the gradient norm before clipping, which is not finite
    /// where the step was skipped.
    ///
    /// # Errors
    /// Before the weights are touched, when the gradient is not a number: [`Error::NotFinite`], or
    /// of a model in f16 [`Error::LossScale`], once the scale is down at its floor.
    pub fn step(self, loss: Tensor<1>) -> Result<(Self, f32)> {
        let grads = self.gradients(loss);
        self.apply(grads)
    }

    /// Gradient of `loss` by the weights in 32 bits, to be added to others before
    /// [`apply`](Self::apply).
    pub fn gradients(&self, loss: Tensor<1>) -> GradientsParams {
        let scale = self.loss_scale();
        let grads = GradientsParams::from_grads(scale.scale(loss).backward(), &self.model);
        scale.unscale(&self.model, gradients_in_f32(&self.model, grads))
    }

    /// The way back through this model: the `activations` that are kept, and its scale.
    pub fn backward(&self, activations: Activations) -> Backward {
        Backward {
            activations,
            loss_scale: self.loss_scale(),
        }
    }

    /// Takes one step against the sum of the gradients of `parts`; returns its norm before clipping
    /// and what else `gradients` told of each part. In f16, `gradients` goes back by
    /// [`backward`](Self::backward).
    ///
    /// # Errors
    /// Those of `gradients`, and as [`step`](Self::step).
    pub fn step_over<P, T>(
        self,
        parts: impl IntoIterator<Item = P>,
        mut gradients: impl FnMut(&M, P) -> Result<(GradientsParams, T)>,
    ) -> Result<(Self, f32, Vec<T>)> {
        let mut sum = GradientsAccumulator::new();
        let mut told = Vec::new();
        for part in parts {
            let (found, tells) = gradients(&self.model, part)?;
            sum.accumulate(&self.model, gradients_in_f32(&self.model, found));
            told.push(tells);
        }
        let (learner, norm) = self.apply(sum.grads())?;
        Ok((learner, norm, told))
    }

    /// Takes one step against a gradient; returns its norm before clipping.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn apply(mut self, grads: GradientsParams) -> Result<(Self, f32)> {
        let mut grads = gradients_in_f32(&self.model, grads);
        let norm = clip_grad_norm(&self.model, &mut grads, self.config.max_grad_norm)?;
        let step = self.step + 1;
        match &mut self.scaler {
            Some(scaler) => {
                if !scaler.observe(norm, step)? {
                    return Ok((self.skip(), norm));
                }
            }
            None if norm.is_finite() => (),
            None => {
                let (what, value) = ("gradient norm", norm);
                return Err(Error::NotFinite { what, value, step });
            }
        }
        let learning_rate = self.learning_rate().max(f64::MIN_POSITIVE);
        if let Some(mut masters) = self.masters {
            // They share what is in 32 bits, and a second handle on that would have it copied.
            drop(self.model);
            masters.model = self.optim.step(learning_rate, masters.model, grads);
            self.model = masters.rounded();
            self.masters = Some(masters);
        } else {
            self.model = self.optim.step(learning_rate, self.model, grads);
        }
        self.step += 1;
        Ok((self, norm))
    }

    /// Lets a step go by.
    pub(crate) fn skip(mut self) -> Self {
        self.step += 1;
        self
    }

    /// Writes the weights that are trained, the optimizer's state and the number of steps into the
    /// folder `dir`, as exact as they are: of weights in 16 bits the copy in 32. A frozen base under
    /// adapters is not written.
    ///
    /// # Errors
    /// The device or the file system fails.
    pub fn save(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let failed = |e: RecordError| Error::file(dir, e.to_string());
        let model = self.exact();
        let mut trained = Trained::default();
        model.visit(&mut trained);
        let record = (model.clone()).into_record_group(ParamGroup::from_ids(trained.ids));
        record.save(dir.join(MODEL)).map_err(failed)?;
        self.optim.save(dir.join(OPTIM)).map_err(failed)?;
        if let Some(scaler) = &self.scaler {
            scaler.save(dir)?;
        }
        let step = dir.join(STEP);
        std::fs::write(&step, self.step.to_string()).map_err(Error::io("write", &step))
    }

    /// Takes over what [`save`](Self::save) wrote, into a learner that was made as that one was.
    ///
    /// # Errors
    /// A file is missing or does not fit the model.
    pub fn load(mut self, dir: &Path) -> Result<Self> {
        let failed = |e: RecordError| Error::file(dir, e.to_string());
        let step = dir.join(STEP);
        let text = std::fs::read_to_string(&step).map_err(Error::io("read", &step))?;
        self.step = (text.parse()).map_err(|_| Error::file(&step, "expected a number"))?;
        let record = ModuleRecord::load(dir.join(MODEL)).map_err(failed)?;
        let record = record.allow_partial(true);
        if let Some(masters) = &mut self.masters {
            let model = masters.model.clone();
            masters.model = model.try_load_record(record).map_err(failed)?;
            self.model = masters.rounded();
        } else {
            self.model = self.model.try_load_record(record).map_err(failed)?;
        }
        self.optim = self.optim.load(dir.join(OPTIM)).map_err(failed)?;
        if let Some(scaler) = &mut self.scaler {
            scaler.load(dir)?;
        }
        Ok(self)
    }

    /// Learning rate of the next step.
    pub fn learning_rate(&self) -> f64 {
        self.config.learning_rate_at(self.step, self.total_steps)
    }

    /// The weights as the optimizer moves them: of those in 16 bits the copy in 32.
    pub(crate) fn exact(&self) -> &M {
        self.masters.as_ref().map_or(&self.model, |it| &it.model)
    }

    /// The weights that are trained.
    pub(crate) fn trained(&self) -> Vec<ParamId> {
        let mut trained = Trained::default();
        self.model.visit(&mut trained);
        trained.ids
    }

    /// Number of steps, the skipped ones too.
    pub fn steps(&self) -> usize {
        self.step
    }

    /// What the losses of the next step are scaled by.
    pub fn loss_scale(&self) -> LossScale {
        let scaler = self.scaler.as_ref();
        scaler.map(Scaler::scale).unwrap_or_default()
    }

    /// Number of steps that were skipped.
    pub fn skipped_steps(&self) -> usize {
        self.scaler.as_ref().map_or(0, Scaler::skipped_steps)
    }

    /// What there is to log of the scaling, if there is any: `loss_scale`, that of the next step,
    /// and `skipped_steps`, all so far.
    pub fn scaling(&self) -> Vec<(&'static str, f64)> {
        let told = |scaler: &Scaler| {
            vec![
                ("loss_scale", scaler.scale().value().into()),
                ("skipped_steps", scaler.skipped_steps() as f64),
            ]
        };
        self.scaler.as_ref().map(told).unwrap_or_default()
    }
}

/// What there is to log of the gradient of a step, given its norm: nothing where it was skipped.
pub fn grad_norm(norm: f32) -> Option<(&'static str, f64)> {
    norm.is_finite().then(|| ("grad_norm", norm.into()))
}

/// Scales all gradients so that their common Euclidean norm is at most `max_norm` (0: no bound);
/// returns the norm before.
///
/// burn's own clipping bounds each parameter by itself, which is not what published
/// hyper-parameters mean.
///
/// # Errors
/// The device fails.
pub fn clip_grad_norm<M: Module>(
    model: &M,
    grads: &mut GradientsParams,
    max_norm: f32,
) -> Result<f32> {
    let mut squares = SumSquares {
        grads,
        parts: Vec::new(),
    };
    model.visit(&mut squares);
    let parts = squares.parts;
    if parts.is_empty() {
        return Ok(0.0);
    }
    let norm = Tensor::cat(parts, 0)
        .sum()
        .sqrt()
        .try_into_scalar::<f32>()?;
    if max_norm > 0.0 && norm > max_norm && norm.is_finite() {
        // The epsilon is torch's, in `clip_grad_norm_`.
        model.visit(&mut Scale {
            grads,
            factor: max_norm / (norm + 1e-6),
        });
    }
    Ok(norm)
}

/// The parameters that a gradient moves.
#[derive(Default)]
struct Trained {
    ids: Vec<ParamId>,
}

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.val().is_require_grad() {
            self.ids.push(param.id);
        }
    }
}

struct SumSquares<'a> {
    grads: &'a GradientsParams,
    parts: Vec<Tensor<1>>,
}

impl ModuleVisitor for SumSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.parts.push(grad.square().sum());
        }
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    factor: f32,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad * self.factor);
        }
    }
}
