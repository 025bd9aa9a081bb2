//! The REGISTER as it is sent, and what its 2xx grants.
use std::time::Duration;

use tandem_sip::{
    Message, Transport, Uri,
    endpoint::Headers,
    header::{HeaderName, NameAddr},
};

use super::Registration;

/// A registrar that grants or asks for more is held to a day.
pub(super) const LONGEST: Duration = Duration::from_secs(86_400);

/// Service-Route values that are kept.
pub(super) const MOST_ROUTES: usize = 8;

/// A grant of less is refreshed as if it were this: no registrar can make us send without pause.
const SHORTEST: Duration = Duration::from_secs(10);

/// Where the carrier reaches us, as our messages say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Host and port, an IPv6 address in brackets.
    pub host_port: String,
    /// The transport of the calls.
    pub transport: Transport,
    /// The URN of this gateway (RFC 5626 §4.1), the same after a restart.
    pub instance: String,
}

/// A REGISTER to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Which address of the registrar.
    pub address: usize,
    /// Request-URI.
    pub request_uri: String,
    /// To, and From without its tag.
    pub aor: String,
    /// Its Call-ID, the same for all of a registration …
    pub call_id: String,
    /// … its From tag …
    pub from_tag: String,
    /// … and its CSeq number, one higher each time.
    pub cseq: u32,
    /// Contact, Expires, Supported, Require.
    pub headers: Headers,
}

impl Registration {
    /// The next REGISTER; zero seconds take the binding back (RFC 3261 §10.2.2).
    pub(super) fn ask(&mut self, contact: &Contact, expires: Duration) -> Ask {
        self.cseq += 1;
        let expires = expires.as_secs();
        let mut known = vec![
            (HeaderName::Contact, self.contact_value(contact)),
            (HeaderName::Expires, expires.to_string()),
        ];
        let mut supported = vec!["path"];
        if self.options.reg_id.is_some() {
            supported.push("outbound");
        }
        if self.options.gin {
            known.push((HeaderName::Require, "gin".to_owned()));
            known.push((HeaderName::ProxyRequire, "gin".to_owned()));
        }
        known.push((HeaderName::Supported, supported.join(", ")));
        Ask {
            address: self.address,
            request_uri: self.options.registrar.clone(),
            aor: format!("<{}>", self.options.aor),
            call_id: self.call_id.clone(),
            from_tag: self.from_tag.clone(),
            cseq: self.cseq,
            headers: Headers { known, other: Vec::new() },
        }
    }

    /// `<sip:user@host;line=…>`; of a bulk registration `<sip:host;bnc>` without a user (RFC 6140
    /// §5.2).
    fn contact_value(&self, contact: &Contact) -> String {
        let Contact { host_port, transport, instance } = contact;
        let transport = transport.uri_param();
        let line = self.line.as_ref().map(|line| format!(";line={line}")).unwrap_or_default();
        let uri = match self.options.gin {
            true => format!("<sip:{host_port}{transport}{line};bnc>"),
            false => {
                let user = tandem_sip::uri::encode_user(&self.options.contact_user);
                format!("<sip:{user}@{host_port}{transport}{line}>")
            }
        };
        match self.options.reg_id {
            Some(id) => format!("{uri};+sip.instance=\"<{instance}>\";reg-id={id}"),
            None => uri,
        }
    }

    /// The seconds a 2xx grants: those of our contact among all bindings, else Expires, else what
    /// was asked (RFC 3261 §10.2.4).
    pub(super) fn granted_time(&self, contact: &Contact, response: &Message) -> Duration {
        let ours = NameAddr::parse(&self.contact_value(contact)).map(|value| value.uri);
        let is_ours = |value: &NameAddr| match (&value.uri, &ours, &self.line) {
            (Uri::Sip(uri), _, Some(line)) => uri.params.get("line") == Some(line),
            (uri, Some(ours), None) => uri.is_equivalent(ours),
            (Uri::Sip(_) | Uri::Tel(_) | Uri::Other(_), _, _) => false,
        };
        let contacts = response.header_values(HeaderName::Contact).filter_map(NameAddr::parse);
        let own = contacts.filter(is_ours).find_map(|c| c.params.get("expires")?.parse().ok());
        let general = || response.header(HeaderName::Expires)?.trim().parse().ok();
        let seconds = own.or_else(general).map(Duration::from_secs);
        seconds.unwrap_or(self.expires).clamp(SHORTEST, LONGEST)
    }
}
