//! The metrics of a step, on the device and on the host, and the CSV table that stores them.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use impasto_common::{Error, Result, ResultExt};
use serde::{Deserialize, Serialize};

use crate::micro_batches;
use crate::objective::Losses;
use crate::peers::Peers;

/// The figures of one step. Losses are averages over the batch, before the step's update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// The number of the step, from 1.
    pub step: usize,
    /// The learning rate.
    #[serde(with = "exact")]
    pub learning_rate: f64,
    /// The objective.
    pub total: f32,
    /// The weighted content loss.
    pub content: f32,
    /// The weighted style loss.
    pub style: f32,
    /// The weighted total variation.
    pub tv: f32,
    /// The weighted temporal loss, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporal: Option<f32>,
    /// The Euclidean norm of the gradient before clipping.
    pub gradient_norm: f32,
    /// The unweighted distance at each layer.
    pub layers: Vec<(String, f32)>,
}

/// The figures of one step while they are still on the device: means over the batch.
#[derive(Debug)]
pub struct StepFigures {
    /// `(figures,)`: total, content, style, total variation, gradient norm, the temporal loss if there is one, the layers.
    values: Tensor,
    has_temporal: bool,
    layers: Vec<String>,
}

impl StepFigures {
    /// The mean of the losses of this process's micro-batches, all of one size, and the norm of the gradient.
    ///
    /// # Errors
    ///
    /// If there is no micro-batch, or a loss is not a scalar.
    pub fn of(losses: &[Losses], gradient_norm: &Tensor) -> Result<Self> {
        let rows = losses.iter().map(|losses| {
            let terms = [&losses.total, &losses.content, &losses.style, &losses.tv, gradient_norm];
            let layers = losses.layers.iter().map(|(_, value)| value);
            let scalars: Vec<_> = terms.into_iter().chain(&losses.temporal).chain(layers).map(Tensor::detach).collect();
            Ok(Tensor::stack(&scalars, 0)?)
        });
        let values = micro_batches::mean(&rows.collect::<Result<Vec<_>>>()?)?;
        let losses = losses.first().ok_or_else(|| Error::new("a step has no micro-batch"))?;
        let layers = losses.layers.iter().map(|(name, _)| name.clone()).collect();
        Ok(Self { values, has_temporal: losses.temporal.is_some(), layers })
    }

    /// The mean over all processes.
    ///
    /// # Errors
    ///
    /// If the connection to another process is lost.
    pub fn mean_over(self, peers: &mut Peers) -> Result<Self> {
        Ok(Self { values: peers.mean(self.values)?, ..self })
    }

    /// Copies all figures from the device at once. This is the only device synchronisation of a step.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn read(self, step: usize, learning_rate: f64) -> Result<Metrics> {
        let values = self.values.to_vec1::<f32>()?;
        let [total, content, style, tv, gradient_norm, ref rest @ ..] = values[..] else {
            return Err(Error::new("the objective lacks a term"));
        };
        let (temporal, layers) = rest.split_at(usize::from(self.has_temporal));
        let temporal = temporal.first().copied();
        let layers = self.layers.into_iter().zip(layers.iter().copied()).collect();
        Ok(Metrics { step, learning_rate, total, content, style, tv, temporal, gradient_norm, layers })
    }
}

/// Stores a number as text. A JSON number may change in its last digit when it is read back, and a resumed run would differ.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(super) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&number.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Metrics {
    /// Whether the losses and the gradient are finite, so that the step is usable.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.total.is_finite() && self.gradient_norm.is_finite()
    }

    /// The names of the columns of [`Self::columns`].
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let terms = ["total", "content", "style", "tv"].into_iter().chain(self.temporal.map(|_| "temporal"));
        terms.chain(["gradient_norm"]).chain(self.layers.iter().map(|(name, _)| name.as_str())).collect()
    }

    /// Everything measured, in the order of [`Self::names`].
    #[must_use]
    pub fn columns(&self) -> Vec<f32> {
        let terms = [self.total, self.content, self.style, self.tv].into_iter().chain(self.temporal);
        terms.chain([self.gradient_norm]).chain(self.layers.iter().map(|&(_, value)| value)).collect()
    }
}

