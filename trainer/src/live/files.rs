//! What the server may read: three kinds of files of the run folder, and nothing that only seems to lie there.

use std::fs;
use std::path::Path;

use crate::run_folder::RunFiles;

/// The run folder as the server sees it. Requests name no paths: a sheet is asked for by its step.
#[derive(Debug, Clone)]
pub(super) struct Files(RunFiles);

impl Files {
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

    /// The steps of the contact sheets there are, in order.
    pub(super) fn sheets(&self) -> Vec<usize> {
        self.0.previews().unwrap_or_default().into_iter().map(|(step, _)| step).collect()
    }

    /// A file that lies in the run folder, links followed; nothing of any other.
    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let (root, real) = (self.0.root().canonicalize().ok()?, path.canonicalize().ok()?);
        (real.starts_with(root) && real.is_file()).then(|| fs::read(real).ok()).flatten()
    }
}
