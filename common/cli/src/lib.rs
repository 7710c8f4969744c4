//! What the command lines of both programs share: their version, manual pages and shell completions.
#![forbid(unsafe_code)]

mod setup;
mod version;

pub use setup::SetupCommand;
pub use version::version;
