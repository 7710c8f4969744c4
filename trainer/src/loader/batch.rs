//! One batch: a pure function of the seed and the number of the batch.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use image::RgbImage;
use impasto_common::{Error, Result};
use rand::RngExt;

use super::crop::{Crop, CropTries, append_planes};
use super::order::PhotoOrder;
use crate::peers::Share;
use crate::photos::Photos;
use crate::random::{Purpose, generator};

/// The number of crops that are tried before a photo is replaced by another.
const TRIES: usize = 32;

/// The difference between successive crop sizes, pixels: a multiple of the networks' total downsampling factor.
pub(super) const SIZE_STEP: usize = 32;

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoaderConfig {
    /// Crops in a batch.
    pub batch: usize,
    /// The share of each batch that this process makes.
    pub share: Share,
    /// Height and width of a crop, pixels.
    pub size: usize,
    /// The largest height and width, pixels. Each batch has a random crop size, from `size` to this size in steps of 32.
    pub largest_size: usize,
    /// The largest ratio of a photo's short side to the side of the square that is cut from it.
    pub zoom: f64,
    /// The seed for the order of photos, crops and flips.
    pub seed: u64,
    /// Worker threads.
    pub threads: usize,
}

impl LoaderConfig {
    /// The height and width of the crops in batch `number`.
    pub(super) fn size_of(&self, number: u64) -> usize {
        let larger = self.largest_size.saturating_sub(self.size) / SIZE_STEP;
        self.size + SIZE_STEP * generator(self.seed, Purpose::Size, number).random_range(0..=larger)
    }
}

/// Crops of photos, ready for the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Height and width of its crops, pixels.
    pub size: usize,
    /// `(batch, 3, size, size)` in row-major order, RGB. Bytes, because they are a quarter of the size of floats to copy to a
    /// GPU.
    pub pixels: Vec<u8>,
    /// Photos that were replaced by others: name and reason.
    pub skipped: BTreeMap<String, String>,
}

impl Batch {
    /// The number of photos in the batch.
    #[must_use]
    pub fn photos(&self) -> usize {
        self.pixels.len() / (3 * self.size * self.size)
    }
}

/// Makes batches, in any order.
#[derive(Debug)]
pub(super) struct BatchMaker {
    photos: Arc<Photos>,
    config: LoaderConfig,
    order: PhotoOrder,
}

impl BatchMaker {
    pub(super) fn new(photos: Arc<Photos>, config: LoaderConfig) -> Self {
        let order = PhotoOrder::new(photos.len(), config.seed);
        Self { photos, config, order }
    }

    /// This process's share of batch `number`.
    pub(super) fn make(&mut self, number: u64) -> Result<Batch> {
        let LoaderConfig { batch, share, zoom, .. } = self.config;
        let size = self.config.size_of(number);
        let mut pixels = Vec::with_capacity(share.photos(batch) * 3 * size * size);
        let mut skipped = BTreeMap::new();
        for sample in share.samples(number, batch) {
            let mut random = generator(self.config.seed, Purpose::Crop, sample);
            let drawn = Crop::draw(&mut random);
            let replacement = random.random();
            let crops: Vec<Crop> = iter::once(drawn).chain((1..TRIES).map(|_| Crop::draw(&mut random))).collect();
            let tries = CropTries { crops: &crops, size, zoom };
            let photo = self.order.photo(sample);
            let crop = self.usable_crop(photo, replacement, &tries, &mut skipped)?;
            append_planes(&mut pixels, &crop, drawn.flip);
        }
        Ok(Batch { size, pixels, skipped })
    }

    /// A crop of photo `index`. If that photo cannot be used, searches for a usable one from a random position.
    fn usable_crop(
        &self,
        index: usize,
        replacement: u64,
        tries: &CropTries,
        skipped: &mut BTreeMap<String, String>,
    ) -> Result<RgbImage> {
        let photos = self.photos.len();
        let others = (0..photos).map(|step| (replacement as usize % photos + step) % photos);
        for candidate in iter::once(index).chain(others) {
            let reason = match self.photos.get(candidate) {
                Ok(photo) => match tries.contrasting(&photo)? {
                    Some(crop) => return Ok(crop),
                    None => format!("`{}` has only one colour", self.photos.name(candidate)),
                },
                Err(reason) => reason,
            };
            skipped.insert(self.photos.name(candidate).to_owned(), reason);
        }
        let reason = skipped.values().next().cloned().unwrap_or_default();
        Err(Error::new(format!("none of {photos} photos can be used")).with_source(Error::new(reason)))
    }
}
