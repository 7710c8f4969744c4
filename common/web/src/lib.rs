//! What the HTTP servers of Impasto share: who may ask, how many may be connected, and how long anybody is waited for.
//!
//! Both servers trust nobody. [`guard`] refuses requests that come under a foreign name or from a page of another site.
//! [`serve`] bounds the number of connections and gives up on clients that send or take nothing. Nothing here knows what
//! is served.

#![forbid(unsafe_code)]

mod connections;
mod guard;
mod hosts;
mod listen;
mod patience;
mod serve;
mod socket;

pub use connections::{ConnectionLimits, Connections};
pub use guard::{Guard, guard};
pub use hosts::{Hosts, Refusal};
pub use listen::listen_hint;
pub use serve::serve;

#[cfg(test)]
mod tests;
