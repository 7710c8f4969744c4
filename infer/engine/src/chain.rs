//! Pictures of the network, each made from the one before: rows that are needed and not there are computed.

use std::ops::Range;

use super::Rows;
use super::store::{Pool, Store, bands};
use impasto_error::Result;
use impasto_kernels::conv::Direct;
use impasto_kernels::geometry::Geometry;
use impasto_kernels::layout::{Before, Layout, Moments, Normal};
use impasto_kernels::pad::Planes;
use impasto_kernels::winograd::{Kind, NINE_BORDER, Prepared, ROWS_TOGETHER, StoredRows};

/// A convolution of the network with its packed weights.
#[derive(Debug)]
pub(super) enum Conv {
    /// Stride 1.
    Winograd { prepared: Prepared, kind: Kind },
    /// 3x3 with stride 2.
    Half { direct: Direct, geometry: Geometry },
}

impl Conv {
    /// The rows of an input of `height` rows that `rows` of the result depend on.
    fn needs(&self, rows: &Range<usize>, height: usize) -> Range<usize> {
        let (upsample, stride, lead, reach) = match self {
            Self::Winograd { kind: Kind::Three { upsample }, .. } => (*upsample, 1, 1, 3),
            Self::Winograd { kind: Kind::NineIn, .. } => (1, 1, NINE_BORDER, 9),
            Self::Winograd { kind: Kind::NineOut, .. } => (1, 1, NINE_BORDER, 3),
            Self::Half { .. } => (1, 2, 1, 3),
        };
        let last = upsample * height - 1;
        // Cells before the first and behind the last mirror rows up to `lead` from the border.
        let first_cell = (rows.start * stride) as isize - lead as isize;
        let last_cell = ((rows.end - 1) * stride + reach - 1) as isize - lead as isize;
        let mirrored = |cell: isize| if cell < 0 { -cell } else { cell };
        let reflected = |cell: isize| if cell > last as isize { 2 * last as isize - cell } else { cell };
        let low = first_cell.max(0).min(reflected(last_cell).max(0));
        let high = last_cell.min(last as isize).max(if first_cell < 0 { mirrored(first_cell) } else { 0 });
        let high = high.min(last as isize);
        low as usize / upsample..high as usize / upsample + 1
    }

    /// Computes `rows` of the result into `ys`, and their moments.
    fn run(&self, xs: &Store, normals: Option<&[Normal]>, rows: &Range<usize>, ys: &mut Store) -> Vec<Moments> {
        let (height, width) = xs.size();
        let ((_, columns), plane, border) = (ys.size(), ys.plane(), ys.border());
        let to = &mut ys.held_mut(rows)[border..];
        match self {
            Self::Winograd { prepared, .. } => {
                let xs = StoredRows { data: xs.all(), first: xs.first(), height, width, normals };
                prepared.run(&xs, rows.clone(), columns, to, plane)
            }
            Self::Half { direct, geometry } => {
                debug_assert!(border == 0 && xs.border() == 0, "pictures of half the size have no stored borders");
                let geometry = Geometry { height, width, ..*geometry };
                let layout = Layout::by_row(xs.channels(), width, xs.first());
                let before = normals.map_or(Before::Nothing, Before::Normalise);
                direct.run(&geometry, &Planes { data: xs.all(), layout, before }, rows.clone(), to)
            }
        }
    }
}

/// Where the rows of a picture come from.
pub(super) enum Source<'a> {
    /// They are there.
    Given,
    /// The picture to be painted.
    Picture(&'a mut dyn Rows),
    /// A convolution of the picture before, normalised like this.
    Conv(&'a Conv, Option<Vec<Normal>>),
}

/// A picture and how it is made.
pub(super) struct Node<'a> {
    source: Source<'a>,
    store: Store,
}

impl<'a> Node<'a> {
    pub(super) fn new(source: Source<'a>, store: Store) -> Self {
        Self { source, store }
    }
}

/// Pictures, each made from the one before.
pub(super) struct Chain<'a>(Vec<Node<'a>>);

impl<'a> Chain<'a> {
    pub(super) fn new(first: Node<'a>) -> Self {
        Self(vec![first])
    }

    pub(super) fn push(&mut self, node: Node<'a>) {
        self.0.push(node);
    }

    /// Computes all of picture `node`, `band` rows at a time, for the moments of its channels.
    pub(super) fn pass(&mut self, node: usize, band: usize, pool: &mut Pool) -> Result<Vec<Moments>> {
        let store = &self.0[node].store;
        let (channels, (height, _)) = (store.channels(), store.size());
        let mut totals = vec![Moments::default(); channels];
        for rows in bands(height, band) {
            let moments = self.compute(node, &rows, pool)?;
            totals.iter_mut().zip(moments).for_each(|(total, band)| *total = total.merged(band));
        }
        Ok(totals)
    }

    /// The rows of picture `node` from a row on that is returned too; those in `rows` are among them.
    pub(super) fn rows(&mut self, node: usize, rows: Range<usize>, pool: &mut Pool) -> Result<(&[f32], usize)> {
        self.require(node, &rows, pool)?;
        let store = &self.0[node].store;
        Ok((store.all(), store.first()))
    }

    /// Has `rows` of picture `node` held.
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
        if matches!(self.0[node].source, Source::Picture(_)) {
            return self.read(node, rows, pool);
        }
        let missing = self.0[node].store.make_room(&aligned, pool);
        self.compute_held(node, &missing, pool)?;
        Ok(())
    }

    /// Computes `rows`, making room for nothing else.
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
        let Source::Conv(conv, _) = &self.0[node].source else { return Ok(Vec::new()) };
        let needed = conv.needs(rows, self.0[node - 1].store.size().0);
        self.require(node - 1, &needed, pool)?;
        let (before, from) = self.0.split_at_mut(node);
        let (xs, Node { source, store }) = (&before[node - 1].store, &mut from[0]);
        let Source::Conv(conv, normals) = source else { return Ok(Vec::new()) };
        let moments = conv.run(xs, normals.as_deref(), rows, store);
        store.written(rows)?;
        Ok(moments)
    }

    /// Reads the rows of the picture that are not there.
    fn read(&mut self, node: usize, rows: &Range<usize>, pool: &mut Pool) -> Result<()> {
        let Node { source: Source::Picture(picture), store } = &mut self.0[node] else { return Ok(()) };
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
        store.written(&missing)
    }

    /// Frees what the pictures before `node` hold, if `node` itself is kept.
    pub(super) fn forget_below(&mut self, node: usize, pool: &mut Pool) {
        if self.0[node].store.is_window() {
            return;
        }
        for node in &mut self.0[..node] {
            let empty = Store::window(node.store.channels(), node.store.size(), node.store.border());
            std::mem::replace(&mut node.store, empty).give_back(pool);
        }
    }

    /// The last picture; the others are freed.
    pub(super) fn into_last(mut self, pool: &mut Pool) -> Store {
        let last = self.0.remove(self.0.len() - 1);
        self.give_back(pool);
        last.store
    }

    /// The pictures of a chain of two.
    pub(super) fn into_two(mut self) -> (Store, Store) {
        let last = self.0.remove(1);
        (self.0.remove(0).store, last.store)
    }

    pub(super) fn give_back(self, pool: &mut Pool) {
        self.0.into_iter().for_each(|node| node.store.give_back(pool));
    }
}
