//! Downloads from a hub, which is replaced by a small local server.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use impasto_common::error::ErrorKind;
use impasto_trainer::hub::Hub;

use crate::fixture::Fixture;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// SHA-256 of `abc`, from FIPS 180-2.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// The content of the server: one file, as `model.safetensors` of any repository. It can be truncated.
#[derive(Clone)]
struct Shelf {
    content: Vec<u8>,
    etag: String,
    /// The number of bytes after which the connection is closed.
    breaks_after: usize,
}

/// A hub that responds like the real one: a redirect with the revision, then the bytes from elsewhere.
struct Server {
    address: String,
    /// Method, path and range of every request.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(shelf: Shelf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (noted, own) = (requests.clone(), address.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                noted.lock().unwrap().push(answer(stream.unwrap(), &shelf, &own));
            }
        });
        Self { address, requests }
    }

    fn hub(&self, cache: &Path) -> Hub {
        Hub { endpoint: self.address.clone(), cache: cache.into(), token: None }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, shelf: &Shelf, own: &str) -> String {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap_or_default();
    let headers: HashMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let (method, path) = first.rsplit_once(' ').unwrap().0.split_once(' ').unwrap();
    let range = headers.get("range").cloned();
    let noted = format!("{method} {path} {}", range.clone().unwrap_or_default());
    let (head, body) = if let Some(path) = path.strip_prefix("/old/") {
        (format!("307 Temporary Redirect\r\nLocation: /new/{path}"), &[][..])
    } else if path.contains("/resolve/main/model.") {
        let (etag, location) = (&shelf.etag, format!("{own}/store/blob"));
        (format!("302 Found\r\nX-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{etag}\"\r\nLocation: {location}"), &[][..])
    } else if path == "/store/blob" {
        let start = range.map_or(0, |range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
        let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
        (status.into(), &shelf.content[start..])
    } else {
        ("404 Not Found".into(), &[][..])
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // The client may close the connection as soon as it has read enough.
    let _ = stream.write_all(&[head.as_bytes(), &body[..length.min(shelf.breaks_after)]].concat());
    noted
}

fn abc(breaks_after: usize) -> Shelf {
    Shelf { content: b"abc".to_vec(), etag: ABC.into(), breaks_after }
}

#[test]
fn a_file_is_downloaded_once_into_the_shared_layout() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(abc(usize::MAX));
    let hub = server.hub(folder.path());
    let mut told = Vec::new();
    let fetch = |told: &mut Vec<_>| {
        hub.fetch("new/vgg", "model.safetensors", |done, total| {
            told.push((done, total));
            true
        })
    };
    let path = fetch(&mut told).unwrap();
    let repository = folder.path().join("models--new--vgg");
    assert_eq!(path, repository.join("snapshots").join(COMMIT).join("model.safetensors"));
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(fs::read(repository.join("blobs").join(ABC)).unwrap(), b"abc");
    assert_eq!(told, [(0, 3), (3, 3)]);
    let requests = ["HEAD /new/vgg/resolve/main/model.safetensors ", "GET /new/vgg/resolve/main/model.safetensors "];
    assert_eq!(server.requests(), [requests[0], requests[1], "GET /store/blob "]);
    assert_eq!(fetch(&mut told).unwrap(), path);
    // A snapshot of another program is used, regardless of the main revision.
    fs::remove_dir_all(repository.join("refs")).unwrap();
    fs::rename(repository.join("snapshots").join(COMMIT), repository.join("snapshots/other")).unwrap();
    assert!(fetch(&mut told).unwrap().ends_with("snapshots/other/model.safetensors"));
    assert_eq!(server.requests().len(), 3, "what is cached is not asked for");
}

#[test]
fn a_broken_or_stopped_download_is_continued_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let broken = Server::new(abc(2));
    let error = broken.hub(folder.path()).fetch("old/vgg", "model.safetensors", |_, _| true).unwrap_err();
    assert!(error.to_string().starts_with("the connection was lost"), "{error}");
    assert_eq!(error.hint(), Some("the same command continues the download"));
    let server = Server::new(abc(usize::MAX));
    let hub = server.hub(folder.path());
    let error = hub.fetch("old/vgg", "model.safetensors", |_, _| false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let path = hub.fetch("old/vgg", "model.safetensors", |_, _| true).unwrap();
    assert_eq!(fs::read(path).unwrap(), b"abc");
    assert_eq!(server.requests().last().unwrap(), "GET /store/blob bytes=2-");
}

#[test]
fn a_file_that_arrives_damaged_is_refused_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Shelf { content: b"abd".to_vec(), ..abc(usize::MAX) });
    let error = server.hub(folder.path()).fetch("new/vgg", "model.safetensors", |_, _| true).unwrap_err();
    assert_eq!(error.to_string(), "the downloaded file is damaged");
    let blobs = folder.path().join("models--new--vgg/blobs");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
}

