//! `infer serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use impasto_common::Result;
use impasto_common::device::{DeviceChoice, set_threads};
use impasto_common::styles::BUNDLED;
use impasto_engine::PaintPrecision;
use tokio::sync::oneshot;

use super::interrupt;
use super::output::print;
use super::stylize::{check_computing, find_model, parse_memory};
use super::talk;
use crate::Stylizer;
use crate::serve::{Limits, ServeConfig, ServeEvent, Server};

/// Serve a web page and an HTTP API for painting
///
/// Prints the address on standard output and a line for each request on standard error. The page paints pictures and the
/// view of a camera; `/openapi.json` describes the API. The server stores nothing, and no request reads a file. Ctrl-C
/// finishes the requests in progress and ends the server; a second Ctrl-C ends it at once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address and port to listen on; port 0 takes any free port
    ///
    /// Everyone who can reach the address can use the server: there is no password and no encryption. Browsers let only
    /// pages from this machine or over HTTPS use a camera.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = ServeConfig::new(Vec::new()).listen)]
    listen: SocketAddr,

    /// Style-model file or bundled style to serve before the other bundled styles; the first is the default
    #[arg(short, long, value_name = "NAME|FILE")]
    style: Vec<PathBuf>,

    /// Also answer requests for this host name; `localhost` and numeric addresses are always answered
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// Open the page in the browser
    #[arg(long)]
    open: bool,

    /// Print only errors and the address
    #[arg(short, long)]
    quiet: bool,

    /// Largest picture file to accept: bytes, or a number with K, M or G
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, help_heading = "Limits")]
    #[arg(default_value = "32M")]
    max_body: u64,

    /// Largest picture to accept, in millions of pixels; checked before the picture is decoded
    #[arg(long, value_name = "MILLIONS", default_value_t = Limits::default().pixels as f64 / 1e6)]
    #[arg(value_parser = parse_millions, help_heading = "Limits")]
    max_megapixels: f64,

    /// Pictures to paint at the same time, each on all cores; at most 256
    #[arg(long, value_name = "N", default_value_t = Limits::default().painters, help_heading = "Limits")]
    painters: usize,

    /// Pictures that may wait to be painted; one more gets a 503
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue, help_heading = "Limits")]
    queue: usize,

    /// Open connections; one more waits, or replaces one that has been idle for a second
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, help_heading = "Limits")]
    connections: usize,

    /// Open cameras; one more gets a 503
    #[arg(long, value_name = "N", default_value_t = Limits::default().live, help_heading = "Limits")]
    live: usize,

    /// Time limit for the header of a request, and for an idle connection
    #[arg(long, value_name = "SECONDS", default_value_t = seconds(Limits::default().header_time))]
    #[arg(value_parser = parse_seconds, help_heading = "Limits")]
    header_time: f64,

    /// Time limit for the body of a request
    #[arg(long, value_name = "SECONDS", default_value_t = seconds(Limits::default().body_time))]
    #[arg(value_parser = parse_seconds, help_heading = "Limits")]
    body_time: f64,

    /// Time limit for waiting and painting
    #[arg(long, value_name = "SECONDS", default_value_t = seconds(Limits::default().paint_time))]
    #[arg(value_parser = parse_seconds, help_heading = "Limits")]
    paint_time: f64,

    /// Time limit for a client to read part of its response
    #[arg(long, value_name = "SECONDS", default_value_t = seconds(Limits::default().write_time))]
    #[arg(value_parser = parse_seconds, help_heading = "Limits")]
    write_time: f64,

    /// Time to finish the requests in progress when the server is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = seconds(Limits::default().grace))]
    #[arg(value_parser = parse_seconds, help_heading = "Limits")]
    grace: f64,

    /// Device to compute on: auto, cpu, cuda or cuda:N; `auto` is the first GPU, or the CPU if there is none
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::default(), help_heading = "Computing")]
    device: DeviceChoice,

    /// Arithmetic precision: f32, bf16 or f16; default: f32 on the CPU, f16 on a GPU
    #[arg(long, value_name = "TYPE", help_heading = "Computing")]
    precision: Option<PaintPrecision>,

    /// Memory limit for painting, not counting the pictures themselves: bytes, or a number with K, M or G; default: half of the
    /// memory that is free and allowed to the process
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, help_heading = "Computing")]
    memory: Option<u64>,

    /// CPU threads; 0 means one per core
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Computing")]
    threads: usize,
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.001..=1e6).contains(seconds));
    seconds.ok_or_else(|| "expected a number of seconds above 0".into())
}

