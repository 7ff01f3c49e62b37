//! The kernel as an operation of burn on the `flex` backend, with its own backward pass.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::prelude::*;
use burn::tensor::DType;
use burn_flex::FlexTensor;

use super::kernel::{self, Sizes};
use super::visible::Visible;

/// Causal attention as one operation, grouped key/value heads as they are. Arguments as in
/// [`attend`].
#[backend_extension(Flex, Autodiff)]
pub(super) trait FusedAttention: Backend {
    /// Every query sees all keys up to its own.
    fn attend(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Less those that `hidden` takes away.
    fn attend_to_shown(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        hidden: BoolTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// `softmax(q k^T / sqrt(head_dim)) v`, causal. Query `[batch, heads, queries, head_dim]`, key and
/// value `[batch, kv_heads, keys, head_dim]`, `hidden` `[batch, 1, queries, keys]`.
pub(super) fn attend(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    let [query, key, value] = [query, key, value].map(Tensor::into_dispatch);
    Tensor::from_dispatch(match hidden.map(Tensor::into_dispatch) {
        None => <Dispatch as FusedAttention>::attend(query, key, value),
        Some(hidden) => Dispatch::attend_to_shown(query, key, value, hidden),
    })
}

impl FusedAttention for Flex {
    fn attend(query: FlexTensor, key: FlexTensor, value: FlexTensor) -> FlexTensor {
        Call::new([query, key, value], None).forward().0
    }

    fn attend_to_shown(
        query: FlexTensor,
        key: FlexTensor,
        value: FlexTensor,
        hidden: FlexTensor,
    ) -> FlexTensor {
        Call::new([query, key, value], Some(hidden)).forward().0
    }
}

impl<C: CheckpointStrategy> FusedAttention for Autodiff<Flex, C> {
    fn attend(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<C>([query, key, value], None)
    }

    fn attend_to_shown(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        hidden: FlexTensor,
    ) -> FloatTensor<Self> {
        record::<C>([query, key, value], Some(hidden))
    }
}

/// A tensor on the tape; it is the same type under every checkpointing strategy.
type Recorded = FloatTensor<Autodiff<Flex>>;

/// Computes the output and puts the operation on the tape.
fn record<C: CheckpointStrategy>(inputs: [Recorded; 3], hidden: Option<FlexTensor>) -> Recorded {
    let nodes = inputs.each_ref().map(Recorded::node);
    let call = Call::new(inputs.map(Recorded::into_primitive), hidden);
    let (out, log_totals) = call.forward();
    match Attend.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish((call, out.clone(), log_totals), out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}

#[derive(Debug)]
struct Attend;

impl Backward<Flex, 3> for Attend {
    /// The inputs, the output and the logarithms of the softmax's denominators.
    type State = (Call, FlexTensor, Vec<f32>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (call, out, log_totals) = ops.state;
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let done = (out.storage::<f32>(), log_totals.as_slice());
        let found = kernel::backward(
            &call.sizes,
            call.inputs(),
            &call.visible(),
            done,
            grad.storage(),
        );
        let sides = [Side::Queries, Side::Keys, Side::Keys];
        for ((parent, found), side) in ops.parents.into_iter().zip(found).zip(sides) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, call.tensor(found, side));
            }
        }
    }
}

/// Contiguous inputs and their sizes.
#[derive(Debug, Clone)]
struct Call {
    sizes: Sizes,
    inputs: [FlexTensor; 3],
    hidden: Option<FlexTensor>,
}

/// Which of the inputs a tensor is shaped like.
enum Side {
    Queries,
    Keys,
}

impl Call {
    fn new(inputs: [FlexTensor; 3], hidden: Option<FlexTensor>) -> Self {
        let query = inputs[0].layout().shape();
        let key = inputs[1].layout().shape();
        let sizes = Sizes {
            batch: query[0],
            heads: query[1],
            kv_heads: key[1],
            queries: query[2],
            keys: key[2],
            head_dim: query[3],
        };
        Self {
            sizes,
            inputs: inputs.map(|tensor| tensor.to_contiguous()),
            hidden: hidden.map(|tensor| tensor.to_contiguous()),
        }
    }