#[test]
fn a_hub_without_the_file_and_an_unreachable_hub_are_errors_that_name_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(abc(usize::MAX));
    let hub = server.hub(folder.path());
    let error = hub.fetch("new/vgg", "config.json", |_, _| true).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("`{}/new/vgg/resolve/main/config.json` responded with status 404 Not Found", server.address)
    );
    let nowhere = Hub { endpoint: "http://127.0.0.1:1".into(), ..hub };
    let error = nowhere.fetch("new/vgg", "model.safetensors", |_, _| true).unwrap_err().to_string();
    assert!(error.starts_with("cannot reach `http://127.0.0.1:1/new/vgg/resolve/main/model.safetensors`: "), "{error}");
}

#[test]
fn the_environment_says_where_files_come_from_and_where_they_are_kept() {
    let hub = |variables: &[(&str, &str)]| {
        let hub = Hub::from_env(|name| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_owned().into())
        });
        hub.unwrap()
    };
    let plain = hub(&[("XDG_CACHE_HOME", "/caches")]);
    assert_eq!((plain.endpoint.as_str(), plain.token), ("https://huggingface.co", None));
    assert_eq!(plain.cache, Path::new("/caches/huggingface/hub"));
    assert_eq!(hub(&[("HF_HOME", "/home"), ("XDG_CACHE_HOME", "/caches")]).cache, Path::new("/home/hub"));
    assert_eq!(hub(&[("HF_HUB_CACHE", "/hub"), ("HF_HOME", "/home")]).cache, Path::new("/hub"));
    let mirror = hub(&[("HF_ENDPOINT", "http://mirror/"), ("HF_HOME", "/home"), ("HF_TOKEN", "secret")]);
    assert_eq!((mirror.endpoint.as_str(), mirror.token.as_deref()), ("http://mirror", Some("secret")));
}

#[test]
fn a_training_downloads_its_loss_network_after_all_other_checks() {
    let fixture = Fixture::new();
    let content = fs::read(fixture.path("vgg.safetensors")).unwrap();
    // Not a SHA-256 of the content, because this test defines the content.
    let server = Server::new(Shelf { content, etag: "any".into(), breaks_after: usize::MAX });
    let train = |output: &str, style: &str| {
        Command::new(env!("CARGO_BIN_EXE_trainer"))
            .current_dir(fixture.path(""))
            .env("HF_ENDPOINT", &server.address)
            .env("HF_HOME", fixture.path("cache"))
            .env_remove("HF_HUB_CACHE")
            .args(["train", "--photos", "photos", "--style", style, "--output", output])
            .args([
                "--preset",
                "xs",
                "--size",
                "40",
                "--loss-network",
                "vgg19",
                "--content-layers",
                "relu2_2",
                "--style-layers",
                "relu1_2,relu3_3",
                "--batch",
                "1",
                "--steps",
                "1",
                "--threads",
                "1",
                "--device",
                "cpu",
            ])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    for (output, style) in [("style.png/style.safetensors", "style.png"), ("photos", "style.png"), ("a.b", "nowhere")] {
        let refused = train(output, style);
        assert!(!refused.status.success());
        assert_eq!(server.requests().len(), 0, "{}", String::from_utf8_lossy(&refused.stderr));
    }
    let done = train("style.safetensors", "style.png");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(server.requests().len(), 3);
    assert!(fixture.path("cache/hub/models--timm--vgg19.tv_in1k/refs/main").exists());
}
