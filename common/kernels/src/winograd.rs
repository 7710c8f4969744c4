//! 3x3 convolutions of stride 1 with a quarter of the multiplications.
//!
//! Winograd's minimal filtering ("Arithmetic Complexity of Computations", 1980), as Lavin and Gray ("Fast algorithms for
//! convolutional neural networks", 2016) use it for convolutions: F(4x4, 3x3). The 6x6 cells under a tile of 4x4 outputs, and
//! the 3x3 weights, are polynomials in two variables. Both are evaluated at 6x6 = 36 points; there a convolution is a plain
//! product; the 36 products determine the 4x4 outputs. That is 36 multiplications for 16 outputs instead of 144.
//!
//! ```text
//!   cells of a row:   0   1   2   3   4   5   6   7   8   9        Tiles of 6x6 cells begin every 4 cells. Neighbours share two
//!                     |<------ tile 0 ------>|                      cells, and their 4x4 outputs lie side by side.
//!                                     |<------ tile 1 ------>|
//!
//!   points of an axis: 0, 1, -1, 5/8, -5/8, infinity (`transform`); point p = 6 i + j of a tile is i down and j across.
//!
//!   pixels --- source ---> samples   [point][panel][input ][tile]  --+
//!             B^T d B                                                +-- product ---> products [point][panel][output][tile]
//!   3x3 ------ pack -----> weights   [point][group][input ][output] -+   (here is                     |
//!              G g G^T                                                   the multiply)     sink: A^T m A, bias, ReLU
//!                                                                                                     |
//!                                                                                                  outputs
//! ```
//!
//! - `lanes`: a register holds one number of each of 4, 8 or 16 neighbouring tiles of a row, a *strip*. So the transforms, which
//!   are the same for every tile, are plain register arithmetic.
//! - `source` reads a strip's pixels, upsamples, pads, gates or normalises them, and transforms them. A *panel* is three
//!   registers of tiles; points lie a little more than all panels apart, so that they do not share one set of the cache.
//! - `product` multiplies at one point: (outputs x inputs) by (inputs x tiles). Nearly all time is spent there. Weights lie in
//!   *groups* of as many outputs as it sums at once in registers, 4 or 8.
//! - `sink` turns the products of a strip into outputs.
//! - `correlate` drives the three for the result and for the gradient of the input: the latter is the same with the 3x3 weights
//!   turned by half a turn, inputs and outputs exchanged. A *block* of tiles, with all channels, is one task and fits the cache.
//! - `weights` drives them for the gradient of the weights: F(3x3, 4x4), with gradients of the products in the place of weights.
//! - `prepared` is for painting: weights packed once, and 9x9 kernels as nine 3x3 *pieces*.
//!
//! Upsampled pictures repeat their pixels, and then the samples at the point -1 are 0: 25 of the 36 points suffice.

mod blocks;
mod correlate;
mod lanes;
mod prepared;
mod product;
mod sink;
mod source;
mod transform;
mod weights;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::layout::{Before, Layout};
use super::pad::Axis;
use super::simd::Level;
use correlate::Correlation;
use product::Kernels;
use sink::Sink;
use source::TileSource;
use weights::WeightGradient;

pub use prepared::{Kind, NINE_BORDER, Prepared, ROWS_TOGETHER, StoredRows};

/// With fewer channels, transforming the pixels costs more than it saves.
const MIN_CHANNELS: usize = 16;

/// With fewer results per channel, transforming the weights costs more than it saves.
const MIN_PIXELS: usize = 256;

/// Whether these kernels are faster than the direct ones. With 64 or more channels they are two to four times faster.
pub(crate) fn pays(g: &Geometry) -> bool {
    let (height, width) = g.out_size();
    supports(g) && g.inputs.min(g.outputs) >= MIN_CHANNELS && g.batch * height * width >= MIN_PIXELS
}

/// Whether these kernels support `g`, and the result is not empty.
fn supports(g: &Geometry) -> bool {
    let (height, width) = g.out_size();
    let work = g.batch * g.inputs * g.outputs * height * width;
    work > 0 && g.kernel == 3 && g.stride == 1 && !(g.reflect && g.pad != 1) && !(g.upsample == 2 && g.pad != 1)
}

