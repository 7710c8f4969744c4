//! Child processes that must not fall silent: one that is stopped or hangs is ended, and the error says so.
//!
//! Time counts only while this process waits for the child: in a read, in a write, or for its end. A slow painter leaves its
//! decoder waiting, and that is not silence. A child that uses the processor works, and gets much longer.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::ffmpeg::cannot_run;
use impasto_error::{Error, Result, ResultExt};

/// The environment variable with the longest silence in seconds.
const VARIABLE: &str = "IMPASTO_FFMPEG_TIMEOUT";
/// The longest silence without it: a network drive may take half a minute to wake up.
const LIMIT: Duration = Duration::from_secs(60);
/// A child that uses the processor may be silent for this many times as long: the slowest encoders take minutes for a frame,
/// and moving the index of a large file to its front takes as long as copying it. Where nobody knows whether it does, fewer
/// times have to do.
const BUSY: u32 = if cfg!(target_os = "linux") { 60 } else { 10 };
/// How often a child is looked at.
const TICK: Duration = Duration::from_millis(500);
/// How often a child is asked whether it has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// The longest silences that are put up with.
#[derive(Debug, Clone, Copy)]
struct SilenceLimits {
    idle: Duration,
    /// Of a child that uses the processor.
    busy: Duration,
}

/// A child process that is ended when it has been silent for too long, and when this is dropped.
pub struct WatchedChild {
    program: String,
    limits: SilenceLimits,
    child: Arc<Mutex<Child>>,
    signs: Arc<SignsOfLife>,
    watchman: Thread,
}

/// A pipe from or to a [`WatchedChild`].
pub struct WatchedPipe<P> {
    pipe: P,
    signs: Arc<SignsOfLife>,
    /// Whether this process waits for the child while it waits for the pipe.
    waits: bool,
}

impl WatchedChild {
    /// Starts a program.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let idle = limit();
        Self::spawn_with(command, SilenceLimits { idle, busy: BUSY * idle })
    }

    fn spawn_with(command: &mut Command, limits: SilenceLimits) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| cannot_run(&program, error))?;
        let child = Arc::new(Mutex::new(child));
        let signs = Arc::new(SignsOfLife::new());
        let (watched, shown) = (Arc::clone(&child), Arc::clone(&signs));
        let watchman = thread::spawn(move || watch(&watched, &shown, limits)).thread().clone();
        Ok(Self { program, limits, child, signs, watchman })
    }

    /// Runs a program to its end, and returns what it wrote. Its standard output is a pipe; standard error is one if `command`
    /// says so.
    ///
    /// # Errors
    ///
    /// If it cannot be run, or falls silent.
    pub fn output(command: &mut Command) -> Result<Output> {
        let child = Self::spawn(command.stdout(Stdio::piped()))?;
        let cannot = || format!("cannot read from `{}`", child.program);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        thread::scope(|scope| {
            let log = child.stderr().map(|mut pipe| scope.spawn(move || pipe.read_to_end(&mut stderr).map(|_| stderr)));
            if let Some(mut pipe) = child.stdout() {
                pipe.read_to_end(&mut stdout).context(cannot)?;
            }
            let status = child.wait()?;
            let log = log.map(|log| log.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            Ok(Output { status, stdout, stderr: log.transpose().context(cannot)?.unwrap_or_default() })
        })
    }

    /// The child's standard input, if it is piped and was not taken before.
    #[must_use]
    pub fn stdin(&self) -> Option<WatchedPipe<ChildStdin>> {
        lock(&self.child).stdin.take().map(|pipe| self.pipe(pipe, true))
    }

    /// The child's standard output, if it is piped and was not taken before.
    #[must_use]
    pub fn stdout(&self) -> Option<WatchedPipe<ChildStdout>> {
        lock(&self.child).stdout.take().map(|pipe| self.pipe(pipe, true))
    }

    /// The child's standard error, if it is piped and was not taken before. A child may say nothing there for as long as it
    /// likes; what it says is a sign of life.
    #[must_use]
    pub fn stderr(&self) -> Option<WatchedPipe<ChildStderr>> {
        lock(&self.child).stderr.take().map(|pipe| self.pipe(pipe, false))
    }

    fn pipe<P>(&self, pipe: P, waits: bool) -> WatchedPipe<P> {
        WatchedPipe { pipe, signs: Arc::clone(&self.signs), waits }
    }

    /// Waits for what `wait` waits for, which the child should bring about.
    pub(super) fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.signs.waiting(wait)
    }

    /// Waits for the child's end.
    ///
    /// # Errors
    ///
    /// If it had to be ended because it was silent.
    pub fn wait(&self) -> Result<ExitStatus> {
        let status = self.signs.waiting(|| {
            let mut pause = Duration::from_millis(1);
            loop {
                if let Some(status) = lock(&self.child).try_wait()? {
                    return Ok::<_, io::Error>(status);
                }
                thread::sleep(pause);
                pause = (2 * pause).min(PAUSE);
            }
        });
        let status = status.context(|| format!("cannot wait for `{}`", self.program))?;
        self.silence().map_or(Ok(status), Err)
    }

    /// The error of a child that had to be ended because it was silent.
    #[must_use]
    pub fn silence(&self) -> Option<Error> {
        self.signs.hung.load(Ordering::SeqCst).then(|| {
            let (program, seconds) = (&self.program, self.limits.idle.as_secs_f64());
            Error::new(format!("cannot wait for `{program}`")).with_source(Silence { seconds }).with_hint(format!(
                "it may have been stopped, or a disk does not answer; to wait longer, set {VARIABLE} to a number of seconds"
            ))
        })
    }
}

