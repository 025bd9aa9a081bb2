//! Whether the values a message must have are there and well formed (RFC 3261 §8.1.1, §20).
use super::{Inner, Method, Start, content_number, parse::Fault};
use crate::{
    header::{self, HeaderName, NameAddrRef, ViaRef},
    scan,
    uri::UriRef,
};

/// Via values of a message: more hops than Max-Forwards allows in practice (SIP-MSG-28).
const MAX_VIAS: usize = 128;

/// Checks what this gateway relies on; see [`super::Message::validate`].
pub(super) fn check(inner: &Inner) -> Result<(), Fault> {
    request_uri(inner)?;
    let head = inner.head();
    let mut seen = Seen::default();
    for line in &inner.lines {
        let Some(name) = line.name else { continue };
        value(name, head.get(line.value().as_range()).unwrap_or(""), &mut seen)?;
    }
    seen.check(inner)
}

/// What has been met so far.
#[derive(Default)]
struct Seen<'a> {
    vias: usize,
    from: bool,
    to: bool,
    call_id: bool,
    max_forwards: bool,
    content_length: Option<u32>,
    cseq: Option<&'a str>,
    broadcast: bool,
}

fn request_uri(inner: &Inner) -> Result<(), Fault> {
    let Start::Request { uri, .. } = inner.start else { return Ok(()) };
    match UriRef::parse(inner.str(uri)) {
        Some(UriRef::Sip(uri)) if uri.headers.is_some() => {
            Err(Fault::bad("Request-URI with headers"))
        }
        Some(_) => Ok(()),
        None => Err(Fault::bad("Request-URI is no URI")),
    }
}

fn value<'a>(name: HeaderName, value: &'a str, seen: &mut Seen<'a>) -> Result<(), Fault> {
    if name == HeaderName::Via {
        return vias(value, seen);
    }
    if name == HeaderName::From {
        once(&mut seen.from, "From twice")?;
        return valid(NameAddrRef::parse(value).is_some(), "From is no address");
    }
    if name == HeaderName::To {
        once(&mut seen.to, "To twice")?;
        return valid(NameAddrRef::parse(value).is_some(), "To is no address");
    }
    if name == HeaderName::CallId {
        once(&mut seen.call_id, "Call-ID twice")?;
        return valid(is_call_id(value), "Call-ID is no word");
    }
    if name == HeaderName::CSeq {
        valid(seen.cseq.is_none(), "CSeq twice")?;
        let Some((_, method)) = header::scan_cseq(value) else {
            return Err(Fault::bad("CSeq is not a number and a method"));
        };
        seen.cseq = Some(method);
        return Ok(());
    }
    if name == HeaderName::MaxForwards {
        once(&mut seen.max_forwards, "Max-Forwards twice")?;
        let number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        return valid(number, "Max-Forwards is no number");
    }
    if name == HeaderName::ContentLength {
        valid(seen.content_length.is_none(), "Content-Length twice")?;
        seen.content_length = content_number(value);
        return valid(seen.content_length.is_some(), "Content-Length is no number");
    }
    if name == HeaderName::Contact && value == "*" {
        return Ok(());
    }
    if matches!(name, HeaderName::Contact | HeaderName::Route | HeaderName::RecordRoute) {
        return valid(is_address_list(value), "Contact or Route is no address");
    }
    Ok(())
}

fn vias(line: &str, seen: &mut Seen<'_>) -> Result<(), Fault> {
    let mut only_cookie = false;
    let well_formed = header::all_values(line, |cursor| {
        let via = ViaRef::scan(cursor)?;
        // Only the cookie is no transaction id (RFC 4475 §3.2.1).
        let cookie = |branch: &str| branch.eq_ignore_ascii_case("z9hG4bK");
        only_cookie |= seen.vias == 0 && via.branch().is_some_and(cookie);
        seen.broadcast |= via.host == "255.255.255.255";
        seen.vias += 1;
        Some(())
    });
    valid(well_formed, "Via is not as its grammar says")?;
    valid(!only_cookie, "branch is only the cookie")
}

