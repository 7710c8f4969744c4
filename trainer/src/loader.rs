//! Batches of random crops, made ahead by worker threads.
//!
//! Every batch is a pure function of the seed and its number: which thread makes it, and when, changes nothing.

use std::collections::BTreeMap;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use image::RgbImage;
use impasto_common::{Error, Result, ResultExt};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use crate::photos::Photos;
use crate::random::{Purpose, generator};
use crate::resample::{self, Rectangle};

/// Batches that wait for the trainer at most.
const AHEAD: u64 = 4;

/// A crop whose channels all span fewer levels than this is of one colour.
///
/// It teaches nothing, and worse: the variances in every instance normalisation are then zero but for rounding, so that each
/// multiplies the gradient by 300, and all of them beyond the largest float.
const LEVELS: u8 = 8;

/// Crops that are tried of a photo before another takes its place.
const TRIES: usize = 32;

/// Pixels between the sizes that crops may have: a multiple of what the networks halve their pictures by.
const SIZE_STEP: usize = 32;

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoaderConfig {
    /// Crops in a batch.
    pub batch: usize,
    /// The part of each batch that is made here, of how many equal ones.
    pub part: (usize, usize),
    /// Height and width of a crop, pixels.
    pub size: usize,
    /// The largest height and width: every batch has a size of its own, drawn in steps of 32 from `size` on.
    pub largest_size: usize,
    /// A crop's height and width lie between the short side of the photo and this many times less.
    pub zoom: f64,
    /// The seed of order, crops and flips.
    pub seed: u64,
    /// Worker threads.
    pub threads: usize,
}

impl LoaderConfig {
    /// The height and width of the crops in batch `number`.
    fn size_of(&self, number: u64) -> usize {
        let larger = self.largest_size.saturating_sub(self.size) / SIZE_STEP;
        self.size + SIZE_STEP * generator(self.seed, Purpose::Size, number).random_range(0..=larger)
    }
}

/// Some photos, ready for the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Height and width of its crops, pixels.
    pub size: usize,
    /// `(batch, 3, size, size)` in row-major order, RGB. Bytes, so that a device is sent a quarter of the floats.
    pub pixels: Vec<u8>,
    /// Photos that had to be replaced by others, by name, with the reason.
    pub skipped: BTreeMap<String, String>,
}

