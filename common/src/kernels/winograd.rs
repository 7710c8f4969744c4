//! 3x3 convolutions of stride 1 with a quarter of the multiplications.
//!
//! Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016): F(4x4, 3x3) turns 6x6 pixels and the 3x3
//! weights into samples at 36 points, multiplies those, and turns the products into 4x4 outputs. Upsampled pictures need
//! 25 of the 36.

mod blocks;
mod correlate;
mod lanes;
mod product;
mod sink;
mod source;
mod transform;
mod weights;

use rayon::prelude::*;

use super::conv::Geometry;
use super::pad::Axis;
use super::simd::Level;
use correlate::Correlation;
use product::Kernels;
use sink::Sink;
use source::Source;
use weights::WeightGradient;

/// Channels below which turning pixels into samples costs more than it saves.
const MIN_CHANNELS: usize = 16;

/// Results of one channel below which turning the weights into samples does.
const MIN_PIXELS: usize = 256;

/// Whether these kernels are faster than the direct ones; with 64 channels and more, two to four times.
pub(crate) fn pays(g: &Geometry) -> bool {
    let (height, width) = g.out_size();
    supports(g) && g.inputs.min(g.outputs) >= MIN_CHANNELS && g.batch * height * width >= MIN_PIXELS
}

/// Whether these kernels can do what `g` asks for, and there is something to do.
fn supports(g: &Geometry) -> bool {
    let (height, width) = g.out_size();
    let work = g.batch * g.inputs * g.outputs * height * width;
    work > 0 && g.kernel == 3 && g.stride == 1 && !(g.reflect && g.pad != 1) && !(g.upsample == 2 && g.pad != 1)
}

/// Convolves `xs` with `weight`, adds `bias`, rectifies if asked, into `ys`.
pub(crate) fn forward(level: Level, g: &Geometry, xs: &[f32], weight: &[f32], bias: &[f32], ys: &mut [f32]) {
    let (height, width) = g.out_size();
    assert!(supports(g) && ys.len() == g.output_len());
    let data = ys.as_mut_ptr();
    Correlation {
        level,
        batch: g.batch,
        source: input(g, xs),
        kernels: Kernels { data: weight, outputs: g.outputs, inputs: g.inputs, adjoint: false },
        sink: Sink { data, channels: g.outputs, height, width, pairs: false, bias: Some(bias), relu: g.relu },
    }
    .run();
}

/// The gradient of the input, into `dxs`, from that of the result; `mask` is the result if it was rectified.
pub(crate) fn input_gradient(
    level: Level,
    g: &Geometry,
    dys: &[f32],
    mask: Option<&[f32]>,
    weight: &[f32],
    dxs: &mut [f32],
) {
    assert!(supports(g));
    // A mirroring border is computed as a frame of pixels around the input, and then added to what it mirrors.
    let border = usize::from(g.reflect);
    let lead = 2 - g.pad as isize + (border * g.upsample) as isize;
    let (height, width) = (g.height + 2 * border, g.width + 2 * border);
    let run = |to: &mut [f32]| {
        assert_eq!(to.len(), g.batch * g.inputs * height * width);
        let (data, pairs) = (to.as_mut_ptr(), g.upsample == 2);
        Correlation {
            level,
            batch: g.batch,
            source: gradient(g, dys, mask, lead),
            kernels: Kernels { data: weight, outputs: g.inputs, inputs: g.outputs, adjoint: true },
            sink: Sink { data, channels: g.inputs, height, width, pairs, bias: None, relu: false },
        }
        .run();
    };
    if border == 0 {
        run(dxs);
    } else {
        let mut framed = vec![0.0; g.batch * g.inputs * height * width];
        run(&mut framed);
        add_frame(g, &framed, dxs);
    }
}

/// The gradient of the weights, into `dweight`; `mask` is the result if it was rectified.
pub(crate) fn weight_gradient(
    level: Level,
    g: &Geometry,
    xs: &[f32],
    dys: &[f32],
    mask: Option<&[f32]>,
    dweight: &mut [f32],
) {
    assert!(supports(g) && dweight.len() == g.weight_len());
    WeightGradient { level, batch: g.batch, pixels: input(g, xs), gradients: gradient(g, dys, mask, 0) }.run(dweight);
}

fn input<'a>(g: &Geometry, xs: &'a [f32]) -> Source<'a> {
    assert_eq!(xs.len(), g.input_len());
    let axis = |source| Axis { source, upsample: g.upsample, lead: g.pad as isize, reflect: g.reflect };
    Source { data: xs, gate: None, channels: g.inputs, rows: axis(g.height), columns: axis(g.width) }
}

fn gradient<'a>(g: &Geometry, dys: &'a [f32], gate: Option<&'a [f32]>, lead: isize) -> Source<'a> {
    assert!(dys.len() == g.output_len() && gate.is_none_or(|gate| gate.len() == dys.len()));
    let (height, width) = g.out_size();
    let axis = |source| Axis { source, upsample: 1, lead, reflect: false };
    Source { data: dys, gate, channels: g.outputs, rows: axis(height), columns: axis(width) }
}

/// Crops `framed` to `dxs` and adds its one-pixel frame to the pixels that it mirrors.
fn add_frame(g: &Geometry, framed: &[f32], dxs: &mut [f32]) {
    let (height, width) = (g.height, g.width);
    // Before upsampling, the outermost pixel is its own mirror image.
    let mirrored = |size: usize| if g.upsample == 1 { [1, size - 2] } else { [0, size - 1] };
    let add_row = |from: &[f32], to: &mut [f32]| {
        for (to, from) in to.iter_mut().zip(&from[1..]) {
            *to += from;
        }
        let [left, right] = mirrored(width);
        to[left] += from[0];
        to[right] += from[width + 1];
    };
    let planes = dxs.par_chunks_mut(height * width).zip(framed.par_chunks((height + 2) * (width + 2)));
    planes.for_each(|(to, from)| {
        to.fill(0.0);
        let row = |y: usize| &from[y * (width + 2)..][..width + 2];
        let [top, bottom] = mirrored(height);
        for (y, to) in to.chunks_mut(width).enumerate() {
            add_row(row(y + 1), to);
            if y == top {
                add_row(row(0), to);
            }
            if y == bottom {
                add_row(row(height + 1), to);
            }
        }
    });
}

#[cfg(test)]
mod tests;
