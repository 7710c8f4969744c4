//! Times the stabilisation of a frame, without painting it: `cargo bench --workspace --bench patchwork`.
//!
//! `RAYON_NUM_THREADS` sets the threads.

use criterion::{Criterion, criterion_group, criterion_main};
use impasto_flow::{FlowFrame, Pyramid};
use impasto_infer::{Patchwork, SteadyOptions};

/// A scene of waves, seen from `(y, x)`.
fn frame((height, width): (usize, usize), y: f32, x: f32) -> FlowFrame {
    let level = |row: usize, column: usize| {
        let (y, x) = (row as f32 + y, column as f32 + x);
        128.0
            + 40.0 * (0.03 * x + 0.07 * y).sin()
            + 40.0 * (0.11 * x - 0.05 * y).cos()
            + 20.0 * (0.5 * x + 0.4 * y).sin()
    };
    let pixels = (0..height * width).map(|i| [level(i / width, i % width); 4]).collect();
    FlowFrame::from_pixels((height, width), pixels)
}

fn bench_all(criterion: &mut Criterion) {
    for (width, height) in [(640, 480), (1280, 720)] {
        let frames = [frame((height, width), 0.0, 0.0), frame((height, width), 1.3, -4.2)];
        let [first, second] = frames.each_ref().map(Pyramid::new);
        let mut group = criterion.benchmark_group(format!("{width}x{height}"));
        group.sample_size(20);
        let Ok(mut patchwork) = Patchwork::new(SteadyOptions::default()) else { return };
        let next = |patchwork: &mut Patchwork, i: usize| {
            patchwork.follow(if i.is_multiple_of(2) { first.clone() } else { second.clone() });
            patchwork.keep(patchwork.compose(&frames[i % 2]).painting);
        };
        (0..6).for_each(|i| next(&mut patchwork, i));
        let mut i = 6;
        group.bench_function("patchwork", |b| {
            b.iter(|| {
                next(&mut patchwork, i);
                i += 1;
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench_all);
criterion_main!(benches);
