//! Who calls whom: the addresses a carrier is given, and what is read from those it gives
//! (RFC 3261 §8.1.1, RFC 3323, RFC 3325, RFC 3966).
use tandem_sip::{Uri, endpoint::Headers, header::HeaderName, header::quote, uri::encode_user};

use crate::{
    numbers::{Field, When, apply, without_separators},
    source::Source,
    trail::{Manner, Trail},
    trunk::{Asserted, AssertedUri, Direction, FromUser, Gateway, Privacy, Trunk},
};

/// The caller without a number, towards applications.
pub const ANONYMOUS: &str = "anonymous";

/// The addresses of an outbound call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// Request-URI.
    pub request_uri: String,
    /// From, without tag.
    pub from: String,
    /// To, without tag.
    pub to: String,
    /// User part of our Contact, not escaped (the endpoint does).
    pub contact_user: String,
    /// The asserted identity, privacy, and the trunk's own headers.
    pub headers: Headers,
    /// The caller's number as sent.
    pub from_sent: String,
    /// The called number as sent.
    pub to_sent: String,
}

/// Who calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller<'a> {
    /// The number that is shown, or [`ANONYMOUS`]; `None`: the trunk's own.
    pub shown: Option<&'a str>,
    /// The number of one that is not to be shown, where it is known.
    pub hidden: Option<&'a str>,
}

impl Caller<'_> {
    /// Whether it is not to be shown.
    pub fn is_hidden(&self) -> bool {
        self.shown == Some(ANONYMOUS)
    }
}

