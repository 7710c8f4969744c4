//! A simulated camera in a browser: frames are painted, their size adapts, and they never queue.

use std::thread;
use std::time::Duration;

use impasto_common::device::DeviceChoice;
use impasto_common::network::Preset;
use impasto_engine::PaintPrecision;
use impasto_infer::bench::Subject;
use impasto_infer::serve::{ServeConfig, Server};

use super::cdp::Page;
use super::client::Served;

#[test]
fn a_camera_is_painted_and_its_frames_never_queue() {
    let served = Served::new();
    let Some(mut page) = Page::open(&format!("http://{}/?camera&rate=30", served.address), "fps=30") else { return };
    page.click("#camera-start");
    page.wait_for("Number(document.body.dataset.frames) >= 20");
    page.screenshot("camera.png");
    // One is painted while one waits.
    assert!(page.number("Number(document.body.dataset.inFlight)") <= 2);
    // The painting is not a copy of the camera's picture, and not black.
    let colours = page.number(
        "(() => { const canvas = document.getElementById('live'); \
         const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height); \
         return new Set(new Uint32Array(data.buffer)).size; })()",
    );
    assert!(colours > 50, "{colours} colours");
    for meter in ["rate", "latency", "size"] {
        let text = page.text(&format!("document.getElementById('meter-{meter}').textContent"));
        assert!(text.chars().next().is_some_and(|first| first.is_ascii_digit()), "{meter}: {text}");
    }
    // Options can change while the camera runs.
    let frames = page.number("Number(document.body.dataset.frames)");
    page.evaluate("document.getElementById('strength').value = 0.3; document.getElementById('strength').dispatchEvent(new Event('input'))");
    let bundled = impasto_common::styles::BUNDLED[0].name;
    page.click(&format!("input[value=\"{bundled}\"]"));
    page.wait_for(&format!("Number(document.body.dataset.frames) > {frames} + 5"));
    assert_eq!(page.evaluate("document.getElementById('alert').hidden"), true);
    page.click("#camera-stop");
    page.wait_for("!document.getElementById('welcome').hidden");
    assert_eq!(page.evaluate("document.getElementById('video').srcObject"), serde_json::Value::Null);
    assert_eq!(page.console, Vec::<String>::new());
}

#[test]
fn the_clean_view_starts_by_itself_and_shows_the_painting_alone() {
    let served = Served::new();
    let url = format!("http://{}/?camera&clean&width=320&up=jpeg", served.address);
    let Some(mut page) = Page::open(&url, "fps=30") else { return };
    page.wait_for("Number(document.body.dataset.frames) >= 3");
    assert_eq!(page.number("document.getElementById('live').width"), 320);
    for hidden in [".bar", ".panel", ".seam", ".split", "#status"] {
        assert_eq!(page.text(&format!("getComputedStyle(document.querySelector('{hidden}')).display")), "none");
    }
    // The painting covers the camera's own picture.
    assert_eq!(page.text("getComputedStyle(document.querySelector('.after.camera-only')).clipPath"), "none");
    page.screenshot("clean.png");
}

#[test]
fn the_size_adapts_to_the_frame_rate_and_stays_stable() {
    let served = Served::new();
    let Some(mut page) = Page::open(&format!("http://{}/", served.address), "fps=30") else { return };
    // Simulates a server whose time is proportional to the pixels of a frame, with at most 15 requests per second.
    let simulate = |cost: f64, start: u32| {
        format!(
            "(async () => {{ const {{ Pace }} = await import('/camera.js'); const pace = new Pace(15, {start}, 1920); \
             let now = 0; const widths = []; for (let i = 0; i < 3000; i++) {{ \
             const busy = {cost} * pace.width ** 2 * 0.75 / 1e6; now += Math.max(1000 / 15, busy); \
             widths.push(pace.answered(now, busy)); }} return widths.slice(-600); }})()"
        )
    };
    // Milliseconds per million pixels, and the range of widths that fit into 1/15 s.
    for (cost, slowest, fastest) in [(100.0, 640.0, 960.0), (1000.0, 160.0, 320.0), (1.0, 1920.0, 1920.0)] {
        for start in [160, 640, 1920] {
            let widths = page.evaluate(&simulate(cost, start));
            let widths: Vec<f64> = widths.as_array().unwrap().iter().map(|width| width.as_f64().unwrap()).collect();
            assert!(widths.iter().all(|width| (slowest..=fastest).contains(width)), "{cost} from {start}: {widths:?}");
            let changes = widths.windows(2).filter(|pair| (pair[0] - pair[1]).abs() > 0.5).count();
            assert!(changes <= 6, "{cost} from {start}: {changes} changes in 40 s");
        }
    }
}

/// A server in this process that paints with random weights of a preset until the process ends.
fn serve_preset(preset: Preset) -> std::net::SocketAddr {
    let stylizer = Subject::preset(preset).unwrap().stylizer(DeviceChoice::Cpu, Some(PaintPrecision::F32)).unwrap();
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(ServeConfig { listen, ..ServeConfig::new(vec![stylizer]) }).unwrap();
    let address = server.address();
    thread::spawn(move || server.run(std::future::pending()));
    address
}

#[test]
#[ignore = "measures, for ten seconds each: needs Chromium and a machine with nothing else to do"]
#[expect(clippy::print_stderr, reason = "what it measures is for whoever asked")]
fn how_fast_the_camera_is_painted_in_the_browser() {
    for preset in [Preset::M, Preset::S, Preset::Xs] {
        let address = serve_preset(preset);
        for up in ["raw", "jpeg"] {
            let url = format!("http://{address}/?camera&clean&width=640&rate=60&up={up}");
            let Some(mut page) = Page::open(&url, "fps=60") else { return };
            page.wait_for("Number(document.body.dataset.frames) >= 30");
            thread::sleep(Duration::from_secs(8));
            let stats = page.evaluate("window.impasto");
            assert!(stats["mostInFlight"].as_f64().unwrap() <= 2.0, "{stats}");
            let [rate, latency, painting] = ["rate", "latency", "painting"].map(|name| stats[name].as_f64().unwrap());
            let size = format!("{}x{}", stats["width"], stats["height"]);
            eprintln!(
                "{preset} at {size}, frames {up}: {rate:.1} frames/s, latency {latency:.0} ms, painting {painting:.0} ms"
            );
        }
    }
}
