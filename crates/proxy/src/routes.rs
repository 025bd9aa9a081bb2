//! `routes.toml`: ordered, the first match wins, and no match is refused.
use std::time::Duration;

use tandem_sip::StatusCode;

use crate::{app::App, pattern::Pattern, source::Source};

/// The routes, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    /// As in the file.
    pub list: Vec<Route>,
}

/// One `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Calls of a trunk.
    Inbound {
        /// Its name; `None` for `*`.
        trunk: Option<String>,
        /// The called numbers.
        did: Pattern,
        /// Where they go.
        to: InboundTo,
    },
    /// Calls of applications.
    Dial {
        /// The called numbers.
        dial: Pattern,
        /// Where they go.
        to: DialTo,
    },
}

/// Where an inbound call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundTo {
    /// An application's user.
    User(String),
    /// A built-in application.
    App(App),
    /// Out again by these trunks, in order.
    Trunks(Vec<String>),
    /// Proxied (RFC 3261 §16).
    Forward(Box<Forward>),
    /// Refused.
    Reject(StatusCode),
}

/// A proxied destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// In the order of the file; none: wherever the request itself says, to the hosts of `follow`.
    pub targets: Vec<ForwardTarget>,
    /// Who is asked when.
    pub fork: Fork,
    /// How long one target, or all that ring at once, may ring before the next; `None`: timer C.
    pub ring: Option<Duration>,
    /// How long a target may stay silent before the next; `None`: timer B.
    pub answer_within: Option<Duration>,
    /// Redirections to these hosts are followed (RFC 3261 §16.5); all others are the caller's. Without
    /// `targets`, the domains that requests may name.
    pub follow: Vec<Source>,
}

/// One target of a proxied destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardTarget {
    /// Its URI.
    pub uri: String,
    /// Preference in thousandths (RFC 3261 §20.10), 1000 unless written.
    pub q: u16,
    /// Share of calls, 1 unless written; 0 is drained: asked when no other can serve the call.
    pub weight: u16,
}

/// Who is asked when (RFC 3261 §16.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fork {
    /// One after another, the next when one cannot serve the call (408, 500, 502, 503, 504).
    #[default]
    Failover,
    /// One after another, the next whenever one refuses, but for a 6xx.
    Serial,
    /// All at once.
    Parallel,
    /// Those of the highest q at once, then those of the next.
    Q,
    /// One chosen by Call-ID and weight, the others as in `Failover`.
    Balance,
}

impl Forward {
    /// Whether the request's own URI is the target (RFC 3261 §16.5: a domain of somebody else's).
    pub fn by_request(&self) -> bool {
        self.targets.is_empty()
    }

    /// Whether a request to this host is meant: any, unless its URI is the target.
    fn takes(&self, host: &str) -> bool {
        !self.by_request() || self.follow.iter().any(|source| source.names(host))
    }

    /// The targets of a call in groups that are asked at once.
    pub fn groups(&self, call_id: &str) -> Vec<Vec<&ForwardTarget>> {
        let mut targets: Vec<&ForwardTarget> = self.targets.iter().collect();
        match self.fork {
            Fork::Failover | Fork::Serial => targets.into_iter().map(|t| vec![t]).collect(),
            Fork::Parallel => vec![targets],
            Fork::Q => {
                targets.sort_by_key(|target| std::cmp::Reverse(target.q));
                targets.chunk_by(|a, b| a.q == b.q).map(<[_]>::to_vec).collect()
            }
            Fork::Balance => {
                targets.sort_by(|a, b| cost(a, call_id).total_cmp(&cost(b, call_id)));
                targets.into_iter().map(|target| vec![target]).collect()
            }
        }
    }
}

/// Rendezvous hashing with weights: each call goes to the target of the least cost, so a target that
/// comes or goes moves no calls between the others.
fn cost(target: &ForwardTarget, call_id: &str) -> f64 {
    // FNV-1a, finished as in MurmurHash3: the same in every process and release.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in target.uri.bytes().chain([0]).chain(call_id.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    for _ in 0..2 {
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    }
    hash ^= hash >> 33;
    let unit = f64::from((hash >> 32) as u32).mul_add(2.0, 1.0) / 2_f64.powi(33);
    if target.weight == 0 { f64::MAX } else { -unit.ln() / f64::from(target.weight) }
}