/// The cause of the error of a child that was silent.
#[derive(Debug)]
struct Silence {
    seconds: f64,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it did nothing for {} s and was ended", self.seconds)
    }
}

impl StdError for Silence {}

/// Whether an error is that of a child that had to be ended because it was silent. The options that it had are not to blame.
#[must_use]
pub fn is_silence(error: &Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Silence>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Drop for WatchedChild {
    fn drop(&mut self) {
        self.signs.over.store(true, Ordering::SeqCst);
        self.watchman.unpark();
        let mut child = lock(&self.child);
        end(&mut child);
        // There is nothing left to do about an error.
        let _ = child.wait();
    }
}

impl<P: Read> Read for WatchedPipe<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { pipe, signs, waits } = self;
        let read = if *waits { signs.waiting(|| pipe.read(buffer)) } else { pipe.read(buffer) };
        signs.seen();
        read
    }
}

impl<P: Write> Write for WatchedPipe<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let pipe = &mut self.pipe;
        self.signs.waiting(|| pipe.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

/// What is known about a child's activity.
struct SignsOfLife {
    started: Instant,
    /// Milliseconds from `started` to the last sign of life, or to when this process began to wait; [`NOBODY_WAITS`] while it
    /// does not.
    since: AtomicU64,
    /// Whether the child was ended because it was silent.
    hung: AtomicBool,
    /// Whether nobody is interested in the child any more.
    over: AtomicBool,
}

const NOBODY_WAITS: u64 = u64::MAX;

impl SignsOfLife {
    fn new() -> Self {
        let [hung, over] = [false, false].map(AtomicBool::new);
        Self { started: Instant::now(), since: AtomicU64::new(NOBODY_WAITS), hung, over }
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.since.store(self.now(), Ordering::SeqCst);
        let value = wait();
        self.since.store(NOBODY_WAITS, Ordering::SeqCst);
        value
    }

    fn seen(&self) {
        let now = self.now();
        // Unless somebody waits, nothing is counted.
        let _ =
            self.since.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |since| (since != NOBODY_WAITS).then_some(now));
    }
}

/// Ends a child once it has been silent for too long.
fn watch(child: &Mutex<Child>, signs: &SignsOfLife, SilenceLimits { idle, busy }: SilenceLimits) {
    let mut used = None;
    let mut busy_until = 0;
    while !signs.over.load(Ordering::SeqCst) {
        thread::park_timeout(TICK.min(idle / 4));
        let (now, since) = (signs.now(), signs.since.load(Ordering::SeqCst));
        let silent = |since: u64| Duration::from_millis(now.saturating_sub(since));
        // Most waits are short, and need no closer look.
        if since == NOBODY_WAITS || silent(since) < idle / 4 {
            continue;
        }
        let mut child = lock(child);
        let time = processor_time(child.id());
        // Where nobody knows, the child may be at work.
        if time.is_none() || time != used {
            (used, busy_until) = (time, now);
        }
        if silent(since.max(busy_until)) >= idle || silent(since) >= busy {
            signs.hung.store(true, Ordering::SeqCst);
            end(&mut child);
            return;
        }
    }
}

