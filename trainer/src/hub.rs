//! Fetches one file from the Hugging Face hub, through the cache that its programs share.
//!
//! The cache has their layout: the content is in `models--OWNER--NAME/blobs/ETAG`, `snapshots/COMMIT/FILE` links to it, and
//! `refs/main` names the commit. So Python's `huggingface_hub` finds files downloaded here, and vice versa.
//!
//! It is implemented here with a plain HTTP client, because the hub's own Rust client would add 60 packages for one
//! download.

mod download;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use impasto_common::{Error, Result, ResultExt};

/// The hub, unless `HF_ENDPOINT` names a mirror.
const ENDPOINT: &str = "https://huggingface.co";

/// The source of downloads, and the folder where they are kept.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The address of the hub or of a mirror.
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// The access token; public files need none.
    pub token: Option<String>,
}

impl Hub {
    /// The hub given by the environment variables of `huggingface_hub`: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`,
    /// `XDG_CACHE_HOME`, `HF_TOKEN`. By default files are kept in `~/.cache/huggingface/hub`.
    ///
    /// # Errors
    ///
    /// If no variable is set and there is no home folder.
    pub fn from_env(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let caches = || folder("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
        let home = folder("HF_HOME").or_else(|| caches().map(|caches| caches.join("huggingface")));
        let cache = folder("HF_HUB_CACHE").or_else(|| home.as_ref().map(|home| home.join("hub"))).ok_or_else(|| {
            Error::new("there is no home folder for the cache of downloads").with_hint("set `HF_HOME` to a folder")
        })?;
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().trim().to_owned());
        // Without a token file, no token is used; public files need none.
        let stored = || fs::read_to_string(home?.join("token")).map(|token| token.trim().to_owned()).ok();
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token: text("HF_TOKEN").or_else(stored).filter(|token| !token.is_empty()),
        })
    }

    /// The file `name` of `repository` (`OWNER/NAME`), downloaded if no revision of it is cached.
    ///
    /// `observe` gets the number of bytes received and of all bytes, and returns whether to continue. A download that ended
    /// early is continued by the next call.
    ///
    /// # Errors
    ///
    /// If the file cannot be downloaded or stored, the download is damaged, or `observe` stops it (of kind
    /// [`impasto_common::error::ErrorKind::Interrupted`]).
    pub fn fetch(&self, repository: &str, name: &str, observe: impl FnMut(u64, u64) -> bool) -> Result<PathBuf> {
        let folder = self.cache.join(format!("models--{}", repository.replace('/', "--")));
        match cached(&folder, name) {
            Some(path) => Ok(path),
            None => self.download(repository, name, &folder, observe),
        }
    }

    fn download(
        &self,
        repository: &str,
        name: &str,
        folder: &Path,
        observe: impl FnMut(u64, u64) -> bool,
    ) -> Result<PathBuf> {
        let url = format!("{}/{repository}/resolve/main/{name}", self.endpoint);
        let revision = download::revision(&url, self.token.as_deref())?;
        let blob = folder.join("blobs").join(&revision.etag);
        download::download(&url, self.token.as_deref(), &revision, &blob, observe)?;
        let path = folder.join("snapshots").join(&revision.commit).join(name);
        link(&blob, &path).context(|| format!("cannot store `{}`", path.display()))?;
        let reference = folder.join("refs").join("main");
        impasto_files::write_atomic(&reference, |writer| {
            std::io::Write::write_all(writer, revision.commit.as_bytes()).context(|| "cannot write the revision")
        })?;
        Ok(path)
    }
}

/// The file in the cache: from the main revision, or else from any revision.
fn cached(folder: &Path, name: &str) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    let of_main = fs::read_to_string(folder.join("refs").join("main")).map(|commit| snapshots.join(commit.trim()));
    let mut others: Vec<_> =
        fs::read_dir(&snapshots).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    others.sort();
    of_main.into_iter().chain(others).map(|snapshot| snapshot.join(name)).find(|path| path.is_file())
}

/// Makes `path` refer to the blob: a link, or the file itself where links are not possible.
fn link(blob: &Path, path: &Path) -> std::io::Result<()> {
    // Another process may have created it meanwhile, and may already use it.
    if path.is_file() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path)?;
    }
    #[cfg(unix)]
    {
        let name = blob.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(Path::new("../../blobs").join(name), path)
    }
    #[cfg(not(unix))]
    fs::rename(blob, path)
}
