//! The families of models: what each one's `config.json` means, defaults included.
//!
//! The defaults are those of the configuration classes in `transformers` 5; files often leave them
//! out.

use super::architecture::{
    Activation, Architecture, AttentionShape, Bias, FeedForwardShape, Gate, Head, LayerKind,
    NormKind, Positions, QkNorm, Reach, Residual,
};
use super::config::{FULL, Fields, SLIDING, Sizes};

/// A family of models, by whose names the tensors of a checkpoint go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 1 to 3 and what shares its form, such as SmolLM2.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3, dense.
    Qwen3,
    /// GPT-2.
    Gpt2,
    /// GPT-NeoX and Pythia.
    GptNeoX,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, text only.
    Gemma3,
    /// Phi-3 and Phi-4.
    Phi3,
    /// SmolLM3.
    SmolLm3,
}

/// `model_type`, how the names of the classes begin, family.
const FAMILIES: [(&str, &str, Family); 10] = [
    ("llama", "Llama", Family::Llama),
    ("mistral", "Mistral", Family::Mistral),
    ("qwen2", "Qwen2", Family::Qwen2),
    ("qwen3", "Qwen3", Family::Qwen3),
    ("gpt2", "GPT2", Family::Gpt2),
    ("gpt_neox", "GPTNeoX", Family::GptNeoX),
    ("gemma2", "Gemma2", Family::Gemma2),
    ("gemma3_text", "Gemma3", Family::Gemma3),
    ("phi3", "Phi3", Family::Phi3),
    ("smollm3", "SmolLM3", Family::SmolLm3),
];

impl Family {
    /// The family of a `model_type`.
    pub(super) fn named(model_type: &str) -> Result<Self, String> {
        let found = FAMILIES.iter().find(|family| family.0 == model_type);
        found.map(|family| family.2).ok_or_else(|| {
            let known = FAMILIES.map(|family| family.0).join(", ");
            format!("`model_type` is `{model_type}`, expected one of the families: {known}")
        })
    }

    /// What `architectures` says of a language model.
    pub(super) fn causal_lm(self) -> String {
        let suffix = match self {
            Self::Gpt2 => "LMHeadModel",
            _ => "ForCausalLM",
        };
        self.class_prefix().to_string() + suffix
    }

    /// What `architectures` says of a model with a scalar head.
    pub(super) fn classifier(self) -> String {
        let suffix = match self {
            Self::Gemma3 => "TextForSequenceClassification",
            _ => "ForSequenceClassification",
        };
        self.class_prefix().to_string() + suffix
    }

    fn class_prefix(self) -> &'static str {
        let found = FAMILIES.iter().find(|family| family.2 == self);
        found.map_or("", |family| family.1)
    }

    /// Whether files of this family may say layer by layer which have a window.
    fn reads_layer_types(self) -> bool {
        matches!(
            self,
            Self::Qwen2 | Self::Qwen3 | Self::SmolLm3 | Self::Gemma2 | Self::Gemma3
        )
    }

    /// The model that a `config.json` of this family describes.
    pub(super) fn architecture(self, fields: &Fields) -> Result<Architecture, String> {
        match self {
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 | Self::SmolLm3 => {
                llama_like(self, fields)
            }
            Self::Phi3 => phi3(fields),
            Self::Gemma2 | Self::Gemma3 => gemma(self, fields),
            Self::Gpt2 => gpt2(fields),
            Self::GptNeoX => gpt_neox(fields),
        }
    }
}

/// Bias-free, RMSNorm, SwiGLU, the first rotation in every layer: what most families are or start
/// from.
pub(super) fn plain(
    family: Family,
    sizes: &Sizes,
    inner: usize,
    positions: Positions,
) -> Architecture {
    let layer = LayerKind {
        reach: Reach::Full,
        rope: (positions != Positions::Learned).then_some(0),
    };
    let limit = match &positions {
        Positions::Learned => None,
        Positions::Rotary(ropes) => ropes.iter().filter_map(|rope| rope.max_len).min(),
    };
    Architecture {
        family,
        vocab_size: sizes.vocab,
        hidden_size: sizes.hidden,
        max_len: limit.unwrap_or(usize::MAX).min(sizes.max_len),
        embed_scale: 1.0,
        head: Head::Own,
        positions,
        norm: NormKind::Rms,
        norm_eps: 1e-6,
        residual: Residual::Sequential,
        attention: AttentionShape {
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            head_dim: sizes.head_dim,
            qkv_bias: Bias::Absent,
            output_bias: Bias::Absent,
            qk_norm: QkNorm::None,
            scale: 1.0 / (sizes.head_dim as f32).sqrt(),
            soft_cap: None,
        },
        feed_forward: FeedForwardShape {
            inner,
            gate: Gate::Gated,
            bias: Bias::Absent,
            activation: Activation::Silu,
        },
        layers: vec![layer; sizes.layers],
        window: usize::MAX,
        logit_soft_cap: None,
    }
}

