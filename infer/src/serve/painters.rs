//! The threads that paint.
//!
//! Painting keeps the CPU busy for a while, so the I/O threads never paint. Pictures and camera frames wait in separate
//! lanes and take turns, so that neither starves the other. A picture whose client has disconnected or whose time is up is
//! not painted.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use impasto_common::{Result, ResultExt};
use tokio::sync::oneshot;

/// The queue in which a request to paint waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The queue of pictures.
    Picture,
    /// The queue of camera frames.
    CameraFrame,
}

/// Why nothing was painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The queue is full.
    Busy,
    /// The painter panicked; it continues with the next picture.
    Panicked,
    /// The painters have stopped.
    Closed,
}

/// Whether a client still waits for the result.
#[derive(Debug, Clone, Default)]
pub(super) struct Interest(Arc<AtomicBool>);

impl Interest {
    pub(super) fn is_lost(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Held by the task that waits for the result.
struct Waiter(Interest);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Something to paint.
struct PaintRequest {
    run: Box<dyn FnOnce() + Send>,
    interest: Interest,
}

#[derive(Default)]
struct Lanes {
    pictures: VecDeque<PaintRequest>,
    frames: VecDeque<PaintRequest>,
    /// Whether the last turn was a frame's.
    frame_was_last: bool,
    closed: bool,
}

impl Lanes {
    fn next(&mut self) -> Option<PaintRequest> {
        let [first, second] = if self.frame_was_last {
            [&mut self.pictures, &mut self.frames]
        } else {
            [&mut self.frames, &mut self.pictures]
        };
        let from_first = !first.is_empty();
        let request = first.pop_front().or_else(|| second.pop_front())?;
        self.frame_was_last = from_first != self.frame_was_last;
        Some(request)
    }

    fn forget_abandoned(&mut self) {
        self.pictures.retain(|request| !request.interest.is_lost());
        self.frames.retain(|request| !request.interest.is_lost());
    }
}

struct Shared {
    lanes: Mutex<Lanes>,
    work: Condvar,
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // No code that holds this lock can panic.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paint(&self) {
        let mut lanes = self.lanes();
        loop {
            if let Some(request) = lanes.next() {
                drop(lanes);
                if !request.interest.is_lost() {
                    (request.run)();
                }
                lanes = self.lanes();
            } else if lanes.closed {
                return;
            } else {
                lanes = self.work.wait(lanes).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// The threads that paint the queued work.
pub(super) struct Painters {
    shared: Arc<Shared>,
    queue: usize,
}

impl Painters {
    /// Starts `painters` threads; at most `queue` pictures may wait for them.
    pub(super) fn start(painters: usize, queue: usize) -> Result<Self> {
        let shared = Arc::new(Shared { lanes: Mutex::default(), work: Condvar::new() });
        for i in 0..painters {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("painter {i}"));
            thread.spawn(move || shared.paint()).context(|| "cannot start a painter's thread")?;
        }
        Ok(Self { shared, queue })
    }

    /// The number of waiting pictures, without those in progress and the abandoned ones.
    pub(super) fn waiting(&self) -> usize {
        self.shared.lanes().pictures.iter().filter(|request| !request.interest.is_lost()).count()
    }

    /// Queues `work` for a painter. Dropping the future removes it from the queue.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&Interest) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let interest = Interest::default();
        let _waiter = Waiter(interest.clone());
        let (reply, answer) = oneshot::channel();
        let watched = interest.clone();
        let run = move || {
            let result = catch_unwind(AssertUnwindSafe(|| work(&watched)));
            // The client may have disconnected meanwhile.
            drop(reply.send(result));
        };
        self.push(lane, PaintRequest { run: Box::new(run), interest })?;
        match answer.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Refused::Panicked),
            Err(_) => Err(Refused::Closed),
        }
    }

    fn push(&self, lane: Lane, request: PaintRequest) -> Result<(), Refused> {
        let mut lanes = self.shared.lanes();
        if lanes.closed {
            return Err(Refused::Closed);
        }
        lanes.forget_abandoned();
        match lane {
            // A camera has at most one frame here, and the number of cameras is limited.
            Lane::CameraFrame => lanes.frames.push_back(request),
            Lane::Picture if lanes.pictures.len() >= self.queue => return Err(Refused::Busy),
            Lane::Picture => lanes.pictures.push_back(request),
        }
        drop(lanes);
        self.shared.work.notify_one();
        Ok(())
    }

    /// Accepts no more work; the threads end after their current work.
    pub(super) fn close(&self) {
        self.shared.lanes().closed = true;
        self.shared.work.notify_all();
    }
}

impl Drop for Painters {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// A painter that is busy until the sender is dropped.
    fn busy(painters: &Painters) -> (mpsc::Sender<()>, impl Future) {
        let (release, held) = mpsc::channel::<()>();
        let (begun, began) = mpsc::channel();
        let mut painting = Box::pin(painters.run(Lane::Picture, move |_| {
            begun.send(()).unwrap();
            held.recv().unwrap_err();
        }));
        assert!(painting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        began.recv().unwrap();
        (release, painting)
    }

    fn begin<T: Send + 'static>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    #[test]
    fn one_more_than_the_queue_holds_is_refused_at_once() {
        let painters = Painters::start(1, 2).unwrap();
        let (release, painting) = busy(&painters);
        let mut first = Box::pin(painters.run(Lane::Picture, |_| 1));
        let mut second = Box::pin(painters.run(Lane::Picture, |_| 2));
        begin(&mut first);
        begin(&mut second);
        assert_eq!(wait(painters.run(Lane::Picture, |_| 3)), Err(Refused::Busy));
        drop(release);
        assert_eq!((wait(first), wait(second)), (Ok(1), Ok(2)));
        drop(painting);
    }

    #[test]
    fn abandoned_requests_leave_the_queue_unpainted() {
        let painters = Painters::start(1, 1).unwrap();
        let (release, painting) = busy(&painters);
        let painted = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&painted);
        let mut gone = Box::pin(painters.run(Lane::Picture, move |_| seen.store(true, Ordering::Relaxed)));
        begin(&mut gone);
        drop(gone);
        assert_eq!(painters.waiting(), 0);
        // Its place in the queue is free again.
        let mut next = Box::pin(painters.run(Lane::Picture, |_| ()));
        begin(&mut next);
        drop(release);
        assert_eq!(wait(next), Ok(()));
        assert!(!painted.load(Ordering::Relaxed));
        drop(painting);
    }