/// Where an application's call goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialTo {
    /// By these trunks, in order.
    Trunks(Vec<String>),
    /// Refused.
    Reject(StatusCode),
}

impl Routes {
    /// The destination of an inbound call to a normalised number at a host.
    pub fn inbound(&self, from_trunk: &str, number: &str, host: &str) -> Option<&InboundTo> {
        self.list.iter().find_map(|route| match route {
            Route::Inbound { trunk, did, to } => {
                let of_trunk = trunk.as_deref().is_none_or(|name| name == from_trunk);
                let takes = match to {
                    InboundTo::Forward(to) => to.takes(host),
                    InboundTo::User(_)
                    | InboundTo::App(_)
                    | InboundTo::Trunks(_)
                    | InboundTo::Reject(_) => true,
                };
                (of_trunk && takes && did.matches(number)).then_some(to)
            }
            Route::Dial { .. } => None,
        })
    }

    /// The destination of an application's call.
    pub fn dial(&self, number: &str) -> Option<&DialTo> {
        self.list.iter().find_map(|route| match route {
            Route::Dial { dial, to } => dial.matches(number).then_some(to),
            Route::Inbound { .. } => None,
        })
    }

    /// Every URI that inbound calls may be proxied to.
    pub fn forward_uris(&self) -> impl Iterator<Item = &str> {
        self.forwards().flat_map(|to| &to.targets).map(|target| target.uri.as_str())
    }

    /// Every name that redirections of proxied calls may lead to.
    pub fn followed_names(&self) -> impl Iterator<Item = &str> {
        self.forwards().flat_map(|to| &to.follow).filter_map(|source| match source {
            Source::Name(name) => Some(name.as_str()),
            Source::Network { .. } => None,
        })
    }

    fn forwards(&self) -> impl Iterator<Item = &Forward> {
        self.list.iter().filter_map(|route| match route {
            Route::Inbound { to: InboundTo::Forward(to), .. } => Some(to.as_ref()),
            Route::Inbound { .. } | Route::Dial { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(fork: Fork, targets: &[(&str, u16, u16)]) -> Forward {
        let target = |(uri, q, weight): &(&str, u16, u16)| ForwardTarget {
            uri: (*uri).to_owned(),
            q: *q,
            weight: *weight,
        };
        let targets = targets.iter().map(target).collect();
        Forward { targets, fork, ring: None, answer_within: None, follow: Vec::new() }
    }

    #[test]
    fn targets_are_asked_in_groups() {
        let targets = [("a", 500, 1), ("b", 1000, 1), ("c", 500, 1)];
        let uris = |fork| -> Vec<String> {
            let to = forward(fork, &targets);
            let line = |group: Vec<&ForwardTarget>| {
                group.iter().map(|t| t.uri.as_str()).collect::<String>()
            };
            to.groups("x").into_iter().map(line).collect()
        };
        assert_eq!(uris(Fork::Failover), ["a", "b", "c"]);
        assert_eq!(uris(Fork::Serial), ["a", "b", "c"]);
        assert_eq!(uris(Fork::Parallel), ["abc"]);
        assert_eq!(uris(Fork::Q), ["b", "ac"]);
    }

    #[test]
    fn calls_are_spread_by_weight_and_move_only_with_their_target() {
        let all =
            [("sip:a", 1000, 70), ("sip:b", 1000, 20), ("sip:c", 1000, 10), ("sip:d", 1000, 0)];
        let chosen = |targets: &[(&str, u16, u16)], call: u32| {
            let to = forward(Fork::Balance, targets);
            to.groups(&format!("{call}@host"))[0][0].uri.clone()
        };
        let mut counts = std::collections::BTreeMap::new();
        for call in 0..2_000 {
            let with = chosen(&all, call);
            let without = chosen(&all[..2], call);
            assert!(with == "sip:c" || with == without, "only calls of c have moved");
            *counts.entry(with).or_insert(0) += 1;
        }
        assert_eq!(counts.get("sip:d"), None, "drained");
        assert!((1_300..1_500).contains(&counts["sip:a"]), "{counts:?}");
        assert!((340..460).contains(&counts["sip:b"]), "{counts:?}");
        assert!((150..250).contains(&counts["sip:c"]), "{counts:?}");
    }
}
