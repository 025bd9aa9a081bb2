//! Via (RFC 3261 §20.42, RFC 3581).
use std::fmt;

use super::params::{Params, ParamsRef};
use crate::{
    scan::{self, Cursor},
    uri::host,
};

/// `Via: SIP/2.0/UDP host:port;branch=…` (RFC 3261 §20.42).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The transport token as written (unknown ones are kept).
    pub transport: String,
    /// sent-by host: a name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// sent-by port.
    pub port: Option<u16>,
    /// Parameters in order, values unquoted never: as written.
    pub params: Params,
}

impl Via {
    /// Reads one Via value.
    pub fn parse(value: &str) -> Option<Self> {
        let via = ViaRef::parse(value)?;
        Some(Self {
            transport: via.transport.to_owned(),
            host: via.host.to_owned(),
            port: via.port,
            params: via.params.to_params(),
        })
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch")
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} ", self.transport)?;
        host::write(f, &self.host, self.port)?;
        write!(f, "{}", self.params)
    }
}

/// A Via value, borrowed: nothing is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViaRef<'a> {
    /// The transport token as written.
    pub transport: &'a str,
    /// sent-by host, an IPv6 address without brackets.
    pub host: &'a str,
    /// sent-by port.
    pub port: Option<u16>,
    /// Parameters.
    pub params: ParamsRef<'a>,
}

impl<'a> ViaRef<'a> {
    /// Reads one Via value: `SIP SLASH 2.0 SLASH transport LWS sent-by *( SEMI via-params )`.
    pub fn parse(value: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        cursor.lws();
        let sip = cursor.token()?.eq_ignore_ascii_case("SIP") && cursor.separator(b'/');
        if !sip || cursor.token()? != "2.0" || !cursor.separator(b'/') {
            return None;
        }
        let transport = cursor.token()?;
        if cursor.run(scan::LWS).is_empty() {
            return None;
        }
        let host = host::scan(&mut cursor)?;
        let port = match cursor.separator(b':') {
            true => Some(host::port(&mut cursor)?),
            false => None,
        };
        Some(Self { transport, host, port, params: ParamsRef::parse(cursor.rest())? })
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch")
    }
}
