//! Where the weights of the loss network come from: a file that the user names, the weights that are built into the program,
//! or a download from the Hugging Face hub.
//!
//! Downloads are stored in the cache that other programs also use: see [`crate::hub`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::Device;
use impasto_common::{Result, ResultExt};
use impasto_nn::loss_network::{Architecture, Layer, LossNetwork};

use crate::digest::Digest;
use crate::hub::Hub;

/// The file's name in its repository.
const FILE: &str = "model.safetensors";

/// The weights of a loss network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LossWeights {
    /// VGG-16 to `relu3_3`, built into the program.
    Bundled,
    /// A file with torchvision's names.
    File(PathBuf),
}

impl LossWeights {
    /// The weights to use for `architecture` and `layers`: the file that is `named`; otherwise the ones that are built in, if
    /// they reach all layers; otherwise the file in the hub's cache, which is downloaded if it is missing (about 0.55 GB).
    ///
    /// `observe` receives the number of bytes downloaded and the total, and returns whether to continue.
    ///
    /// # Errors
    ///
    /// If they are not cached and cannot be downloaded; the hint says where to put the file.
    pub fn find(
        named: Option<&Path>,
        architecture: Architecture,
        layers: &BTreeSet<Layer>,
        observe: impl FnMut(u64, u64) -> bool,
    ) -> Result<Self> {
        match named {
            Some(path) => Ok(Self::File(path.to_owned())),
            None if LossNetwork::is_bundled(architecture, layers) => Ok(Self::Bundled),
            None => fetch(architecture, observe).map(Self::File),
        }
    }

    /// The loss network with these weights.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not of this architecture.
    pub fn open(&self, architecture: Architecture, device: &Device) -> Result<LossNetwork> {
        match self {
            Self::Bundled => LossNetwork::bundled(device),
            Self::File(path) => LossNetwork::open(architecture, path, device),
        }
    }

    /// The digest of the weights' file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn digest(&self) -> Result<Digest> {
        match self {
            Self::Bundled => Ok(Digest::of(LossNetwork::bundled_bytes())),
            Self::File(path) => Digest::of_file(path),
        }
    }
}

/// The repository with torchvision's ImageNet weights, as timm republishes them.
#[must_use]
pub fn repository(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Vgg16 => "timm/vgg16.tv_in1k",
        Architecture::Vgg19 => "timm/vgg19.tv_in1k",
    }
}

/// The cached weights of `architecture`, downloaded if they are missing.
fn fetch(architecture: Architecture, observe: impl FnMut(u64, u64) -> bool) -> Result<PathBuf> {
    let name = repository(architecture);
    let fetched = Hub::from_env(|name| std::env::var_os(name)).and_then(|hub| hub.fetch(name, FILE, observe));
    fetched.context(|| format!("cannot download the weights of {architecture} from `{name}`")).map_err(|error| {
        error.with_hint(format!(
            "without an internet connection, copy `{FILE}` of https://huggingface.co/{name}, or torchvision's `.pth` file of \
             {architecture}, to this machine and use it with `--loss-weights FILE`"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(names: &[&str]) -> BTreeSet<Layer> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn the_layers_of_the_default_objective_need_no_file() {
        let find = |architecture, names: &[&str], named| {
            LossWeights::find(named, architecture, &layers(names), |_, _| false).unwrap()
        };
        let default = ["relu1_2", "relu2_2", "relu3_3"];
        assert_eq!(find(Architecture::Vgg16, &default, None), LossWeights::Bundled);
        let file = Path::new("vgg.pth");
        assert_eq!(find(Architecture::Vgg16, &default, Some(file)), LossWeights::File(file.into()));
        let network = LossWeights::Bundled.open(Architecture::Vgg16, &Device::Cpu).unwrap();
        network.require(layers(&default)).unwrap();
        assert!(network.require(layers(&["relu4_1"])).is_err());
        assert!(!LossNetwork::is_bundled(Architecture::Vgg16, &layers(&["relu4_1"])));
        assert!(!LossNetwork::is_bundled(Architecture::Vgg19, &layers(&default)));
    }
}
