//! Names and layouts of the tensors in a family's files.
//!
//! Inside the crate every model has the parts of [`Transformer`](super::Transformer); in a file
//! they have the names of the family, and some lie together in one tensor. [`stored_tensors`] lists
//! the file's tensors with the parts that each holds, for reading and for writing alike.

use std::collections::BTreeMap;

use super::architecture::{Architecture, Head};
use super::family::Family;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredTensor {
    /// Its name in the file.
    pub(super) name: String,
    /// The parameters of the model that it holds, with their shapes.
    pub(super) parts: Vec<(String, Vec<usize>)>,
    layout: Layout,
    head_dim: usize,
}

/// How a tensor of a file holds parameters. A linear map of the model is `[input, output]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// One parameter as it is.
    Same,
    /// Linear maps as PyTorch has them, `[output, input]`, one below the other.
    Rows,
    /// Linear maps `[input, output]`, one beside the other (GPT-2's `Conv1D`).
    Columns,
    /// As rows, but the maps take turns, head by head (GPT-NeoX).
    RowsByHead,
}

use Layout::{Columns, Rows, RowsByHead, Same};

/// Tensors of a block: name in the file, names in the model, layout.
type Parts = &'static [(&'static str, &'static [&'static str], Layout)];

/// Names in the files of a family.
struct Names {
    /// What all names but that of the head start with.
    trunk: &'static str,
    embed: &'static str,
    positions: &'static str,
    layers: &'static str,
    norm: &'static str,
    head: &'static str,
    parts: Parts,
}

const QKV: &[&str] = &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

const LLAMA_PARTS: Parts = &[
    ("input_layernorm", &["attn_norm"], Same),
    ("self_attn.q_proj", &["self_attn.q_proj"], Rows),
    ("self_attn.k_proj", &["self_attn.k_proj"], Rows),
    ("self_attn.v_proj", &["self_attn.v_proj"], Rows),
    ("self_attn.o_proj", &["self_attn.o_proj"], Rows),
    ("self_attn.q_norm", &["self_attn.q_norm"], Same),
    ("self_attn.k_norm", &["self_attn.k_norm"], Same),
    ("post_attention_layernorm", &["mlp_norm"], Same),
    ("mlp.gate_proj", &["mlp.gate_proj"], Rows),
    ("mlp.up_proj", &["mlp.up_proj"], Rows),
    ("mlp.down_proj", &["mlp.down_proj"], Rows),
];

const GEMMA_PARTS: Parts = &[
    ("input_layernorm", &["attn_norm"], Same),
    ("self_attn.q_proj", &["self_attn.q_proj"], Rows),
    ("self_attn.k_proj", &["self_attn.k_proj"], Rows),
    ("self_attn.v_proj", &["self_attn.v_proj"], Rows),
    ("self_attn.o_proj", &["self_attn.o_proj"], Rows),
    ("self_attn.q_norm", &["self_attn.q_norm"], Same),
    ("self_attn.k_norm", &["self_attn.k_norm"], Same),
    ("post_attention_layernorm", &["attn_post_norm"], Same),
    ("pre_feedforward_layernorm", &["mlp_norm"], Same),
    ("mlp.gate_proj", &["mlp.gate_proj"], Rows),
    ("mlp.up_proj", &["mlp.up_proj"], Rows),
    ("mlp.down_proj", &["mlp.down_proj"], Rows),
    ("post_feedforward_layernorm", &["mlp_post_norm"], Same),
];

const PHI3_PARTS: Parts = &[
    ("input_layernorm", &["attn_norm"], Same),
    ("self_attn.qkv_proj", QKV, Rows),
    ("self_attn.o_proj", &["self_attn.o_proj"], Rows),
    ("post_attention_layernorm", &["mlp_norm"], Same),
    ("mlp.gate_up_proj", &["mlp.gate_proj", "mlp.up_proj"], Rows),
    ("mlp.down_proj", &["mlp.down_proj"], Rows),
];

const GPT2_PARTS: Parts = &[
    ("ln_1", &["attn_norm"], Same),
    ("attn.c_attn", QKV, Columns),
    ("attn.c_proj", &["self_attn.o_proj"], Columns),
    ("ln_2", &["mlp_norm"], Same),
    ("mlp.c_fc", &["mlp.up_proj"], Columns),
    ("mlp.c_proj", &["mlp.down_proj"], Columns),
];

const GPT_NEOX_PARTS: Parts = &[
    ("input_layernorm", &["attn_norm"], Same),
    ("attention.query_key_value", QKV, RowsByHead),
    ("attention.dense", &["self_attn.o_proj"], Rows),
    ("post_attention_layernorm", &["mlp_norm"], Same),
    ("mlp.dense_h_to_4h", &["mlp.up_proj"], Rows),
    ("mlp.dense_4h_to_h", &["mlp.down_proj"], Rows),
];

