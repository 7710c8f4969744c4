//! Batches of random crops, prefetched by worker threads.
//!
//! The content of a batch does not depend on which thread makes it, or when.

mod batch;
mod crop;
mod order;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use impasto_common::{Error, Result, ResultExt};

use self::batch::BatchMaker;
pub use self::batch::{Batch, LoaderConfig};
use crate::photos::Photos;

/// The largest number of batches that are prefetched.
const AHEAD: u64 = 4;

/// An endless, ordered stream of batches.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Loader {
    /// Starts making batches, beginning with number `first`.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub fn start(photos: Arc<Photos>, config: LoaderConfig, first: u64) -> Result<Self> {
        let queue = BatchQueue { next: first, wanted: first, ready: BTreeMap::new(), closed: false };
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
            // Workers report panics as errors of their batches, so there is nothing to report here.
            let _ = worker.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    photos: Arc<Photos>,
    config: LoaderConfig,
    queue: Mutex<BatchQueue>,
    changed: Condvar,
}

#[derive(Debug)]
struct BatchQueue {
    /// The next batch to be made.
    next: u64,
    /// The next batch to be taken.
    wanted: u64,
    ready: BTreeMap<u64, Result<Batch>>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BatchQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut maker = BatchMaker::new(self.photos.clone(), self.config);
        while let Some(number) = self.claim() {
            let batch = catch_unwind(AssertUnwindSafe(|| maker.make(number)));
            let batch = batch.unwrap_or_else(|_| Err(Error::new("a loader thread panicked")));
            self.lock().ready.insert(number, batch);
            self.changed.notify_all();
        }
    }

    /// Waits until there is room for another batch, and returns its number; `None` after the queue is closed.
    fn claim(&self) -> Option<u64> {
        let full = |queue: &mut BatchQueue| !queue.closed && queue.next >= queue.wanted + AHEAD;
        let mut queue = self.changed.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        let number = queue.next;
        queue.next += 1;
        (!queue.closed).then_some(number)
    }

    fn take(&self) -> Result<Batch> {
        let missing = |queue: &mut BatchQueue| !queue.ready.contains_key(&queue.wanted);
        let mut queue = self.changed.wait_while(self.lock(), missing).unwrap_or_else(PoisonError::into_inner);
        let wanted = queue.wanted;
        queue.wanted += 1;
        let batch = queue.ready.remove(&wanted);
        drop(queue);
        self.changed.notify_all();
        batch.unwrap_or_else(|| Err(Error::new(format!("batch {wanted} is missing"))))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::{Rgb, RgbImage};

    use super::batch::SIZE_STEP;
    use super::crop::LEVELS;
    use super::*;
    use crate::peers::Share;

    const CONFIG: LoaderConfig =
        LoaderConfig { batch: 3, share: Share::WHOLE, size: 8, largest_size: 8, zoom: 1.5, seed: 5, threads: 1 };

    /// Five photos with a few colours each, and a file that is not a picture.
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
        let paths = impasto_picture::find_images(folder).unwrap().pictures;
        Arc::new(Photos::new(folder, paths, CONFIG.size, CONFIG.zoom, cache_bytes))
    }

    fn batches(photos: &Arc<Photos>, config: LoaderConfig, first: u64, count: usize) -> Vec<Batch> {
        let mut loader = Loader::start(photos.clone(), config, first).unwrap();
        (0..count).map(|_| loader.take().unwrap()).collect()
    }

    #[test]
    fn batches_do_not_depend_on_threads_cache_or_starting_point() {
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
    fn the_shares_of_a_batch_are_the_batch() {
        let folder = folder();
        let whole = batches(&photos(folder.path(), 0), CONFIG, 0, 4);
        let shares = [0, 1, 2].map(|index| {
            let share = Share { index, count: 3 };
            batches(&photos(folder.path(), 0), LoaderConfig { share, ..CONFIG }, 0, 4)
        });
        for (number, batch) in whole.iter().enumerate() {
            let joined: Vec<u8> = shares.iter().flat_map(|share| share[number].pixels.clone()).collect();
            assert_eq!(joined, batch.pixels);
        }
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
        // Most crops of this photo do not contain the mark.
        let marked = RgbImage::from_fn(90, 12, |x, _| if x.abs_diff(45) < 4 { Rgb([0, 9, 99]) } else { Rgb([255; 3]) });
        marked.save(folder.path().join("marked.png")).unwrap();
        let batches = batches(&photos(folder.path(), 0), CONFIG, 0, 20);
        for crop in batches.iter().flat_map(|batch| batch.pixels.chunks(3 * CONFIG.size * CONFIG.size)) {
            let span = |plane: &[u8]| plane.iter().fold(0, |most, level| most.max(level.abs_diff(plane[0])));
            assert!(crop.chunks(CONFIG.size * CONFIG.size).any(|plane| span(plane) >= LEVELS / 2));
        }
        let skipped: BTreeMap<_, _> = batches.into_iter().flat_map(|batch| batch.skipped).collect();
        assert_eq!(skipped.get("white.png").map(String::as_str), Some("`white.png` has only one colour"));
    }

    #[test]
    fn a_folder_without_a_usable_photo_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        RgbImage::new(3, 3).save(folder.path().join("tiny.png")).unwrap();
        let mut loader = Loader::start(photos(folder.path(), 0), CONFIG, 0).unwrap();
        let error = loader.take().unwrap_err().to_string();
        assert!(
            error.starts_with("none of 1 photos can be used: ") && error.contains("too small: its size is 3x3"),
            "{error}"
        );
    }
}
