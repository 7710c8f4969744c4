//! What the HTTP servers of Impasto share: host checks, a bounded number of connections, and timeouts.
//!
//! Both servers treat every client as untrusted. [`guard`] refuses requests with a foreign host name or from a page of
//! another site. [`serve`] bounds the number of connections and drops clients that stop sending or reading. This crate is
//! independent of what is served.

#![forbid(unsafe_code)]

mod connections;
mod guard;
mod hosts;
mod listen;
mod serve;
mod socket;
mod write_timeout;

pub use connections::{ConnectionLimits, Connections};
pub use guard::{Guard, guard};
pub use hosts::{Hosts, Refusal};
pub use listen::listen_hint;
pub use serve::serve;

#[cfg(test)]
mod tests;
