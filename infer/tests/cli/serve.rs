//! Tests `infer serve` as an untrusted client does: over sockets, with arbitrary bytes.

mod api;
mod browser;
mod camera;
mod cdp;
mod client;
mod errors;
mod hostile;
mod live;
mod load;
mod start;
mod stop;
