//! The weights of a model that computes in 16 bits, once more in 32.
//!
//! A step is often too small for 16 bits: next to 1 the nearest bf16 is 1/128 away. So the
//! optimizer moves a copy in 32 bits, and what the model computes with is that copy, rounded.
//! Micikevicius et al. 2018, arXiv:1710.03740, section 3.1.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::tensor::DType;

use crate::precision::Precision;

/// A model whose trained weights are all in 32 bits, and what they are rounded to.
pub(super) struct Masters<M> {
    /// The weights, under the ids of those of the model; what is not trained is shared with it.
    pub(super) model: M,
    /// By path, for a model that is loaded takes over the ids of its file.
    formats: BTreeMap<String, DType>,
}

impl<M: Module> Masters<M> {
    /// Those of `model`, if some of its trained weights are in 16 bits.
    pub(super) fn of(model: &M) -> Option<Self> {
        let mut formats = Formats::default();
        model.visit(&mut formats);
        let formats = formats.trained;
        if formats.is_empty() {
            return None;
        }
        let raised = formats.keys().map(|path| (path.clone(), DType::F32));
        let model = model.clone().map(&mut Cast::new(&raised.collect()));
        Some(Self { model, formats })
    }

    /// The model to compute with.
    pub(super) fn rounded(&self) -> M {
        self.model.clone().map(&mut Cast::new(&self.formats))
    }
}

/// The formats in which a model is, the one with the smallest range if there are several.
pub(super) fn precision_of<M: Module>(model: &M) -> Precision {
    let mut formats = Formats::default();
    model.visit(&mut formats);
    formats.narrowest
}

#[derive(Default)]
struct Formats {
    path: Vec<String>,
    /// Of weights that are trained and are not in 32 bits.
    trained: BTreeMap<String, DType>,
    narrowest: Precision,
}

impl ModuleVisitor for Formats {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_initialized() {
            return;
        }
        let tensor = param.base();
        let precision = Precision::of(tensor.dtype());
        if precision == Precision::F32 {
            return;
        }
        if self.narrowest != Precision::F16 {
            self.narrowest = precision;
        }
        if tensor.is_require_grad() {
            self.trained.insert(self.path.join("."), tensor.dtype());
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}

/// Puts trained weights into other formats.
struct Cast<'a> {
    path: Vec<String>,
    formats: &'a BTreeMap<String, DType>,
}

impl<'a> Cast<'a> {
    fn new(formats: &'a BTreeMap<String, DType>) -> Self {
        let path = Vec::new();
        Self { path, formats }
    }
}

impl ModuleMapper for Cast<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.formats.get(&self.path.join(".")) {
            // A leaf of its own.
            Some(dtype) => param.map(|x| x.cast(*dtype).detach().set_require_grad(true)),
            None => param,
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}
