//! Resolves paths whose files and folders may not exist yet.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf, absolute};

/// The most symbolic links that are followed in a path: the limit of Linux.
const MAX_LINKS: usize = 40;

/// Resolves links and `..`, as if the missing folders of the path existed.
///
/// Unlike [`fs::canonicalize`], this works for files that do not exist: `new/../photo.jpg` is `photo.jpg` even if there is
/// no `new`, and a link to a missing file resolves to that file.
///
/// # Errors
///
/// If the current folder is unknown, or links form a cycle.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    if let Ok(resolved) = fs::canonicalize(path) {
        return Ok(resolved);
    }
    let mut resolved = PathBuf::new();
    let mut waiting = components(&absolute(path)?);
    let mut links = 0;
    while let Some(step) = waiting.pop() {
        match step {
            PathStep::Root(root) => resolved = root,
            PathStep::Up => drop(resolved.pop()),
            PathStep::Down(name) => {
                let below = resolved.join(name);
                if let Ok(there) = fs::canonicalize(&below) {
                    resolved = there;
                } else if let Ok(link) = fs::read_link(&below) {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io::Error::other(format!("too many symbolic links in `{}`", path.display())));
                    }
                    waiting.extend(components(&link));
                } else {
                    resolved = below;
                }
            }
        }
    }
    Ok(resolved)
}

/// A component of a path.
enum PathStep {
    Root(PathBuf),
    Up,
    Down(OsString),
}

/// The components of a path, the last one first.
fn components(path: &Path) -> Vec<PathStep> {
    let mut root = PathBuf::new();
    let mut steps = Vec::new();
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => root.push(component),
            Component::CurDir => {}
            Component::ParentDir => steps.push(PathStep::Up),
            Component::Normal(name) => steps.push(PathStep::Down(name.to_owned())),
        }
    }
    if !root.as_os_str().is_empty() {
        steps.insert(0, PathStep::Root(root));
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_are_resolved_as_if_they_were_there() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        fs::create_dir(home.join("there")).unwrap();
        fs::write(home.join("photo.jpg"), "").unwrap();
        for (path, expected) in [
            ("photo.jpg", "photo.jpg"),
            ("new/../photo.jpg", "photo.jpg"),
            ("new/newer/../../photo.jpg", "photo.jpg"),
            ("there/../new/./x.jpg", "new/x.jpg"),
            ("new/../there", "there"),
        ] {
            assert_eq!(resolve(&home.join(path)).unwrap(), home.join(expected), "{path}");
        }
        assert_eq!(resolve(Path::new("no-such-file")).unwrap(), resolve(Path::new(".")).unwrap().join("no-such-file"));
    }

    #[test]
    #[cfg(unix)]
    fn links_are_followed_to_where_they_lead() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        fs::create_dir_all(home.join("a/b")).unwrap();
        symlink("a/b", home.join("link")).unwrap();
        symlink("../missing/file", home.join("a/dangling")).unwrap();
        symlink("circle", home.join("circle")).unwrap();
        for (path, expected) in
            [("link/new/../x", "a/b/x"), ("link/../x", "a/x"), ("link/..", "a"), ("a/dangling", "missing/file")]
        {
            assert_eq!(resolve(&home.join(path)).unwrap(), home.join(expected), "{path}");
        }
        assert!(resolve(&home.join("circle")).is_err());
    }
}
