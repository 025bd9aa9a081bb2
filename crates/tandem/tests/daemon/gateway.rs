//! A gateway as a process of its own, and a phone that speaks SIP in plain text.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

const TANDEM: &str = env!("CARGO_BIN_EXE_tandem");

/// Longest wait for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// So long nothing is heard, when nothing shall be.
const SILENCE: Duration = Duration::from_millis(300);

/// Runs a command to its end: exit code, standard output, standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(TANDEM).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A folder with a configuration on free ports; removed with it.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tandem-daemon-{}-{number}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(place.path("trunks")).unwrap();
        // Port ranges of parallel tests do not overlap.
        let ports = 40_000 + number * 200;
        let main = format!(
            r#"data_dir = "data"
[[listener]]
name = "lan"
bind = "127.0.0.1:0" # sip
[security]
strangers = "403"
[media]
ports = "{ports}-{}"
workers = 1
[webrtc]
bind = "127.0.0.1:0"
[http]
bind = "127.0.0.1:0" # http
"#,
            ports + 199
        );
        std::fs::write(place.path("tandem.toml"), main).unwrap();
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
        for file in ["routes.toml", "trunks/sim.toml", "trunks/static.toml", "trunks/digest.toml"] {
            std::fs::copy(format!("{shipped}/{file}"), place.path(file)).unwrap();
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn config(&self) -> String {
        self.path("tandem.toml").display().to_string()
    }

    /// Replaces the first `from` of a file, which must be there.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(self.path(file), text.replacen(from, to, 1)).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A folder that stays behind fails no test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running `tandem serve`.
pub(crate) struct Gateway {
    process: std::cell::RefCell<Child>,
    pub(crate) sip: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Gateway {
    /// Starts it and waits for its word.
    pub(crate) fn start(place: &Place) -> Self {
        let mut process = Command::new(TANDEM)
            .args(["serve", "--log-format", "json", "--config", &place.config()])
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        let fields = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it was ready");
            let entry: serde_json::Value = serde_json::from_str(&line).expect(&line);
            if entry["fields"]["message"] == "ready" {
                break entry["fields"].clone();
            }
        };
        // Its log goes on, and nobody reads it: a full pipe must not stop it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address = |name: &str| {
            let text = fields[name].as_str().unwrap().trim_matches(['[', ']']).to_owned();
            text.parse().unwrap()
        };
        Self { process: process.into(), sip: address("sip"), http: address("http") }
    }

    pub(crate) fn phone(&self) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.sip).unwrap();
        Phone { socket }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.borrow().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Its exit code, -1 when a signal ended it.
    pub(crate) fn wait(&self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.borrow_mut().try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn wait_until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is(self) {
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: tandem\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.get(9..12).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let mut process = self.process.borrow_mut();
        // It may have ended already.
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// A phone of the simulator's trunk, over UDP.
pub(crate) struct Phone {
    socket: UdpSocket,
}

impl Phone {
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn say(&self, message: &str) {
        self.socket.send(message.as_bytes()).unwrap();
    }

    fn hear_within(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    pub(crate) fn hear(&self) -> Option<String> {
        self.hear_within(PATIENCE)
    }

    /// The first answer, `None` when there is none for a while.
    pub(crate) fn ask(&self, message: &str) -> Option<String> {
        self.say(message);
        self.hear_within(SILENCE)
    }

    /// The final answer; an INVITE's failure is acknowledged.
    pub(crate) fn ask_final(&self, request: &str) -> String {
        self.say(request);
        loop {
            let answer = self.hear().expect("a final answer");
            if !answer.starts_with("SIP/2.0 1") {
                if request.starts_with("INVITE") {
                    self.say(&ack(self, &answer));
                }
                return answer;
            }
        }
    }

    /// Calls a test number that answers by itself; returns the 200.
    pub(crate) fn call(&self, call_id: &str, number: &str) -> String {
        let answer = self.ask_final(&invite(self, call_id, number));
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        answer
    }
}

/// The value of a header of a message as this gateway writes it.
pub(crate) fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    message.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default()
}

fn head(phone: &Phone, method: &str, uri: &str, call_id: &str, to: &str, branch: &str) -> String {
    let address = phone.address();
    let number = if method == "BYE" { 2 } else { 1 };
    format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {address};branch=z9hG4bK-{call_id}-{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+447700900123@{address}>;tag={call_id}\r\nTo: {to}\r\n\
         Call-ID: {call_id}\r\nCSeq: {number} {method}\r\nContact: <sip:phone@{address}>\r\n"
    )
}

pub(crate) fn options(phone: &Phone, call_id: &str) -> String {
    let head = head(phone, "OPTIONS", "sip:gateway", call_id, "<sip:gateway>", "o");
    format!("{head}Content-Length: 0\r\n\r\n")
}

pub(crate) fn invite(phone: &Phone, call_id: &str, number: &str) -> String {
    let uri = format!("sip:{number}@127.0.0.1");
    let head = head(phone, "INVITE", &uri, call_id, &format!("<{uri}>"), "i");
    // The phone's sound goes to a port nobody reads: this is about signalling.
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
               m=audio 9 RTP/AVP 8\r\n";
    let length = sdp.len();
    format!("{head}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}")
}

fn in_dialog(phone: &Phone, method: &str, answer: &str, branch: &str) -> String {
    let to = header(answer, "To");
    let contact = header(answer, "Contact");
    let uri = contact.split(['<', '>']).nth(1).unwrap_or("sip:127.0.0.1").to_owned();
    let head = head(phone, method, &uri, header(answer, "Call-ID"), to, branch);
    format!("{head}Content-Length: 0\r\n\r\n")
}

/// Of a 2xx; of a failure it shares the INVITE's branch (RFC 3261 §17.1.1.3).
fn ack(phone: &Phone, answer: &str) -> String {
    let branch = if answer.starts_with("SIP/2.0 2") { "a" } else { "i" };
    in_dialog(phone, "ACK", answer, branch)
}

pub(crate) fn bye(phone: &Phone, answer: &str) -> String {
    in_dialog(phone, "BYE", answer, "b")
}

/// 200 to a request of the gateway.
pub(crate) fn ok(request: &str) -> String {
    let copied = |name| format!("{name}: {}\r\n", header(request, name));
    let headers: String = ["Via", "From", "To", "Call-ID", "CSeq"].map(copied).concat();
    format!("SIP/2.0 200 OK\r\n{headers}Content-Length: 0\r\n\r\n")
}
