//! Walks through folders. An entry that cannot be read is named and does not stop the walk.

use std::ffi::OsStr;
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use impasto_error::{Error, Result, ResultExt};

/// What is below a folder.
#[derive(Debug, Default)]
pub struct FolderFiles {
    /// The regular files, sorted by path. Symbolic links are followed.
    pub files: Vec<PathBuf>,
    /// What cannot be read, in the order of the walk.
    pub unreadable: Vec<UnreadableEntry>,
    /// Paths of files that hold metadata of macOS: `._*`, and everything in a folder `__MACOSX`. Archives made on a Mac contain
    /// them.
    pub mac_metadata: Vec<PathBuf>,
}

/// An entry of a folder that cannot be read: a link that leads nowhere or in a circle, a folder without permission, a path that
/// is too long, a pipe, a socket or a device.
#[derive(Debug)]
pub struct UnreadableEntry {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it; the path is named.
    pub error: Error,
}

impl FolderFiles {
    /// All files below `folder`, at any depth.
    ///
    /// # Errors
    ///
    /// If `folder` itself cannot be read.
    pub fn below(folder: &Path) -> Result<Self> {
        let mut found = Self::default();
        for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) => found.add(folder, entry),
                Err(error) if error.depth() == 0 => return Err(cannot_read(folder, error)),
                Err(error) => {
                    let path = error.path().unwrap_or(folder).to_owned();
                    let error = cannot_read(&path, error);
                    found.unreadable.push(UnreadableEntry { path, error });
                }
            }
        }
        Ok(found)
    }

    fn add(&mut self, folder: &Path, entry: DirEntry) {
        let kind = entry.file_type();
        if kind.is_dir() {
            return;
        }
        if !kind.is_file() {
            let path = entry.into_path();
            let error = Error::new(format!("cannot read `{}`", path.display())).with_source(Error::new(special(kind)));
            self.unreadable.push(UnreadableEntry { path, error });
        } else if is_mac_metadata(folder, entry.path()) {
            self.mac_metadata.push(entry.into_path());
        } else {
            self.files.push(entry.into_path());
        }
    }
}

/// Up to `count` of the first bytes of a file.
///
/// # Errors
///
/// If it cannot be read.
pub fn first_bytes(path: &Path, count: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(count).read_to_end(&mut bytes));
    read.context(|| format!("cannot read `{}`", path.display()))?;
    Ok(bytes)
}

/// Whether a file has one of these extensions (given in lower case), ignoring case.
#[must_use]
pub fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| extensions.contains(&extension.to_ascii_lowercase().as_str()))
}

fn is_mac_metadata(folder: &Path, path: &Path) -> bool {
    let starts_with_dot = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"._"));
    let below = path.strip_prefix(folder).unwrap_or(path);
    starts_with_dot || below.iter().any(|name| name == "__MACOSX")
}

/// What is wrong with an entry, in plain words where they are known.
fn cannot_read(path: &Path, error: walkdir::Error) -> Error {
    let is_root = error.depth() == 0;
    let action = if is_root { "cannot read folder" } else { "cannot read" };
    let message = format!("{action} `{}`", path.display());
    if let Some(above) = error.loop_ancestor() {
        return Error::new(format!("{message}: it is a link to `{}`, the folder that contains it", above.display()));
    }
    match (error.io_error().map(io::Error::kind), fs::read_link(path)) {
        (Some(io::ErrorKind::NotFound), Ok(target)) => {
            Error::new(format!("{message}: it is a link to `{}`, which does not exist", target.display()))
        }
        // The text of walkdir's error has the path again.
        _ => match error.into_io_error() {
            Some(error) => Error::new(message).with_source(error),
            None => Error::new(message),
        },
    }
}

#[cfg(unix)]
fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        kind if kind.is_fifo() => "it is a pipe, not a file",
        kind if kind.is_socket() => "it is a socket, not a file",
        _ => "it is a device, not a file",
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> &'static str {
    "it is not a file"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, paths: &[PathBuf]) -> Vec<String> {
        paths.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/")).collect()
    }

    #[test]
    fn files_are_found_at_any_depth_and_metadata_of_macos_is_apart() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["b/c/3", "a", "b/2", "b/._2", "._a", "__MACOSX/b/2", "__MACOSX/x.jpg", "_a", "b/.hidden"] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), name).unwrap();
        }
        let found = FolderFiles::below(root).unwrap();
        assert_eq!(names(root, &found.files), ["_a", "a", "b/.hidden", "b/2", "b/c/3"]);
        assert_eq!(names(root, &found.mac_metadata), ["._a", "__MACOSX/b/2", "__MACOSX/x.jpg", "b/._2"]);
        assert!(found.unreadable.is_empty());
        assert_eq!(first_bytes(&root.join("b/c/3"), 4).unwrap(), b"b/c/");
        // What the user names is not left out for the name of a folder above it.
        assert_eq!(FolderFiles::below(&root.join("__MACOSX")).unwrap().files.len(), 2);
        let error = FolderFiles::below(&root.join("nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read folder `") && error.contains("nowhere`: "), "{error}");
    }

    #[test]
    #[cfg(unix)]
    fn entries_that_cannot_be_read_are_named_and_the_others_are_found() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;
        use std::process::Command;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("sub")).unwrap();
        for name in ["a", "sub/z"] {
            fs::write(root.join(name), "").unwrap();
        }
        symlink("gone.jpg", root.join("dangling")).unwrap();
        symlink("..", root.join("sub/up")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
        let _socket = UnixListener::bind(root.join("socket")).unwrap();
        let found = FolderFiles::below(root).unwrap();
        assert_eq!(names(root, &found.files), ["a", "sub/z"]);
        let words = [
            ("circle", "`: Too many levels of symbolic links"),
            ("dangling", "`: it is a link to `gone.jpg`, which does not exist"),
            ("fifo", "`: it is a pipe, not a file"),
            ("socket", "`: it is a socket, not a file"),
            ("sub/up", "the folder that contains it"),
        ];
        assert_eq!(found.unreadable.len(), words.len(), "{:?}", found.unreadable);
        for (entry, (name, words)) in found.unreadable.iter().zip(words) {
            let text = entry.error.to_string();
            assert_eq!(entry.path, root.join(name));
            assert!(text.starts_with(&format!("cannot read `{}`: ", root.join(name).display())), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_path_that_is_too_long_does_not_stop_a_walk() {
        use std::env;
        // Made step by step, and walked in a process of its own, because the current folder belongs to all tests.
        const VARIABLE: &str = "IMPASTO_TEST_DEEP_FOLDER";
        if let Some(root) = env::var_os(VARIABLE) {
            env::set_current_dir(&root).unwrap();
            for _ in 0..20 {
                fs::create_dir("d".repeat(250)).unwrap();
                env::set_current_dir("d".repeat(250)).unwrap();
            }
            fs::write("deep", "").unwrap();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        let this = "folder::tests::a_path_that_is_too_long_does_not_stop_a_walk";
        let mut deep = std::process::Command::new(env::current_exe().unwrap());
        assert!(deep.args(["--exact", this]).env(VARIABLE, folder.path()).output().unwrap().status.success());
        let found = FolderFiles::below(folder.path()).unwrap();
        assert_eq!(names(folder.path(), &found.files), ["a"]);
        assert_eq!(found.unreadable.len(), 1);
        let text = found.unreadable[0].error.to_string();
        assert!(text.contains("File name too long"), "{text}");
    }
}
