//! One painting: the layers in order, each a pass over the picture.

use std::collections::BTreeMap;

use super::chain::{Chain, ChainNode, PixelMap, RowSource};
use super::engine::Engine;
use super::layer::PackedLayer;
use super::memory::MemoryPlan;
use super::store::{Pool, Store, bands};
use super::{Rows, Sink, Statistics};
use impasto_common::network::{COLOURS, OutputMap};
use impasto_error::{Error, Result};
use impasto_kernels::cropped::{add_cropped, raise, take_columns};
use impasto_kernels::layout::Normal;
use impasto_kernels::rows::{add_normalised, join_nine, normalise_rows};

/// The state of a painting.
pub(super) struct Painting<'a> {
    pub(super) engine: &'a Engine,
    pub(super) plan: &'a MemoryPlan,
    pub(super) pool: &'a mut Pool,
    pub(super) statistics: &'a mut Statistics,
}

/// The chain of results from the last complete one on, and how its last result is read.
struct Progress<'a> {
    chain: Chain<'a>,
    /// The layer whose complete result the chain begins with, or the picture.
    start: Option<usize>,
    normals: Option<Vec<Normal>>,
    /// Complete results that later layers add.
    kept: BTreeMap<usize, Store>,
}

impl<'e> Painting<'e> {
    /// Paints `picture` into `sink`.
    pub(super) fn paint(mut self, picture: &mut dyn Rows, sink: &mut Sink) -> Result<()> {
        let engine = self.engine;
        let store = self.plan.picture_store(engine.schedule.picture_border, self.pool);
        let pixels = PixelMap::new(&engine.network.pixels);
        let chain = Chain::new(ChainNode::new(RowSource::Picture(picture, pixels), store));
        let mut progress = Progress { chain, start: None, normals: None, kept: BTreeMap::new() };
        for index in 0..engine.schedule.last() {
            progress = self.pass(progress, index)?;
        }
        self.hand_out(progress, sink)
    }

    /// Computes as much of layer `index` as its place and its statistics require.
    fn pass<'p>(&mut self, progress: Progress<'p>, index: usize) -> Result<Progress<'p>>
    where
        'e: 'p,
    {
        let engine = self.engine;
        let (layer, schedule) = (&engine.layers[index], &engine.schedule.layers[index]);
        let Progress { mut chain, start, normals, mut kept } = progress;
        let store = self.plan.store(index, self.pool)?;
        let is_kept = !store.is_window();
        chain.push(ChainNode::new(RowSource::Convolution(&layer.convolution, normals), store));
        let mut moments = Vec::new();
        if layer.is_normalized() || is_kept {
            moments = chain.pass_last(self.plan.bands[index], self.pool)?;
        }
        if layer.is_normalized() {
            moments = self.statistics.follow(moments);
        }
        let normals = layer.normals(&moments);
        let start_is_needed = start.is_some_and(|start| engine.schedule.layers[start].is_added_behind(index - 1));
        if !schedule.complete {
            chain.forget_before_last(usize::from(start_is_needed), self.pool);
            return Ok(Progress { chain, start, normals: Some(normals), kept });
        }
        let (first, result) = chain.into_ends(self.pool);
        match (start, first) {
            (Some(start), Some(first)) if start_is_needed => drop(kept.insert(start, first)),
            (_, first) => first.into_iter().for_each(|first| first.give_back(self.pool)),
        }
        let result = self.complete(index, result, &normals, &mut kept)?;
        let chain = Chain::new(ChainNode::new(RowSource::Given, result));
        Ok(Progress { chain, start: Some(index), normals: None, kept })
    }

    /// Normalizes the result of layer `index` in place, and adds what the layer adds.
    fn complete(
        &mut self,
        index: usize,
        mut result: Store,
        normals: &[Normal],
        kept: &mut BTreeMap<usize, Store>,
    ) -> Result<Store> {
        let PackedLayer { crop, sum_floor: floor, .. } = self.engine.layers[index];
        let ((_, width), band) = (result.size(), self.plan.bands[index]);
        let Some(added) = self.engine.schedule.layers[index].added else {
            result.each_band(band, |rows| normalise_rows(rows, normals, width))?;
            return Ok(result);
        };
        let mut other = kept.remove(&added).ok_or_else(|| Error::new("a result to be added is missing"))?;
        let is_needed = self.engine.schedule.layers[added].is_added_behind(index);
        if crop == 0 && !is_needed {
            // The sum overwrites the addend, whose buffer may also serve larger results.
            other.each_band_with(&mut result, 0, band, |xs, ys| {
                add_normalised(xs, ys, normals, width);
                if floor.is_finite() {
                    raise(xs, floor);
                }
            })?;
            result.give_back(self.pool);
            return Ok(other);
        }
        result.each_band_with(&mut other, crop, band, |ys, xs| add_cropped(ys, xs, normals, (width, crop), floor))?;
        if is_needed {
            kept.insert(added, other);
        } else {
            other.give_back(self.pool);
        }
        Ok(result)
    }

    /// Computes the last layer, and hands the painting out.
    fn hand_out<'p>(self, progress: Progress<'p>, sink: &mut Sink) -> Result<()>
    where
        'e: 'p,
    {
        let Self { engine, plan, pool, .. } = self;
        let last = engine.schedule.last();
        let (layer, reach) = (&engine.layers[last], engine.schedule.layers[last].reach());
        let Progress { mut chain, normals, .. } = progress;
        let (height, width) = plan.picture();
        let store = plan.store(last, pool)?;
        let (channels, plane) = (store.channels(), store.plane());
        chain.push(ChainNode::new(RowSource::Convolution(&layer.convolution, normals), store));
        let map = LevelMap::new(engine);
        let mut painted = Vec::new();
        for rows in bands(height, plan.bands[last]) {
            let (lines, from) = chain.last_rows(rows.start..rows.end + reach, pool)?;
            let lines = &lines[(rows.start - from) * channels * plane..];
            painted.resize(rows.len() * COLOURS * width, 0.0);
            if reach > 0 {
                join_nine(lines, plane, &layer.bias, width, &mut painted);
            } else {
                take_columns(lines, plane, &layer.bias, width, &mut painted);
            }
            map.apply(&mut painted, width);
            sink(rows.start, &mut painted)?;
        }
        chain.give_back(pool);
        Ok(())
    }
}

/// Maps the last layer's result to levels.
struct LevelMap {
    output: OutputMap,
    /// Factor and offset of each colour.
    levels: [(f32, f32); COLOURS],
    is_identity: bool,
}

impl LevelMap {
    fn new(engine: &Engine) -> Self {
        let output = engine.network.output;
        let levels = std::array::from_fn(|colour| engine.network.pixels.to_level(colour));
        let is_identity = output == OutputMap::Linear && levels == [(1.0, 0.0); COLOURS];
        Self { output, levels, is_identity }
    }

    /// Maps rows of three lines of `width`.
    fn apply(&self, painted: &mut [f32], width: usize) {
        if self.is_identity {
            return;
        }
        for (line, (factor, offset)) in painted.chunks_exact_mut(width).zip(self.levels.iter().cycle()) {
            for x in line {
                *x = factor * self.output.of(*x) + offset;
            }
        }
    }
}
