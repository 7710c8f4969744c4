//! What the fuzz targets share.

mod picture;
mod scratch;
mod start;

pub use picture::{read_animation, read_picture};
pub use scratch::with_file;
pub use start::start;
