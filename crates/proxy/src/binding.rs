//! A UDP flow kept alive by STUN Binding requests on the SIP port (RFC 5626 §4.4.2, RFC 8489 §6.2.1).
//! Pure: time and random numbers are arguments.
//!
//! | state   | input                     | sends   | tells  | next                        |
//! |---------|---------------------------|---------|--------|-----------------------------|
//! | Resting | its time                  | request |        | Asked                       |
//! | Asked   | its time, six times       | request |        | Asked, the time doubled     |
//! | Asked   | 16 · RTO after the last   |         | Failed | Resting                     |
//! | Asked   | answer, address as before |         |        | Resting                     |
//! | Asked   | answer, another address   |         | Failed | Resting, with the new one   |
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// First time between two copies (RFC 8489 §6.2.1).
const RTO: Duration = Duration::from_millis(500);
/// Copies of one request.
const COPIES: u32 = 7;
/// After the last copy the answer is waited for so long.
const LAST: Duration = Duration::from_secs(8);
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// A Binding request without attributes.
pub type Request = [u8; 20];

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Resting(Instant),
    Asked { id: [u8; 12], sent: u32, next: Instant },
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// This is to be sent.
    Send(Request),
    /// The flow is dead (RFC 5626 §4.4.2): nothing answers.
    Failed,
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    state: State,
    /// The address that the peer saw last.
    mapped: Option<SocketAddr>,
}

impl Binding {
    /// The first request is due at `first`.
    pub fn new(first: Instant) -> Self {
        Self { state: State::Resting(first), mapped: None }
    }

    /// The next deadline.
    pub fn deadline(&self) -> Instant {
        match self.state {
            State::Resting(at) | State::Asked { next: at, .. } => at,
        }
    }

    /// The deadline may have come. `id` is random, for a new request; `rest` is the time to the next.
    pub fn handle_timeout(&mut self, now: Instant, id: [u8; 12], rest: Duration) -> Due {
        if now < self.deadline() {
            return Due::Nothing;
        }
        match &mut self.state {
            State::Resting(_) => {
                self.state = State::Asked { id, sent: 1, next: now + RTO };
                Due::Send(request(&id))
            }
            State::Asked { sent, .. } if *sent >= COPIES => {
                self.state = State::Resting(now + rest);
                self.mapped = None;
                Due::Failed
            }
            State::Asked { id, sent, next } => {
                let wait = RTO * 2_u32.saturating_pow(*sent);
                *sent += 1;
                *next = now + if *sent == COPIES { LAST } else { wait };
                Due::Send(request(id))
            }
        }
    }

    /// A STUN message came from the peer. `Some(false)`: it is the answer, and the flow is another one
    /// now, for the address it is seen from has changed (RFC 5626 §4.4.2).
    pub fn handle_answer(&mut self, now: Instant, data: &[u8], rest: Duration) -> Option<bool> {
        let State::Asked { id, .. } = &self.state else { return None };
        let mapped = mapped_address(data, id)?;
        self.state = State::Resting(now + rest);
        let before = self.mapped.replace(mapped);
        Some(before.is_none_or(|before| before == mapped))
    }
}

fn request(id: &[u8; 12]) -> Request {
    let mut out = [0; 20];
    let parts = [0, 1, 0, 0].iter().chain(&COOKIE).chain(id);
    for (to, from) in out.iter_mut().zip(parts) {
        *to = *from;
    }
    out
}

/// XOR-MAPPED-ADDRESS of the success response to a Binding request (RFC 8489 §14.2).
fn mapped_address(data: &[u8], id: &[u8; 12]) -> Option<SocketAddr> {
    let (head, mut rest) = data.split_first_chunk::<20>()?;
    if !head.starts_with(&[1, 1]) || head.get(4..8)? != COOKIE || head.get(8..)? != id {
        return None;
    }
    loop {
        let ([k0, k1, l0, l1], more) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = more.get(..length)?;
        if [*k0, *k1] == [0x00, 0x20] {
            return unmasked(value, id);
        }
        rest = more.get(length.next_multiple_of(4)..)?;
    }
}

fn unmasked(value: &[u8], id: &[u8; 12]) -> Option<SocketAddr> {
    let ([_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([*p0 ^ 0x21, *p1 ^ 0x12]);
    let mut plain = address.to_vec();
    for (byte, mask) in plain.iter_mut().zip(COOKIE.iter().chain(id)) {
        *byte ^= mask;
    }
    let ip = match family {
        1 => IpAddr::from(<[u8; 4]>::try_from(plain).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(plain).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a virtual clock starts at some instant")]
mod tests {
    use super::*;

    /// RFC 5769 §2.2 and §2.3, cut to their XOR-MAPPED-ADDRESS.
    const ID: [u8; 12] = *b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae";
    const V4: &[u8] = b"\x01\x01\x00\x0c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\
        \xdf\xae\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43";
    const V6: &[u8] = b"\x01\x01\x00\x18\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\
        \xdf\xae\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\
        \xbe\xd2\xb9\xd9";
    const REST: Duration = Duration::from_secs(25);

    #[test]
    fn the_address_is_that_of_the_vectors() {
        assert_eq!(mapped_address(V4, &ID), "192.0.2.1:32853".parse().ok());
        let v6 = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().ok();
        assert_eq!(mapped_address(V6, &ID), v6);
        assert_eq!(mapped_address(V4, &[0; 12]), None, "the answer to another request");
        for end in 0..V6.len() {
            assert_eq!(mapped_address(&V6[..end], &ID), None);
        }
    }

    #[test]
    fn a_flow_without_answers_fails_after_its_copies() {
        let start = Instant::now();
        let mut binding = Binding::new(start);
        let mut sent = Vec::new();
        let failed = loop {
            let at = binding.deadline();
            match binding.handle_timeout(at, ID, REST) {
                Due::Send(request) => {
                    assert_eq!(request[8..], ID);
                    sent.push((at - start).as_millis());
                }
                Due::Failed => break at - start,
                Due::Nothing => panic!("the deadline had come"),
            }
        };
        // RFC 8489 §6.2.1.
        assert_eq!(sent, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
        assert_eq!(failed, Duration::from_millis(39_500));
        assert_eq!(binding.deadline(), start + failed + REST);
    }

    #[test]
    fn another_mapped_address_is_another_flow() {
        let start = Instant::now();
        let mut binding = Binding::new(start);
        assert_eq!(binding.handle_answer(start, V4, REST), None, "nothing was asked");
        let ask = |binding: &mut Binding, answer| {
            let at = binding.deadline();
            assert!(matches!(binding.handle_timeout(at, ID, REST), Due::Send(_)));
            binding.handle_answer(at, answer, REST)
        };
        assert_eq!(ask(&mut binding, V4), Some(true));
        assert_eq!(ask(&mut binding, V4), Some(true));
        assert_eq!(ask(&mut binding, V6), Some(false));
        assert_eq!(ask(&mut binding, V6), Some(true));
        assert_eq!(binding.deadline(), start + 4 * REST);
    }
}
