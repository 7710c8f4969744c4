//! The cross-crate tests, in one test binary: synthetic pictures and tiny networks, no downloads, no GPU.

#![expect(clippy::unwrap_used, reason = "all of this is tests: a panic with its place is the report")]

mod documents;
mod end_to_end;
mod gpu;
mod help;
mod layering;
mod names;
mod pytorch_reference;
mod random;
mod vgg_oracle;
mod workspace;