/// An endless, ordered supply of batches.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Loader {
    /// Starts making batches from number `first` on.
    ///
    /// # Errors
    ///
    /// If the system gives no more threads.
    pub fn start(photos: Arc<Photos>, config: LoaderConfig, first: u64) -> Result<Self> {
        let queue = Queue { next: first, wanted: first, ready: BTreeMap::new(), closed: false };
        let shared = Arc::new(Shared { photos, config, queue: Mutex::new(queue), changed: Condvar::new() });
        let mut loader = Self { shared, workers: Vec::new() };
        for number in 0..config.threads.max(1) {
            let shared = loader.shared.clone();
            let worker = std::thread::Builder::new().name(format!("loader-{number}")).spawn(move || shared.work());
            loader.workers.push(worker.context(|| "cannot start a loader thread")?);
        }
        Ok(loader)
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    ///
    /// If no photo can be used.
    pub fn take(&mut self) -> Result<Batch> {
        self.shared.take()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its panics and hands them over as errors; there is nothing left to report here.
            let _ = worker.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    photos: Arc<Photos>,
    config: LoaderConfig,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue {
    /// The next batch to be made.
    next: u64,
    /// The next batch to be taken.
    wanted: u64,
    ready: BTreeMap<u64, Result<Batch>>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut order = Order::new(self.photos.len(), self.config.seed);
        while let Some(number) = self.claim() {
            let batch = catch_unwind(AssertUnwindSafe(|| self.make(number, &mut order)));
            let batch = batch.unwrap_or_else(|_| Err(Error::new("a loader thread panicked")));
            self.lock().ready.insert(number, batch);
            self.changed.notify_all();
        }
    }

    /// The number of a batch to make, as soon as there is room for it.
    fn claim(&self) -> Option<u64> {
        let full = |queue: &mut Queue| !queue.closed && queue.next >= queue.wanted + AHEAD;
        let mut queue = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        let number = queue.next;
        queue.next += 1;
        (!queue.closed).then_some(number)
    }

    fn take(&self) -> Result<Batch> {
        let missing = |queue: &mut Queue| !queue.ready.contains_key(&queue.wanted);
        let mut queue = self.changed.wait_while(self.lock(), missing).unwrap_or_else(PoisonError::into_inner);
        let wanted = queue.wanted;
        queue.wanted += 1;
        let batch = queue.ready.remove(&wanted);
        drop(queue);
        self.changed.notify_all();
        batch.unwrap_or_else(|| Err(Error::new(format!("batch {wanted} is missing"))))
    }

    fn make(&self, number: u64, order: &mut Order) -> Result<Batch> {
        let LoaderConfig { batch, part: (part, parts), zoom, .. } = self.config;
        let (own, size) = (batch / parts, self.config.size_of(number));
        let mut pixels = Vec::with_capacity(own * 3 * size * size);
        let mut skipped = BTreeMap::new();
        let first = number * batch as u64 + (part * own) as u64;
        for sample in first..first + own as u64 {
            let mut random = generator(self.config.seed, Purpose::Crop, sample);
            let drawn = Crop::draw(&mut random);
            let replacement = random.random();
            let crops: Vec<Crop> = iter::once(drawn).chain((1..TRIES).map(|_| Crop::draw(&mut random))).collect();
            let cuts = Cuts { crops: &crops, size, zoom };
            let crop = self.usable_crop(order.photo(sample), replacement, &cuts, &mut skipped)?;
            append_planes(&mut pixels, &crop, drawn.flip);
        }
        Ok(Batch { size, pixels, skipped })
    }

    /// A crop of photo `index`, or of the first usable one from a random place on.
    fn usable_crop(
        &self,
        index: usize,
        replacement: u64,
        cuts: &Cuts,
        skipped: &mut BTreeMap<String, String>,
    ) -> Result<RgbImage> {
        let photos = self.photos.len();
        let others = (0..photos).map(|step| (replacement as usize % photos + step) % photos);
        for candidate in iter::once(index).chain(others) {
            let reason = match self.photos.get(candidate) {
                Ok(photo) => match cuts.contrasting(&photo)? {
                    Some(crop) => return Ok(crop),
                    None => format!("`{}` is of one colour", self.photos.name(candidate)),
                },
                Err(reason) => reason,
            };
            skipped.insert(self.photos.name(candidate).to_owned(), reason);
        }
        let reason = skipped.values().next().cloned().unwrap_or_default();
        Err(Error::new(format!("none of {photos} photos can be used")).with_source(Error::new(reason)))
    }
}

/// The crops that are tried of a photo, in their order.
struct Cuts<'a> {
    crops: &'a [Crop],
    size: usize,
    zoom: f64,
}

impl Cuts<'_> {
    /// The first one that is of more than one colour.
    fn contrasting(&self, photo: &RgbImage) -> Result<Option<RgbImage>> {
        for crop in self.crops {
            let cut = crop.cut(photo, self.size, self.zoom)?;
            if !is_flat(&cut) {
                return Ok(Some(cut));
            }
        }
        Ok(None)
    }
}

/// The order of the photos: every epoch visits each once, in an order of its own.
#[derive(Debug)]
struct Order {
    seed: u64,
    epoch: Option<u64>,
    photos: Vec<u32>,
}

impl Order {
    fn new(photos: usize, seed: u64) -> Self {
        Self { seed, epoch: None, photos: (0..photos as u32).collect() }
    }

    fn photo(&mut self, sample: u64) -> usize {
        let count = self.photos.len() as u64;
        let epoch = sample / count;
        if self.epoch != Some(epoch) {
            // From the sorted order each time, so that an epoch does not depend on those before it.
            self.photos.sort_unstable();
            self.photos.shuffle(&mut generator(self.seed, Purpose::Order, epoch));
            self.epoch = Some(epoch);
        }
        self.photos[(sample % count) as usize] as usize
    }
}

/// How one photo is cropped, in fractions of what is possible.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Crop {
    zoom: f64,
    left: f64,
    top: f64,
    flip: bool,
}

impl Crop {
    fn draw(random: &mut impl Rng) -> Self {
        Self { zoom: random.random(), left: random.random(), top: random.random(), flip: random.random() }
    }

