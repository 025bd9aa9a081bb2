//! Whether the values a message must have are there and well formed (RFC 3261 §8.1.1, §20).
use super::{
    Inner, Method, Start, content_number,
    parse::{ContentLength, Fault},
};
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
    let mut seen = Seen::default();
    for line in &inner.lines {
        let Some(name) = line.name else { continue };
        value(name, inner.str(line.value()), &mut seen)?;
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
    content_length: bool,
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
        once(&mut seen.content_length, "Content-Length twice")?;
        return valid(content_number(value).is_some(), "Content-Length is no number");
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
    let before = seen.vias;
    for value in header::values(line) {
        let Some(via) = ViaRef::parse(value) else {
            return Err(Fault::bad("Via is not as its grammar says"));
        };
        // Only the cookie is no transaction id (RFC 4475 §3.2.1).
        let cookie = |b: &str| b.eq_ignore_ascii_case("z9hG4bK");
        if seen.vias == 0 && via.branch().is_some_and(cookie) {
            return Err(Fault::bad("branch is only the cookie"));
        }
        seen.broadcast |= via.host == "255.255.255.255";
        seen.vias += 1;
    }
    valid(seen.vias > before, "Via is empty")
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
        match inner.content_length() {
            ContentLength::Bytes(length) => {
                valid(length <= body, "body shorter than Content-Length")
            }
            ContentLength::Missing | ContentLength::Bad => Ok(()),
        }
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
    let mut values = header::values(line).peekable();
    values.peek().is_some() && values.all(|v| NameAddrRef::parse(v).is_some())
}

/// Headers that do not stop a message but are not as their grammar says.
pub(super) fn malformed(inner: &Inner) -> impl Iterator<Item = HeaderName> {
    inner.lines.iter().filter_map(|line| {
        let name = line.name?;
        let value = inner.str(line.value());
        (!optional::is_well_formed(name, value)).then_some(name)
    })
}

mod optional {
    //! The grammar of headers that may be wrong without harm.
    use super::{HeaderName, content_number, is_address_list};
    use crate::{
        header::{self, ParamsRef},
        scan::{self, Cursor},
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

    fn tokens(line: &str) -> bool {
        header::values(line).all(|v| !v.is_empty() && scan::all(v, scan::TOKEN))
    }

    fn number_with_params(value: &str) -> bool {
        let (number, params) = value.split_at(value.find(';').unwrap_or(value.len()));
        content_number(scan::trim(number)).is_some() && ParamsRef::parse(params).is_some()
    }

    fn media_types(line: &str) -> bool {
        header::values(line).all(|value| {
            let mut cursor = Cursor::new(value);
            cursor.token().is_some()
                && cursor.separator(b'/')
                && cursor.token().is_some()
                && ParamsRef::parse(cursor.rest()).is_some()
        })
    }
}
