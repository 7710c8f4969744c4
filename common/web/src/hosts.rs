//! Checks that requests are meant for this server: refuses foreign host names and requests sent by other sites' pages.
//!
//! Any web page in the user's browser can send requests to a server on the loopback interface. If the page's host name
//! resolves to 127.0.0.1 ("DNS rebinding"), the page can even read the answers. So the `Host` header of a request must name
//! this machine, and if the browser reports which page sent the request, that page must belong to this server.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, Method, Uri, header};

/// The host names accepted for this machine.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<String>);

/// Why a request is refused, as a lower-case sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The `Host` header is missing or names another machine.
    ForeignHost(String),
    /// A page of another origin sent the request.
    ForeignPage(String),
}

impl Hosts {
    /// Allows `names`, besides `localhost` and all numeric addresses.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether `authority`, a name or address with or without a port, is this machine.
    ///
    /// Numeric addresses are always allowed: an attack by DNS rebinding needs a name.
    fn allow(&self, authority: &str) -> bool {
        let name = name_of(authority).to_ascii_lowercase();
        let digits = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        name == "localhost" || digits.parse::<IpAddr>().is_ok() || self.0.iter().any(|own| own == digits)
    }

    /// Checks the names and the origin in the head of a request.
    ///
    /// # Errors
    ///
    /// Why the request is refused.
    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = single(headers, &header::HOST)
            .ok_or_else(|| Refusal::ForeignHost("the request needs exactly one `Host` header".into()))?;
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        if let Some(foreign) = [host, authority].into_iter().find(|name| !self.allow(name)) {
            return Err(Refusal::ForeignHost(format!("`{}` is not a name of this server", name_of(foreign))));
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = single(headers, &header::ORIGIN).unwrap_or_default();
            if !is_same_origin(origin, host) {
                return Err(Refusal::ForeignPage(format!("it was sent by a page from `{origin}`")));
            }
        }
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let foreign = matches!(value("sec-fetch-site"), Some("cross-site" | "same-site"));
        // Following a link from another site to our page is allowed.
        let follows_a_link = (method == Method::GET || method == Method::HEAD)
            && value("sec-fetch-mode") == Some("navigate")
            && value("sec-fetch-dest") == Some("document");
        if foreign && !follows_a_link {
            return Err(Refusal::ForeignPage("it was sent by a page from another origin".into()));
        }
        Ok(())
    }
}

/// The value of a header that occurs exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
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

/// Whether an origin such as `http://localhost:7400` is the page that `host` serves. A proxy may add TLS.
fn is_same_origin(origin: &str, host: &str) -> bool {
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
    use axum::http::HeaderValue;

    use super::*;

    /// The outcome for a request with these headers: `None` if accepted, or the kind of refusal.
    fn check(method: Method, headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        let hosts = Hosts::new(["Studio.example".into(), "fe80::1%eth0".into()]);
        match hosts.check(&method, &Uri::from_static("/x"), &map) {
            Ok(()) => None,
            Err(Refusal::ForeignHost(_)) => Some("host"),
            Err(Refusal::ForeignPage(_)) => Some("page"),
        }
    }

    #[test]
    fn numeric_addresses_localhost_and_the_given_names_are_accepted_and_no_others() {
        for host in [
            "localhost",
            "LOCALHOST:7400",
            "127.0.0.1:7400",
            "127.0.0.1",
            "[::1]:7400",
            "[::1]",
            "10.0.0.7",
            "studio.example",
            "studio.example:9",
            "[fe80::1%eth0]:1",
        ] {
            assert_eq!(check(Method::GET, &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7400",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":7400",
            "[]",
            "a@localhost",
        ] {
            assert_eq!(check(Method::GET, &[("host", host)]), Some("host"), "{host}");
        }
        assert_eq!(check(Method::GET, &[]), Some("host"));
        assert_eq!(check(Method::GET, &[("host", "localhost"), ("host", "localhost")]), Some("host"));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let sent = |origin| check(Method::POST, &[("host", "localhost:7400"), ("origin", origin)]);
        assert_eq!(sent("http://localhost:7400"), None);
        assert_eq!(sent("https://localhost:7400"), None);
        for origin in ["http://evil.example", "http://localhost:3000", "http://localhost", "null", "", "file://"] {
            assert_eq!(sent(origin), Some("page"), "{origin}");
        }
        assert_eq!(check(Method::POST, &[("host", "studio.example"), ("origin", "https://studio.example")]), None);
    }

    #[test]
    fn a_link_may_be_followed_but_nothing_embedded() {
        let sent = |method, site, mode, dest| {
            let host = ("host", "localhost");
            check(method, &[host, ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)])
        };
        assert_eq!(sent(Method::GET, "cross-site", "navigate", "document"), None);
        assert_eq!(sent(Method::GET, "none", "navigate", "document"), None);
        assert_eq!(sent(Method::GET, "same-origin", "cors", "empty"), None);
        assert_eq!(sent(Method::GET, "cross-site", "navigate", "iframe"), Some("page"));
        assert_eq!(sent(Method::GET, "same-site", "no-cors", "image"), Some("page"));
        assert_eq!(sent(Method::POST, "cross-site", "navigate", "document"), Some("page"));
    }
}