    #[test]
    fn frames_and_pictures_take_turns() {
        let painters = Painters::start(1, 8).unwrap();
        let (release, painting) = busy(&painters);
        let order = Arc::new(Mutex::new(String::new()));
        let lanes = [(Lane::Picture, 'p'), (Lane::Picture, 'p'), (Lane::CameraFrame, 'f'), (Lane::CameraFrame, 'f')];
        let mut requests: Vec<_> = lanes
            .into_iter()
            .map(|(lane, name)| {
                let order = Arc::clone(&order);
                Box::pin(painters.run(lane, move |_| order.lock().unwrap().push(name)))
            })
            .collect();
        requests.iter_mut().for_each(begin);
        drop(release);
        for request in requests {
            wait(request).unwrap();
        }
        assert_eq!(*order.lock().unwrap(), "fpfp");
        drop(painting);
    }

    #[test]
    fn the_queue_does_not_count_the_picture_being_painted() {
        let painters = Painters::start(1, 2).unwrap();
        assert_eq!(painters.waiting(), 0);
        let (release, painting) = busy(&painters);
        assert_eq!(painters.waiting(), 0);
        let mut next = Box::pin(painters.run(Lane::Picture, |_| ()));
        begin(&mut next);
        assert_eq!(painters.waiting(), 1);
        drop(release);
        wait(next).unwrap();
        assert_eq!(painters.waiting(), 0);
        drop(painting);
    }

    #[test]
    fn a_painter_survives_a_panic() {
        let painters = Painters::start(1, 1).unwrap();
        assert_eq!(wait(painters.run(Lane::Picture, |_| panic!("a test's panic"))), Err::<(), _>(Refused::Panicked));
        assert_eq!(wait(painters.run(Lane::Picture, |_| 7)), Ok(7));
        painters.close();
        assert_eq!(wait(painters.run(Lane::Picture, |_| 7)), Err(Refused::Closed));
    }
}
