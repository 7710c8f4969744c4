//! The folder of one training: snapshot, metrics, previews, report.

use std::fs::{self, File, TryLockError};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use impasto_common::{Error, Result, ResultExt};

/// The paths of the files in a run folder, for reading.
#[derive(Debug, Clone)]
pub struct RunFiles {
    root: PathBuf,
}

/// A run folder that this process has locked.
#[derive(Debug)]
pub struct RunFolder {
    files: RunFiles,
    /// The system releases the lock when the process ends for any reason.
    lock: File,
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is just being started may hold a copy of it for a moment. If
        // unlocking fails, there was no lock.
        let _ = self.lock.unlock();
    }
}

impl RunFolder {
    /// Opens the folder and locks it; creates it if needed.
    ///
    /// # Errors
    ///
    /// If it cannot be created, or another process trains in it.
    pub fn open(root: &Path) -> Result<Self> {
        let action = || format!("cannot open run folder `{}`", root.display());
        fs::create_dir_all(root).context(action)?;
        let lock = File::create(root.join("lock")).context(action)?;
        match lock.try_lock() {
            Ok(()) => {
                remove_litter(root)?;
                Ok(Self { files: RunFiles::new(root), lock })
            }
            Err(TryLockError::WouldBlock) => Err(Error::usage("another training is using it"))
                .context(action)
                .map_err(|error| error.with_hint("wait for it, or choose another `--run-dir`")),
            Err(TryLockError::Error(error)) => Err(error).context(action),
        }
    }

    /// Deletes the snapshots, metrics and previews of an earlier training.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed.
    pub fn clear(&self) -> Result<()> {
        self.forget_interrupted()?;
        remove_if_there(&self.snapshot(), |path| fs::remove_file(path))?;
        remove_if_there(&self.metrics(), |path| fs::remove_file(path))?;
        remove_if_there(&self.report(), |path| fs::remove_file(path))?;
        remove_if_there(&self.rescued_style(), |path| fs::remove_file(path))?;
        remove_if_there(&self.root.join("previews"), |path| fs::remove_dir_all(path))
    }

    /// Deletes the snapshot of an interrupted run, after a later snapshot was written.
    ///
    /// # Errors
    ///
    /// If the file cannot be removed.
    pub fn forget_interrupted(&self) -> Result<()> {
        remove_if_there(&self.interrupted(), |path| fs::remove_file(path))
    }
}

impl Deref for RunFolder {
    type Target = RunFiles;

    fn deref(&self) -> &RunFiles {
        &self.files
    }
}

impl RunFiles {
    /// The files of the run folder `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The snapshot that a training resumes from and rolls back to.
    #[must_use]
    pub fn snapshot(&self) -> PathBuf {
        self.root.join("snapshot.safetensors")
    }

    /// The snapshot of an interrupted run, later than [`Self::snapshot`].
    ///
    /// It is a separate file because a roll-back must return to the same step whether or not the run was interrupted.
    #[must_use]
    pub fn interrupted(&self) -> PathBuf {
        self.root.join("interrupted.safetensors")
    }

    /// The table of metrics.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.csv")
    }

    /// The contact sheet of a step.
    #[must_use]
    pub fn preview(&self, step: usize) -> PathBuf {
        self.root.join("previews").join(format!("{step:08}.png"))
    }

    /// All contact sheets with their steps, in order.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn previews(&self) -> Result<Vec<(usize, PathBuf)>> {
        let folder = self.root.join("previews");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let action = || format!("cannot read folder `{}`", folder.display());
        let mut sheets = Vec::new();
        for entry in fs::read_dir(&folder).context(action)? {
            let path = entry.context(action)?.path();
            let step = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            sheets.extend(step.filter(|&step| path == self.preview(step)).map(|step| (step, path)));
        }
        sheets.sort();
        Ok(sheets)
    }

    /// The trained style, if it could not be written to the output path.
    #[must_use]
    pub fn rescued_style(&self) -> PathBuf {
        self.root.join("style.safetensors")
    }

    /// The report.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }
}

/// Removes the unfinished files of a process that was killed in the middle of writing.
fn remove_litter(root: &Path) -> Result<()> {
    let action = || format!("cannot clean up run folder `{}`", root.display());
    for entry in fs::read_dir(root).context(action)? {
        let path = entry.context(action)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") {
            fs::remove_file(&path).context(action)?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path, remove: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
    match remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
