//! The responses of the API to valid requests.

use std::time::Instant;

use serde_json::Value;

use super::client::{Served, TIMEOUT, jpeg, png};
use crate::studio::{STYLE, photo};

#[test]
fn a_painting_equals_that_of_the_command_line() {
    let served = Served::new();
    served.studio.save("in.png", photo(70, 50));
    let bytes = std::fs::read(served.studio.path("in.png")).unwrap();
    for (query, flags) in [
        ("", ""),
        ("strength=0.4&keep_colors=true", "--strength 0.4 --keep-colors"),
        ("max_size=30&keep_colors=1&strength=1.0", "--max-size 30 --keep-colors"),
        ("margin=auto", "--margin auto"),
        ("margin=8&max_size=40", "--margin 8 --max-size 40"),
        ("style=tiny&format=png&quality=7&keep_colors=0", ""),
    ] {
        let answer = served.stylize(query, &bytes);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/png")), "{}", answer.text());
        let run = served.studio.run(&format!("stylize in.png -o out.png --style {STYLE} {flags}"));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(answer.image().into_rgb8() == served.studio.open("out.png").into_rgb8(), "{query}");
        let timing = answer.header("server-timing").unwrap();
        assert!(
            ["wait;dur=", "decode;dur=", "paint;dur=", "encode;dur="].iter().all(|part| timing.contains(part)),
            "{timing}"
        );
    }
}

#[test]
fn the_painting_has_the_requested_format_and_reports_losses() {
    let served = Served::new();
    let size = |quality: u8| served.stylize(&format!("format=jpg&quality={quality}"), &jpeg(64, 64)).body.len();
    assert!(size(10) < size(95));
    for format in ["jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif"] {
        let answer = served.stylize(&format!("format={format}"), &jpeg(20, 16));
        assert_eq!(answer.status, 200, "{format}: {}", answer.text());
        let expected = match format {
            "jpg" => "jpeg",
            "tif" => "tiff",
            other => other,
        };
        assert_eq!(answer.header("content-type"), Some(format!("image/{expected}").as_str()));
        let image = answer.image();
        assert_eq!((image.width(), image.height()), (20, 16));
        assert_eq!(answer.header("impasto-lost"), None);
    }
    let glass = image::RgbaImage::from_pixel(16, 16, image::Rgba([9, 99, 199, 100]));
    served.studio.save("glass.png", glass);
    let answer = served.stylize("format=jpg", &std::fs::read(served.studio.path("glass.png")).unwrap());
    assert_eq!(answer.header("impasto-lost"), Some("transparency"));
}

#[test]
fn styles_are_listed_with_thumbnails_and_without_paths() {
    let served = Served::new();
    let answer = served.get("/v1/styles");
    let styles = answer.json();
    assert_eq!(styles["default"], "tiny");
    let names: Vec<_> =
        styles["styles"].as_array().unwrap().iter().map(|style| style["name"].as_str().unwrap()).collect();
    let bundled = impasto_common::styles::BUNDLED.iter().map(|style| style.name);
    assert_eq!(names, std::iter::once("tiny").chain(bundled).collect::<Vec<_>>());
    assert_eq!(styles["limits"]["body_bytes"], 32 << 20);
    for word in ["command", "training", ".safetensors"] {
        assert!(!answer.text().contains(word), "{word}");
    }
    for style in styles["styles"].as_array().unwrap() {
        let thumbnail = served.get(style["thumbnail"].as_str().unwrap());
        assert_eq!((thumbnail.status, thumbnail.header("content-type")), (200, Some("image/jpeg")));
        assert_eq!(thumbnail.image().width(), 320);
    }
}

