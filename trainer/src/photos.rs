//! The folder of photos: which are used for training, which are held out, and which cannot be used.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use image::RgbImage;
use impasto_common::{Error, Result, ResultExt};

use crate::digest::Digest;
use crate::resample;

/// A photo whose short side is less than this fraction of the crop would be mostly blur.
const SMALLEST_FRACTION: f64 = 0.5;

/// The photos of a folder, read on demand and kept in memory within a budget.
#[derive(Debug)]
pub struct Photos {
    paths: Vec<PathBuf>,
    names: Vec<String>,
    crop: usize,
    short_side: usize,
    read: Vec<OnceLock<Reading>>,
    spare_bytes: AtomicUsize,
}

type Reading = Result<Arc<RgbImage>, String>;

/// The photos of a folder in two groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhotoSplit {
    /// The training photos, sorted by path.
    pub training: Vec<PathBuf>,
    /// The held-out photos, in order of preference.
    pub held_out: Vec<PathBuf>,
    /// What the user should know of the files that are left out.
    pub notes: Vec<String>,
}

/// The photos of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderPhotos {
    /// In the order in which they are held out from training.
    pub paths: Vec<PathBuf>,
    /// What the user should know of the files that are left out.
    pub notes: Vec<String>,
}

/// The most files of a folder that are named because they are left out.
const NAMED: usize = 20;

/// Finds the photos below `folder` and holds out `held_out` of them, at most a tenth.
///
/// A hash of the names decides which ones, so that photos added later seldom change the selection.
///
/// # Errors
///
/// If the folder cannot be read or has no photos.
pub fn find(folder: &Path, held_out: usize) -> Result<PhotoSplit> {
    let FolderPhotos { paths: mut training, notes } = in_order_of_preference(folder)?;
    let count = held_out.min(training.len() / 10);
    let held_out = training.drain(..count).collect();
    training.sort();
    Ok(PhotoSplit { training, held_out, notes })
}

/// The photos below `folder` in the order in which they are held out from training.
///
/// The content of a file decides whether it is a photo. What cannot be read is left out with a note.
///
/// # Errors
///
/// If the folder cannot be read or has no photos.
pub fn in_order_of_preference(folder: &Path) -> Result<FolderPhotos> {
    let found = impasto_picture::find_images(folder)?;
    let notes = found.notes(NAMED);
    let mut paths = found.pictures;
    if paths.is_empty() {
        let error = Error::usage(format!("there are no photos in `{}`", folder.display()));
        return Err(match found.unreadable.into_iter().next() {
            Some(first) => error.with_source(first),
            None => error.with_hint("JPEG, PNG, WebP, TIFF, BMP and GIF files are photos, whatever their names"),
        });
    }
    paths.sort_by_cached_key(|path| Digest::of(name_below(folder, path).as_bytes()));
    Ok(FolderPhotos { paths, notes })
}

impl Photos {
    /// Photos that will be cropped to `crop` pixels from pictures up to `zoom` times as large.
    ///
    /// `cache_bytes` limits the cache of decoded photos. The cache keeps the first photos read, not the latest ones. Every
    /// photo is used once per epoch, so a cache of the latest photos would always have dropped the next one.
    #[must_use]
    pub fn new(folder: &Path, paths: Vec<PathBuf>, crop: usize, zoom: f64, cache_bytes: usize) -> Self {
        Self {
            names: paths.iter().map(|path| name_below(folder, path)).collect(),
            read: paths.iter().map(|_| OnceLock::new()).collect(),
            paths,
            crop,
            short_side: (crop as f64 * zoom).ceil() as usize,
            spare_bytes: AtomicUsize::new(cache_bytes),
        }
    }

    /// The number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The path of photo `index`, relative to the folder.
    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        &self.names[index]
    }

    /// A digest that changes when a photo is added, removed or renamed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.names.join("\n").as_bytes())
    }

    /// A digest of the sizes of all files. It almost always changes when a photo is replaced by another of the same name.
    ///
    /// Digests of the contents would require reading the whole folder.
    ///
    /// # Errors
    ///
    /// If a file no longer exists.
    pub fn sizes_digest(&self) -> Result<Digest> {
        let sizes = self.paths.iter().map(|path| {
            let metadata = std::fs::metadata(path).context(|| format!("cannot read `{}`", path.display()))?;
            Ok(format!("{}\n", metadata.len()))
        });
        Ok(Digest::of(sizes.collect::<Result<String>>()?.as_bytes()))
    }

    /// Photo `index`, shrunk to the largest size that a crop can need; or the reason why it cannot be used.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or decoded, or is too small.
    pub fn get(&self, index: usize) -> Result<Arc<RgbImage>, String> {
        if let Some(reading) = self.read[index].get() {
            return reading.clone();
        }
        let reading = self.decode(&self.paths[index]).map(Arc::new).map_err(|error| error.to_string());
        let bytes = reading.as_ref().map_or(0, |photo| photo.as_raw().len());
        let spend = |spare: usize| spare.checked_sub(bytes);
        if self.spare_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok() {
            return self.read[index].get_or_init(|| reading).clone();
        }
        reading
    }

    fn decode(&self, path: &Path) -> Result<RgbImage> {
        let photo = impasto_picture::read_rgb(path)?;
        let short_side = photo.width().min(photo.height());
        if f64::from(short_side) < SMALLEST_FRACTION * self.crop as f64 {
            let size = format!("{}x{}", photo.width(), photo.height());
            return Err(Error::new(format!(
                "`{}` is too small: its size is {size}, and crops have {} pixels",
                path.display(),
                self.crop
            )));
        }
        resample::shrink_to_short_side(photo, self.short_side)
    }
}

/// The path below `folder`, with `/` as the separator on every system.
fn name_below(folder: &Path, path: &Path) -> String {
    let below = path.strip_prefix(folder).unwrap_or(path);
    let names: Vec<_> = below.components().map(|name| name.as_os_str().to_string_lossy()).collect();
    names.join("/")
}
