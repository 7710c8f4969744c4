//! The loops of dense inverse search, a fast optical flow (Kroeger et al., "Fast optical flow using dense inverse search",
//! 2016): patches that search (`patch`), the dense field made of them (`field`), its refinement (`variation`), and pictures
//! sampled along a flow (`warp`).
//!
//! Plain safe code over arrays of eight, compiled for each set of vector instructions. The order of every sum is fixed.
#![expect(clippy::needless_range_loop, reason = "loops over lanes vectorise best as plain indices")]

mod field;
mod patch;
mod variation;
mod view;
mod warp;

pub use field::{double_row, halve_row, patch_cells};
pub use patch::{Patch, origin, propagate_row, search_row};
pub use variation::{Band, Relaxation, System, relax_row, system_row};
pub use view::{PAD, PATCH, STRIDE, View};
pub use warp::{Pixel, Pixels, add_sharp_row, along_row, warp_linear_row};
