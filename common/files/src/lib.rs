//! Writes files atomically, walks folders, and resolves paths.
#![forbid(unsafe_code)]

mod folder;
mod resolve;
mod write;

pub use folder::{FolderFiles, UnreadableEntry, first_bytes, has_extension};
pub use resolve::resolve;
pub use write::{NoMoreFiles, discard_unfinished, move_into_place, write_atomic};
