//! Splits pictures into strips of tiles for all passes, and shares memory between their tasks.

use std::ops::Range;

/// A pointer that tasks share.
#[derive(Debug)]
pub(super) struct SharedPointer<T>(pub(super) *mut T);

/// To floats.
pub(super) type Shared = SharedPointer<f32>;

impl<T> Clone for SharedPointer<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SharedPointer<T> {}

// SAFETY: the pointer may move to another thread because the buffer behind it does not: it outlives the tasks, and its values may
// be used there (`T: Send`). Reading or writing through it is unsafe, and the tasks' own business.
unsafe impl<T: Send> Send for SharedPointer<T> {}
// SAFETY: a shared pointer can only be copied, which its `Send` allows, and used by unsafe code, which answers for itself.
unsafe impl<T: Send> Sync for SharedPointer<T> {}

impl<T> SharedPointer<T> {
    pub(super) fn get(self) -> *mut T {
        self.0
    }
}

/// Neighbouring tiles of one row of tiles, at most a register's worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    pub(super) picture: usize,
    /// Row and column of the first tile, in tiles.
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) tiles: usize,
    /// Panel of the block and column of the panel that take the first tile.
    pub(super) panel: usize,
    pub(super) lane: usize,
}

/// The tiles of a batch of pictures, in reading order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    /// The first row of tiles, their number, and the columns of tiles in a picture.
    first: usize,
    rows: usize,
    columns: usize,
    /// Tiles in all.
    pub(super) tiles: usize,
}

impl Grid {
    /// Those in these rows of tiles of every picture.
    pub(super) fn new(batch: usize, rows: Range<usize>, columns: usize) -> Self {
        Self { first: rows.start, rows: rows.len(), columns, tiles: batch * rows.len() * columns }
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
            let (picture, row) = (row / self.rows, self.first + row % self.rows);
            strips.push(Strip { picture, row, column, tiles, panel: (tile - first) / panel, lane });
            tile += tiles;
        }
        strips
    }
}