    /// The output, and the logarithms of the softmax's denominators.
    fn forward(&self) -> (FlexTensor, Vec<f32>) {
        let (out, log_totals) = kernel::forward(&self.sizes, self.inputs(), &self.visible());
        (self.tensor(out, Side::Queries), log_totals)
    }

    fn inputs(&self) -> [&[f32]; 3] {
        self.inputs.each_ref().map(|tensor| tensor.storage::<f32>())
    }

    fn visible(&self) -> Visible {
        Visible::new(&self.sizes, self.hidden.as_ref().map(FlexTensor::bytes))
    }

    fn tensor(&self, values: Vec<f32>, side: Side) -> FlexTensor {
        let Sizes {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            head_dim,
        } = self.sizes;
        let shape = match side {
            Side::Queries => [batch, heads, queries, head_dim],
            Side::Keys => [batch, kv_heads, keys, head_dim],
        };
        FlexTensor::from_data(TensorData::new(values, shape).convert_dtype(DType::F32))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::super::{composed, repeat_kv};
    use super::*;

    fn random(shape: [usize; 4], rng: &mut StdRng) -> TensorData {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| rng.random_range(-2.0..2.0)).collect();
        TensorData::new(values, shape)
    }

    /// Output and gradients of `attention`, whose output is weighed by fixed numbers.
    fn run(
        attention: impl Fn([Tensor<4>; 3]) -> Tensor<4>,
        inputs: &[TensorData; 3],
        weigh: &TensorData,
    ) -> Vec<TensorData> {
        let device = Device::flex().autodiff();
        let inputs = inputs
            .each_ref()
            .map(|x| Tensor::<4>::from_data(x.clone(), &device).require_grad());
        let out = attention(inputs.clone());
        let weigh = Tensor::<4>::from_data(weigh.clone(), &device);
        let grads = (out.clone() * weigh).sum().backward();
        let mut found = vec![out.into_data()];
        found.extend(inputs.iter().map(|x| x.grad(&grads).unwrap().into_data()));
        found
    }

    /// The kernel against operations that burn differentiates.
    fn check([batch, heads, kv_heads, queries, keys, head_dim]: [usize; 6], hide: f64) {
        let mut rng = StdRng::seed_from_u64(7);
        let inputs = [(heads, queries), (kv_heads, keys), (kv_heads, keys)]
            .map(|(heads, seq)| random([batch, heads, seq, head_dim], &mut rng));
        let weigh = random([batch, heads, queries, head_dim], &mut rng);
        let mut hidden = vec![false; batch * queries * keys];
        for (i, hidden) in hidden.iter_mut().enumerate() {
            let itself = i % keys == keys - queries + i / keys % queries;
            *hidden = !itself && rng.random_bool(hide);
        }
        let shape = [batch, 1, queries, keys];
        let hidden = Tensor::<4, Bool>::from_data(TensorData::new(hidden, shape), &Device::flex());
        let hidden = (hide > 0.0).then_some(hidden);
        let fused = run(|[q, k, v]| attend(q, k, v, hidden.clone()), &inputs, &weigh);
        let composed = run(
            |[q, k, v]| {
                let (k, v) = (repeat_kv(k, heads), repeat_kv(v, heads));
                composed(q, k, v, hidden.clone(), None)
            },
            &inputs,
            &weigh,
        );
        for (found, expected) in fused.iter().zip(&composed) {
            found.assert_approx_eq::<f32>(expected, burn::tensor::Tolerance::absolute(2e-5));
        }
    }

    #[test]
    fn fused_and_composed_agree() {
        check([1, 1, 1, 2, 2, 2], 0.0);
        check([2, 4, 2, 19, 19, 6], 0.0);
        check([2, 4, 2, 19, 40, 8], 0.4);
        check([3, 6, 2, 33, 33, 10], 0.7);
    }
}
