//! Painting on a GPU: the network as a program of convolutions and what lies between them, made once for each size of picture.
//!
//! [`lower`] says what becomes of each layer, [`program`] makes the program, [`fold`] its weights; tests carry the program out on
//! the processor. A GPU belongs to one thread, [`worker`], to which everybody else sends pictures.

pub(super) mod fold;
#[cfg(test)]
pub(super) mod interpret;
mod lower;
pub(super) mod program;
#[cfg(feature = "cuda")]
mod worker;

#[cfg(feature = "cuda")]
pub(super) use engine::GpuEngine;

#[cfg(feature = "cuda")]
mod engine;
#[cfg(test)]
pub(super) mod tests;
