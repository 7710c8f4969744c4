//! Who may ask: not the pages of other sites.
//!
//! A server on the loopback interface is no secret to a browser: any page on the web can send requests there, and with a
//! name that it lets lead to 127.0.0.1 ("DNS rebinding") even read the answers. So a request has to name this machine in
//! its `Host`, and where the browser says which page sent it, it must be one of ours. No answer carries CORS headers.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::studio::Studio;

/// The page needs what it brings itself, its own pictures (`blob:`) and its own server; nothing else may run in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
    media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sent with every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(), geolocation=()"),
];

/// The names under which this machine may be asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether `authority`, a name or address with or without a port, is this machine.
    ///
    /// An address in digits always is: who could send it here under another site's name?
    fn allow(&self, authority: &str) -> bool {
        let name = name_of(authority).to_ascii_lowercase();
        let digits = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        name == "localhost" || digits.parse::<IpAddr>().is_ok() || self.0.contains(&name)
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let host = only(headers, &header::HOST).ok_or_else(|| foreign_host("it has no single `Host` header"))?;
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        if !self.allow(host) || !self.allow(authority) {
            return Err(foreign_host(&format!("`{}` is not a name of this server", name_of(host))));
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = only(headers, &header::ORIGIN).unwrap_or_default();
            if !same_authority(origin, host) {
                return Err(foreign_page(&format!("it was sent by a page of `{origin}`")));
            }
        }
        let value = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let foreign = matches!(value("sec-fetch-site"), Some("cross-site" | "same-site"));
        // Following a link to the page is no request of the other page.
        let follows = (method == Method::GET || method == Method::HEAD)
            && value("sec-fetch-mode") == Some("navigate")
            && value("sec-fetch-dest") == Some("document");
        if foreign && !follows { Err(foreign_page("it was sent by a page of another origin")) } else { Ok(()) }
    }
}

/// Refuses requests of other sites' pages, and gives every answer the headers that keep them out of it.
pub(super) async fn fence(State(studio): State<Arc<Studio>>, request: Request, next: Next) -> Response {
    let mut response = match studio.hosts.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn foreign_host(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "foreign_host", "the request is for another server", detail)
        .with_hint("ask for `localhost` or an address in digits, or start the server with `--allow-host NAME`")
}

fn foreign_page(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "foreign_page", "the request comes from another site", detail)
        .with_hint("only the server's own page may send requests from a browser")
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// A `host:port` without its port.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !name.is_empty() => name,
        _ => authority,
    }
}

/// Whether an origin such as `http://localhost:7400` is the page that `host` serves, over TLS or not: a proxy may add it.
fn same_authority(origin: &str, host: &str) -> bool {
    let (authority, port) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(authority), _) => (authority, ":80"),
        (_, Some(authority)) => (authority, ":443"),
        _ => return false,
    };
    let plain = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    plain(authority) == plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        let hosts = Hosts::new(vec!["Studio.example".into()]);
        hosts.check(&method, &Uri::from_static("/x"), &map).map_err(|problem| problem.code)
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in
            ["localhost", "LOCALHOST:7400", "127.0.0.1:7400", "[::1]:7400", "[::1]", "10.0.0.7", "studio.example"]
        {
            assert_eq!(check(Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in
            ["evil.example:7400", "localhost.evil.example", "127.0.0.1.evil.example", "", ":7400", "a@localhost"]
        {
            assert_eq!(check(Method::GET, &[("host", host)]), Err("foreign_host"), "{host}");
        }
        assert_eq!(check(Method::GET, &[]), Err("foreign_host"));
        assert_eq!(check(Method::GET, &[("host", "localhost"), ("host", "localhost")]), Err("foreign_host"));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let sent = |origin| check(Method::POST, &[("host", "localhost:7400"), ("origin", origin)]);
        assert_eq!(sent("http://localhost:7400"), Ok(()));
        assert_eq!(sent("https://localhost:7400"), Ok(()));
        for origin in ["http://evil.example", "http://localhost:3000", "http://localhost", "null", "", "file://"] {
            assert_eq!(sent(origin), Err("foreign_page"), "{origin}");
        }
        assert_eq!(check(Method::POST, &[("host", "studio.example"), ("origin", "https://studio.example")]), Ok(()));
    }

    #[test]
    fn a_link_may_be_followed_but_nothing_embedded() {
        let sent = |method, site, mode, dest| {
            let host = ("host", "localhost");
            check(method, &[host, ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)])
        };
        assert_eq!(sent(Method::GET, "cross-site", "navigate", "document"), Ok(()));
        assert_eq!(sent(Method::GET, "none", "navigate", "document"), Ok(()));
        assert_eq!(sent(Method::GET, "same-origin", "cors", "empty"), Ok(()));
        assert_eq!(sent(Method::GET, "cross-site", "navigate", "iframe"), Err("foreign_page"));
        assert_eq!(sent(Method::GET, "same-site", "no-cors", "image"), Err("foreign_page"));
        assert_eq!(sent(Method::POST, "cross-site", "navigate", "document"), Err("foreign_page"));
    }
}
