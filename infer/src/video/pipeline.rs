//! Decodes, paints and encodes at the same time.
//!
//! One thread reads frames ahead, the caller's thread paints, and another thread consumes the paintings. The queues between
//! them hold a few frames, so that a slow stage makes the others wait instead of filling the memory.

use std::collections::VecDeque;
use std::panic;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use impasto_common::{Error, Result};
use impasto_video::VideoFrame;

use super::painter::FramePainter;

/// The most frames that wait between two stages: one to even out varying speeds, and one in reserve.
const QUEUE: usize = 2;

/// The destination of painted frames.
pub(super) trait FrameSink: Send {
    /// Takes a painting.
    fn push(&mut self, frame: VideoFrame) -> Result<()>;
}

/// Receives the progress of painting a clip, and may stop it.
pub trait Observer {
    /// Painting begins. `frames` is the number of frames in the clip, if known; `painted` of them were painted by an
    /// earlier run.
    fn begin(&mut self, frames: Option<u64>, painted: u64);

    /// The number of frames of the clip that are painted so far.
    fn painted(&mut self, frames: u64);

    /// A notice for the user.
    fn note(&mut self, text: &str);

    /// Whether to stop after the current frame.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// The result of painting frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PaintedFrames {
    pub(super) frames: u64,
    pub(super) stopped: bool,
}

/// Is called with the number of frames that are painted, before the last of them is written. Returns what the user should
/// know.
pub(super) type AfterPainting<'a> = &'a mut dyn FnMut(u64, &dyn FramePainter) -> Option<String>;

/// Paints all frames of `source` into `sink`, as frames behind the first `first`.
///
/// The first error in any of the three threads ends the run.
pub(super) fn paint_frames(
    source: &mut (impl Iterator<Item = Result<VideoFrame>> + Send),
    painter: &mut dyn FramePainter,
    sink: &mut impl FrameSink,
    observer: &mut dyn Observer,
    first: u64,
    after: AfterPainting<'_>,
) -> Result<PaintedFrames> {
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
        let sinking = scope.spawn(|| receiver.into_iter().try_for_each(|frame| sink.push(frame)));
        // Both queues close when this returns, and the threads end.
        let painted = paint_each(frames, paintings, painter, observer, first, after);
        let sunk = sinking.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        // If both failed, the failure of the sink is the cause.
        sunk.and(painted)
    })
}

fn paint_each(
    frames: Receiver<Result<VideoFrame>>,
    paintings: SyncSender<VideoFrame>,
    painter: &mut dyn FramePainter,
    observer: &mut dyn Observer,
    first: u64,
    after: AfterPainting<'_>,
) -> Result<PaintedFrames> {
    let mut painted = PaintedFrames { frames: 0, stopped: false };
    // The timestamps of the frames in flight.
    let mut times = VecDeque::new();
    let mut frames = frames.into_iter();
    let mut failure = None;
    loop {
        // The frames before an unreadable one are still painted.
        let frame = if failure.is_some() { None } else { frames.next() };
        let frame = frame.transpose().unwrap_or_else(|error| {
            failure = Some(error);
            None
        });
        let was_last = frame.is_none();
        let picture = frame.map(|VideoFrame { picture, pts }| {
            times.push_back(pts);
            picture
        });
        let Some(crate::Painted { picture, notes }) = painter.push(picture)? else {
            if was_last {
                break;
            }
            continue;
        };
        for note in &notes {
            observer.note(note);
        }
        let pts = times.pop_front().ok_or_else(|| Error::new("there are more paintings than frames"))?;
        // Before the sink has the painting: what is stored here must exist when the segment that ends here is complete.
        if let Some(note) = after(first + painted.frames + 1, painter) {
            observer.note(&note);
        }
        if paintings.send(VideoFrame { picture, pts }).is_err() {
            // The sink has failed; its own error gives the cause.
            break;
        }
        painted.frames += 1;
        observer.painted(first + painted.frames);
        painted.stopped = observer.is_stopped();
        if painted.stopped {
            // Frames that are read but not painted do not count.
            break;
        }
    }
    failure.map_or(Ok(painted), Err)
}

#[cfg(test)]
mod tests {
    use impasto_picture::Picture;

    use super::*;

    #[derive(Default)]
    struct Watch {
        painted: u64,
        stop_after: Option<u64>,
    }

    impl Observer for Watch {
        fn begin(&mut self, _: Option<u64>, _: u64) {}