const LLAMA: Names = Names {
    trunk: "model.",
    embed: "embed_tokens",
    positions: "",
    layers: "layers",
    norm: "norm",
    head: "lm_head",
    parts: LLAMA_PARTS,
};

const GPT2: Names = Names {
    trunk: "transformer.",
    embed: "wte",
    positions: "wpe",
    layers: "h",
    norm: "ln_f",
    head: "lm_head",
    parts: GPT2_PARTS,
};

const GPT_NEOX: Names = Names {
    trunk: "gpt_neox.",
    embed: "embed_in",
    positions: "",
    layers: "layers",
    norm: "final_layer_norm",
    head: "embed_out",
    parts: GPT_NEOX_PARTS,
};

fn names(family: Family) -> Names {
    let parts = match family {
        Family::Gpt2 => return GPT2,
        Family::GptNeoX => return GPT_NEOX,
        Family::Phi3 => PHI3_PARTS,
        Family::Gemma2 | Family::Gemma3 => GEMMA_PARTS,
        _ => LLAMA_PARTS,
    };
    Names { parts, ..LLAMA }
}

/// What the names of all tensors but the head's start with; files of the bare model lack it.
pub(super) fn trunk(family: Family) -> &'static str {
    names(family).trunk
}

/// Tensors that some files hold and no model needs: buffers, and the copy of a tied embedding.
pub(super) fn is_harmless(architecture: &Architecture, name: &str) -> bool {
    let buffers: &[&str] = match architecture.family {
        Family::Gpt2 => &[".attn.bias", ".attn.masked_bias"],
        Family::GptNeoX => &[".attention.bias", ".attention.masked_bias"],
        _ => &[],
    };
    let head = names(architecture.family).head;
    name.ends_with("rotary_emb.inv_freq")
        || buffers.iter().any(|buffer| name.ends_with(buffer))
        || architecture.head == Head::Tied && name.strip_suffix(".weight") == Some(head)
}

/// The tensors of a file of this family for a model whose parameters are `slots`, by path. A
/// classifier's file has no head for the vocabulary.
pub(super) fn stored_tensors(
    architecture: &Architecture,
    slots: &BTreeMap<String, Vec<usize>>,
) -> Vec<StoredTensor> {
    let names = names(architecture.family);
    let trunk = |name: &str| names.trunk.to_string() + name;
    let (head, head_part) = if slots.contains_key("score.weight") {
        ("score", "score")
    } else {
        (names.head, "lm_head")
    };
    let mut modules = vec![
        (trunk(names.embed), vec!["embed_tokens".into()], Same),
        (trunk(names.positions), vec!["embed_positions".into()], Same),
        (trunk(names.norm), vec!["norm".into()], Same),
        (head.to_string(), vec![head_part.to_string()], Rows),
    ];
    for i in 0..architecture.layers.len() {
        for (file, parts, layout) in names.parts {
            let file = trunk(&format!("{}.{i}.{file}", names.layers));
            let parts = parts.iter().map(|part| format!("layers.{i}.{part}"));
            modules.push((file, parts.collect(), *layout));
        }
    }
    let mut stored = Vec::new();
    for (file, modules, layout) in &modules {
        for field in ["weight", "bias"] {
            let paths = modules.iter().map(|module| format!("{module}.{field}"));
            let parts =
                paths.filter_map(|path| slots.get(&path).map(|shape| (path, shape.clone())));
            let tensor = StoredTensor {
                name: format!("{file}.{field}"),
                parts: parts.collect(),
                layout: *layout,
                head_dim: architecture.attention.head_dim,
            };
            // A model without biases, say, has nothing to store there.
            if !tensor.parts.is_empty() {
                stored.push(tensor);
            }
        }
    }
    stored
}

/// The weights of the linear maps inside the blocks: those that adapters go on.
pub(super) fn linear_maps(
    architecture: &Architecture,
    slots: &BTreeMap<String, Vec<usize>>,
) -> Vec<StoredTensor> {
    let mut maps = stored_tensors(architecture, slots);
    maps.retain(|tensor| {
        let in_a_block = |(path, _): &(String, _)| path.starts_with("layers.");
        tensor.layout != Same
            && tensor.name.ends_with(".weight")
            && tensor.parts.iter().all(in_a_block)
    });
    maps
}

