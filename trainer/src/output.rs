//! Checks that an output file can be written, before hours of work.

use std::fs::{self, File};
use std::path::Path;

use impasto_common::{Error, Result, ResultExt};

/// Checks that a file can be written at `path`, and creates its parent folders.
///
/// # Errors
///
/// If `path` is a directory, or no file can be created next to it.
pub fn check(path: &Path) -> Result<()> {
    let action = || format!("cannot write `{}`", path.display());
    if path.is_dir() {
        return Err(Error::usage("it is a directory")).context(action);
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).context(action)?;
    // Checking permissions is not enough: the file system may be read-only, or have no space for more files.
    let trial = folder.join(format!(".impasto-{}.tmp", std::process::id()));
    File::create(&trial).and_then(|_| fs::remove_file(&trial)).context(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_and_a_folder_that_is_a_file_are_refused_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        check(&path("new/style.safetensors")).unwrap();
        assert_eq!(fs::read_dir(path("new")).unwrap().count(), 0);
        let error = check(&path("new")).unwrap_err();
        assert!(error.to_string().ends_with("new`: it is a directory") && error.exit_code() == 2, "{error}");
        fs::write(path("file"), b"").unwrap();
        let error = check(&path("file/style.safetensors")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write `") && error.contains("file/style.safetensors`: "), "{error}");
    }
}
