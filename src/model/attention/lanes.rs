//! Dot products, sums and exponentials over the keys of a few spans, in vectors.
//!
//! A row of weights holds the spans one after the other, each padded to a multiple of [`LANES`], so
//! that no loop has a remainder. Keys and values are `[head_dim, stride]`.

use std::ops::Range;

use pulp::Simd;

/// The longest vector there is.
pub(super) const LANES: usize = 16;

/// Room that a span takes in a row of weights.
#[inline(always)]
fn padded(span: &Range<usize>) -> usize {
    span.len().next_multiple_of(LANES)
}

/// Component `d` of the keys of a span, up to the end of its last group.
#[inline(always)]
fn component<'a, S: Simd>(
    x: &'a [f32],
    d: usize,
    stride: usize,
    span: &Range<usize>,
) -> &'a [S::f32s] {
    let start = d * stride + span.start;
    S::as_simd_f32s(&x[start..start + padded(span)]).0
}

/// `row = x . keys` over the spans, one after the other.
#[inline(always)]
pub(super) fn products<S: Simd>(
    simd: S,
    row: &mut Vec<f32>,
    x: &[f32],
    keys: &[f32],
    (stride, spans): (usize, &[Range<usize>]),
) {
    row.clear();
    for span in spans {
        let first = row.len();
        row.resize(first + padded(span), 0.0);
        let (row, _) = S::as_mut_simd_f32s(&mut row[first..]);
        let (fours, rest) = row.as_chunks_mut::<4>();
        let n_fours = fours.len();
        for (i, sums) in fours.iter_mut().enumerate() {
            let mut held = *sums;
            for (d, &x) in x.iter().enumerate() {
                let (x, k) = (simd.splat_f32s(x), component::<S>(keys, d, stride, span));
                let k = &k[4 * i..4 * i + 4];
                for l in 0..4 {
                    held[l] = simd.mul_add_e_f32s(x, k[l], held[l]);
                }
            }
            *sums = held;
        }
        for (i, sum) in rest.iter_mut().enumerate() {
            let mut held = *sum;
            for (d, &x) in x.iter().enumerate() {
                let k = component::<S>(keys, d, stride, span)[4 * n_fours + i];
                held = simd.mul_add_e_f32s(simd.splat_f32s(x), k, held);
            }
            *sum = held;
        }
    }
}

/// `out[d] += sum over the spans of row . keys[d]`.
#[inline(always)]
pub(super) fn sums<S: Simd>(
    simd: S,
    out: &mut [f32],
    row: &[f32],
    keys: &[f32],
    (stride, spans): (usize, &[Range<usize>]),
) {
    let (twos, rest) = out.as_chunks_mut::<2>();
    let n_twos = twos.len();
    for (i, out) in twos.iter_mut().enumerate() {
        let mut sums = [simd.splat_f32s(0.0); 2];
        let mut first = 0;
        for span in spans {
            let (row, _) = S::as_simd_f32s(&row[first..first + padded(span)]);
            first += padded(span);
            let k0 = component::<S>(keys, 2 * i, stride, span);
            let k1 = component::<S>(keys, 2 * i + 1, stride, span);
            for ((&w, &k0), &k1) in row.iter().zip(k0).zip(k1) {
                sums[0] = simd.mul_add_e_f32s(w, k0, sums[0]);
                sums[1] = simd.mul_add_e_f32s(w, k1, sums[1]);
            }
        }
        out[0] += simd.reduce_sum_f32s(sums[0]);
        out[1] += simd.reduce_sum_f32s(sums[1]);
    }
    for (i, out) in rest.iter_mut().enumerate() {
        let mut sum = simd.splat_f32s(0.0);
        let mut first = 0;
        for span in spans {
            let (row, _) = S::as_simd_f32s(&row[first..first + padded(span)]);
            first += padded(span);
            for (&w, &k) in row
                .iter()
                .zip(component::<S>(keys, 2 * n_twos + i, stride, span))
            {
                sum = simd.mul_add_e_f32s(w, k, sum);
            }
        }
        *out += simd.reduce_sum_f32s(sum);
    }
}

/// `keys[d] += x[d] row` over the spans.
#[inline(always)]
pub(super) fn spread<S: Simd>(
    simd: S,
    keys: &mut [f32],
    x: &[f32],
    row: &[f32],
    (stride, spans): (usize, &[Range<usize>]),
) {
    for (d, &x) in x.iter().enumerate() {
        let x = simd.splat_f32s(x);
        let mut first = 0;
        for span in spans {
            let (row, _) = S::as_simd_f32s(&row[first..first + padded(span)]);
            first += padded(span);
            let start = d * stride + span.start;
            let (keys, _) = S::as_mut_simd_f32s(&mut keys[start..start + padded(span)]);
            for (key, &w) in keys.iter_mut().zip(row) {
                *key = simd.mul_add_e_f32s(x, w, *key);
            }
        }
    }
}

/// Turns products into `exp(scale x - max)`, 0 in the padding; the maximum and the sum, `None` when
/// there is nothing to see.
#[inline(always)]
pub(super) fn softmax<S: Simd>(
    simd: S,
    row: &mut [f32],
    spans: &[Range<usize>],
    scale: f32,
) -> Option<(f32, f32)> {
    if row.is_empty() {
        return None;
    }
    fill_padding(row, spans, f32::NEG_INFINITY);
    let mut max = simd.splat_f32s(f32::NEG_INFINITY);
    for &x in S::as_simd_f32s(row).0 {
        max = simd.max_f32s(max, x);
    }
    let max = scale * simd.reduce_max_f32s(max);
    exponentials(row, spans, scale, max);
    let mut sum = simd.splat_f32s(0.0);
    for &x in S::as_simd_f32s(row).0 {
        sum = simd.add_f32s(sum, x);
    }
    Some((max, simd.reduce_sum_f32s(sum)))
}

/// `exp(scale x - shift)`, 0 in the padding.
#[inline(always)]
pub(super) fn exponentials(row: &mut [f32], spans: &[Range<usize>], scale: f32, shift: f32) {
    for x in row.iter_mut() {
        *x = exp(scale * *x - shift);
    }
    fill_padding(row, spans, 0.0);
}

#[inline(always)]
fn fill_padding(row: &mut [f32], spans: &[Range<usize>], value: f32) {
    let mut first = 0;
    for span in spans {
        row[first + span.len()..first + padded(span)].fill(value);
        first += padded(span);
    }
}

/// `e^x` for `x <= 0` to a relative error of 2e-7; below -87 it stays at `e^-87`, about 1e-38.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, a polynomial in `r`, and `n` put into the exponent. In
/// plain operations, so that it becomes vector instructions; `f32::exp` calls the C library for
/// every number.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Added and taken off, it rounds to an integer, which is then in its low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, so that the product with n is exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    let exponent = (shifted.to_bits() << 23).wrapping_add(0x3f80_0000);
    p * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        for i in 0..87_000 {
            let x = -(i as f32) * 1e-3;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2e-7, "exp({x}) = {found}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(-1e30) < 1e-37);
    }
}