/// Writes a call's numbers as the trunk wants them. `to` and `from` are E.164 with `+`, or whatever
/// else the application dialled; the error says what is wrong with the number.
pub fn address_outbound(
    trunk: &Trunk,
    gateway: &Gateway,
    to: &str,
    from: Caller<'_>,
) -> Result<Addressed, String> {
    let called = dialled(trunk, to)?;
    let known = from.hidden.filter(|_| from.is_hidden());
    let caller = match (trunk.identity.privacy, known) {
        (Privacy::Ignore, Some(known)) => caller(trunk, Some(known)),
        (Privacy::Ignore | Privacy::Trusted | Privacy::Anonymize | Privacy::Refuse, _) => {
            caller(trunk, from.shown)
        }
    };
    let rules = |field, number| apply(&trunk.numbers.rules, When::Outbound, field, number);
    let plan = &trunk.numbers.outbound;
    let host = gateway.peer.host_port();
    let request_user = rules(Field::RequestUri, plan.request_uri.write(&called));
    let request_user = request_user.strip_prefix(plan.strip.as_str()).unwrap_or(&request_user);
    let request_user = format!("{}{}{request_user}", gateway.tech_prefix, plan.prepend);
    let to_user = rules(Field::To, plan.to.write(&called));
    let from_user = rules(Field::From, plan.from.write(&caller));
    let from_domain = from_domain(trunk, gateway);
    let from_name = trunk.identity.display_name.as_deref();
    let (from, from_sent) = match &trunk.identity.from_user {
        FromUser::Caller if caller == ANONYMOUS => {
            ("\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(), caller.clone())
        }
        FromUser::Caller => (name_addr(from_name, &from_user, &from_domain), from_user.clone()),
        FromUser::AuthUsername => {
            let user = trunk.auth.as_ref().map_or("", |auth| auth.username.as_str());
            (name_addr(from_name, user, &from_domain), from_user.clone())
        }
        FromUser::Fixed(user) => (name_addr(from_name, user, &from_domain), user.clone()),
    };
    let mut headers = asserted(trunk, &caller, known, &from_domain);
    headers.other.extend(trunk.headers.add.iter().cloned());
    Ok(Addressed {
        request_uri: format!(
            "{}:{}@{host}{}",
            gateway.scheme(),
            encode_user(&request_user),
            gateway.params
        ),
        from,
        to: name_addr(None, &to_user, &host),
        contact_user: if caller == ANONYMOUS { caller } else { from_user },
        headers,
        from_sent,
        to_sent: request_user,
    })
}

/// A dialled number without separators, of an acceptable length.
fn dialled(trunk: &Trunk, to: &str) -> Result<String, String> {
    let Some(number) = without_separators(to) else {
        return Err(format!("`{to}` is not a number"));
    };
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let (min, max) = (trunk.numbers.min_digits, trunk.numbers.max_digits);
    if digits < usize::from(min) {
        return Err(format!("`{number}` has fewer than {min} digits"));
    }
    if digits > usize::from(max) {
        return Err(format!("`{number}` has more than {max} digits"));
    }
    Ok(number)
}

/// The number a call goes out with: the wished one where it is ours, else our first.
fn caller(trunk: &Trunk, wished: Option<&str>) -> String {
    if wished == Some(ANONYMOUS) {
        return ANONYMOUS.to_owned();
    }
    let wished = wished.filter(|w| !w.trim().is_empty());
    let wished = wished.map(|w| without_separators(w).unwrap_or_else(|| w.to_owned()));
    let owned = &trunk.identity.caller_ids;
    match (wished, owned.first()) {
        (Some(wished), None) => wished,
        (Some(wished), Some(_)) if owned.contains(&wished) => wished,
        (Some(_) | None, Some(first)) => first.clone(),
        (None, None) => match &trunk.auth {
            Some(auth) => auth.username.clone(),
            None => ANONYMOUS.to_owned(),
        },
    }
}

/// The host of From.
pub(crate) fn from_domain(trunk: &Trunk, gateway: &Gateway) -> String {
    trunk.identity.from_domain.clone().unwrap_or_else(|| {
        let host = &gateway.peer.host;
        if host.contains(':') { format!("[{host}]") } else { host.clone() }
    })
}

/// The header that asserts who calls. A trusted carrier is told the number of a caller that hides
/// it, or else one of ours, and `Privacy: id` asks it not to show it (RFC 3325 §7).
fn asserted(trunk: &Trunk, shown: &str, known: Option<&str>, domain: &str) -> Headers {
    let mut headers = Headers::default();
    let hidden = shown == ANONYMOUS;
    let number = match (hidden, trunk.identity.privacy) {
        (false, _) => Some(shown.to_owned()),
        (true, Privacy::Trusted) => {
            headers.known.push((HeaderName::Privacy, "id".to_owned()));
            let known = known.map(|known| caller(trunk, Some(known)));
            known.or_else(|| trunk.identity.caller_ids.first().cloned())
        }
        (true, Privacy::Anonymize | Privacy::Refuse | Privacy::Ignore) => None,
    };
    let Some(number) = number else { return headers };
    let number = trunk.numbers.outbound.from.write(&number);
    let number = apply(&trunk.numbers.rules, When::Outbound, Field::Asserted, number);
    let user = encode_user(&number);
    let uri = match trunk.identity.asserted_uri {
        AssertedUri::Sip => format!("sip:{user}@{domain}"),
        AssertedUri::Tel if number.starts_with('+') => format!("tel:{number}"),
        AssertedUri::Tel | AssertedUri::SipPhone => format!("sip:{user}@{domain};user=phone"),
    };
    let known = match trunk.identity.asserted {
        Asserted::Pai => Some((HeaderName::PAssertedIdentity, format!("<{uri}>"))),
        Asserted::Ppi => Some((HeaderName::PPreferredIdentity, format!("<{uri}>"))),
        Asserted::Rpid => {
            let privacy = if hidden { "full" } else { "off" };
            let value = format!("<{uri}>;party=calling;screen=yes;privacy={privacy}");
            Some((HeaderName::RemotePartyId, value))
        }
        Asserted::Off => None,
    };
    headers.known.extend(known);
    headers
}

/// How a carrier is told where a call has been: a trunk that is not trusted with private numbers is
/// not told those of private stations either.
pub fn history(
    trunk: &Trunk,
    gateway: Option<usize>,
    trail: &Trail,
    request_uri: Option<&str>,
) -> Vec<(HeaderName, String)> {
    let gateway = gateway.map_or_else(|| trunk.gateways.first(), |at| trunk.gateways.get(at));
    let host = gateway.map(|gateway| from_domain(trunk, gateway)).unwrap_or_default();
    let hides = match trunk.identity.privacy {
        Privacy::Trusted | Privacy::Ignore => false,
        Privacy::Anonymize | Privacy::Refuse => true,
    };
    let number = |number: &str| trunk.numbers.outbound.from.write(number);
    let manner = Manner { out: trunk.identity.diversion, hides, number: &number, host: &host };
    trail.headers(&manner, request_uri)
}

fn name_addr(name: Option<&str>, user: &str, host: &str) -> String {
    let user = encode_user(user);
    match name {
        Some(name) => {
            let quoted = quote(name);
            format!("{quoted} <sip:{user}@{host}>")
        }
        None => format!("<sip:{user}@{host}>"),
    }
}

/// The numbers of an inbound call, as received and normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The caller's user part as received.
    pub from_received: String,
    /// The called user part as received.
    pub to_received: String,
    /// The caller, normalised, or [`ANONYMOUS`].
    pub from: String,
    /// The called number, normalised.
    pub to: String,
    /// The number of a caller that asks not to be shown, normalised, where it is known.
    pub hidden: Option<String>,
}

