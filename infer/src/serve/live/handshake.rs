//! The request that opens a WebSocket (RFC 6455, 4.2.1).

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::problem::Problem;

/// Bytes of a `Sec-WebSocket-Key` before they are encoded.
const KEY_BYTES: usize = 16;

/// Refuses a request that does not open a WebSocket, and a key that is not 16 bytes in base64; axum accepts any key.
pub(super) fn check(
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<WebSocketUpgrade, Problem> {
    match upgrade {
        Ok(upgrade) if has_valid_key(headers) => Ok(upgrade),
        Ok(_) | Err(WebSocketUpgradeRejection::WebSocketKeyHeaderMissing(_)) => {
            let detail = "the request needs one `Sec-WebSocket-Key` header with 16 bytes in base64";
            Err(Problem::new(StatusCode::BAD_REQUEST, "bad_handshake", "the WebSocket cannot be opened", detail)
                .with_hint("let a WebSocket library make the request"))
        }
        Err(rejection) => {
            let (status, title) = (StatusCode::UPGRADE_REQUIRED, "the request does not open a WebSocket");
            Err(Problem::new(status, "upgrade_required", title, rejection.to_string())
                .with_hint("open this path as a WebSocket; `/openapi.json` describes its messages"))
        }
    }
}

fn has_valid_key(headers: &HeaderMap) -> bool {
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().and_then(|key| STANDARD.decode(key).ok());
    key.is_some_and(|key| key.len() == KEY_BYTES) && keys.next().is_none()
}
