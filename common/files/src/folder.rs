//! Finds files in folders by their names.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use impasto_error::{Result, ResultExt};

/// All wanted files below `folder`, sorted by path. Symbolic links are followed.
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

/// Whether a file has one of these extensions (given in lower case), ignoring case.
#[must_use]
pub fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| extensions.contains(&extension.to_ascii_lowercase().as_str()))
}