impl Presented {
    /// Reads the numbers by a trunk's plans. `private`: the caller asked for privacy (RFC 3323).
    pub fn of(
        trunk: &Trunk,
        request_uri: &Uri,
        from: Option<&Uri>,
        pai: Option<&Uri>,
        private: bool,
    ) -> Self {
        let to_received = user(request_uri);
        let identity = pai.filter(|_| trunk.identity.trust_pai).or(from);
        let from_received = identity.map(user).unwrap_or_default();
        let rules = |field, number| apply(&trunk.numbers.rules, When::Inbound, field, number);
        let to = rules(Field::RequestUri, to_received.clone());
        let caller = rules(Field::From, from_received.clone());
        let named = identity.is_some_and(|uri| !is_anonymous(uri));
        let hidden = private || !named;
        let normalised = || trunk.numbers.inbound_from.normalise(&caller);
        Self {
            hidden: (hidden && named).then(normalised),
            to: trunk.numbers.inbound_request_uri.normalise(&to),
            from: match hidden {
                true => ANONYMOUS.to_owned(),
                false => normalised(),
            },
            from_received,
            to_received,
        }
    }
}

/// The user part, without the parameters of a telephone-subscriber (RFC 3261 §19.1.6).
fn user(uri: &Uri) -> String {
    let user = uri.user().unwrap_or_default();
    match user.split_once(';') {
        Some((number, _)) if without_separators(number).is_some() => number.to_owned(),
        Some(_) | None => user,
    }
}

/// RFC 3323 §4.1.1.3: `sip:anonymous@anonymous.invalid`, and what carriers make of it.
fn is_anonymous(uri: &Uri) -> bool {
    let hidden_user = match uri.user() {
        None => true,
        Some(user) => ["anonymous", "restricted", "unavailable", "unknown", "private", ""]
            .contains(&user.to_ascii_lowercase().as_str()),
    };
    let hidden_host = match uri {
        Uri::Sip(sip) => sip.host.eq_ignore_ascii_case("anonymous.invalid"),
        Uri::Tel(_) | Uri::Other(_) => false,
    };
    hidden_user || hidden_host
}

/// Everything that may call in by a trunk: its `sources`, or its gateways and its registrar where
/// none are listed, and gateways that only call in.
pub fn sources(trunk: &Trunk) -> Vec<Source> {
    let listed = &trunk.inbound.sources;
    let gateways = trunk.gateways.iter().filter(|gateway| match gateway.direction {
        Direction::Inbound => true,
        Direction::Both => listed.is_empty(),
        Direction::Outbound => false,
    });
    let of_gateways = gateways.filter_map(|gateway| Source::parse(&gateway.peer.host).ok());
    let registrar = trunk.register.iter().filter(|_| listed.is_empty());
    let of_registrar = registrar.filter_map(|register| Source::parse(&register.peer.host).ok());
    listed.iter().cloned().chain(of_gateways).chain(of_registrar).collect()
}
