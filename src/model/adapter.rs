//! Adapters as `peft` writes and reads them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A tensor of a file that holds several of the model's maps (GPT-2's `c_attn`) has one pair of
//! factors in `peft`, while here each map has its own. Read, all get the first factor and their
//! rows of the second. Written, the factors of rank `r` lie beside and below each other as one pair
//! of rank `n r`, which is the same function; read again, they are taken apart.

mod config;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{LoraAdapter, Module, Param, Reparameterizer};
use burn::prelude::*;

use self::config::PeftConfig;
use super::Transformer;
use super::architecture::Architecture;
use super::checkpoint::{SCORE, slots};
use super::lora::{Adapters, TargetModules};
use super::names::{StoredTensor, linear_maps};
use super::weights::{self, Weights};
use crate::error::{Error, Result};
use crate::hub::{self, Wanted};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// What `peft` puts before the names of a model's tensors.
const PREFIX: &str = "base_model.model.";
/// The scalar head in an adapter's file.
const HEAD: &str = "base_model.model.score.weight";

/// Whether a folder holds an adapter rather than a whole model.
pub fn is_adapter(dir: &Path) -> bool {
    dir.join(CONFIG).is_file()
}

/// Whether the adapter in `dir` comes with a scalar head.
///
/// # Errors
/// Its file of weights is missing or malformed.
pub fn has_head(dir: &Path) -> Result<bool> {
    Ok(Weights::open_file(dir.join(WEIGHTS))?.shape(HEAD).is_some())
}

/// The folder of the model that the adapter in `dir` belongs to. A path that leads nowhere from
/// the working directory is tried from `dir`, then as a name on the Hub.
///
/// # Errors
/// `adapter_config.json` is missing or malformed, or it names no folder.
pub fn base_of(dir: &Path) -> Result<PathBuf> {
    let path = dir.join(CONFIG);
    let named = config::read(&path)?.base_model_name_or_path;
    let named = named.ok_or_else(|| Error::file(&path, "`base_model_name_or_path` is missing"))?;
    let found = [named.clone(), dir.join(&named)];
    let base = match found.into_iter().find(|base| base.is_dir()) {
        Some(base) => Some(base),
        None => Some(hub::resolve(&named, Wanted::Everything)?).filter(|base| base.is_dir()),
    };
    let base = base.ok_or_else(|| {
        let message = format!(
            "`base_model_name_or_path` is {}, expected a folder",
            named.display()
        );
        Error::file(&path, message)
    })?;
    if is_adapter(&base) {
        let message = format!(
            "its base {} is an adapter too: merge that first",
            base.display()
        );
        return Err(Error::file(&path, message));
    }
    Ok(base)
}

/// The two factors of one map of the model: `[input, rank]` and `[rank, output]`.
struct Factors {
    rank: usize,
    a: Vec<f32>,
    b: Vec<f32>,
}

/// Puts the adapter in `dir` on its base model; also its scalar head, `[hidden]`, when it has one.
///
/// # Errors
/// A file is missing or malformed, something is not implemented, or the tensors do not fit.
pub(super) fn attach(
    base: Transformer,
    base_dir: &Path,
    dir: &Path,
) -> Result<(Transformer, Option<Vec<f32>>)> {
    let config = config::read(&dir.join(CONFIG))?;
    let mut file = Weights::open_file(dir.join(WEIGHTS))?;
    let maps = linear_maps(&base.config().architecture, &slots(&base));
    let faults = faults(&file, &maps, &config);
    if !faults.is_empty() {
        let message = format!("does not fit the model: {}", faults.join("; "));
        return Err(Error::file(&file.path, message));
    }
    let lora = config.lora();
    let (mut found, mut scales) = (BTreeMap::new(), BTreeMap::new());
    for map in &maps {
        let [a, b] = names(map);
        if file.shape(&a).is_none() {
            continue;
        }
        let (rank, alpha) = config.of(map.module());
        let whole = (file.read(&a)?, file.read(&b)?);
        for ((path, shape), factors) in map.parts.iter().zip(unpack(map, rank, lora.lora_r, whole))
        {
            let scale = alpha / lora.divisor(rank);
            scales.insert(path.clone(), scale);
            found.insert(path.clone(), (factors, [shape[0], shape[1]], scale));
        }
    }
    let score = match file.shape(HEAD) {
        Some(_) => Some(file.read(HEAD)?),
        None => None,
    };
    let mut model = base.apply_reparameterization(Attach(found));
    model.set_adapters(Some(Adapters {
        base: base_dir.into(),
        config: lora,
        scales,
    }));
    Ok((model, score))
}

/// Names of the factors of a map in a file.
fn names(map: &StoredTensor) -> [String; 2] {
    ["lora_A", "lora_B"].map(|factor| format!("{PREFIX}{}.{factor}.weight", map.module()))
}

/// Tensors that are missing, mis-shaped or unknown.
fn faults(file: &Weights, maps: &[StoredTensor], config: &PeftConfig) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expected = BTreeMap::new();
    for map in maps {
        let [a, b] = names(map);
        let (rank, _) = config.of(map.module());
        if file.shape(&a).is_some() || file.shape(&b).is_some() {
            expected.insert(a, vec![rank, map.parts[0].1[0]]);
            expected.insert(b, map.second_factor(rank).shape());
        }
    }
    if expected.is_empty() {
        faults.push("it holds no factors of this model's linear maps".into());
    }
    for (name, shape) in &expected {
        match file.shape(name) {
            None => faults.push(format!("missing tensor `{name}`")),
            Some(found) if found != shape => {
                faults.push(format!("tensor `{name}` is {found:?}, expected {shape:?}"));
            }
            Some(_) => {}
        }
    }
    let unknown = file
        .names()
        .filter(|name| !expected.contains_key(*name) && *name != HEAD);
    faults.extend(unknown.map(|name| format!("unknown tensor `{name}`")));
    faults
}

