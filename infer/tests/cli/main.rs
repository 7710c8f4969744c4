//! Runs the `infer` program as a user does: with arguments, files and pipes. Checks files, pipes, messages and exit codes.
#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod bench;
mod damaged_clips;
mod errors;
mod folders;
mod formats;
mod frame_shape;
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
mod tracks;
mod transparency;
mod video;