impl StoredTensor {
    /// Name of the module that it belongs to, in the file.
    pub(super) fn module(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(module, _)| module)
    }

    /// The second factor of an adapter of this rank on this map, `[output, rank]` in a file and a
    /// part `[rank, output]` for each parameter: outputs lie as they do in the map itself.
    pub(super) fn second_factor(&self, rank: usize) -> Self {
        let part = |(path, shape): &(String, Vec<usize>)| (path.clone(), vec![rank, shape[1]]);
        Self {
            name: String::new(),
            parts: self.parts.iter().map(part).collect(),
            layout: match self.layout {
                Columns => Rows,
                other => other,
            },
            head_dim: self.head_dim,
        }
    }

    /// Its shape in the file.
    pub(super) fn shape(&self) -> Vec<usize> {
        let [(_, shape), ..] = self.parts.as_slice() else {
            return Vec::new();
        };
        match (self.layout, shape.as_slice()) {
            (Rows | RowsByHead, [input, _]) => vec![self.outputs(), *input],
            (Columns, [input, _]) => vec![*input, self.outputs()],
            (Rows | RowsByHead | Columns, _) => vec![self.outputs()],
            (Same, shape) => shape.to_vec(),
        }
    }

    /// The parameters in the file's tensor, in the order of `parts`.
    pub(super) fn unpack(&self, stored: Vec<f32>) -> Vec<Vec<f32>> {
        if self.layout == Same {
            return vec![stored];
        }
        let sizes = self.parts.iter().map(|(_, shape)| shape.iter().product());
        let mut parts: Vec<Vec<f32>> = sizes.map(|n: usize| vec![0.0; n]).collect();
        self.for_each(|part, at, at_stored| parts[part][at] = stored[at_stored]);
        parts
    }

    /// The file's tensor from the parameters, in the order of `parts`.
    pub(super) fn pack(&self, mut parts: Vec<Vec<f32>>) -> Vec<f32> {
        if self.layout == Same {
            return parts.pop().unwrap_or_default();
        }
        let mut stored = vec![0.0; parts.iter().map(Vec::len).sum()];
        self.for_each(|part, at, at_stored| stored[at_stored] = parts[part][at]);
        stored
    }

    /// Width of the output of all parts together.
    fn outputs(&self) -> usize {
        self.parts
            .iter()
            .filter_map(|(_, shape)| shape.last())
            .sum()
    }

    /// Calls `visit(part, index in the part, index in the file's tensor)` for every number.
    #[inline]
    fn for_each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let outputs = self.outputs();
        let mut before = 0;
        for (part, (_, shape)) in self.parts.iter().enumerate() {
            let (inputs, width) = match shape.as_slice() {
                [inputs, width] => (*inputs, *width),
                _ => (1, shape.iter().product()),
            };
            for j in 0..width {
                let output = match self.layout {
                    RowsByHead => {
                        let (head, i) = (j / self.head_dim, j % self.head_dim);
                        (head * self.parts.len() + part) * self.head_dim + i
                    }
                    _ => before + j,
                };
                for i in 0..inputs {
                    let at_stored = match self.layout {
                        Columns => i * outputs + output,
                        _ => output * inputs + i,
                    };
                    visit(part, i * width + j, at_stored);
                }
            }
            before += width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two maps from 1 input to 2 heads of 1, stored together.
    fn check(layout: Layout, stored: &[f32], parts: [[f32; 2]; 2]) {
        let tensor = StoredTensor {
            name: "t".into(),
            parts: vec![("a".into(), vec![1, 2]), ("b".into(), vec![1, 2])],
            layout,
            head_dim: 1,
        };
        let parts = parts.map(|part| part.to_vec()).to_vec();
        assert_eq!(tensor.unpack(stored.to_vec()), parts);
        assert_eq!(tensor.pack(parts), stored);
    }

    #[test]
    fn parts_that_lie_together() {
        check(Rows, &[1.0, 2.0, 3.0, 4.0], [[1.0, 2.0], [3.0, 4.0]]);
        check(Columns, &[1.0, 2.0, 3.0, 4.0], [[1.0, 2.0], [3.0, 4.0]]);
        check(RowsByHead, &[1.0, 2.0, 3.0, 4.0], [[1.0, 3.0], [2.0, 4.0]]);
    }

    #[test]
    fn rows_are_transposed_and_columns_are_not() {
        let tensor = |layout| StoredTensor {
            name: "t".into(),
            parts: vec![("a".into(), vec![2, 3])],
            layout,
            head_dim: 1,
        };
        let stored = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(tensor(Rows).shape(), [3, 2]);
        assert_eq!(
            tensor(Rows).unpack(stored.clone()),
            [[1.0, 3.0, 5.0, 2.0, 4.0, 6.0]]
        );
        assert_eq!(tensor(Columns).shape(), [2, 3]);
        assert_eq!(tensor(Columns).unpack(stored.clone()), [stored]);
    }
}