fn llama_like(family: Family, fields: &Fields) -> Result<Architecture, String> {
    let head_dim = (family == Family::Qwen3).then_some(128);
    let sizes = fields.sizes(head_dim)?;
    let theta = if family == Family::SmolLm3 { 2e6 } else { 1e4 };
    let theta = fields.rope_theta.unwrap_or(theta);
    let rope = fields.rope(FULL, sizes.head_dim, (theta, 1.0))?;
    let mut arch = plain(
        family,
        &sizes,
        inner(fields)?,
        Positions::Rotary(vec![rope]),
    );
    arch.norm_eps = fields.rms_norm_eps.unwrap_or(1e-6);
    arch.head = head(fields, family == Family::SmolLm3);
    arch.feed_forward.activation = activation(fields.hidden_act.as_deref(), "silu")?;
    if let Family::Llama | Family::Qwen3 | Family::SmolLm3 = family {
        arch.attention.qkv_bias = fields.attention_bias.unwrap_or(false).into();
        arch.attention.output_bias = arch.attention.qkv_bias;
    }
    if let Family::Llama | Family::SmolLm3 = family {
        arch.feed_forward.bias = fields.mlp_bias.unwrap_or(false).into();
    }
    if family == Family::Qwen2 {
        arch.attention.qkv_bias = Bias::Present;
    }
    if family == Family::Qwen3 {
        arch.attention.qk_norm = QkNorm::PerHead;
    }
    let first = fields.max_window_layers.unwrap_or(28);
    let switched = fields.use_sliding_window.unwrap_or(false);
    let switched = fields.window(Some(4096)).filter(|_| switched);
    match family {
        Family::Mistral => set_reach(&mut arch, fields, fields.window(Some(4096)), |_| true)?,
        Family::Qwen2 | Family::Qwen3 => {
            set_reach(&mut arch, fields, switched, |layer| layer >= first)?;
        }
        Family::SmolLm3 => {
            set_nope(&mut arch, fields);
            let nope: Vec<bool> = arch.layers.iter().map(|x| x.rope.is_none()).collect();
            set_reach(&mut arch, fields, switched, |layer| nope[layer])?;
        }
        _ => set_reach(&mut arch, fields, None, |_| false)?,
    }
    Ok(arch)
}

/// Layers without positions: those listed with a 0, or every fourth.
fn set_nope(arch: &mut Architecture, fields: &Fields) {
    let interval = fields.no_rope_layer_interval.unwrap_or(4).max(1);
    for (i, layer) in arch.layers.iter_mut().enumerate() {
        let turns = match &fields.no_rope_layers {
            Some(list) => list.get(i) != Some(&0),
            None => !(i + 1).is_multiple_of(interval),
        };
        layer.rope = turns.then_some(0);
    }
}

fn phi3(fields: &Fields) -> Result<Architecture, String> {
    let sizes = fields.sizes(None)?;
    let theta = fields.rope_theta.unwrap_or(1e4);
    let rope = fields.rope(FULL, sizes.head_dim, (theta, 1.0))?;
    let mut arch = plain(
        Family::Phi3,
        &sizes,
        inner(fields)?,
        Positions::Rotary(vec![rope]),
    );
    arch.norm_eps = fields.rms_norm_eps.unwrap_or(1e-5);
    arch.head = head(fields, false);
    arch.feed_forward.activation = activation(fields.hidden_act.as_deref(), "silu")?;
    set_reach(&mut arch, fields, fields.window(None), |_| true)?;
    Ok(arch)
}

fn gemma(family: Family, fields: &Fields) -> Result<Architecture, String> {
    let sizes = fields.sizes(Some(256))?;
    let third = family == Family::Gemma3;
    let soft_caps = if third {
        (None, None)
    } else {
        (Some(50.0), Some(30.0))
    };
    let theta = fields.rope_theta.unwrap_or(if third { 1e6 } else { 1e4 });
    let rope = fields.rope(FULL, sizes.head_dim, (theta, 1.0))?;
    let mut arch = plain(
        family,
        &sizes,
        inner(fields)?,
        Positions::Rotary(vec![rope]),
    );
    arch.embed_scale = (sizes.hidden as f32).sqrt();
    arch.head = head(fields, true);
    arch.norm = NormKind::RmsOffset;
    arch.norm_eps = fields.rms_norm_eps.unwrap_or(1e-6);
    arch.residual = Residual::Sandwich;
    arch.attention.scale = fields.query_pre_attn_scalar.unwrap_or(256.0).powf(-0.5) as f32;
    arch.attention.soft_cap = fields.attn_logit_softcapping.unwrap_or(soft_caps.0);
    arch.attention.qkv_bias = fields.attention_bias.unwrap_or(false).into();
    arch.attention.output_bias = arch.attention.qkv_bias;
    arch.logit_soft_cap = fields.final_logit_softcapping.unwrap_or(soft_caps.1);
    let given = fields.hidden_activation.as_deref();
    arch.feed_forward.activation = activation(given, "gelu_pytorch_tanh")?;
    let pattern = if third {
        fields.sliding_window_pattern.unwrap_or(6)
    } else {
        2
    };
    let full = |layer: usize| (layer + 1).is_multiple_of(pattern.max(1));
    set_reach(&mut arch, fields, fields.window(Some(4096)), |layer| {
        !full(layer)
    })?;
    if third {
        arch.attention.qk_norm = QkNorm::PerHead;
        let theta = fields.rope_local_base_freq.unwrap_or(1e4);
        let local = fields.rope(SLIDING, sizes.head_dim, (theta, 1.0))?;
        if let Positions::Rotary(ropes) = &mut arch.positions {
            ropes.push(local);
        }
        for layer in &mut arch.layers {
            layer.rope = Some(usize::from(layer.reach == Reach::Window));
        }
    }
    Ok(arch)
}

