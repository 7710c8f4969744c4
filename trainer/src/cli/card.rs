//! The arguments about the model card of the style-model file that a command writes.

use std::ffi::OsString;
use std::path::Path;

use impasto_common::weights::StoredType;

use crate::train::CardText;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Card")]
pub(super) struct CardArgs {
    /// Name of the style [default: the file name of --output]
    #[arg(long)]
    name: Option<String>,
    /// The artwork that the style imitates: painter, title, year
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Licence of the style
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,
}

impl CardArgs {
    /// The style's name: the given name, otherwise the name of the output file without its extension.
    pub(super) fn name(&self, output: &Path) -> String {
        let stem = || output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.name.clone().unwrap_or_else(stem)
    }

    /// The text of the model card; `words` is the command line.
    pub(super) fn text(&self, output: &Path, words: &[OsString]) -> CardText {
        CardText {
            name: self.name(output),
            source: self.source.clone(),
            licence: self.licence.clone(),
            command: Some(command_line(words)),
        }
    }
}

pub(super) fn parse_dtype(text: &str) -> Result<StoredType, String> {
    match text {
        "f32" => Ok(StoredType::F32),
        "f16" => Ok(StoredType::F16),
        _ => Err("expected `f32` or `f16`".into()),
    }
}

/// The command line, without options that do not change the result. So a resumed run writes the same card.
fn command_line(words: &[OsString]) -> String {
    let mut kept = vec!["trainer".to_owned()];
    let mut words = words.iter().skip(1).map(|word| word.to_string_lossy()).peekable();
    while let Some(word) = words.next() {
        match word.as_ref() {
            "--resume" | "--restart" | "--quiet" | "-q" => {}
            // The next argument may be the address or another option.
            "--serve" => drop(words.next_if(|next| !next.starts_with('-'))),
            word if word.starts_with("--serve=") => {}
            word => kept.push(quoted(word)),
        }
    }
    kept.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_on_the_card_can_be_repeated_and_does_not_mention_interruptions() {
        let words = ["/bin/trainer", "train", "--style", "my wave.jpg", "--resume", "--name", "it's"];
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        assert_eq!(command_line(&words), r"trainer train --style 'my wave.jpg' --name 'it'\''s'");
        for serve in [&["--serve"][..], &["--serve", "0.0.0.0:80"], &["--serve=8017"]] {
            let words = [&["trainer", "train"], serve, &["--style", "wave.jpg"]].concat();
            let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
            assert_eq!(command_line(&words), "trainer train --style wave.jpg");
        }
    }
}
