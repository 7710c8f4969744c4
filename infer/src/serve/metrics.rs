//! The server's metrics, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram of painting times, seconds.
const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Work in progress.
pub(super) struct Gauges {
    pub(super) pictures: usize,
    pub(super) queue_length: usize,
    pub(super) connections: usize,
    pub(super) cameras: usize,
}

/// Counters.
#[derive(Default)]
pub(super) struct Metrics {
    /// By route and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    buckets: [AtomicU64; BUCKETS.len()],
    paintings: AtomicU64,
    painting_microseconds: AtomicU64,
    pub(super) frames_painted: AtomicU64,
    pub(super) frames_dropped: AtomicU64,
}

impl Metrics {
    pub(super) fn answered(&self, route: &'static str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route, status)).or_default() += 1;
    }

    /// A picture was painted in `time`.
    pub(super) fn painted(&self, time: Duration) {
        if let Some(i) = BUCKETS.iter().position(|bound| time.as_secs_f64() <= *bound) {
            self.buckets[i].fetch_add(1, Ordering::Relaxed);
        }
        self.paintings.fetch_add(1, Ordering::Relaxed);
        self.painting_microseconds.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// The mean painting time of a picture; one second before the first picture.
    pub(super) fn mean_painting(&self) -> Duration {
        let sum = self.painting_microseconds.load(Ordering::Relaxed);
        let mean = sum.checked_div(self.paintings.load(Ordering::Relaxed));
        mean.map_or(Duration::from_secs(1), Duration::from_micros)
    }

    /// All counters as text, and `gauges`.
    pub(super) fn text(&self, gauges: Gauges) -> String {
        let mut text = String::new();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        head(&mut text, "impasto_requests_total", "counter", "Requests answered, by route and status.");
        for ((route, status), count) in requests.iter() {
            // Writing to a string cannot fail, here or below.
            let _ = writeln!(text, "impasto_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        drop(requests);
        self.write_histogram(&mut text);
        let frames = [("painted", &self.frames_painted), ("dropped", &self.frames_dropped)];
        head(&mut text, "impasto_frames_total", "counter", "Camera frames, by whether they were painted.");
        for (fate, count) in frames {
            let _ = writeln!(text, "impasto_frames_total{{fate=\"{fate}\"}} {}", count.load(Ordering::Relaxed));
        }
        let gauges = [
            (
                "impasto_pictures",
                "Pictures in memory, from the queue to the last byte of the response.",
                gauges.pictures,
            ),
            (
                "impasto_queue_length",
                "Pictures that wait to be painted, not counting those being painted.",
                gauges.queue_length,
            ),
            ("impasto_connections", "Open connections, not counting cameras.", gauges.connections),
            ("impasto_cameras", "Open cameras.", gauges.cameras),
        ];
        for (name, help, value) in gauges {
            head(&mut text, name, "gauge", help);
            let _ = writeln!(text, "{name} {value}");
        }
        text
    }

    fn write_histogram(&self, text: &mut String) {
        let name = "impasto_painting_seconds";
        head(text, name, "histogram", "Time to paint a picture, not counting waiting, decoding and encoding.");
        let mut below = 0;
        for (bound, count) in BUCKETS.iter().zip(&self.buckets) {
            below += count.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let count = self.paintings.load(Ordering::Relaxed);
        let sum = self.painting_microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
