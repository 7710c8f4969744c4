//! Painting on a card: the network as a program of convolutions and what lies between them, made once for each size of picture.
//!
//! [`plan`] makes the program, [`fold`] its weights; both say what they do to the network, and tests carry the program out on
//! the processor. A card belongs to one thread, [`worker`], to which everybody else sends pictures.

mod fold;
#[cfg(test)]
mod interpret;
mod plan;
#[cfg(feature = "cuda")]
mod worker;

#[cfg(feature = "cuda")]
pub(super) use engine::GpuEngine;

#[cfg(feature = "cuda")]
mod engine;
#[cfg(test)]
mod tests;