        fn painted(&mut self, frames: u64) {
            self.painted = frames;
        }

        fn note(&mut self, _: &str) {}

        fn is_stopped(&self) -> bool {
            self.stop_after == Some(self.painted)
        }
    }

    struct Shelf(Vec<i64>, usize);

    impl FrameSink for Shelf {
        fn push(&mut self, frame: VideoFrame) -> Result<()> {
            if self.0.len() == self.1 {
                return Err(Error::new("the disk is full"));
            }
            self.0.push(frame.pts);
            Ok(())
        }
    }

    fn frames(count: i64) -> impl Iterator<Item = Result<VideoFrame>> + Send {
        (0..count).map(|pts| Ok(VideoFrame { picture: image::RgbImage::new(2, 2).into(), pts }))
    }

    fn paint(
        source: &mut (impl Iterator<Item = Result<VideoFrame>> + Send),
        room: usize,
        watch: &mut Watch,
    ) -> (Result<PaintedFrames>, Vec<i64>) {
        let mut shelf = Shelf(Vec::new(), room);
        let mut painter = |picture: Picture| Ok(picture);
        (paint_frames(source, &mut painter, &mut shelf, watch, 10, &mut |_, _| None), shelf.0)
    }

    #[test]
    fn frames_arrive_in_order_until_they_end_or_someone_stops() {
        let mut watch = Watch::default();
        let (painted, shelf) = paint(&mut frames(20), 99, &mut watch);
        assert_eq!(painted.unwrap(), PaintedFrames { frames: 20, stopped: false });
        assert_eq!((shelf, watch.painted), ((0..20).collect(), 30));
        let mut watch = Watch { stop_after: Some(13), ..Watch::default() };
        let (painted, shelf) = paint(&mut frames(20), 99, &mut watch);
        assert_eq!((painted.unwrap(), shelf), (PaintedFrames { frames: 3, stopped: true }, vec![0, 1, 2]));
    }

    /// A painter that returns each painting two frames late.
    struct Late(VecDeque<Picture>);

    impl FramePainter for Late {
        fn paint(&mut self, frame: Picture) -> Result<crate::Painted> {
            Ok(frame.into())
        }

        fn push(&mut self, frame: Option<Picture>) -> Result<Option<crate::Painted>> {
            let is_over = frame.is_none();
            self.0.extend(frame);
            Ok(if is_over || self.0.len() > 2 { self.0.pop_front().map(Into::into) } else { None })
        }
    }

    #[test]
    fn paintings_that_come_late_keep_their_times_and_none_is_lost() {
        for count in [0, 1, 2, 3, 20] {
            let mut shelf = Shelf(Vec::new(), 99);
            let mut late = Late(VecDeque::new());
            let painted =
                paint_frames(&mut frames(count), &mut late, &mut shelf, &mut Watch::default(), 0, &mut |_, _| None)
                    .unwrap();
            assert_eq!((painted.frames, shelf.0), (count as u64, (0..count).collect::<Vec<_>>()));
        }
        let mut broken = frames(4).chain([Err(Error::new("cut short"))]);
        let (mut shelf, mut late) = (Shelf(Vec::new(), 99), Late(VecDeque::new()));
        let error =
            paint_frames(&mut broken, &mut late, &mut shelf, &mut Watch::default(), 0, &mut |_, _| None).unwrap_err();
        assert_eq!((error.to_string(), shelf.0.len()), ("cut short".into(), 4));
        let mut watch = Watch { stop_after: Some(5), ..Watch::default() };
        let (mut shelf, mut late) = (Shelf(Vec::new(), 99), Late(VecDeque::new()));
        let painted = paint_frames(&mut frames(20), &mut late, &mut shelf, &mut watch, 0, &mut |_, _| None).unwrap();
        assert_eq!((painted, shelf.0), (PaintedFrames { frames: 5, stopped: true }, (0..5).collect()));
    }

    #[test]
    fn an_error_on_either_side_ends_it() {
        let (painted, shelf) = paint(&mut frames(1_000_000), 4, &mut Watch::default());
        assert_eq!((painted.unwrap_err().to_string(), shelf.len()), ("the disk is full".into(), 4));
        let mut broken = frames(3).chain([Err(Error::new("cut short"))]);
        let (painted, shelf) = paint(&mut broken, 99, &mut Watch::default());
        assert_eq!((painted.unwrap_err().to_string(), shelf.len()), ("cut short".into(), 3));
    }
}
