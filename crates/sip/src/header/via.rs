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
        ViaRef::parse(value).map(|via| via.to_via())
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
        Self::scan(&mut cursor).filter(|_| cursor.is_end())
    }

    /// Reads the first value of a line.
    pub(crate) fn first(line: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(line);
        Self::scan(&mut cursor).filter(|_| matches!(cursor.peek(), None | Some(b',')))
    }

    /// Reads one value, white space around it included.
    pub(crate) fn scan(cursor: &mut Cursor<'a>) -> Option<Self> {
        cursor.lws();
        let sip = cursor.token()?.eq_ignore_ascii_case("SIP") && cursor.separator(b'/');
        if !sip || cursor.token()? != "2.0" || !cursor.separator(b'/') {
            return None;
        }
        let transport = cursor.token()?;
        if cursor.run(scan::LWS).is_empty() {
            return None;
        }
        let host = host::scan(cursor)?;
        let port = match cursor.separator(b':') {
            true => Some(host::port(cursor)?),
            false => None,
        };
        let params = ParamsRef::scan(cursor)?;
        cursor.lws();
        Some(Self { transport, host, port, params })
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch")
    }

    /// An owned copy.
    pub fn to_via(&self) -> Via {
        Via {
            transport: self.transport.to_owned(),
            host: self.host.to_owned(),
            port: self.port,
            params: self.params.to_params(),
        }
    }
}