/// The factors of each part of a map from those of the whole in a file, `[rank, input]` and
/// `[output, rank]`. What [`pack`] laid together from parts of rank `r` is taken apart.
fn unpack(map: &StoredTensor, rank: usize, r: usize, (a, b): (Vec<f32>, Vec<f32>)) -> Vec<Factors> {
    let parts = map.second_factor(rank).unpack(b);
    let n = parts.len();
    // Row `k` of a part of the second factor goes with row `k` of the first.
    let apart = rank == n * r
        && parts.iter().enumerate().all(|(i, part)| {
            let mut rows = part.chunks(part.len() / rank).enumerate();
            rows.all(|(k, row)| k / r == i || row.iter().all(|x| *x == 0.0))
        });
    let inputs = a.len() / rank;
    let factors = |(i, b): (usize, Vec<f32>)| {
        let rows = if apart { i * r..(i + 1) * r } else { 0..rank };
        let outputs = b.len() / rank;
        Factors {
            rank: rows.len(),
            a: transposed(&a[rows.start * inputs..rows.end * inputs], inputs),
            b: b[rows.start * outputs..rows.end * outputs].to_vec(),
        }
    };
    parts.into_iter().enumerate().map(factors).collect()
}

/// The factors of the whole of a map as a file has them, from those of its parts.
fn pack(map: &StoredTensor, factors: &[Factors]) -> (usize, Vec<f32>, Vec<f32>) {
    let rank: usize = factors.iter().map(|part| part.rank).sum();
    let mut before = 0;
    let (mut a, mut bs) = (Vec::new(), Vec::new());
    for part in factors {
        a.extend(transposed(&part.a, part.rank));
        let outputs = part.b.len() / part.rank;
        let mut b = vec![0.0; rank * outputs];
        b[before * outputs..(before + part.rank) * outputs].copy_from_slice(&part.b);
        before += part.rank;
        bs.push(b);
    }
    (rank, a, map.second_factor(rank).pack(bs))
}

/// A matrix with rows of `width` numbers, its rows as columns.
fn transposed(matrix: &[f32], width: usize) -> Vec<f32> {
    let columns = (0..width).flat_map(|j| matrix.iter().skip(j).step_by(width));
    columns.copied().collect()
}

/// Puts factors on the weights that they are for, and freezes all.
struct Attach(BTreeMap<String, (Factors, [usize; 2], f64)>);

impl Reparameterizer for Attach {
    type Reparam = LoraAdapter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraAdapter>) {
        let device = param.lazy_device();
        let adapter = self
            .0
            .remove(path)
            .map(|(factors, [inputs, outputs], scale)| {
                let factor =
                    |numbers, shape| Param::from_data(TensorData::new(numbers, shape), &device);
                LoraAdapter {
                    a: factor(factors.a, [inputs, factors.rank]),
                    b: factor(factors.b, [factors.rank, outputs]),
                    scale,
                }
            });
        (param.set_require_grad(false), adapter)
    }
}

/// Writes adapters, and a scalar head when there is one, from the parameters of a model by path
/// (`layers.0.self_attn.q_proj.weight.lora.a`, `score.weight`): `slots` are the shapes of all,
/// `numbers` those of these.
///
/// # Errors
/// The file system refuses.
pub(super) fn save(
    architecture: &Architecture,
    adapters: &Adapters,
    slots: &BTreeMap<String, Vec<usize>>,
    mut numbers: BTreeMap<String, Vec<f32>>,
    dir: &Path,
) -> Result<()> {
    let lora = &adapters.config;
    let mut config = PeftConfig::new(architecture, adapters);
    let (mut tensors, mut modules) = (Vec::new(), Vec::new());
    for map in linear_maps(architecture, slots) {
        let factors = |(path, shape): &(String, Vec<usize>)| {
            let a = numbers.remove(&format!("{path}.lora.a"))?;
            let b = numbers.remove(&format!("{path}.lora.b"))?;
            let rank = b.len() / shape[1];
            Some(Factors { rank, a, b })
        };
        let Some(factors) = map.parts.iter().map(factors).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let (rank, a, b) = pack(&map, &factors);
        let [name_a, name_b] = names(&map);
        tensors.push((name_a, TensorData::new(a, [rank, map.parts[0].1[0]])));
        tensors.push((name_b, TensorData::new(b, map.second_factor(rank).shape())));
        let module = map.module().to_string();
        let scale = adapters.scales.get(&map.parts[0].0).copied();
        let alpha = scale.unwrap_or(lora.scale(rank)) * lora.divisor(rank);
        if rank != lora.lora_r {
            config.rank_pattern.insert(module.clone(), rank);
        }
        if (alpha - lora.lora_alpha).abs() > 1e-9 * alpha.abs() {
            config.alpha_pattern.insert(module.clone(), alpha);
        }
        modules.push(module);
    }
    if !matches!(lora.lora_target_modules, Some(TargetModules::Named(_))) {
        config.target_modules = modules.into();
    }
    if let Some(score) = numbers.remove(SCORE) {
        config.task_type = Some("SEQ_CLS".into());
        config.modules_to_save = Some(vec!["score".into()]);
        let shape = [1, score.len()];
        tensors.push((HEAD.into(), TensorData::new(score, shape)));
    }
    let path = dir.join(CONFIG);
    let text =
        serde_json::to_string_pretty(&config).map_err(|e| Error::file(&path, e.to_string()))?;
    std::fs::write(&path, text + "\n").map_err(Error::io("write", &path))?;
    weights::write(&dir.join(WEIGHTS), &tensors)
}
