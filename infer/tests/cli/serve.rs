//! `infer serve`, asked as strangers ask: over sockets, with bytes that nobody checked.

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
