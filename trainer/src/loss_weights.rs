//! Downloads the weights of the loss network from the Hugging Face hub, if the user names no file and none is cached.
//!
//! They are stored in the cache that other programs also use: see [`crate::hub`].

use std::path::PathBuf;

use impasto_common::{Result, ResultExt};
use impasto_nn::loss_network::Architecture;

use crate::hub::Hub;

/// The file's name in its repository.
const FILE: &str = "model.safetensors";

/// The repository with torchvision's ImageNet weights, as timm republishes them.
#[must_use]
pub fn repository(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Vgg16 => "timm/vgg16.tv_in1k",
        Architecture::Vgg19 => "timm/vgg19.tv_in1k",
    }
}

/// The cached weights of `architecture`. If they are not cached, they are downloaded (about 0.55 GB).
///
/// `observe` receives the number of bytes downloaded and the total, and returns whether to continue.
///
/// # Errors
///
/// If they are not cached and cannot be downloaded; the hint says where to put the file.
pub fn fetch(architecture: Architecture, observe: impl FnMut(u64, u64) -> bool) -> Result<PathBuf> {
    let name = repository(architecture);
    let fetched = Hub::from_env(|name| std::env::var_os(name)).and_then(|hub| hub.fetch(name, FILE, observe));
    fetched.context(|| format!("cannot download the weights of {architecture} from `{name}`")).map_err(|error| {
        error.with_hint(format!(
            "without an internet connection, copy `{FILE}` of https://huggingface.co/{name}, or torchvision's `.pth` file of \
             {architecture}, to this machine and use it with `--loss-weights FILE`"
        ))
    })
}
