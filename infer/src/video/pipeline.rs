//! Decoding, painting and encoding at the same time.
//!
//! A thread reads frames ahead, the caller's paints, another takes the paintings away. The queues between them hold a few
//! frames, so that a slow step makes the others wait instead of filling the memory.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use common::Result;
use common::video::VideoFrame;

use super::FramePainter;

/// Frames that wait between two steps: one to hide that steps take turns at being slow, another for good measure.
const QUEUE: usize = 2;

/// Where paintings go.
pub(super) trait Sink: Send {
    /// Takes a painting.
    fn push(&mut self, frame: VideoFrame) -> Result<()>;
}

/// Whoever watches a clip being painted.
pub trait Observer {
    /// So many frames of the clip are painted.
    fn painted(&mut self, frames: u64);

    /// Something that the user should know.
    fn note(&mut self, text: &str);

    /// Whether to stop after the frame in hand.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// How the painting of frames ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Painted {
    pub(super) frames: u64,
    pub(super) stopped: bool,
}

/// Paints all frames of `source` into `sink`.
///
/// The first error of any of the three ends it.
pub(super) fn paint_frames(
    source: &mut (impl Iterator<Item = Result<VideoFrame>> + Send),
    painter: &mut dyn FramePainter,
    sink: &mut impl Sink,
    observer: &mut dyn Observer,
    first: u64,
) -> Result<Painted> {
    painter.reset();
    let mut painted = Painted { frames: 0, stopped: false };
    let sunk = AtomicBool::new(false);
    thread::scope(|scope| {
        let (sender, frames) = sync_channel(QUEUE);
        let (paintings, receiver) = sync_channel(QUEUE);
        scope.spawn(move || {
            for frame in source {
                if sender.send(frame).is_err() {
                    break;
                }
            }
        });
        let sinking = scope.spawn(|| {
            let result = receiver.into_iter().try_for_each(|frame| sink.push(frame));
            sunk.store(true, Ordering::Relaxed);
            result
        });
        let mut paint = || {
            for frame in frames {
                let VideoFrame { picture, pts } = frame?;
                let picture = painter.paint(picture)?;
                if paintings.send(VideoFrame { picture, pts }).is_err() {
                    break;
                }
                painted.frames += 1;
                observer.painted(first + painted.frames);
                painted.stopped = observer.is_stopped();
                if painted.stopped {
                    break;
                }
            }
            Ok(())
        };
        let result = paint();
        // Both queues close here; the threads see it and end.
        drop(paint);
        drop(paintings);
        let sunk = sinking.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        // What the sink failed at is the cause where both failed.
        sunk.and(result)
    })?;
    Ok(painted)
}
