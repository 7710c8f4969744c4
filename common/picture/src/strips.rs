//! Pictures read and written in strips of rows from the top down: a picture of a thousand million pixels is never in
//! memory as a whole.
//!
//! A strip is a [`Picture`](crate::Picture) as wide as the file's, so everything that works on pictures works on strips.
//! PNG, TIFF and JPEG files are read and written this way, except variants whose rows are not stored in order.
//!
//! The files depend on each other downwards only: `read` and `write` on the formats, the formats on `decoder` and `queue`,
//! these on `samples` and `info`.

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
