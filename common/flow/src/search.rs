//! The search on one level: patches find their displacements, which are averaged into a flow field.

use rayon::prelude::*;

use super::Flow;
use super::plane::LumaPlane;
use impasto_kernels::flow::{PATCH, Patch, STRIDE, origin, patch_cells, propagate_row, search_row};

/// Rows of patches that a thread takes at a time.
const ROWS: usize = 4;

/// The flow between two planes, initialised from the flow between planes of half the size.
pub(super) fn search(from: &LumaPlane, to: &LumaPlane, start: Option<&Flow>, steps: usize) -> Flow {
    let (height, width) = from.size();
    // Cells of 4x4 pixels, each with a patch before it and a patch after it.
    let (cells, columns) = (height.div_ceil(STRIDE), width.div_ceil(STRIDE) + 1);
    let mut patches = vec![Patch::default(); (cells + 1) * columns];
    patches.par_chunks_exact_mut(columns).with_min_len(ROWS).enumerate().for_each(|(row, patches)| {
        if let Some(start) = start {
            for (i, patch) in patches.iter_mut().enumerate() {
                *patch = start_of(start, origin(row, height), origin(i, width));
            }
        }
        search_row(from.view(), to.view(), row, steps, patches);
    });
    let mut found = patches.clone();
    found.par_chunks_exact_mut(columns).with_min_len(ROWS).enumerate().for_each(|(row, found)| {
        propagate_row(from.view(), to.view(), row, steps, &patches, found);
    });
    let mut flow = Flow::still((height, width));
    let x = flow.x.par_chunks_mut(STRIDE * width).with_min_len(ROWS);
    x.zip(flow.y.par_chunks_mut(STRIDE * width)).enumerate().for_each(|(cell, (x, y))| {
        let row = |row: usize| &found[row * columns..][..columns];
        patch_cells(from.view(), to.view(), cell, row(cell), row(cell + 1), x, y);
    });
    flow
}

/// Twice the coarser flow in the middle of a patch.
fn start_of(coarse: &Flow, top: isize, left: isize) -> Patch {
    let middle = |first: isize, size: usize| ((first + PATCH as isize / 2) as usize / 2).min(size - 1);
    let at = middle(top, coarse.height) * coarse.width + middle(left, coarse.width);
    Patch { x: 2.0 * coarse.x[at], y: 2.0 * coarse.y[at], cost: f32::INFINITY }
}
