//! The variational refinement step; `variation.rs` of the kernels documents the energy that it minimises.

use rayon::prelude::*;

use super::plane::{LumaPlane, ROWS};
use super::{Flow, FlowOptions};
use impasto_kernels::flow::{Band, Relaxation, System, along_row, relax_row, system_row};

/// Rows with one more pixel on both sides.
struct Padded {
    width: usize,
    data: Vec<f32>,
}

impl Padded {
    fn new(height: usize, width: usize) -> Self {
        Self { width: width + 2, data: vec![0.0; height * (width + 2)] }
    }

    fn of(plane: &[f32], width: usize) -> Self {
        let mut padded = Self::new(plane.len() / width, width);
        for (to, from) in padded.data.chunks_exact_mut(width + 2).zip(plane.chunks_exact(width)) {
            to[1..=width].copy_from_slice(from);
            to[0] = from[0];
            to[width + 1] = from[width - 1];
        }
        padded
    }

    fn row(&self, y: usize) -> &[f32] {
        &self.data[y * self.width..][..self.width]
    }

    /// A row and its neighbours; at the border, the border row stands in for the missing neighbour.
    fn band(&self, y: usize) -> Band<'_> {
        let last = self.data.len() / self.width - 1;
        [self.row(y.saturating_sub(1)), self.row(y), self.row((y + 1).min(last))]
    }

    fn rows_mut(&mut self) -> rayon::iter::MinLen<rayon::slice::ChunksExactMut<'_, f32>> {
        self.data.par_chunks_exact_mut(self.width).with_min_len(ROWS)
    }

    fn into_plane(self) -> Vec<f32> {
        let mut data = self.data;
        let (stride, width) = (self.width, self.width - 2);
        let rows = data.len() / stride;
        for y in 0..rows {
            data.copy_within(y * stride + 1..y * stride + 1 + width, y * width);
        }
        data.truncate(rows * width);
        data
    }
}

/// The coefficients of all rows.
struct Systems {
    width: usize,
    /// Five numbers of each pixel, row by row, one kind after the other within a row.
    terms: Vec<f32>,
    smooth: Padded,
}

impl Systems {
    fn new(height: usize, width: usize) -> Self {
        Self { width, terms: vec![0.0; 5 * height * width], smooth: Padded::new(height, width) }
    }

    /// Each row, to be set up.
    fn rows_mut(&mut self) -> impl IndexedParallelIterator<Item = System<'_>> {
        let width = self.width;
        self.terms.par_chunks_exact_mut(5 * width).zip(self.smooth.rows_mut()).map(move |(terms, smooth)| {
            let (xx, terms) = terms.split_at_mut(width);
            let (xy, terms) = terms.split_at_mut(width);
            let (yy, terms) = terms.split_at_mut(width);
            let (x, y) = terms.split_at_mut(width);
            System { xx, xy, yy, x, y, smooth }
        })
    }

    fn row(&self, y: usize) -> Relaxation<'_> {
        let row = &self.terms[5 * y * self.width..];
        let [xx, xy, yy, x, y_] = [0, 1, 2, 3, 4].map(|i| &row[i * self.width..][..self.width]);
        Relaxation { xx, xy, yy, x, y: y_, smooth: self.smooth.band(y) }
    }
}

/// Refines a flow between two planes.
pub(super) fn refine(from: &LumaPlane, to: &LumaPlane, flow: Flow, options: &FlowOptions) -> Flow {
    if options.refinements * options.relaxations == 0 {
        return flow;
    }
    let (height, width) = from.size();
    let start = [Padded::of(&flow.x, width), Padded::of(&flow.y, width)];
    let (mut mean, mut change) = (Padded::new(height, width), Padded::new(height, width));
    mean.rows_mut().zip(change.rows_mut()).enumerate().for_each(|(y, (mean, change))| {
        let flow = [&start[0].row(y)[1..], &start[1].row(y)[1..]];
        along_row(from.view(), to.view(), y, flow, mean, change);
    });
    let mut systems = Systems::new(height, width);
    let mut flow = [Padded::of(&flow.x, width), Padded::of(&flow.y, width)];
    let mut next = [Padded::new(height, width), Padded::new(height, width)];
    for _ in 0..options.refinements {
        systems.rows_mut().enumerate().for_each(|(y, mut system)| {
            let start = [start[0].row(y), start[1].row(y)];
            system_row(mean.band(y), change.band(y), start, [flow[0].band(y), flow[1].band(y)], &mut system);
        });
        for _ in 0..options.relaxations {
            let [next_x, next_y] = &mut next;
            next_x.rows_mut().zip(next_y.rows_mut()).enumerate().for_each(|(y, (next_x, next_y))| {
                relax_row(systems.row(y), [flow[0].band(y), flow[1].band(y)], next_x, next_y);
            });
            std::mem::swap(&mut flow, &mut next);
        }
    }
    let [x, y] = flow;
    Flow { height, width, x: x.into_plane(), y: y.into_plane() }
}
