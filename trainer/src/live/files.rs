//! The files that the server may read: three kinds of files in the run folder. Links to files elsewhere are not followed.

use std::fs;
use std::path::Path;

use crate::run_folder::RunFiles;

/// The run folder as the server sees it. Requests do not contain paths; they name a contact sheet by its step.
#[derive(Debug, Clone)]
pub(super) struct ServedFiles(RunFiles);

impl ServedFiles {
    pub(super) fn new(files: RunFiles) -> Self {
        Self(files)
    }

    pub(super) fn report(&self) -> Option<Vec<u8>> {
        self.read(&self.0.report())
    }

    pub(super) fn metrics(&self) -> Option<Vec<u8>> {
        self.read(&self.0.metrics())
    }

    pub(super) fn sheet(&self, step: usize) -> Option<Vec<u8>> {
        self.read(&self.0.preview(step))
    }

    /// The steps that have a contact sheet, in order.
    pub(super) fn sheets(&self) -> Vec<usize> {
        self.0.previews().unwrap_or_default().into_iter().map(|(step, _)| step).collect()
    }

    /// A file whose real path, with all links resolved, is in the run folder.
    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let (root, real) = (self.0.root().canonicalize().ok()?, path.canonicalize().ok()?);
        (real.starts_with(root) && real.is_file()).then(|| fs::read(real).ok()).flatten()
    }
}
