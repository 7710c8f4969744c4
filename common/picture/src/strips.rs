//! Reads and writes pictures in strips of rows from the top down, so that even a picture of a thousand megapixels is never
//! in memory as a whole.
//!
//! A strip is a [`Picture`](crate::Picture) as wide as the file's picture, so everything that works on pictures works on
//! strips. PNG, TIFF and JPEG files are read and written this way, except variants whose rows are not stored in order.
//!
//! Dependencies between the modules point down only: `read` and `write` use the formats, the formats use `decoder` and
//! `queue`, and these use `samples` and `info`.

pub(crate) mod baseline;
mod decoder;
mod info;
mod jpeg;
mod png;
mod queue;
mod read;
mod samples;
mod tiff;
mod turned;
mod write;

pub use info::PictureInfo;
pub use read::StripReader;
pub use write::StripWriter;
