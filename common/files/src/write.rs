//! Writes files completely or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, TempPath};

use crate::resolve;
use impasto_error::{Result, ResultExt};

/// Writes a file beside `path` and renames it to `path` once it is complete and on disk.
///
/// Missing parent folders are created. After a failure, `path` is unchanged and no temporary file is left. If `path` is a
/// symbolic link, the file that it points to is replaced. A device, pipe or socket is written to directly, so it may have
/// received part of the data when writing fails.
///
/// # Errors
///
/// If the folder cannot be created, `write` fails, or the disk is full.
pub fn write_atomic<T>(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<T>) -> Result<T> {
    let action = || format!("cannot write `{}`", path.display());
    // If the metadata cannot be read, the file is missing, or creating it reports the cause.
    let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    if is_special { write_into(path, write) } else { replace(path, write) }.context(action)
}

/// Moves the complete file `from` to `to`, with the same result as [`write_atomic`].
///
/// # Errors
///
/// If `from` cannot be moved, or `to` cannot be written.
pub fn move_into_place(from: &Path, to: &Path) -> Result<()> {
    let action = || format!("cannot write `{}`", to.display());
    if fs::symlink_metadata(to).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let mut file = File::open(from).context(action)?;
        write_atomic(to, |writer| io::copy(&mut file, writer).context(|| "cannot copy the file"))?;
        return fs::remove_file(from).context(|| format!("cannot remove `{}`", from.display()));
    }
    fs::rename(from, to).context(action)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Writes directly to the existing device, pipe or socket.
fn write_into<T>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T>,
) -> std::result::Result<T, BoxError> {
    let mut writer = BufWriter::new(OpenOptions::new().write(true).open(path)?);
    let value = write(&mut writer)?;
    writer.flush()?;
    Ok(value)
}

/// Writes a new file and moves it to the place of the old one.
fn replace<T>(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<T>) -> std::result::Result<T, BoxError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let target = if is_link { resolve(path)? } else { path.to_owned() };
    let (file, temporary) = create_beside(&target)?;
    let written = write_and_sync(file, write);
    // Done while holding the lock, so that `discard_unfinished` sees the file either as unfinished or as complete.
    let mut unfinished = unfinished();
    unfinished.remove(&*temporary);
    // Returning drops the temporary file, which removes it.
    let value = written?;
    temporary.persist(&target).map_err(|error| error.error)?;
    Ok(value)
}

fn write_and_sync<T>(
    file: File,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T>,
) -> std::result::Result<T, BoxError> {
    let mut writer = BufWriter::new(file);
    let value = write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    Ok(value)
}

/// Creates a temporary file in the folder of `path`. It is created exclusively under a random name, so that nobody can
/// place a link there first. The name is short, so it is valid wherever the name of `path` is.
fn create_beside(path: &Path) -> io::Result<(File, TempPath)> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut unfinished = unfinished();
    // Created like this, it has the default mode of a new file.
    let make = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    let (file, temporary) = Builder::new().prefix(".impasto-").suffix(".tmp").make_in(folder, make)?.into_parts();
    unfinished.insert(temporary.to_path_buf());
    Ok((file, temporary))
}

/// The temporary files that [`write_atomic`] has not yet moved to their places.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // The set is consistent even if a holder panicked, because insertions and removals do not panic half-way.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While this exists, no file is created, finished or moved to its place. Threads that try to do so wait.
pub struct NoMoreFiles(#[expect(dead_code, reason = "only held")] MutexGuard<'static, BTreeSet<PathBuf>>);

/// Removes the temporary files of everything that is being written, for a process that is about to end.
#[must_use = "other threads go on to write once the result is dropped"]
pub fn discard_unfinished() -> NoMoreFiles {
    let unfinished = unfinished();
    for path in unfinished.iter() {
        // The process is about to end, and the other files must still be removed.
        let _ = fs::remove_file(path);
    }
    NoMoreFiles(unfinished)
}

#[cfg(test)]
mod tests {
    use impasto_error::Error;

    use super::*;

    fn put(path: &Path, text: &str) -> Result<()> {
        write_atomic(path, |writer| writer.write_all(text.as_bytes()).context(|| "cannot write the text"))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_or_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file");
        put(&path, "old").unwrap();
        let error = write_atomic(&path, |writer| {
            writer.write_all(b"half").context(|| "cannot write")?;
            Err::<(), _>(Error::new("stopped half-way"))
        });
        assert!(error.unwrap_err().to_string().ends_with("stopped half-way"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        put(&path, "new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(path.parent().unwrap()), ["file"]);
    }

    #[test]
    fn a_name_as_long_as_names_can_be_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n".repeat(255));
        put(&path, "text").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }

    #[test]
    #[cfg(unix)]
    fn a_file_has_the_mode_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        fs::write(folder.path().join("plain"), "").unwrap();
        put(&folder.path().join("written"), "").unwrap();
        assert_eq!(mode("written"), mode("plain"));
    }

    #[test]
    #[cfg(unix)]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("elsewhere")).unwrap();
        fs::write(path("elsewhere/file"), "old").unwrap();
        for (link, target) in [("link", "elsewhere/file"), ("dangling", "elsewhere/new")] {
            symlink(target, path(link)).unwrap();
            put(&path(link), "new").unwrap();
            assert!(fs::symlink_metadata(path(link)).unwrap().is_symlink());
            assert_eq!(fs::read(path(target)).unwrap(), b"new");
        }
        assert_eq!(names(folder.path()), ["dangling", "elsewhere", "link"]);
        assert_eq!(names(&path("elsewhere")), ["file", "new"]);
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_regular_file_is_written_into_and_stays() {
        use std::os::unix::fs::FileTypeExt;
        use std::process::Command;
        use std::thread;
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let reading = thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo).unwrap()
        });
        put(&fifo, "through the pipe").unwrap();
        assert_eq!(reading.join().unwrap(), b"through the pipe");
        assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
        put(Path::new("/dev/null"), "nothing").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert_eq!(names(folder.path()), ["fifo"]);
        let file = folder.path().join("file");
        put(&file, "text").unwrap();
        move_into_place(&file, Path::new("/dev/null")).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert_eq!(names(folder.path()), ["fifo"]);
    }
}
