//! Downloads a file: finds its revision, receives its bytes, and checks them.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use impasto_common::{Error, Result, ResultExt};
use ring::digest::{Context, SHA256};
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, RequestBuilder};

/// The most redirects within the hub before it names the revision. They occur after a repository was renamed.
const REDIRECTS: usize = 5;

/// How long to wait for a connection, and then for a response.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A revision of a file on the hub.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) commit: String,
    /// The tag of the content. For a large file, this is its SHA-256 in hexadecimal.
    pub(super) etag: String,
}

/// Asks the hub for the current revision of a file.
pub(super) fn revision(url: &str, token: Option<&str>) -> Result<Revision> {
    let agent = agent(0);
    let origin = url.match_indices('/').nth(2).map_or(url, |(end, _)| &url[..end]);
    let mut asked = url.to_owned();
    for _ in 0..REDIRECTS {
        let response = identified(agent.head(&asked), token).call().context(|| format!("cannot reach `{asked}`"))?;
        let headers = response.headers();
        if let (Some(commit), Some(etag)) = (header(headers, "x-repo-commit"), etag(headers)) {
            return Ok(Revision { commit: file_name(commit)?, etag: file_name(etag)? });
        }
        match header(headers, "location") {
            Some(path) if path.starts_with('/') => asked = format!("{origin}{path}"),
            _ => return Err(unexpected(&asked, response.status())),
        }
    }
    Err(Error::new(format!("`{url}` redirects too many times")))
}

/// Downloads the file to `blob`. Continues an earlier attempt, and does nothing if the file exists.
///
/// Other processes that need the file wait until it is complete.
pub(super) fn download(
    url: &str,
    token: Option<&str>,
    revision: &Revision,
    blob: &Path,
    mut observe: impl FnMut(u64, u64) -> bool,
) -> Result<()> {
    let unfinished = blob.with_file_name(format!("{}.incomplete", revision.etag));
    let action = || format!("cannot write `{}`", unfinished.display());
    fs::create_dir_all(blob.parent().unwrap_or(blob)).context(action)?;
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(&unfinished).context(action)?;
    file.lock().context(action)?;
    if blob.exists() {
        // Another process has created it meanwhile, possibly by renaming this file.
        return match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context(action),
            _ => Ok(()),
        };
    }
    receive(url, token, &mut file, &mut observe)?;
    file.sync_all().context(action)?;
    if is_sha256(&revision.etag) && sha256(&mut file).context(action)? != revision.etag {
        fs::remove_file(&unfinished).context(action)?;
        return Err(Error::new("the downloaded file is damaged").with_hint("try again"));
    }
    fs::rename(&unfinished, blob).context(action)
}

/// Appends the missing bytes to `file`.
fn receive(url: &str, token: Option<&str>, file: &mut File, observe: &mut impl FnMut(u64, u64) -> bool) -> Result<()> {
    let agent = agent(10);
    let mut done = file.metadata().context(|| "cannot read the cache")?.len();
    let request = identified(agent.get(url), token);
    let request = if done > 0 { request.header("range", format!("bytes={done}-")) } else { request };
    let response = request.call().context(|| format!("cannot reach `{url}`"))?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT if done > 0 => {}
        StatusCode::RANGE_NOT_SATISFIABLE if done > 0 => return Ok(()),
        StatusCode::OK => {
            file.set_len(0).context(|| "cannot write the cache")?;
            done = 0;
        }
        status => return Err(unexpected(url, status)),
    }
    let body = response.into_body();
    let total = done + body.content_length().unwrap_or(0);
    let mut reader = body.into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        if !observe(done, total) {
            return Err(Error::interrupted("the download was stopped").with_hint(CONTINUES));
        }
        let read = reader.read(&mut buffer).context(|| "the connection was lost");
        let read = read.map_err(|error| error.with_hint(CONTINUES))?;
        if read == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..read]).context(|| "cannot write the cache")?;
        done += read as u64;
    }
}

const CONTINUES: &str = "the same command continues the download";

fn agent(redirects: u32) -> Agent {
    let config = Agent::config_builder()
        .user_agent(concat!("impasto/", env!("CARGO_PKG_VERSION")))
        .max_redirects(redirects)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .http_status_as_error(false)
        .timeout_connect(Some(TIMEOUT))
        .timeout_recv_response(Some(TIMEOUT));
    config.build().into()
}

fn identified<B>(request: RequestBuilder<B>, token: Option<&str>) -> RequestBuilder<B> {
    match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The tag of the content. A large file is stored elsewhere, and its own tag takes precedence.
fn etag(headers: &HeaderMap) -> Option<&str> {
    let etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag"))?;
    Some(etag.trim_start_matches("W/").trim_matches('"'))
}

/// The text, if it can be the name of a file in the cache.
fn file_name(text: &str) -> Result<String> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if plain { Ok(text.into()) } else { Err(Error::new(format!("the hub returned an invalid revision `{text}`"))) }
}

fn unexpected(url: &str, status: StatusCode) -> Error {
    Error::new(format!("`{url}` responded with status {status}"))
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.chars().all(|c| c.is_ascii_hexdigit())
}

/// The SHA-256 of a file in lower-case hexadecimal.
fn sha256(file: &mut File) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => context.update(&buffer[..read]),
        }
    }
    Ok(context.finish().as_ref().iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}")))
}