#[test]
fn health_and_metrics_are_plain_text() {
    let served = Served::new();
    assert_eq!(served.get("/healthz").text(), "ok\n");
    served.assert_well();
    served.stylize("quality=0", b"");
    // Once the last thumbnail is painted, nothing waits.
    let last = impasto_common::styles::BUNDLED.last().unwrap().name;
    assert_eq!(served.get(&format!("/v1/styles/{last}/thumbnail")).status, 200);
    let metrics = served.get("/metrics").text();
    for line in [
        "impasto_requests_total{route=\"/healthz\",status=\"200\"} 1",
        "impasto_requests_total{route=\"/v1/stylize\",status=\"200\"} 1",
        "impasto_requests_total{route=\"/v1/stylize\",status=\"400\"} 1",
        "impasto_painting_seconds_bucket{le=\"+Inf\"} 1",
        "impasto_painting_seconds_count 1",
        "impasto_frames_total{fate=\"painted\"} 0",
        "impasto_queue_length 0",
        "impasto_cameras 0",
    ] {
        assert!(metrics.lines().any(|own| own == line), "no `{line}` in:\n{metrics}");
    }
    assert!(metrics.lines().all(|line| line.starts_with('#') || line.starts_with("impasto_")), "{metrics}");
}

#[test]
fn the_metrics_count_only_the_connection_that_asks() {
    let served = Served::new();
    let metrics = served.get("/metrics").text();
    assert!(metrics.contains("impasto_connections 1\n"), "{metrics}");
    let _idle = served.connect();
    // The connection of the first request may take a moment to end.
    let started = Instant::now();
    while !served.get("/metrics").text().contains("impasto_connections 2\n") {
        assert!(started.elapsed() < TIMEOUT, "{}", served.get("/metrics").text());
    }
}

#[test]
fn the_queue_length_does_not_count_the_picture_being_painted() {
    let served = Served::new();
    let last = impasto_common::styles::BUNDLED.last().unwrap().name;
    assert_eq!(served.get(&format!("/v1/styles/{last}/thumbnail")).status, 200);
    let large = jpeg(2400, 1800);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| served.stylize("", &large).status);
        while !served.get("/metrics").text().contains("impasto_pictures 1\n") {
            assert!(!client.is_finished(), "it was painted too fast to be seen");
        }
        // It waits for a moment until a painter takes it. From then on, it no longer counts as waiting.
        let counts = ["impasto_pictures 1\n", "impasto_queue_length 0\n"];
        while !counts.iter().all(|count| served.get("/metrics").text().contains(count)) {
            assert!(!client.is_finished(), "it is counted as waiting to the end");
        }
        assert_eq!(client.join().unwrap(), 200);
    });
}

#[test]
fn the_description_of_the_api_describes_this_api() {
    let served = Served::new();
    let document = served.get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        // Every described path exists and supports the method.
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{name}", "tiny");
            let length = if method == "post" { "Content-Length: 0\r\n" } else { "" };
            let request = format!("{} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n", method.to_uppercase());
            let status = served.send(request.as_bytes()).status;
            assert!(methods[method]["responses"].get(status.to_string()).is_some(), "{method} {path}: {status}");
            assert!(![404, 405].contains(&status), "{method} {path}: {status}");
        }
    }
    let options = |path: &str, method: &str| -> Vec<String> {
        let parameters = paths[path][method]["parameters"].as_array().unwrap();
        parameters.iter().map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
    };
    let hint = served.stylize("x=1", b"").json()["hint"].as_str().unwrap().to_owned();
    for option in options("/v1/stylize", "post") {
        assert!(hint.contains(&option), "{option}");
    }
    assert_eq!(options("/v1/stylize", "post").len(), 7);
    // Every reference has a target.
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 10);
    for reference in references {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
}

#[test]
fn the_page_is_complete_and_loads_nothing_from_elsewhere() {
    let served = Served::new();
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/camera.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = served.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)));
        let text = answer.text().replace("http://www.w3.org/2000/svg", "").replace("http://localhost", "");
        assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("=\"//"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(served.get("/sample.jpg").image().width(), 640);
}

#[test]
fn one_connection_serves_many_requests() {
    let served = Served::new();
    let mut stream = served.connect();
    for body in [jpeg(30, 20), png(20, 30)] {
        use std::io::Write;
        let head = format!("POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        let answer = super::client::read_answer(&mut stream).unwrap();
        assert_eq!(answer.status, 200);
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| match value {
            Value::String(text) if key == "$ref" => found.push(text.clone()),
            value => collect_references(value, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}
