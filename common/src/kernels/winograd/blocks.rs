//! What all passes cut pictures with, and how their tasks share memory.

use super::source::Strip;

/// A pointer that tasks share.
#[derive(Clone, Copy)]
pub(super) struct Shared(pub(super) *mut f32);

// SAFETY: tasks write disjoint floats of a buffer that outlives them.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(super) fn get(self) -> *mut f32 {
        self.0
    }
}

/// The tiles of a batch of pictures, in reading order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// Rows and columns of tiles in a picture.
    rows: usize,
    columns: usize,
    /// Tiles in all.
    pub(super) tiles: usize,
}

impl Grid {
    pub(super) fn new(batch: usize, rows: usize, columns: usize) -> Self {
        Self { rows, columns, tiles: batch * rows * columns }
    }

    /// Cuts `count` tiles from `first`, or those that exist, where a row of tiles, a panel or a register ends.
    pub(super) fn strips(&self, first: usize, count: usize, panel: usize, lanes: usize) -> Vec<Strip> {
        let end = (first + count).min(self.tiles);
        let mut strips = Vec::new();
        let mut tile = first;
        while tile < end {
            let (column, row) = (tile % self.columns, tile / self.columns);
            let lane = (tile - first) % panel;
            let tiles = lanes.min(self.columns - column).min(panel - lane).min(end - tile);
            let (picture, row) = (row / self.rows, row % self.rows);
            strips.push(Strip { picture, row, column, tiles, panel: (tile - first) / panel, lane });
            tile += tiles;
        }
        strips
    }
}
