//! The gradients and figures of one step, computed in as many parts as asked for.
//!
//! Instance normalisation is per picture, and so is every loss but for two numbers of the whole batch: the magnitudes of content
//! features (convention `relative`) and the part of all pixels that the temporal loss counts. They are known before the first
//! backward pass, so gradients of parts can be added up as they come, and the memory of each is free for the next. What stays of
//! all parts meanwhile is their photos' content features, a few hundredths of what a backward pass keeps; computing them once
//! more would cost another pass through the loss network.

use candle_core::{DType, Device, Tensor};
use impasto_common::{Error, Result};
use impasto_nn::StyleNet;

use crate::adam::Gradients;
use crate::config::TrainConfig;
use crate::init::Parameters;
use crate::loader::Batch;
use crate::metrics::Metrics;
use crate::objective::{ContentFeatures, Losses, Objective};
use crate::parts::{self, Failure, agree};
use crate::peers::Peers;
use crate::temporal::TemporalLoss;

/// What a step is computed with. Computing it changes nothing.
#[derive(Debug)]
pub struct Step<'a> {
    /// The configuration of the training.
    pub config: &'a TrainConfig,
    /// The network, which follows `parameters`.
    pub network: &'a StyleNet,
    /// Its weights.
    pub parameters: &'a Parameters,
    /// What it is judged by.
    pub objective: &'a Objective,
    /// The temporal loss, where it has a weight.
    pub temporal: Option<&'a TemporalLoss>,
    /// Steps made before.
    pub done: usize,
    /// The learning rate, which the figures tell.
    pub learning_rate: f64,
}

/// A part of this process's photos, before its painting.
struct Part {
    /// `(photos, 3, size, size)`, RGB in `[0, 255]`.
    photos: Tensor,
    content: ContentFeatures,
    /// The number of the first photo among all of the training.
    sample: u64,
}

/// What is one for the whole batch.
struct Whole {
    magnitudes: Option<Tensor>,
    /// Nothing where the batch is one part, which finds it on its way.
    visible: Option<f64>,
}

impl Step<'_> {
    /// The mean gradients and figures of the batch of which `own` is this process's share, in `parts` parts of it.
    ///
    /// # Errors
    ///
    /// Of kind [`Failure::NoMemory`] where the device of a process has no memory for a part; otherwise if a photo is too small, or
    /// another process is gone.
    pub fn attempt(
        &self,
        own: &Batch,
        parts: usize,
        device: &Device,
        peers: &mut Peers,
    ) -> Result<(Gradients, Metrics), Failure> {
        let first = self.done * self.config.batch + peers.index() * (self.config.batch / peers.count());
        let prepared = agree(self.prepare(own, first, parts, device), peers)?;
        let (prepared, magnitudes) = prepared;
        let magnitudes = magnitudes.map(|own| peers.mean(own)).transpose()?;
        let visible = self.visible(own, first, parts, peers)?;
        let computed = self.compute(prepared, &Whole { magnitudes, visible });
        let (gradients, losses) = agree(computed, peers)?;
        let (names, tensors): (Vec<_>, Vec<_>) = gradients.0.into_iter().unzip();
        let gradients = Gradients(names.into_iter().zip(peers.means(tensors)?).collect());
        let norm = gradients.norm()?;
        let mean = |figures| peers.mean(figures);
        let metrics = Metrics::read(self.done + 1, self.learning_rate, &losses, &norm, mean)?;
        Ok((gradients, metrics))
    }

    /// The parts, and the mean of their magnitudes.
    fn prepare(&self, own: &Batch, first: usize, parts: usize, device: &Device) -> Result<(Vec<Part>, Option<Tensor>)> {
        let Batch { size, pixels, .. } = own;
        let photos = photos_of(own) / parts;
        let cut = pixels.chunks_exact(photos * 3 * size * size).enumerate().map(|(at, pixels)| {
            // Bytes to the device, floats there.
            let pixels = Tensor::from_slice(pixels, (photos, 3, *size, *size), device)?.to_dtype(DType::F32)?;
            let content = self.objective.content_features(&pixels)?;
            Ok(Part { photos: pixels, content, sample: (first + at * photos) as u64 })
        });
        let cut = cut.collect::<Result<Vec<_>>>()?;
        let magnitudes: Vec<_> = cut.iter().filter_map(|part| part.content.magnitudes().cloned()).collect();
        let magnitudes = (!magnitudes.is_empty()).then(|| parts::mean(&magnitudes)).transpose()?;
        Ok((cut, magnitudes))
    }

    /// The part of the batch's pixels that the temporal loss counts, where there is one and the batch is in parts.
    fn visible(&self, own: &Batch, first: usize, parts: usize, peers: &mut Peers) -> Result<Option<f64>> {
        match self.temporal {
            Some(temporal) if parts * peers.count() > 1 => {
                let visible = temporal.visible(first as u64, photos_of(own), (own.size, own.size));
                peers.mean_of(visible).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The mean gradients of all parts, and the losses of each.
    fn compute(&self, parts: Vec<Part>, whole: &Whole) -> Result<(Gradients, Vec<Losses>)> {
        let count = parts.len();
        let (mut sum, mut losses) = (None, Vec::with_capacity(count));
        for part in parts {
            let (gradients, figures) = self.compute_part(part, whole)?;
            losses.push(figures);
            sum = Some(match sum {
                None => gradients,
                Some(sum) => gradients.plus(&sum)?,
            });
        }
        let sum = sum.ok_or_else(|| Error::new("a step has no part"))?;
        let mean = if count > 1 { sum.times(1.0 / count as f64)? } else { sum };
        Ok((mean, losses))
    }

    /// The gradients of one part, and its losses: nothing else of it stays.
    fn compute_part(&self, part: Part, whole: &Whole) -> Result<(Gradients, Losses)> {
        let Part { photos, content, sample } = part;
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

fn photos_of(batch: &Batch) -> usize {
    batch.pixels.len() / (3 * batch.size * batch.size)
}

#[cfg(test)]
mod tests;
