//! Inputs as files, for what reads paths only.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// A file system in memory, where Linux has one.
const MEMORY: &str = "/dev/shm";

/// Calls `read` with the path of a file of these bytes.
pub fn with_file(bytes: &[u8], read: impl FnOnce(&Path)) {
    let memory = Path::new(MEMORY);
    let folder = if memory.is_dir() { PathBuf::from(memory) } else { env::temp_dir() };
    let path = folder.join(format!("impasto-fuzz-{}", process::id()));
    fs::write(&path, bytes).expect("the folder of temporary files can be written");
    read(&path);
    fs::remove_file(&path).expect("a file that was written can be removed");
}
