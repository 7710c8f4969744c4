//! Where the weights of the loss network come from when the user names no file: the Hugging Face hub, once.
//!
//! They lie in that ecosystem's cache (`HF_HOME`, by default `~/.cache/huggingface`), shared with other programs.

use std::path::PathBuf;

use hf_hub::api::Progress;
use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Cache, Repo};
use impasto_common::{Error, Result, ResultExt};

use impasto_nn::loss_network::Architecture;

/// The file's name in its repository.
const FILE: &str = "model.safetensors";

/// The repository of the weights torchvision trained on ImageNet, as timm republishes them.
#[must_use]
pub fn repository(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Vgg16 => "timm/vgg16.tv_in1k",
        Architecture::Vgg19 => "timm/vgg19.tv_in1k",
    }
}

/// The cached weights of `architecture`, downloaded (about 0.55 GB) if they are not there yet.
///
/// `observe` is told the bytes that have come and the bytes in all.
///
/// # Errors
///
/// If they are not cached and cannot be downloaded; the hint says where to put the file.
pub fn fetch(architecture: Architecture, observe: impl FnMut(u64, u64)) -> Result<PathBuf> {
    let name = repository(architecture);
    let action = || format!("cannot download the weights of {architecture} from `{name}`");
    if std::env::var_os("HF_HOME").is_none() && std::env::home_dir().is_none() {
        return Err(Error::new("there is no home folder to cache the loss network's weights in")
            .with_hint("set `HF_HOME` to a folder, or name a file with `--loss-weights`"));
    }
    let repository = Repo::model(name.to_owned());
    if let Some(path) = Cache::from_env().repo(repository.clone()).get(FILE) {
        return Ok(path);
    }
    let progress = Download { observe, done: 0, total: 0 };
    let downloaded = ApiBuilder::from_env().with_progress(false).build();
    downloaded.and_then(|api| api.repo(repository).download_with_progress(FILE, progress)).context(action).map_err(
        |error| {
            error.with_hint(format!(
                "without a network, copy `{FILE}` of https://huggingface.co/{name}, or torchvision's `.pth` file of \
                 {architecture}, to this machine and name it with `--loss-weights FILE`"
            ))
        },
    )
}

struct Download<F> {
    observe: F,
    done: u64,
    total: u64,
}

impl<F: FnMut(u64, u64)> Progress for Download<F> {
    fn init(&mut self, size: usize, _filename: &str) {
        self.total = size as u64;
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        (self.observe)(self.done, self.total);
    }

    fn finish(&mut self) {}
}
