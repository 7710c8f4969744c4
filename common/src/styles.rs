//! The styles built into the programs.
//!
//! To add one, put `NAME.safetensors` (written by `trainer`, f16) into `common/styles/` and its line into [`BUNDLED`].

use crate::model_file::StyleModel;
use crate::{Error, Result, ResultExt};

/// A style-model file embedded in the program.
#[derive(Debug, Clone, Copy)]
pub struct BundledStyle {
    /// The name that `--style` takes.
    pub name: &'static str,
    /// The bytes of the `.safetensors` file.
    pub bytes: &'static [u8],
}

/// All bundled styles; the first is the default.
pub const BUNDLED: &[BundledStyle] = &[
    BundledStyle { name: "starry_night", bytes: include_bytes!("../styles/starry_night.safetensors") },
    BundledStyle { name: "starry_night_video", bytes: include_bytes!("../styles/starry_night_video.safetensors") },
];

impl BundledStyle {
    /// The style of this name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        BUNDLED.iter().copied().find(|style| style.name == name)
    }

    /// The first bundled style.
    ///
    /// # Errors
    ///
    /// If this build has none.
    pub fn default_style() -> Result<Self> {
        BUNDLED.first().copied().ok_or_else(|| {
            Error::usage("this program has no bundled style").with_hint("use `--style FILE` with a style-model file")
        })
    }

    /// Card and weights.
    ///
    /// # Errors
    ///
    /// If the embedded file is damaged.
    pub fn model(&self) -> Result<StyleModel> {
        StyleModel::from_bytes(self.bytes, self.name)
            .context(|| format!("cannot load the bundled style `{}`", self.name))
    }
}

/// The names of the bundled styles as shown in messages, such as "`a`, `b`".
#[must_use]
pub fn bundled_names() -> String {
    let names: Vec<_> = BUNDLED.iter().map(|style| format!("`{}`", style.name)).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_in_the_folder_is_listed_under_its_name_and_loads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("styles");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let mut listed: Vec<_> = BUNDLED.iter().map(|style| style.name.to_owned()).collect();
        files.sort();
        listed.sort();
        assert_eq!(files, listed);
        for style in BUNDLED {
            let model = style.model().unwrap();
            assert_eq!(model.card.name, style.name);
        }
    }
}