/// Kills a child that has not ended yet, and what it has started: a wrapper script would leave the pipes open.
fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process_group};
            // Children of `quiet_child` lead a group; for others there is no such group.
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
        }
        // It may have ended just now.
        let _ = child.kill();
    }
}

/// The processor time that a process has used, in units that do not matter. Only Linux says.
fn processor_time(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before the parenthesis may contain anything.
    let mut numbers = text.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut number = || numbers.next()?.parse::<u64>().ok();
    Some(number()? + number()?)
}

/// The longest silence.
fn limit() -> Duration {
    static LONGEST: OnceLock<Duration> = OnceLock::new();
    *LONGEST.get_or_init(|| std::env::var(VARIABLE).ok().and_then(|text| seconds(&text)).unwrap_or(LIMIT))
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok().filter(|seconds| *seconds >= 0.1)?;
    Duration::try_from_secs_f64(seconds).ok().filter(|limit| limit.as_secs() < 1 << 31)
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::quiet_child;
    use super::*;

    const SHORT: Duration = Duration::from_millis(1200);
    const TEST_LIMITS: SilenceLimits = SilenceLimits { idle: SHORT, busy: Duration::from_secs(4) };

    fn shell(script: &str) -> WatchedChild {
        let mut command = quiet_child("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        WatchedChild::spawn_with(&mut command, TEST_LIMITS).unwrap()
    }

    fn read_to_end(child: &WatchedChild) -> Vec<u8> {
        let mut read = Vec::new();
        child.stdout().unwrap().read_to_end(&mut read).unwrap();
        read
    }

    #[test]
    fn a_child_that_is_silent_is_ended_together_with_what_it_has_started() {
        for script in ["echo one; sleep 100; true", "echo one; kill -STOP $$"] {
            let (child, started) = (shell(script), Instant::now());
            assert_eq!(read_to_end(&child), b"one\n");
            let error = child.wait().unwrap_err();
            assert_eq!(error.to_string(), "cannot wait for `sh`: it did nothing for 1.2 s and was ended");
            assert!(is_silence(&error) && !is_silence(&Error::new("another")));
            assert!(error.hint().unwrap().contains("IMPASTO_FFMPEG_TIMEOUT"));
            assert!(started.elapsed() < 20 * SHORT, "{:?}", started.elapsed());
        }
    }

    #[test]
    fn a_child_that_takes_nothing_is_ended() {
        let child = shell("sleep 100; true");
        let written = child.stdin().unwrap().write_all(&vec![0; 1 << 20]);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(child.wait().is_err());
    }

    #[test]
    fn a_child_that_speaks_or_waits_for_us_may_take_its_time() {
        let child = shell("for i in 1 2 3 4 5 6; do sleep 0.3; echo $i; done; cat > /dev/null");
        let mut stdin = child.stdin().unwrap();
        assert_eq!(read_until_six(&child), b"1\n2\n3\n4\n5\n6\n");
        thread::sleep(2 * SHORT);
        stdin.write_all(b"more").unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }

    fn read_until_six(child: &WatchedChild) -> Vec<u8> {
        let mut lines = vec![0; 12];
        child.stdout().unwrap().read_exact(&mut lines).unwrap();
        lines
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_that_works_gets_longer_but_not_for_ever() {
        let (child, started) = (shell("while :; do :; done"), Instant::now());
        assert!(child.wait().is_err());
        assert!(started.elapsed() >= 2 * SHORT && started.elapsed() < 10 * TEST_LIMITS.busy, "{:?}", started.elapsed());
    }

    #[test]
    fn the_limit_is_a_number_of_seconds() {
        assert_eq!(seconds("2.5"), Some(Duration::from_millis(2500)));
        for text in ["", "x", "0", "-1", "nan", "inf", "1e99"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