/// Convolves `xs` with `weight`, adds `bias`, applies a ReLU if `g` says so, and writes the result to `ys`. See
/// [`crate::conv::forward`].
pub(crate) fn forward(level: Level, g: &Geometry, xs: &[f32], weight: &[f32], bias: &[f32], ys: &mut [f32]) {
    let (height, width) = g.out_size();
    assert!(supports(g) && ys.len() == g.output_len());
    let (data, layout) = (ys.as_mut_ptr(), Layout::planar(g.outputs, height, width));
    let sink = Sink { data, layout, height, width, pairs: false, bias: Some(bias), relu: g.relu };
    let rows = 0..height.div_ceil(sink.tile());
    let correlation = Correlation { level, batch: g.batch, source: input(g, xs), outputs: g.outputs, sink, rows };
    correlation.run(Kernels { data: weight, outputs: g.outputs, inputs: g.inputs, adjoint: false });
}

/// Writes the gradient of the input to `dxs`, from that of the result. See [`crate::conv::input_gradient`].
pub(crate) fn input_gradient(
    level: Level,
    g: &Geometry,
    dys: &[f32],
    mask: Option<&[f32]>,
    weight: &[f32],
    dxs: &mut [f32],
) {
    assert!(supports(g));
    // The gradient of reflection padding is computed as a one-pixel frame around the input, and then added to the mirrored
    // pixels.
    let border = usize::from(g.reflect);
    let lead = 2 - g.pad as isize + (border * g.upsample) as isize;
    let (height, width) = (g.height + 2 * border, g.width + 2 * border);
    let run = |to: &mut [f32]| {
        assert_eq!(to.len(), g.batch * g.inputs * height * width);
        let (data, layout) = (to.as_mut_ptr(), Layout::planar(g.inputs, height, width));
        // A pixel of an upsampled picture gets the gradients of its 2x2 cells.
        let sink = Sink { data, layout, height, width, pairs: g.upsample == 2, bias: None, relu: false };
        let rows = 0..height.div_ceil(sink.tile());
        let source = gradient(g, dys, mask, lead);
        let correlation = Correlation { level, batch: g.batch, source, outputs: g.inputs, sink, rows };
        correlation.run(Kernels { data: weight, outputs: g.inputs, inputs: g.outputs, adjoint: true });
    };
    if border == 0 {
        run(dxs);
    } else {
        let mut framed = vec![0.0; g.batch * g.inputs * height * width];
        run(&mut framed);
        add_frame(g, &framed, dxs);
    }
}

/// Writes the gradient of the weights to `dweight`. See [`crate::conv_weight::weight_gradient`].
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

/// The input of a convolution, prepared for reading in tiles.
fn input<'a>(g: &Geometry, xs: &'a [f32]) -> TileSource<'a> {
    assert_eq!(xs.len(), g.input_len());
    let axis = |source| Axis { source, upsample: g.upsample, lead: g.pad as isize, reflect: g.reflect };
    TileSource {
        data: xs,
        layout: Layout::planar(g.inputs, g.height, g.width),
        before: Before::Nothing,
        channels: g.inputs,
        pieces: 1,
        rows: axis(g.height),
        columns: axis(g.width),
    }
}

/// The gradient of a result, prepared for reading in tiles: `lead` cells before the first pixel, zeros outside.
fn gradient<'a>(g: &Geometry, dys: &'a [f32], gate: Option<&'a [f32]>, lead: isize) -> TileSource<'a> {
    assert!(dys.len() == g.output_len() && gate.is_none_or(|gate| gate.len() == dys.len()));
    let (height, width) = g.out_size();
    let axis = |source| Axis { source, upsample: 1, lead, reflect: false };
    TileSource {
        data: dys,
        layout: Layout::planar(g.outputs, height, width),
        before: gate.map_or(Before::Nothing, Before::Gate),
        channels: g.outputs,
        pieces: 1,
        rows: axis(height),
        columns: axis(width),
    }
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