fn parse_millions(text: &str) -> Result<f64, String> {
    let millions: Option<f64> = text.parse().ok().filter(|millions| (1e-6..=268.0).contains(millions));
    millions.ok_or_else(|| "expected millions of pixels, up to 268".into())
}

/// Serves until it is interrupted.
///
/// # Errors
///
/// If a style cannot be loaded or the server cannot listen on the address.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.threads > 0 {
        set_threads(args.threads)?;
    }
    let server = Server::bind(config(args)?)?;
    let page = format!("http://{}", server.address());
    print(&format!("{page}\n"))?;
    if !args.quiet {
        warn_if_reachable(server.address());
        talk::note("press Ctrl-C to stop the server");
    }
    if args.open {
        open_browser(&page);
    }
    let (stop, stopped) = oneshot::channel();
    interrupt::defer(move || {
        // The server may have ended already.
        let _ = stop.send(());
    });
    server.run(async {
        // A dropped sender has the same meaning.
        let _ = stopped.await;
    })?;
    Ok(ExitCode::SUCCESS)
}

fn config(args: &Args) -> Result<ServeConfig> {
    check_computing(args.device, args.precision)?;
    let named = args.style.iter().map(|style| find_model(style));
    let bundled = BUNDLED.iter().filter(|bundled| !args.style.iter().any(|style| style.as_os_str() == bundled.name));
    let models = named.chain(bundled.map(impasto_common::styles::BundledStyle::model));
    let builder = Stylizer::builder().device(args.device).precision(args.precision);
    let styles = models.map(|model| builder.build(&model?)).collect::<Result<Vec<_>>>()?;
    // If the GPU cannot be used, all styles give the same reason.
    let mut notes: Vec<_> = styles.iter().filter_map(|style| style.engine().fallback_reason()).collect();
    notes.dedup();
    notes.iter().filter(|_| !args.quiet).for_each(|text| talk::note(text));
    let limits = Limits {
        body: args.max_body as usize,
        pixels: (args.max_megapixels * 1e6) as u64,
        painters: args.painters,
        queue: args.queue,
        connections: args.connections,
        live: args.live,
        header_time: Duration::from_secs_f64(args.header_time),
        body_time: Duration::from_secs_f64(args.body_time),
        paint_time: Duration::from_secs_f64(args.paint_time),
        write_time: Duration::from_secs_f64(args.write_time),
        grace: Duration::from_secs_f64(args.grace),
    };
    let quiet = args.quiet;
    Ok(ServeConfig {
        listen: args.listen,
        hosts: args.allow_host.clone(),
        memory: args.memory,
        limits,
        observer: Arc::new(move |event| tell(event, quiet)),
        ..ServeConfig::new(styles)
    })
}

fn tell(event: &ServeEvent, quiet: bool) {
    match event {
        ServeEvent::Failed(what) => talk::note(what),
        _ if quiet => {}
        ServeEvent::Answered { method, path, status, time } => {
            // The client's text may contain control characters for the terminal.
            let (method, path) = (method.escape_debug(), path.escape_debug());
            talk::line(&format!("{method} {path} {status} in {:.0} ms", time.as_secs_f64() * 1e3));
        }
        ServeEvent::LiveEnded { painted, dropped } => {
            talk::line(&format!("camera closed: {painted} frames painted, {dropped} dropped"));
        }
    }
}

/// Prints a notice if other machines can reach the server.
fn warn_if_reachable(address: SocketAddr) {
    if !address.ip().is_loopback() {
        talk::note("other machines on the network can reach this server, and it has no password");
    }
}

/// Opens the page in the system's browser.
fn open_browser(page: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    let mut command = Command::new(program);
    command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        talk::note(&format!("cannot open the browser with `{program}`: {error}; open {page} yourself"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_times_and_sizes_are_refused() {
        assert_eq!((parse_seconds("0.5"), parse_millions("2")), (Ok(0.5), Ok(2.0)));
        for text in ["0", "-1", "nan", "inf", "", "1s"] {
            assert!(parse_seconds(text).is_err() && parse_millions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_default_body_limit_equals_the_librarys() {
        assert_eq!(parse_memory("32M"), Ok(Limits::default().body as u64));
    }
}
