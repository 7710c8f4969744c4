//! The figures of one network at one size.

use std::time::Duration;

use impasto_common::network::StyleNetConfig;
use impasto_engine::PaintPrecision;
use serde::Serialize;

use super::{BenchMachine, Subject, median, paint_operations};

/// How fast one network paints pictures of one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The style, or the preset.
    pub network: String,
    /// The arithmetic precision: f32, bf16 or f16.
    pub precision: String,
    /// The sizes of the network.
    #[serde(flatten)]
    pub config: StyleNetConfig,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Runs, without the first one.
    pub runs: usize,
    /// The first run of a new stylizer, which includes one-time preparation.
    pub cold_ms: f64,
    /// The fastest run.
    pub fastest_ms: f64,
    /// The median over the runs. Except on a GPU, all figures below are derived from it.
    pub median_ms: f64,
    /// The median on the GPU alone, without copies. `gflops` and the fraction of the peak are derived from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_gpu_ms: Option<f64>,
    /// Bytes of the GPU's memory that the painting takes, besides the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// Whether each painting on the GPU was one CUDA graph. Otherwise its kernels were started one by one, which takes longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_graph: Option<bool>,
    /// Why there was no CUDA graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_graph_failure: Option<String>,
    /// Frames of a clip that are painted in a second; on a GPU, with several in flight.
    pub frames_per_second: f64,
    /// Million pixels that are painted in a second.
    pub megapixels_per_second: f64,
    /// 1e9 operations of the plain network for one picture, see [`paint_operations`].
    pub gflop: f64,
    /// 1e9 of these operations a second.
    pub gflops: f64,
    /// `gflops` divided by the machine's peak.
    pub fraction_of_peak: f64,
    /// The largest resident memory of the whole process during the runs; `None` where the system does not report it.
    pub peak_memory_bytes: Option<u64>,
}

/// Figures measured only on a GPU.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GpuRates {
    /// Seconds of a frame on the GPU alone.
    pub(super) alone: f64,
    /// Seconds of a frame of a clip, with several in flight.
    pub(super) in_flight: f64,
    /// Bytes of the GPU's memory, besides the weights.
    pub(super) memory: u64,
    /// Why the painting was not one CUDA graph, if it was not.
    pub(super) graph_failure: Option<String>,
}

/// The figures derived from the times of the first run and of the others, `sorted`.
pub(super) fn describe(
    subject: &Subject,
    (height, width): (usize, usize),
    cold: Duration,
    sorted: &[Duration],
    machine: &BenchMachine,
    (peak_memory_bytes, gpu): (Option<u64>, Option<GpuRates>),
) -> Measurement {
    let config = subject.model.card.network;
    let seconds = median(sorted);
    let (of_clip, alone) = gpu.as_ref().map_or((seconds, seconds), |rates| (rates.in_flight, rates.alone));
    let gflop = paint_operations(&config, (height, width)) / 1e9;
    Measurement {
        network: subject.name.clone(),
        precision: PaintPrecision::default().to_string(),
        config,
        height,
        width,
        runs: sorted.len(),
        cold_ms: cold.as_secs_f64() * 1e3,
        fastest_ms: sorted[0].as_secs_f64() * 1e3,
        median_ms: seconds * 1e3,
        on_gpu_ms: gpu.as_ref().map(|rates| rates.alone * 1e3),
        gpu_memory_bytes: gpu.as_ref().map(|rates| rates.memory),
        cuda_graph: gpu.as_ref().map(|rates| rates.graph_failure.is_none()),
        frames_per_second: 1.0 / of_clip,
        megapixels_per_second: (height * width) as f64 / 1e6 / of_clip,
        gflop,
        gflops: gflop / alone,
        fraction_of_peak: gflop / alone / machine.peak(),
        peak_memory_bytes,
        cuda_graph_failure: gpu.and_then(|rates| rates.graph_failure),
    }
}
