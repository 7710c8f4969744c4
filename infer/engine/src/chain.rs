//! A chain of layer results, each computed from the previous one. Missing rows are computed on demand.

use std::ops::Range;

use super::Rows;
use super::convolution::PackedConvolution;
use super::store::{Pool, Store, bands};
use impasto_common::network::{COLOURS, PixelRange};
use impasto_error::Result;
use impasto_kernels::layout::{Moments, Normal};
use impasto_kernels::winograd::ROWS_TOGETHER;

/// Maps levels to the network's values: a factor and an offset for each colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct PixelMap {
    colours: [(f32, f32); COLOURS],
    is_identity: bool,
}

impl PixelMap {
    pub(super) fn new(pixels: &PixelRange) -> Self {
        let colours = std::array::from_fn(|colour| pixels.from_level(colour));
        Self { colours, is_identity: colours == [(1.0, 0.0); COLOURS] }
    }

    fn apply(&self, row: &mut [&mut [f32]; COLOURS]) {
        if self.is_identity {
            return;
        }
        for (line, (factor, offset)) in row.iter_mut().zip(self.colours) {
            line.iter_mut().for_each(|level| *level = factor * *level + offset);
        }
    }
}

/// Where the rows of a result come from.
pub(super) enum RowSource<'a> {
    /// They are already stored.
    Given,
    /// The picture to be painted, and the map from its levels to the network's values.
    Picture(&'a mut dyn Rows, PixelMap),
    /// A convolution of the previous result, with this normalization applied to its input.
    Convolution(&'a PackedConvolution, Option<Vec<Normal>>),
}

/// A result and how it is made.
pub(super) struct ChainNode<'a> {
    source: RowSource<'a>,
    store: Store,
}

impl<'a> ChainNode<'a> {
    pub(super) fn new(source: RowSource<'a>, store: Store) -> Self {
        Self { source, store }
    }
}

/// A chain of results, each computed from the previous one. The first is complete, or it is the picture itself.
pub(super) struct Chain<'a>(Vec<ChainNode<'a>>);

impl<'a> Chain<'a> {
    pub(super) fn new(first: ChainNode<'a>) -> Self {
        Self(vec![first])
    }

    pub(super) fn push(&mut self, node: ChainNode<'a>) {
        self.0.push(node);
    }

    /// The index of the last result in the chain.
    fn last(&self) -> usize {
        self.0.len() - 1
    }

    /// Computes all of the last result, `band` rows at a time, for the moments of its channels.
    pub(super) fn pass_last(&mut self, band: usize, pool: &mut Pool) -> Result<Vec<Moments>> {
        let node = self.last();
        let store = &self.0[node].store;
        let (channels, (height, _)) = (store.channels(), store.size());
        let mut totals = vec![Moments::default(); channels];
        for rows in bands(height, band) {
            let moments = self.compute(node, &rows, pool)?;
            totals.iter_mut().zip(moments).for_each(|(total, band)| *total = total.merged(band));
        }
        Ok(totals)
    }

    /// The rows of the last result from a row on that is returned too; those in `rows` are among them.
    pub(super) fn last_rows(&mut self, rows: Range<usize>, pool: &mut Pool) -> Result<(&[f32], usize)> {
        let node = self.last();
        self.require(node, &rows, pool)?;
        let store = &self.0[node].store;
        Ok((store.all(), store.first()))
    }

    /// Ensures that `rows` of result `node` are held.
    fn require(&mut self, node: usize, rows: &Range<usize>, pool: &mut Pool) -> Result<()> {
        let store = &mut self.0[node].store;
        if store.holds(rows) {
            return Ok(());
        }
        if !store.is_window() {
            return store.load(rows, pool);
        }
        // Convolutions compute several rows together.
        let (height, _) = store.size();
        let aligned = rows.start / ROWS_TOGETHER * ROWS_TOGETHER..height.min(rows.end.next_multiple_of(ROWS_TOGETHER));
        if matches!(self.0[node].source, RowSource::Picture(..)) {
            return self.read(node, rows, pool);
        }
        let missing = self.0[node].store.make_room(&aligned, pool);
        self.compute_held(node, &missing, pool)?;
        Ok(())
    }

    /// Computes exactly `rows`.
    fn compute(&mut self, node: usize, rows: &Range<usize>, pool: &mut Pool) -> Result<Vec<Moments>> {
        let store = &mut self.0[node].store;
        if !store.holds(rows) || store.is_window() {
            store.make_room(rows, pool);
        }
        self.compute_held(node, rows, pool)
    }

    fn compute_held(&mut self, node: usize, rows: &Range<usize>, pool: &mut Pool) -> Result<Vec<Moments>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let RowSource::Convolution(conv, _) = &self.0[node].source else { return Ok(Vec::new()) };
        let needed = conv.needs(rows, self.0[node - 1].store.size().0);
        self.require(node - 1, &needed, pool)?;
        let (before, from) = self.0.split_at_mut(node);
        let (xs, ChainNode { source, store }) = (&before[node - 1].store, &mut from[0]);
        let RowSource::Convolution(conv, normals) = source else { return Ok(Vec::new()) };
        let moments = conv.run(xs, normals.as_deref(), rows, store);
        store.written(rows)?;
        Ok(moments)
    }

    /// Reads the missing rows of the picture.
    fn read(&mut self, node: usize, rows: &Range<usize>, pool: &mut Pool) -> Result<()> {
        let ChainNode { source: RowSource::Picture(picture, pixels), store } = &mut self.0[node] else { return Ok(()) };
        let missing = store.make_room(rows, pool);
        if missing.is_empty() {
            return Ok(());
        }
        let ((_, width), plane, border) = (store.size(), store.plane(), store.border());
        let mut lines = store.held_mut(&missing).chunks_exact_mut(plane).map(|line| &mut line[border..][..width]);
        let mut wanted = Vec::with_capacity(missing.len());
        while let (Some(red), Some(green), Some(blue)) = (lines.next(), lines.next(), lines.next()) {
            wanted.push([red, green, blue]);
        }
        drop(lines);
        picture.read(missing.start, &mut wanted)?;
        for row in &mut wanted {
            pixels.apply(row);
        }
        store.written(&missing)
    }

    /// Frees what the results before the last one hold, from place `first` on, if the last itself is kept.
    pub(super) fn forget_before_last(&mut self, first: usize, pool: &mut Pool) {
        let last = self.last();
        if self.0[last].store.is_window() {
            return;
        }
        for node in self.0[..last].iter_mut().skip(first) {
            let empty = Store::window(node.store.channels(), node.store.size(), node.store.border());
            std::mem::replace(&mut node.store, empty).give_back(pool);
        }
    }

    /// The first result, if there are several, and the last; the others are freed.
    pub(super) fn into_ends(mut self, pool: &mut Pool) -> (Option<Store>, Store) {
        let last = self.0.swap_remove(self.last()).store;
        let mut others = self.0.into_iter().map(|node| node.store);
        let first = others.next();
        others.for_each(|store| store.give_back(pool));
        (first, last)
    }

    pub(super) fn give_back(self, pool: &mut Pool) {
        self.0.into_iter().for_each(|node| node.store.give_back(pool));
    }
}