/// The CSV file of a run: one row for each step.
///
/// It contains no times, so that a resumed run ends with the same table as an uninterrupted run.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    writer: BufWriter<File>,
    empty: bool,
}

impl MetricsLog {
    /// Opens the table at `path` and drops its rows after step `keep`: the table of a killed run may be ahead of its snapshot.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn open(path: &Path, keep: usize) -> Result<Self> {
        let kept = if keep == 0 { String::new() } else { first_rows(path, keep)? };
        impasto_files::write_atomic(path, |writer| {
            writer.write_all(kept.as_bytes()).context(|| "cannot shorten the table")
        })?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.context(|| format!("cannot open `{}`", path.display()))?;
        Ok(Self { path: path.to_owned(), writer: BufWriter::new(file), empty: kept.is_empty() })
    }

    /// Appends a row.
    ///
    /// # Errors
    ///
    /// If the disk is full.
    pub fn append(&mut self, metrics: &Metrics) -> Result<()> {
        let header = format!("step,learning_rate,{}\n", metrics.names().join(","));
        let columns: Vec<_> = metrics.columns().iter().map(f32::to_string).collect();
        let row = format!("{},{},{}\n", metrics.step, metrics.learning_rate, columns.join(","));
        let text = if self.empty { header + &row } else { row };
        self.empty = false;
        self.writer.write_all(text.as_bytes()).context(|| self.action())
    }

    /// Writes all rows to disk. Call it before a snapshot is written, because the table must reach the snapshot's step.
    ///
    /// # Errors
    ///
    /// If the disk is full.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush().and_then(|()| self.writer.get_ref().sync_data()).context(|| self.action())
    }

    fn action(&self) -> String {
        format!("cannot write `{}`", self.path.display())
    }
}

/// The header and the rows up to step `last`; empty if there is no file.
fn first_rows(path: &Path, last: usize) -> Result<String> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.context(|| format!("cannot read `{}`", path.display()))?,
    };
    let within = |line: &str| match line.split(',').next().map(str::parse) {
        Some(Ok(step)) => line.ends_with('\n') && (1..=last).contains(&step),
        _ => line.starts_with("step,"),
    };
    Ok(text.split_inclusive('\n').filter(|line| within(line)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(step: usize) -> Metrics {
        let layers = vec![("content.relu1_2".to_owned(), 0.1)];
        Metrics {
            step,
            learning_rate: 1e-3,
            total: 3.5,
            content: 1.0,
            style: 2.0,
            tv: 0.5,
            temporal: None,
            gradient_norm: 7.0,
            layers,
        }
    }

    #[test]
    fn a_table_cut_in_the_middle_of_a_row_is_continued_correctly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        (1..=4).for_each(|step| log.append(&metrics(step)).unwrap());
        log.flush().unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        assert!(
            whole.starts_with("step,learning_rate,total,content,style,tv,gradient_norm,content.relu1_2\n1,0.001,3.5,")
        );
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let mut log = MetricsLog::open(&path, 2).unwrap();
        (3..=4).for_each(|step| log.append(&metrics(step)).unwrap());
        log.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    }

    #[test]
    fn the_temporal_loss_has_a_column_where_there_is_one() {
        let without = metrics(1);
        let json = serde_json::to_string(&without).unwrap();
        assert!(!json.contains("temporal"), "{json}");
        let with = Metrics { temporal: Some(0.25), ..without.clone() };
        assert_eq!(with.names()[3..6], ["tv", "temporal", "gradient_norm"]);
        assert_eq!(with.columns()[3..6], [0.5, 0.25, 7.0]);
        assert_eq!(with.names().len(), without.names().len() + 1);
        let back: Metrics = serde_json::from_str(&serde_json::to_string(&with).unwrap()).unwrap();
        assert_eq!((back, serde_json::from_str::<Metrics>(&json).unwrap()), (with, without));
    }

    #[test]
    fn a_run_from_the_start_drops_the_table_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        fs::write(&path, "step,other\n1,2\n").unwrap();
        MetricsLog::open(&path, 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