fn gpt2(fields: &Fields) -> Result<Architecture, String> {
    let sizes = fields.sizes(None)?;
    let inner = fields.intermediate_size.unwrap_or(4 * sizes.hidden);
    let mut arch = plain(Family::Gpt2, &sizes, inner, Positions::Learned);
    arch.head = head(fields, true);
    let given = fields.hidden_act.as_deref();
    set_gpt(&mut arch, fields, activation(given, "gelu_new")?, true);
    set_reach(&mut arch, fields, None, |_| false)?;
    Ok(arch)
}

fn gpt_neox(fields: &Fields) -> Result<Architecture, String> {
    let sizes = fields.sizes(None)?;
    let theta = fields.rotary_emb_base.unwrap_or(1e4);
    let fraction = fields.rotary_pct.unwrap_or(0.25);
    let rope = fields.rope(FULL, sizes.head_dim, (theta, fraction))?;
    let mut arch = plain(
        Family::GptNeoX,
        &sizes,
        inner(fields)?,
        Positions::Rotary(vec![rope]),
    );
    arch.head = head(fields, false);
    if fields.use_parallel_residual.unwrap_or(true) {
        arch.residual = Residual::Parallel;
    }
    let given = fields.hidden_act.as_deref();
    let bias = fields.attention_bias.unwrap_or(true);
    set_gpt(&mut arch, fields, activation(given, "gelu")?, bias);
    set_reach(&mut arch, fields, None, |_| false)?;
    Ok(arch)
}

/// LayerNorm, biases, no gate: what GPT-2 and GPT-NeoX share.
fn set_gpt(arch: &mut Architecture, fields: &Fields, activation: Activation, bias: bool) {
    arch.norm = NormKind::Layer;
    arch.norm_eps = fields.layer_norm_eps.unwrap_or(1e-5);
    arch.attention.qkv_bias = bias.into();
    arch.attention.output_bias = bias.into();
    arch.feed_forward.gate = Gate::Plain;
    arch.feed_forward.bias = Bias::Present;
    arch.feed_forward.activation = activation;
}

/// Layers that see through a window: those that `layer_types` lists, or those of `rule`.
fn set_reach(
    arch: &mut Architecture,
    fields: &Fields,
    window: Option<usize>,
    rule: impl Fn(usize) -> bool,
) -> Result<(), String> {
    let by_rule = (0..arch.layers.len()).map(|layer| window.is_some() && rule(layer));
    let by_rule: Vec<bool> = by_rule.collect();
    let listed = match &fields.layer_types {
        Some(types) => listed_windows(types, arch.layers.len())?,
        None => by_rule.clone(),
    };
    if listed != by_rule && !arch.family.reads_layer_types() {
        return Err("`layer_types` disagrees with `sliding_window`".into());
    }
    if listed.contains(&true) {
        let window = window.filter(|&window| window > 0);
        arch.window = window.ok_or("a layer has a window but `sliding_window` is off")?;
    }
    for (layer, windowed) in arch.layers.iter_mut().zip(listed) {
        layer.reach = if windowed { Reach::Window } else { Reach::Full };
    }
    Ok(())
}

fn listed_windows(types: &[String], layers: usize) -> Result<Vec<bool>, String> {
    if types.len() != layers {
        return Err(format!(
            "`layer_types` lists {} layers, expected {layers}",
            types.len()
        ));
    }
    let windowed = types.iter().map(|kind| match kind.as_str() {
        FULL => Ok(false),
        SLIDING => Ok(true),
        other => Err(format!("`layer_types` = {other} is not implemented")),
    });
    windowed.collect()
}

fn inner(fields: &Fields) -> Result<usize, String> {
    let inner = fields.intermediate_size.filter(|&n| n > 0);
    inner.ok_or_else(|| "`intermediate_size` is missing or 0".into())
}

fn head(fields: &Fields, tied: bool) -> Head {
    if fields.tie_word_embeddings.unwrap_or(tied) {
        Head::Tied
    } else {
        Head::Own
    }
}

fn activation(given: Option<&str>, default: &str) -> Result<Activation, String> {
    match given.unwrap_or(default) {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(format!("`hidden_act` = {other} is not implemented")),
    }
}
