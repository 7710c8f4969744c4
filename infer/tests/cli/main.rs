//! The `infer` program, run as a user runs it: words, files and pipes in; files, pipes, words and an exit code out.
#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod bench;
mod damaged_clips;
mod errors;
mod folders;
mod formats;
mod golden;
mod info;
mod interrupt;
mod interrupted_clips;
mod options;
mod serve;
mod setup;
mod silent_ffmpeg;
mod streams;
mod studio;
mod talk;
mod video;
