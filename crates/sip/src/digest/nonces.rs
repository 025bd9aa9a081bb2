//! Nonces that calls share, so that the next call to a host need not be challenged
//! (RFC 7616 §3.4: "a client SHOULD use the nonce again").
use std::{collections::BTreeMap, net::IpAddr};

use super::{Answer, Credentials};

/// Hosts remembered: more than any number of trunks has gateways that challenge.
const MAX_HOSTS: usize = 4_096;

/// Nonces of one host: its realms, times the users of trunks that share it.
const MAX_OF_HOST: usize = 64;

/// What challenges have taught, by host and user name; the count of each nonce's uses is one for
/// all calls (RFC 7616 §3.4: a server takes a repeated `nc` for a replay).
#[derive(Debug, Default)]
pub struct Nonces(BTreeMap<IpAddr, Vec<(Box<str>, Answer)>>);

impl Nonces {
    /// Adds what is known of a host for these credentials.
    pub(super) fn recall(&self, host: IpAddr, who: &Credentials, into: &mut Vec<Answer>) {
        let known = self.0.get(&host).into_iter().flatten();
        into.extend(
            known
                .filter(|(user, a)| {
                    **user == *who.username
                        && who.algorithms.contains(&a.challenge.hash)
                        && who.realm.as_ref().is_none_or(|ours| *ours == a.challenge.realm)
                })
                .map(|(_, answer)| answer.clone()),
        );
    }

    /// Takes over a nonce, or gives a known one its next number. An answer that has been in use is
    /// replaced by a newer nonce of another call.
    pub(super) fn count(&mut self, user: &str, answer: &mut Answer) {
        if !self.0.contains_key(&answer.host) && self.0.len() >= MAX_HOSTS {
            self.0.pop_first();
        }
        let known = self.0.entry(answer.host).or_default();
        let room = known.len() < MAX_OF_HOST;
        let same = known.iter_mut().find(|(who, a)| {
            **who == *user && a.is_for(answer.host, answer.header, &answer.challenge.realm)
        });
        match same {
            Some((_, held)) if held.challenge.nonce == answer.challenge.nonce => {
                held.count = held.count.saturating_add(1).max(answer.count);
                answer.count = held.count;
            }
            Some((_, held)) if answer.count > 1 => {
                held.count = held.count.saturating_add(1);
                *answer = held.clone();
            }
            Some((_, held)) => *held = answer.clone(),
            None if room => known.push((user.into(), answer.clone())),
            None => {}
        }
    }

    pub(super) fn forget(&mut self, host: IpAddr, user: &str) {
        if let Some(known) = self.0.get_mut(&host) {
            known.retain(|(who, _)| **who != *user);
            if known.is_empty() {
                self.0.remove(&host);
            }
        }
    }
}
