//! Everything except convolutions, forward and backward, at the sizes of a training step: batch 4 at 256x256.
//!
//! `cargo bench -p impasto-nn --bench planes -- norm`. Throughput is in bytes of the argument. `RAYON_NUM_THREADS` sets
//! the number of threads. Backward includes candle's bookkeeping, which adds each gradient to zeros.

use candle_core::{Device, Result, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use impasto_nn::ops::{InstanceNorm, gram, instance_norm, max_pool2d, mse, total_variation};

fn bench(
    criterion: &mut Criterion,
    name: &str,
    shape: (usize, usize, usize, usize),
    op: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let xs = Tensor::randn(0.0_f32, 1.0, shape, &Device::Cpu)?;
    let graph = op(Var::from_tensor(&xs)?.as_tensor())?;
    let mut group = criterion.benchmark_group(format!("{name} {shape:?}"));
    group.sample_size(20).throughput(Throughput::Bytes(4 * xs.elem_count() as u64));
    group.bench_function("forward", |b| b.iter(|| op(&xs)));
    group.bench_function("backward", |b| b.iter(|| graph.backward()));
    group.finish();
    Ok(())
}

fn bench_all(criterion: &mut Criterion) -> Result<()> {
    for shape in [(4, 32, 256, 256), (4, 128, 64, 64)] {
        let affine = |seed: f32| Tensor::full(seed, shape.1, &Device::Cpu);
        let (weight, bias) = (affine(1.5)?, affine(0.5)?);
        let config = InstanceNorm { relu: true, ..InstanceNorm::default() };
        bench(criterion, "norm", shape, |xs| instance_norm(xs, &weight, &bias, None, &config))?;
    }
    bench(criterion, "pool", (4, 64, 256, 256), max_pool2d)?;
    for shape in [(4, 64, 256, 256), (4, 128, 128, 128), (4, 256, 64, 64)] {
        bench(criterion, "gram", shape, gram)?;
    }
    let target = Tensor::zeros((4, 256, 64, 64), candle_core::DType::F32, &Device::Cpu)?;
    bench(criterion, "mse", (4, 256, 64, 64), |xs| mse(xs, &target))?;
    bench(criterion, "variation", (4, 3, 256, 256), total_variation)
}

fn bench_or_panic(criterion: &mut Criterion) {
    if let Err(error) = bench_all(criterion) {
        panic!("cannot measure: {error}");
    }
}

criterion_group!(benches, bench_or_panic);
criterion_main!(benches);
