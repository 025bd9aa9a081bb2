//! As much HTTP as an application needs: one request per connection, and the event stream.
//!
//! Requests are HTTP/1.0, so that every body ends with its connection and a stream comes without
//! chunks: the whole of a client stays readable here.
use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

/// A request of the demo that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest answer read: a ladder with all its messages is some 50 kB.
const MAX_BODY: u64 = 4 * 1024 * 1024;
/// Longest head read.
const MAX_HEAD: usize = 16 * 1024;
/// Events that wait to be read.
const EVENTS: usize = 256;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// The REST API with one token.
#[derive(Debug, Clone)]
pub(super) struct Client {
    address: SocketAddr,
    token: String,
}

impl Client {
    pub(super) fn new(address: SocketAddr, token: String) -> Self {
        Self { address, token }
    }

    /// A token of a user, for a day.
    pub(super) async fn user_token(&self, user: &str) -> Result<String, String> {
        let asked = json!({"user": user, "ttl": 86_400});
        let answer = self.json("POST", "/v1/tokens", Some(&asked)).await?;
        text(&answer, "token")
    }

    /// A request whose answer is JSON and success.
    pub(super) async fn json(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let answer = self.request(method, path, "application/json", body).await?;
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&answer.body).map_err(|error| format!("{method} {path}: {error}"))
    }

    /// A request that must succeed.
    pub(super) async fn request(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let exchange = async {
            let mut stream = self.send(method, path, accept, body).await?;
            let status = head(&mut stream).await?;
            let mut body = String::new();
            stream.take(MAX_BODY).read_to_string(&mut body).await.map_err(|e| e.to_string())?;
            Ok(Answer { status, body })
        };
        let answer: Result<Answer, String> =
            timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err("no answer".to_owned()));
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(answer),
            Ok(answer) => Err(format!("{method} {path}: {} {}", answer.status, answer.body)),
            Err(what) => Err(format!("{method} {path}: {what}")),
        }
    }

    /// Subscribes to events: from when this returns, none is missed until the receiver goes.
    pub(super) async fn events(&self) -> Result<mpsc::Receiver<Value>, String> {
        let path = "/v1/events";
        let open = async {
            let mut stream = self.send("GET", path, "text/event-stream", None).await?;
            match head(&mut stream).await? {
                200 => Ok(stream),
                status => Err(format!("status {status}")),
            }
        };
        let stream: Result<BufReader<TcpStream>, String> =
            timeout(PATIENCE, open).await.unwrap_or_else(|_| Err("no answer".to_owned()));
        let stream = stream.map_err(|what| format!("GET {path}: {what}"))?;
        let (sink, events) = mpsc::channel(EVENTS);
        tokio::spawn(async move {
            let mut lines = stream.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // One `data:` line per event: the API's JSON holds no line ends.
                if let Some(data) = line.strip_prefix("data:")
                    && let Ok(event) = serde_json::from_str(data)
                    && sink.send(event).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(events)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> Result<BufReader<TcpStream>, String> {
        let mut stream = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: {accept}\r\n\
             {kind}Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len(),
        );
        stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
        Ok(BufReader::new(stream))
    }
}

/// Reads up to the body; gives the status.
async fn head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Result<u16, String> {
    let mut status = None;
    let mut length = 0;
    loop {
        let mut line = String::new();
        length += stream.read_line(&mut line).await.map_err(|e| e.to_string())?;
        let line = line.trim_end();
        if length > MAX_HEAD {
            return Err("an answer with a head of more than 16 kB".to_owned());
        }
        if line.is_empty() {
            return status.ok_or_else(|| "not an HTTP answer".to_owned());
        }
        if status.is_none() {
            status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
            if status.is_none() {
                return Err(format!("not an HTTP answer: {line:?}"));
            }
        }
    }
}

/// A text member of an answer.
pub(super) fn text(value: &Value, member: &str) -> Result<String, String> {
    let found = value.get(member).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| format!("no `{member}` in {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_head_gives_its_status_and_leaves_the_body() {
        let mut stream = BufReader::new(&b"HTTP/1.0 201 Created\r\nA: b\r\n\r\nbody"[..]);
        assert_eq!(head(&mut stream).await, Ok(201));
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "body");
        for bad in ["", "\r\n", "SSH-2.0\r\n\r\n"] {
            assert!(head(&mut BufReader::new(bad.as_bytes())).await.is_err());
        }
    }

    #[test]
    fn a_missing_member_is_named() {
        assert_eq!(text(&json!({"id": "x"}), "id"), Ok("x".to_owned()));
        assert!(text(&json!({"id": 5}), "id").unwrap_err().contains("`id`"));
    }
}