impl Seen<'_> {
    fn check(&self, inner: &Inner) -> Result<(), Fault> {
        valid(self.vias > 0, "no Via")?;
        valid(self.from, "no From")?;
        valid(self.to, "no To")?;
        valid(self.call_id, "no Call-ID")?;
        let Some(cseq) = self.cseq else { return Err(Fault::bad("no CSeq")) };
        if self.vias > MAX_VIAS {
            return Err(Fault { what: "too many Vias", status: 513 });
        }
        match inner.start {
            Start::Request { method, .. } => {
                let method = inner.str(method);
                if cseq != method {
                    let status = if Method::known(method).is_some() { 400 } else { 501 };
                    return Err(Fault { what: "CSeq names another method", status });
                }
            }
            // A response must not be sent on to a broadcast address (RFC 4475 §3.3.10).
            Start::Response { .. } => valid(!self.broadcast, "Via of a broadcast address")?,
        }
        let body = inner.raw.len().saturating_sub(inner.body as usize);
        let whole = self.content_length.is_none_or(|length| length as usize <= body);
        valid(whole, "body shorter than Content-Length")
    }
}

fn valid(holds: bool, what: &'static str) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::bad(what)) }
}

fn once(seen: &mut bool, what: &'static str) -> Result<(), Fault> {
    valid(!std::mem::replace(seen, true), what)
}

/// `word [ "@" word ]`, leniently any visible characters.
fn is_call_id(value: &str) -> bool {
    !value.is_empty() && scan::all(value, scan::CALL_ID)
}

fn is_address_list(line: &str) -> bool {
    header::all_values(line, NameAddrRef::scan)
}

/// Headers that do not stop a message but are not as their grammar says.
pub(super) fn malformed(inner: &Inner) -> impl Iterator<Item = HeaderName> {
    let head = inner.head();
    inner.lines.iter().filter_map(move |line| {
        let name = line.name?;
        let value = head.get(line.value().as_range()).unwrap_or("");
        (!optional::is_well_formed(name, value)).then_some(name)
    })
}

mod optional {
    //! The grammar of headers that may be wrong without harm.
    use super::{HeaderName, is_address_list};
    use crate::{
        header::{self, ParamsRef},
        scan::Cursor,
    };

    pub(super) fn is_well_formed(name: HeaderName, value: &str) -> bool {
        if is_token_list(name) {
            return tokens(value);
        }
        if is_address(name) {
            return is_address_list(value);
        }
        if is_number(name) {
            return number_with_params(value);
        }
        if matches!(name, HeaderName::ContentType | HeaderName::Accept) {
            return media_types(value);
        }
        true
    }

    fn is_token_list(name: HeaderName) -> bool {
        matches!(
            name,
            HeaderName::Allow
                | HeaderName::AllowEvents
                | HeaderName::Supported
                | HeaderName::Require
                | HeaderName::ProxyRequire
                | HeaderName::Unsupported
        )
    }

    fn is_address(name: HeaderName) -> bool {
        matches!(
            name,
            HeaderName::PAssertedIdentity
                | HeaderName::PPreferredIdentity
                | HeaderName::RemotePartyId
                | HeaderName::Diversion
                | HeaderName::HistoryInfo
                | HeaderName::ReferTo
                | HeaderName::ReferredBy
                | HeaderName::ReplyTo
                | HeaderName::Path
                | HeaderName::ServiceRoute
        )
    }

    fn is_number(name: HeaderName) -> bool {
        matches!(
            name,
            HeaderName::Expires
                | HeaderName::MinExpires
                | HeaderName::MinSe
                | HeaderName::SessionExpires
                | HeaderName::RSeq
                | HeaderName::MaxForwards
        )
    }

    /// Tokens with commas between them; a list may be empty (RFC 3261 §20.5, §20.37).
    fn tokens(line: &str) -> bool {
        let token = |cursor: &mut Cursor<'_>| {
            cursor.lws();
            cursor.token()?;
            cursor.lws();
            Some(())
        };
        line.is_empty() || header::all_values(line, token)
    }

    fn number_with_params(value: &str) -> bool {
        let mut cursor = Cursor::new(value);
        cursor.digits().is_some() && ParamsRef::parse(cursor.rest()).is_some()
    }

    fn media_types(line: &str) -> bool {
        let media_type = |cursor: &mut Cursor<'_>| {
            cursor.lws();
            cursor.token().filter(|_| cursor.separator(b'/'))?;
            cursor.token()?;
            ParamsRef::scan(cursor)?;
            cursor.lws();
            Some(())
        };
        line.is_empty() || header::all_values(line, media_type)
    }
}
