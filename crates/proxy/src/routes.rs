//! `routes.toml`: ordered, the first match wins, and no match is refused.
use tandem_sip::StatusCode;

use crate::pattern::Pattern;

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
    /// A built-in application: `echo` or `tone`.
    App(String),
    /// Out again by these trunks, in order.
    Trunks(Vec<String>),
    /// Proxied to one of these URIs, in order (RFC 3261 §16).
    Forward(Vec<String>),
    /// Refused.
    Reject(StatusCode),
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
    /// The destination of an inbound call to a normalised number.
    pub fn inbound(&self, from_trunk: &str, number: &str) -> Option<&InboundTo> {
        self.list.iter().find_map(|route| match route {
            Route::Inbound { trunk, did, to } => {
                let of_trunk = trunk.as_deref().is_none_or(|name| name == from_trunk);
                (of_trunk && did.matches(number)).then_some(to)
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
        self.list
            .iter()
            .flat_map(|route| match route {
                Route::Inbound { to: InboundTo::Forward(uris), .. } => uris.as_slice(),
                Route::Inbound { .. } | Route::Dial { .. } => &[],
            })
            .map(String::as_str)
    }
}
