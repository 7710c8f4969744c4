//! Embeds the server in a program, with its own styles, limits and log: `cargo run --release --example serve [ADDRESS:PORT
//! [STYLE..]]`.
//!
//! The defaults are a free port of this machine and the style `starry_night`. Enter, or the end of standard input, stops it.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io;
use std::sync::Arc;
use std::thread;

use impasto_common::{Error, Result};
use impasto_infer::Stylizer;
use impasto_infer::serve::{Limits, ServeConfig, ServeEvent, Server};
use tokio::sync::oneshot;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let listen = words.first().map_or("127.0.0.1:0", String::as_str);
    let names = if words.len() > 1 { &words[1..] } else { &["starry_night".to_owned()] };
    let styles = names.iter().map(|name| Stylizer::bundled(name)).collect::<Result<Vec<_>>>()?;
    let server = Server::bind(ServeConfig {
        listen: listen.parse().map_err(|_| Error::usage(format!("`{listen}` is not an address and a port")))?,
        limits: Limits { pixels: 4_000_000, ..Limits::default() },
        observer: Arc::new(|event: &ServeEvent| println!("{event:?}")),
        ..ServeConfig::new(styles)
    })?;
    println!("http://{}", server.address());

    // Requests in progress are finished before `run` returns.
    let (stop, stopped) = oneshot::channel();
    thread::spawn(move || {
        // An error is the end of the input too, and a server that has stopped already needs no signal.
        let _ = io::stdin().read_line(&mut String::new());
        let _ = stop.send(());
    });
    server.run(async {
        let _ = stopped.await;
    })
}
