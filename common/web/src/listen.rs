//! Hints for a server that cannot listen on its address.

use std::io;

/// A hint for an address that cannot be listened on. `any_port` is the flag that takes any free port.
#[must_use]
pub fn listen_hint(error: &io::Error, any_port: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: use `127.0.0.1` for this machine alone, or `0.0.0.0` for all of its \
             addresses"
                .into()
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 may need special privileges: use a higher one, or `{any_port}` for any free port")
        }
        _ => format!("another program may be using the port: use `{any_port}` for any free port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_machine_is_not_a_busy_port() {
        let hint = |kind: io::ErrorKind| listen_hint(&kind.into(), "--serve 0");
        assert!(hint(io::ErrorKind::AddrInUse).contains("use `--serve 0` for any free port"));
        let elsewhere = hint(io::ErrorKind::AddrNotAvailable);
        assert!(elsewhere.contains("does not have that address") && !elsewhere.contains("port"), "{elsewhere}");
        assert!(hint(io::ErrorKind::PermissionDenied).contains("privileges"));
    }
}