    /// A square of the photo, its side the photo's short side over a factor between 1 and `zoom`.
    fn cut(&self, photo: &RgbImage, size: usize, zoom: f64) -> Result<RgbImage> {
        let (width, height) = photo.dimensions();
        let side = (f64::from(width.min(height)) / (1.0 + self.zoom * (zoom - 1.0))).round() as u32;
        // A fraction below 1 of a count of places is a place.
        let place = |fraction: f64, length: u32| (fraction * f64::from(length - side + 1)) as u32;
        let (left, top) = (place(self.left, width), place(self.top, height));
        let square = Rectangle { left, top, width: side, height: side };
        resample::resize(photo, square, size as u32, size as u32)
    }
}

fn is_flat(crop: &RgbImage) -> bool {
    (0..3).all(|channel| {
        let levels = || crop.pixels().map(|pixel| pixel.0[channel]);
        levels().max().unwrap_or(0) - levels().min().unwrap_or(0) < LEVELS
    })
}

fn append_planes(pixels: &mut Vec<u8>, crop: &RgbImage, flip: bool) {
    for channel in 0..3 {
        for row in crop.rows() {
            let values = row.map(|pixel| pixel.0[channel]);
            if flip { pixels.extend(values.rev()) } else { pixels.extend(values) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::Rgb;

    use super::*;

    const CONFIG: LoaderConfig =
        LoaderConfig { batch: 3, part: (0, 1), size: 8, largest_size: 8, zoom: 1.5, seed: 5, threads: 1 };

    /// Five photos of a few colours each, and a file that is none.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for shade in 0..5u8 {
            let photo = RgbImage::from_fn(20, 16, |x, y| Rgb([10 * shade, 0, 200 + (x + y) as u8]));
            photo.save(folder.path().join(format!("{shade}.png"))).unwrap();
        }
        std::fs::write(folder.path().join("broken.jpg"), b"this is not a picture").unwrap();
        folder
    }

    fn photos(folder: &Path, cache_bytes: usize) -> Arc<Photos> {
        let paths = impasto_picture::find_images(folder).unwrap();
        Arc::new(Photos::new(folder, paths, CONFIG.size, CONFIG.zoom, cache_bytes))
    }

    fn batches(photos: &Arc<Photos>, config: LoaderConfig, first: u64, count: usize) -> Vec<Batch> {
        let mut loader = Loader::start(photos.clone(), config, first).unwrap();
        (0..count).map(|_| loader.take().unwrap()).collect()
    }

    #[test]
    fn batches_depend_on_neither_threads_nor_cache_nor_where_one_starts() {
        let folder = folder();
        let alone = batches(&photos(folder.path(), 0), CONFIG, 0, 9);
        let together = batches(&photos(folder.path(), 1 << 20), LoaderConfig { threads: 4, ..CONFIG }, 0, 9);
        assert_eq!(alone, together);
        assert_eq!(batches(&photos(folder.path(), 1 << 20), CONFIG, 6, 3), alone[6..]);
        let others = batches(&photos(folder.path(), 0), LoaderConfig { seed: 6, ..CONFIG }, 0, 9);
        assert_ne!(alone, others);
    }

    #[test]
    fn every_batch_has_a_size_of_its_own_within_the_range() {
        let folder = folder();
        let config = LoaderConfig { largest_size: 8 + 2 * SIZE_STEP + 5, threads: 3, ..CONFIG };
        let batches = batches(&photos(folder.path(), 1 << 20), config, 4, 20);
        let mut seen = [0; 3];
        for (number, batch) in (4..).zip(&batches) {
            assert_eq!(batch.size, config.size_of(number));
            assert_eq!(batch.pixels.len(), CONFIG.batch * 3 * batch.size * batch.size);
            seen[(batch.size - CONFIG.size) / SIZE_STEP] += 1;
        }
        assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
    }

    #[test]
    fn parts_of_a_batch_are_the_batch() {
        let folder = folder();
        let whole = batches(&photos(folder.path(), 0), CONFIG, 0, 4);
        let parts =
            [0, 1, 2].map(|part| batches(&photos(folder.path(), 0), LoaderConfig { part: (part, 3), ..CONFIG }, 0, 4));
        for (number, batch) in whole.iter().enumerate() {
            let joined: Vec<u8> = parts.iter().flat_map(|part| part[number].pixels.clone()).collect();
            assert_eq!(joined, batch.pixels);
        }
    }

    #[test]
    fn an_epoch_visits_every_photo_once_in_an_order_of_its_own() {
        let mut order = Order::new(50, 1);
        let epochs: Vec<Vec<usize>> =
            (0..3).map(|epoch| (0..50).map(|i| order.photo(50 * epoch + i)).collect()).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        assert_eq!(Order::new(50, 1).photo(120), epochs[2][20]);
    }

    #[test]
    fn a_photo_that_cannot_be_used_is_replaced_and_named() {
        let folder = folder();
        let skipped: BTreeMap<_, _> =
            batches(&photos(folder.path(), 0), CONFIG, 0, 2).into_iter().flat_map(|batch| batch.skipped).collect();
        assert_eq!(skipped.keys().collect::<Vec<_>>(), ["broken.jpg"]);
        assert!(skipped["broken.jpg"].contains("cannot read"), "{skipped:?}");
    }

    #[test]
    fn a_crop_of_one_colour_is_drawn_again_and_a_photo_of_one_colour_replaced() {
        let folder = tempfile::tempdir().unwrap();
        RgbImage::from_pixel(90, 12, Rgb([250, 255, 255])).save(folder.path().join("white.png")).unwrap();
        // Most crops of this one lie beside the mark.
        let marked = RgbImage::from_fn(90, 12, |x, _| if x.abs_diff(45) < 4 { Rgb([0, 9, 99]) } else { Rgb([255; 3]) });
        marked.save(folder.path().join("marked.png")).unwrap();
        let batches = batches(&photos(folder.path(), 0), CONFIG, 0, 20);
        for crop in batches.iter().flat_map(|batch| batch.pixels.chunks(3 * CONFIG.size * CONFIG.size)) {
            let span = |plane: &[u8]| plane.iter().fold(0, |most, level| most.max(level.abs_diff(plane[0])));
            assert!(crop.chunks(CONFIG.size * CONFIG.size).any(|plane| span(plane) >= LEVELS / 2));
        }
        let skipped: BTreeMap<_, _> = batches.into_iter().flat_map(|batch| batch.skipped).collect();
        assert_eq!(skipped.get("white.png").map(String::as_str), Some("`white.png` is of one colour"));
    }

    #[test]
    fn a_folder_without_a_usable_photo_is_an_error_and_no_endless_search() {
        let folder = tempfile::tempdir().unwrap();
        RgbImage::new(3, 3).save(folder.path().join("tiny.png")).unwrap();
        let mut loader = Loader::start(photos(folder.path(), 0), CONFIG, 0).unwrap();
        let error = loader.take().unwrap_err().to_string();
        assert!(error.starts_with("none of 1 photos can be used: ") && error.contains("too small: 3x3"), "{error}");
    }

    #[test]
    fn crops_are_squares_inside_the_photo_down_to_the_zoom() {
        let photo = RgbImage::from_fn(40, 30, |x, y| Rgb([x as u8, y as u8, 0]));
        let mut corners = Vec::new();
        for sample in 0..200 {
            let crop = Crop::draw(&mut generator(3, Purpose::Crop, sample)).cut(&photo, 30, 1.2).unwrap();
            assert_eq!(crop.dimensions(), (30, 30));
            let (first, last) = (crop.get_pixel(0, 0), crop.get_pixel(29, 29));
            let (width, height) = (last[0] - first[0], last[1] - first[1]);
            assert!((24..=30).contains(&width) && width.abs_diff(height) <= 1, "{width}x{height}");
            corners.push(first[0]);
        }
        assert!(corners.contains(&0) && corners.iter().any(|&left| left >= 10));
    }

    #[test]
    fn planes_follow_each_other_and_a_flip_turns_rows_round() {
        let crop = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8, 10 + x as u8, 20 + x as u8]));
        let planes = |flip| {
            let mut pixels = Vec::new();
            append_planes(&mut pixels, &crop, flip);
            pixels
        };
        assert_eq!(planes(false), [0, 1, 10, 11, 20, 21]);
        assert_eq!(planes(true), [1, 0, 11, 10, 21, 20]);
    }
}
