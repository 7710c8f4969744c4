//! The report of a training: one self-contained HTML file with curves, pictures and configuration.

mod curve;

use std::fs;
use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use impasto_common::{Result, ResultExt};
use serde_json::Value;

pub(crate) use self::curve::Curve;
use crate::run_folder::RunFiles;
use crate::snapshot::{Identity, TrainingState};

/// The largest number of contact sheets: the first, the last, and evenly spaced ones in between.
const SHEETS: usize = 8;

/// Quality of the pictures inside the report, 1 to 100. The files are a third of the size of quality 95, without a visible
/// difference at normal size.
const JPEG_QUALITY: u8 = 85;

/// The style sheet of the pages, light or dark according to the reader's system.
pub(crate) const STYLE: &str = include_str!("report/style.css");

/// Facts for the report that are not in the run folder.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The style's name.
    pub name: &'a str,
    /// The command that makes the style.
    pub command: Option<&'a str>,
    /// Steps of the whole training.
    pub steps: usize,
    /// Number of training photos.
    pub photos: usize,
    /// Whether the photos of the contact sheets are held out from training.
    pub held_out: bool,
}

/// Writes `report.html` into the run folder from its metrics and contact sheets.
///
/// # Errors
///
/// If a file of the folder cannot be read, or the report cannot be written.
pub fn write(folder: &RunFiles, state: &TrainingState, identity: &Identity, facts: &Facts) -> Result<()> {
    let curves = Curve::read_all(&folder.metrics())?.iter().map(Curve::svg).collect::<Vec<_>>().concat();
    let page = [
        head(state, facts),
        format!("<h2>Losses</h2>\n{curves}"),
        sheets(folder, facts)?,
        skipped(state),
        configuration(identity, facts),
        "</main>\n</html>\n".into(),
    ];
    let page = page.concat();
    impasto_files::write_atomic(&folder.report(), |writer| {
        writer.write_all(page.as_bytes()).context(|| "cannot write the page")
    })
}

fn head(state: &TrainingState, facts: &Facts) -> String {
    let name = escaped(facts.name);
    let progress = format!("Step {} of {}, on {} photos.", state.step, facts.steps, facts.photos);
    let slower = if state.rate_scale < 1.0 {
        format!(" After losses that were not finite, the learning rate was multiplied by {}.", state.rate_scale)
    } else {
        String::new()
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name}</title>\n<style>\n{STYLE}</style>\n\
         <main>\n<h1>{name}</h1>\n<p>{progress}{slower}</p>\n"
    )
}

fn sheets(folder: &RunFiles, facts: &Facts) -> Result<String> {
    let all = folder.previews()?;
    let origin = if facts.held_out { "not used for training" } else { "also used for training" };
    let mut figures =
        vec![format!("<h2>Photos</h2>\n<p>Top row: the photos ({origin}). Bottom row: the painted results.</p>\n")];
    for index in spread(all.len(), SHEETS) {
        let (step, path) = &all[index];
        let picture = STANDARD.encode(jpeg(path)?);
        figures.push(format!(
            "<figure><img src=\"data:image/jpeg;base64,{picture}\" alt=\"photos and paintings\">\
             <figcaption>after {step} steps</figcaption></figure>\n"
        ));
    }
    Ok(figures.concat())
}

fn jpeg(path: &Path) -> Result<Vec<u8>> {
    let action = || format!("cannot read `{}`", path.display());
    let bytes = fs::read(path).context(action)?;
    let sheet = image::load_from_memory(&bytes).context(action)?.into_rgb8();
    let mut encoded = Vec::new();
    JpegEncoder::new_with_quality(&mut encoded, JPEG_QUALITY)
        .encode(sheet.as_raw(), sheet.width(), sheet.height(), ExtendedColorType::Rgb8)
        .context(action)?;
    Ok(encoded)
}

fn skipped(state: &TrainingState) -> String {
    if state.skipped.is_empty() {
        return String::new();
    }
    let item = |(name, reason): (&String, &String)| format!("<li><b>{}</b> {}</li>\n", escaped(name), escaped(reason));
    let items = state.skipped.iter().map(item).collect::<Vec<_>>().concat();
    format!("<h2>Photos that could not be used: {}</h2>\n<ul>\n{items}</ul>\n", state.skipped.len())
}

fn configuration(identity: &Identity, facts: &Facts) -> String {
    let command = facts.command.map(|command| format!("<pre>{}</pre>\n", escaped(command))).unwrap_or_default();
    let mut leaves = Vec::new();
    flatten(&identity.config, "", &mut leaves);
    let row =
        |(name, value): &(String, String)| format!("<tr><th>{}</th><td>{}</td></tr>\n", escaped(name), escaped(value));
    let rows = leaves.iter().map(row).collect::<Vec<_>>().concat();
    format!("<h2>Configuration</h2>\n{command}<table>\n{rows}</table>\n")
}

/// The leaves of a JSON value with their paths.
fn flatten(value: &Value, path: &str, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(value, &path, rows);
            }
        }
        Value::String(text) => rows.push((path.into(), text.clone())),
        value => rows.push((path.into(), value.to_string())),
    }
}

/// Up to `most` of `count` indices, evenly spaced, including the first and the last.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let shown = count.min(most);
    (0..shown).map(|i| i * (count - 1) / (shown - 1).max(1)).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_items_include_both_ends() {
        assert_eq!(spread(0, 8), [0usize; 0]);
        assert_eq!(spread(1, 8), [0]);
        assert_eq!(spread(3, 8), [0, 1, 2]);
        assert_eq!(spread(20, 4), [0, 6, 12, 19]);
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        assert_eq!(escaped("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
