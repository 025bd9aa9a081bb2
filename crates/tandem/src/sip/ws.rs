//! SIP over WebSocket, the server's side (RFC 7118): one message per WebSocket message.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tandem_sip::{
    Flow,
    flow::ConnectionId,
    framing::{self, Datagram, Frame, StreamDecoder},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::{
    accept_hdr_async_with_config,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::{HeaderValue, StatusCode, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};

use super::{
    news::Kind as Complaint,
    tcp::{Connections, FIRST_MESSAGE, HANDSHAKE, WRITE},
};

/// A peer without a message or pong for so long is gone; browsers ping at least every minute or two.
const IDLE: std::time::Duration = std::time::Duration::from_secs(600);

/// Serves a connection until it ends.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connections: &Connections,
    flow: Flow,
    id: ConnectionId,
    stream: S,
    mut messages: mpsc::Receiver<Bytes>,
) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(StreamDecoder::LIMIT))
        .max_frame_size(Some(StreamDecoder::LIMIT));
    let accepted = accept_hdr_async_with_config(stream, subprotocol, Some(config));
    let Ok(Ok(socket)) = timeout(HANDSHAKE, accepted).await else {
        return connections.complain(Complaint::Mute, Some(flow.peer));
    };
    let (mut sink, mut source) = socket.split();
    let mut patience = FIRST_MESSAGE;
    loop {
        let out = tokio::select! {
            message = messages.recv() => match message {
                Some(data) => frame(&data),
                None => break,
            },
            heard = timeout(patience, source.next()) => match heard {
                Ok(Some(Ok(Message::Text(text)))) => {
                    patience = IDLE;
                    let data = Bytes::from(text);
                    match take(connections, flow, id, data).await {
                        Some(answer) => answer,
                        None => continue,
                    }
                }
                Ok(Some(Ok(Message::Binary(data)))) => {
                    patience = IDLE;
                    match take(connections, flow, id, data).await {
                        Some(answer) => answer,
                        None => continue,
                    }
                }
                // Pings are answered by the library.
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => continue,
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => break,
                Err(_) => {
                    connections.complain(Complaint::Mute, Some(flow.peer));
                    break;
                }
            },
        };
        if !matches!(timeout(WRITE, sink.send(out)).await, Ok(Ok(()))) {
            break;
        }
    }
    // The peer may be gone already.
    let _ = timeout(WRITE, sink.close()).await;
}

/// RFC 7118 §4.1: the client asks for `sip`, the server confirms it.
#[allow(clippy::result_large_err)]
fn subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let asked = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let asks = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("sip"))
    };
    if asked.into_iter().any(asks) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("sip"));
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(Some("Sec-WebSocket-Protocol: sip is needed".to_owned()));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Err(refusal)
}

/// RFC 7118 §5: text where it is UTF-8.
fn frame(data: &Bytes) -> Message {
    match std::str::from_utf8(data) {
        Ok(text) => Message::text(text),
        Err(_) => Message::binary(data.clone()),
    }
}

/// Takes one message: framed by WebSocket, so that Content-Length may be missing (RFC 7118 §5.2.3).
/// A double CRLF is a ping here as well (RFC 7118 §6); returns what is to be sent at once.
async fn take(
    connections: &Connections,
    flow: Flow,
    id: ConnectionId,
    data: Bytes,
) -> Option<Message> {
    if data.as_ref() == b"\r\n\r\n" {
        return Some(Message::text("\r\n"));
    }
    let frame = match framing::datagram(data) {
        Datagram::KeepAlive => return None,
        Datagram::Message(message) => Frame::Message(message),
        Datagram::Bad(error) => Frame::Bad(error),
    };
    connections.take(flow, id, frame).await;
    None
}
