//! One training step: from a batch of photos to the gradients of the weights, in as many micro-batches as the memory requires.
//!
//! Instance normalisation works on each picture separately. So does every loss, except for two numbers of the whole batch: the
//! magnitudes of content features (convention `relative`), and the fraction of all pixels that the temporal loss counts. Both
//! are known before the first backward pass. So the gradients of micro-batches are accumulated one after another, and each
//! micro-batch reuses the memory of the previous one. Only the content features of all micro-batches stay in memory, a few
//! percent of what a backward pass keeps. Computing them twice would cost another pass through the loss network.

use candle_core::{DType, Device, Tensor};
use impasto_common::{Error, Result};
use impasto_nn::StyleNet;

use crate::adam::Gradients;
use crate::config::TrainConfig;
use crate::init::Parameters;
use crate::loader::Batch;
use crate::metrics::StepFigures;
use crate::micro_batches::{self, MicroBatches, StepFailure, agree};
use crate::objective::{ContentFeatures, Losses, Objective};
use crate::peers::Peers;
use crate::temporal::TemporalLoss;
use crate::train::Observer;

/// The inputs of a step. Computing a step does not change the weights.
#[derive(Debug)]
pub struct TrainingStep<'a> {
    /// The configuration of the training.
    pub config: &'a TrainConfig,
    /// The network, which shares `parameters`.
    pub network: &'a StyleNet,
    /// Its weights.
    pub parameters: &'a Parameters,
    /// The objective of its paintings.
    pub objective: &'a Objective,
    /// The temporal loss, if its weight is not 0.
    pub temporal: Option<&'a TemporalLoss>,
    /// The device of all tensors.
    pub device: &'a Device,
    /// The number of steps before this one.
    pub done: usize,
}

/// Some of this process's photos, before they are painted.
struct MicroBatch {
    /// `(photos, 3, size, size)`, RGB in `[0, 255]`.
    photos: Tensor,
    content: ContentFeatures,
    /// The number of the first photo among all photos of the training.
    sample: u64,
}

/// The numbers that belong to the whole batch.
struct WholeBatch {
    /// The magnitudes of content features; `None` if content has no weight.
    magnitudes: Option<Tensor>,
    /// The fraction of pixels that the temporal loss counts; `None` if there is no temporal loss, or if the batch is one
    /// micro-batch, which counts them itself.
    visible: Option<f64>,
}

impl TrainingStep<'_> {
    /// The mean gradients and figures of the batch of which `own` is this process's share.
    ///
    /// If the device runs out of memory, the share is split into more micro-batches, `observer` is notified, and the step
    /// is computed again.
    ///
    /// # Errors
    ///
    /// If there is no memory for one photo at a time, a photo is too small, or the connection to another process is lost.
    pub fn compute(
        &self,
        own: &Batch,
        micro_batches: &mut MicroBatches,
        peers: &mut Peers,
        observer: &mut dyn Observer,
    ) -> Result<(Gradients, StepFigures)> {
        let mut count = micro_batches.count(own.size);
        loop {
            match self.attempt(own, count, peers) {
                Ok(computed) => return Ok(computed),
                Err(StepFailure::Other(error)) => return Err(error),
                Err(StepFailure::OutOfMemory(error)) => {
                    count = micro_batches.split_further(own.size, own.photos(), error)?;
                }
            }
            observer.split(own.size, count);
            impasto_nn::device::release_memory(self.device)?;
        }
    }

    /// Like [`Self::compute`], in `count` micro-batches.
    fn attempt(&self, own: &Batch, count: usize, peers: &mut Peers) -> Result<(Gradients, StepFigures), StepFailure> {
        let first_sample = peers.share().samples(self.done as u64, self.config.batch).start;
        let (micro_batches, magnitudes) = agree(self.content_pass(own, first_sample, count), peers)?;
        let magnitudes = magnitudes.map(|own| peers.mean(own)).transpose()?;
        let visible = self.visible(own, first_sample, count, peers)?;
        let whole = WholeBatch { magnitudes, visible };
        let (gradients, losses) = agree(self.backward_passes(micro_batches, &whole), peers)?;
        let gradients = gradients.mean_over(peers)?;
        let figures = StepFigures::of(&losses, &gradients.norm()?)?.mean_over(peers)?;
        Ok((gradients, figures))
    }

    /// The micro-batches with their content features, and the mean of their magnitudes.
    fn content_pass(&self, own: &Batch, first_sample: u64, count: usize) -> Result<(Vec<MicroBatch>, Option<Tensor>)> {
        let size = own.size;
        let photos = own.photos() / count;
        let micro_batches = own.pixels.chunks_exact(photos * 3 * size * size).enumerate().map(|(index, pixels)| {
            // Bytes are copied to the device and converted to floats there.
            let pixels = Tensor::from_slice(pixels, (photos, 3, size, size), self.device)?.to_dtype(DType::F32)?;
            let content = self.objective.content_features(&pixels)?;
            Ok(MicroBatch { photos: pixels, content, sample: first_sample + (index * photos) as u64 })
        });
        let micro_batches = micro_batches.collect::<Result<Vec<_>>>()?;
        let magnitudes: Vec<_> =
            micro_batches.iter().filter_map(|micro_batch| micro_batch.content.magnitudes().cloned()).collect();
        let magnitudes = (!magnitudes.is_empty()).then(|| micro_batches::mean(&magnitudes)).transpose()?;
        Ok((micro_batches, magnitudes))
    }

    /// The fraction of the batch's pixels that the temporal loss counts, if it is needed: see [`WholeBatch`].
    fn visible(&self, own: &Batch, first_sample: u64, count: usize, peers: &mut Peers) -> Result<Option<f64>> {
        match self.temporal {
            Some(temporal) if count * peers.share().count > 1 => {
                let visible = temporal.visible(first_sample, own.photos(), (own.size, own.size));
                peers.mean_of(visible).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The mean gradients of all micro-batches, and the losses of each.
    fn backward_passes(&self, micro_batches: Vec<MicroBatch>, whole: &WholeBatch) -> Result<(Gradients, Vec<Losses>)> {
        let count = micro_batches.len();
        let (mut sum, mut losses) = (None, Vec::with_capacity(count));
        for micro_batch in micro_batches {
            let (gradients, own_losses) = self.backward_pass(micro_batch, whole)?;
            losses.push(own_losses);
            sum = Some(match sum {
                None => gradients,
                Some(sum) => gradients.plus(&sum)?,
            });
        }
        let sum = sum.ok_or_else(|| Error::new("a step has no micro-batch"))?;
        let mean = if count > 1 { sum.times(1.0 / count as f64)? } else { sum };
        Ok((mean, losses))
    }

    /// The gradients and losses of one micro-batch. Nothing else of the micro-batch stays in memory.
    fn backward_pass(&self, micro_batch: MicroBatch, whole: &WholeBatch) -> Result<(Gradients, Losses)> {
        let MicroBatch { photos, content, sample } = micro_batch;
        let paint = |photos: &Tensor| self.config.precision.paint(self.network, photos);
        let painted = paint(&photos)?;
        let losses = self.objective.losses_to(&painted, &content.target(whole.magnitudes.as_ref())?)?;
        let losses = match self.temporal {
            None => losses,
            Some(temporal) => losses.with_temporal(temporal.of(paint, &photos, &painted, sample, whole.visible)?)?,
        };
        Ok((Gradients::of(self.parameters, &losses.total.backward()?)?, losses.detach()))
    }
}

#[cfg(test)]
mod tests;
