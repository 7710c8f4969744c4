//! Complete trainings of a tiny network on synthetic pictures, through the library and through the program.

#![expect(clippy::unwrap_used, reason = "all of this is tests: a panic with its place is the report")]

mod clips;
mod command_line;
mod fixture;
mod hub;
mod kill;
mod live;
mod peers;
mod pictures;
mod setup;
mod training;
