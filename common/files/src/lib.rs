//! Files written so that a reader never sees half of one, and folders walked.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use walkdir::WalkDir;

use impasto_error::{Result, ResultExt};

/// Writes a file beside `path` and renames it over `path` once it is complete and on disk.
///
/// Missing parent folders are made. A failure leaves whatever was at `path` before, and no litter.
///
/// # Errors
///
/// If the folder cannot be made, `write` fails, or the disk is full.
pub fn write_atomic<T>(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<T>) -> Result<T> {
    let action = || format!("cannot write `{}`", path.display());
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).context(action)?;
    }
    let temporary = temporary_beside(path);
    let written = write_and_sync(&temporary, write);
    // Under the lock, so that `discard_unfinished` finds the file either unfinished or in its place.
    let mut unfinished = unfinished();
    let placed = written.and_then(|value| {
        fs::rename(&temporary, path)?;
        Ok(value)
    });
    if placed.is_err() {
        // The write has failed already; a failure to tidy up would only hide why.
        let _ = fs::remove_file(&temporary);
    }
    unfinished.remove(&temporary);
    placed.context(action)
}

/// The files that [`write_atomic`] has begun and not put in their places.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // The set is whole whatever its holder did: insertions and removals do not panic half-way.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as this lives, no file is begun, finished or put in its place; who tries waits.
pub struct NoMoreFiles(#[expect(dead_code, reason = "only held")] MutexGuard<'static, BTreeSet<PathBuf>>);

/// Removes the temporary files of everything that is being written, for a process that is about to end.
#[must_use = "other threads go on to write once the result is dropped"]
pub fn discard_unfinished() -> NoMoreFiles {
    let unfinished = unfinished();
    for path in unfinished.iter() {
        // There is nobody left to tell, and the other files still have to go.
        let _ = fs::remove_file(path);
    }
    NoMoreFiles(unfinished)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn write_and_sync<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T>,
) -> std::result::Result<T, BoxError> {
    let mut writer = BufWriter::new(create(path)?);
    let value = write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    Ok(value)
}

fn create(temporary: &Path) -> io::Result<File> {
    let mut unfinished = unfinished();
    let file = File::create(temporary)?;
    unfinished.insert(temporary.to_owned());
    Ok(file)
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// All files below `folder` that are wanted, sorted by path, symbolic links followed.
///
/// # Errors
///
/// If a folder cannot be read.
pub fn find(folder: &Path, is_wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let entry = entry.context(|| format!("cannot read folder `{}`", folder.display()))?;
        if entry.file_type().is_file() && is_wanted(entry.path()) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Whether a file's name ends with one of these (lower case), in any case.
#[must_use]
pub fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| extensions.contains(&extension.to_ascii_lowercase().as_str()))
}
