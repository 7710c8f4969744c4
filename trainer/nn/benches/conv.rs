//! Convolutions of the transformer network and of VGG-16, forward and backward, batch 1 at 256x256.
//!
//! `cargo bench -p impasto-nn --bench conv -- res128`. Throughput is in multiply-adds, which is half of the FLOPs.
//! `RAYON_NUM_THREADS` sets the number of threads. Backward includes candle's bookkeeping, which adds each gradient to zeros.

use candle_core::{Device, Result, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use impasto_nn::ops::{Conv2d, Padding, conv2d};

/// A layer: name, input channels, output channels, input size, kernel, upsampling, stride.
type Layer = (&'static str, usize, usize, usize, usize, usize, usize);

const NETWORK: [Layer; 7] = [
    ("c9s1-32", 3, 32, 256, 9, 1, 1),
    ("d64", 32, 64, 256, 3, 1, 2),
    ("d128", 64, 128, 128, 3, 1, 2),
    ("res128", 128, 128, 64, 3, 1, 1),
    ("u64", 128, 64, 64, 3, 2, 1),
    ("u32", 64, 32, 128, 3, 2, 1),
    ("c9s1-3", 32, 3, 256, 9, 1, 1),
];

const VGG: [Layer; 9] = [
    ("conv1_1", 3, 64, 256, 3, 1, 1),
    ("conv1_2", 64, 64, 256, 3, 1, 1),
    ("conv2_1", 64, 128, 128, 3, 1, 1),
    ("conv2_2", 128, 128, 128, 3, 1, 1),
    ("conv3_1", 128, 256, 64, 3, 1, 1),
    ("conv3_2", 256, 256, 64, 3, 1, 1),
    ("conv4_1", 256, 512, 32, 3, 1, 1),
    ("conv4_2", 512, 512, 32, 3, 1, 1),
    ("conv5_1", 512, 512, 16, 3, 1, 1),
];

fn bench_layer(criterion: &mut Criterion, layer: Layer, reflect: bool) -> Result<()> {
    let (name, inputs, outputs, size, kernel, upsample, stride) = layer;
    let noise = |shape: &[usize]| Tensor::randn(0.0_f32, 1.0, shape, &Device::Cpu);
    let (xs, weight) = (noise(&[1, inputs, size, size])?, noise(&[outputs, inputs, kernel, kernel])?);
    let bias = noise(&[outputs])?;
    let padding = if reflect { Padding::Reflect(kernel / 2) } else { Padding::Zero(kernel / 2) };
    let config = Conv2d { upsample, padding, stride, relu: !reflect };
    let input_graph = conv2d(Var::from_tensor(&xs)?.as_tensor(), &weight, &bias, &config)?;
    let weight_graph = conv2d(&xs, Var::from_tensor(&weight)?.as_tensor(), &bias, &config)?;

    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .throughput(Throughput::Elements((input_graph.elem_count() * inputs * kernel * kernel) as u64));
    group.bench_function("forward", |b| b.iter(|| conv2d(&xs, &weight, &bias, &config)));
    group.bench_function("input gradient", |b| b.iter(|| input_graph.backward()));
    group.bench_function("weight gradient", |b| b.iter(|| weight_graph.backward()));
    group.finish();
    Ok(())
}

fn bench_all(criterion: &mut Criterion) {
    for (layers, reflect) in [(&NETWORK[..], true), (&VGG[..], false)] {
        for &layer in layers {
            if let Err(error) = bench_layer(criterion, layer, reflect) {
                panic!("cannot measure {}: {error}", layer.0);
            }
        }
    }
}

criterion_group!(benches, bench_all);
criterion_main!(benches);
