//! Helpers for the ops' tests: reproducible numbers, gradients by candle's backward pass, comparisons.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};

/// Reproducible pseudo-random numbers in `[-1, 1)`.
pub(super) fn noise(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values = (0..shape.elem_count()).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.
    });
    Tensor::from_vec(values.collect(), shape, &Device::Cpu).unwrap()
}

/// The result of `op`, and the gradients of a random weighted sum of the result with respect to every input, in `dtype`.
pub(super) fn run(op: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor], dtype: DType) -> Vec<Tensor> {
    let variables: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap()).collect();
    let inputs: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let ys = op(&inputs).unwrap();
    let weighting = noise(ys.shape(), 99).to_dtype(dtype).unwrap();
    let gradients = (&ys * weighting).unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![ys.detach()];
    all.extend(inputs.iter().map(|x| gradients.get(x).unwrap().clone()));
    all
}

/// Asserts that `op` and its gradients equal those of `oracle`, a composition of candle's own ops run in f64, up to
/// `tolerance` times the largest value of each.
pub(super) fn assert_matches(
    op: impl Fn(&[Tensor]) -> Result<Tensor>,
    oracle: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    tolerance: f64,
) {
    let found = run(op, inputs, DType::F32);
    let expected = run(oracle, inputs, DType::F64);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found.dims(), expected.dims(), "tensor {i}");
        let error = largest(&(found.to_dtype(DType::F64).unwrap() - expected).unwrap());
        let scale = largest(expected);
        assert!(error <= tolerance * scale, "tensor {i} of {:?}: off by {error}, largest {scale}", found.shape());
    }
}

fn largest(xs: &Tensor) -> f64 {
    xs.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// The elements in row-major order.
pub(super) fn flat(xs: &Tensor) -> Vec<f32> {
    xs.flatten_all().unwrap().to_vec1().unwrap()
}

/// Asserts that `op` and its gradients give the same bytes with 1, 2, 3 and 8 threads.
pub(super) fn assert_thread_counts_agree(op: impl Fn(&[Tensor]) -> Result<Tensor> + Sync, inputs: &[Tensor]) {
    let bits = |threads| -> Vec<Vec<u32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let tensors = pool.install(|| run(&op, inputs, DType::F32));
        tensors.iter().map(|tensor| flat(tensor).into_iter().map(f32::to_bits).collect()).collect()
    };
    let one = bits(1);
    for threads in [2, 3, 8] {
        assert!(bits(threads) == one, "{threads} threads");
    }
}
