//! Finds the one state dict of a file, for readers that know its tensor names.

use std::collections::BTreeSet;

use super::Listing;
use crate::{Error, Result};

/// Keys under which training programs store the weights in a checkpoint, tried in this order.
const USUAL_KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model", "network", "params_ema", "params"];

/// Name prefixes added by wrappers: `DataParallel` and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// The names of the tensors of the state dict in the file, and what they are called in the network.
///
/// The state dict is looked for under the usual keys, then at the top level; otherwise it must be the only dictionary with
/// tensors. Tensors whose type cannot hold weights are left out.
///
/// # Errors
///
/// If several dictionaries have tensors, and none of them is in a usual place.
pub(super) fn names(listing: &Listing) -> Result<Vec<(String, String)>> {
    let path = path(listing)?;
    let tensors = listing.iter().filter(|(name, listed)| listed.readable && name[..listed.path] == *path);
    let names: Vec<_> = tensors.map(|(name, _)| name.clone()).collect();
    let mut start = path.len();
    while let Some(wrapper) =
        WRAPPERS.iter().find(|&&wrapper| names.iter().all(|name| name[start..].starts_with(wrapper)))
    {
        start += wrapper.len();
        if names.is_empty() {
            break;
        }
    }
    Ok(names
        .into_iter()
        .map(|name| {
            let bare = name[start..].to_owned();
            (name, bare)
        })
        .collect())
}

/// The keys of the dictionaries around the state dict, each followed by a dot.
fn path(listing: &Listing) -> Result<&str> {
    let paths: BTreeSet<_> = listing.iter().map(|(name, listed)| &name[..listed.path]).collect();
    let usual = paths.iter().filter_map(|path| Some((ranks(path)?, *path))).min();
    match usual {
        Some((_, path)) => Ok(path),
        None if paths.contains("") || paths.is_empty() => Ok(""),
        None if paths.len() == 1 => Ok(paths.first().copied().unwrap_or_default()),
        None => {
            let some: Vec<_> = paths.iter().take(8).map(|path| format!("`{}`", path.trim_end_matches('.'))).collect();
            Err(Error::new(format!("its tensors are under several keys: {}", some.join(", ")))
                .with_hint("save the weights alone: `torch.save(model.state_dict(), FILE)`"))
        }
    }
}

/// The index of each key of a path in the list of usual keys; `None` at the top level or if any other key is among them.
fn ranks(path: &str) -> Option<Vec<usize>> {
    let keys = path.strip_suffix('.')?.split('.');
    keys.map(|key| USUAL_KEYS.iter().position(|usual| *usual == key)).collect()
}
