//! Which names a request may ask this server by.
//!
//! A page of another site can make a browser ask its own name's server for data and then let that name mean this machine
//! (DNS rebinding): to the browser it is the same site still. Only the `Host` header tells. Such an attack needs a name, so
//! that numbers are always safe; of names, `localhost` is, and the one that the user gave.

use std::net::IpAddr;

/// The hosts that are answered.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    named: String,
}

impl Hosts {
    /// Numbers, `localhost`, and `named`.
    pub(super) fn new(named: &str) -> Self {
        Self { named: named.to_ascii_lowercase() }
    }

    /// Whether a request for `authority`, a host with or without a port, is answered.
    pub(super) fn allow(&self, authority: &str) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        host == "localhost" || host == self.named || host.parse::<IpAddr>().is_ok()
    }
}

/// The host of `HOST`, `HOST:PORT`, `[HOST]` or `[HOST]:PORT`.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_localhost_and_the_given_name_are_answered_and_no_other() {
        let hosts = Hosts::new("Studio.lan");
        for host in
            ["127.0.0.1:8017", "127.0.0.1", "[::1]:80", "[::1]", "LOCALHOST:1", "localhost", "studio.lan:9", "10.0.0.7"]
        {
            assert!(hosts.allow(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:8017", "127.0.0.1.evil.example", "localhost.evil.example", ":80", "[]"]
        {
            assert!(!hosts.allow(host), "{host}");
        }
    }
}
