//! Header names: long and compact forms are one name, in any case (RFC 3261 §7.3.1, §7.3.3).

macro_rules! names {
    ($($variant:ident $long:literal $($compact:literal)?,)*) => {
        /// The headers this gateway reads or writes; each knows its compact form (RFC 3261 §7.3.3).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum HeaderName {
            $($variant,)*
        }

        impl HeaderName {
            /// Every name.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The long form, as the registry writes it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $long,)*
                }
            }

            /// The compact form.
            pub const fn compact(self) -> Option<char> {
                match self {
                    $(Self::$variant => names!(@compact $($compact)?),)*
                }
            }
        }
    };
    (@compact) => { None };
    (@compact $compact:literal) => { Some($compact) };
}

names! {
    Accept "Accept",
    AcceptContact "Accept-Contact" 'a',
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" 'u',
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    CallId "Call-ID" 'i',
    CallInfo "Call-Info",
    Contact "Contact" 'm',
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" 'e',
    ContentLanguage "Content-Language",
    ContentLength "Content-Length" 'l',
    ContentType "Content-Type" 'c',
    CSeq "CSeq",
    Date "Date",
    Diversion "Diversion",
    ErrorInfo "Error-Info",
    Event "Event" 'o',
    Expires "Expires",
    From "From" 'f',
    HistoryInfo "History-Info",
    Identity "Identity" 'y',
    IdentityInfo "Identity-Info" 'n',
    InfoPackage "Info-Package",
    InReplyTo "In-Reply-To",
    MaxBreadth "Max-Breadth",
    MaxForwards "Max-Forwards",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    MinSe "Min-SE",
    Organization "Organization",
    PAssertedIdentity "P-Asserted-Identity",
    Path "Path",
    PChargingVector "P-Charging-Vector",
    PEarlyMedia "P-Early-Media",
    PPreferredIdentity "P-Preferred-Identity",
    Priority "Priority",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    RAck "RAck",
    Reason "Reason",
    RecordRoute "Record-Route",
    RecvInfo "Recv-Info",
    ReferredBy "Referred-By" 'b',
    ReferSub "Refer-Sub",
    ReferTo "Refer-To" 'r',
    RejectContact "Reject-Contact" 'j',
    RemotePartyId "Remote-Party-ID",
    Replaces "Replaces",
    ReplyTo "Reply-To",
    RequestDisposition "Request-Disposition" 'd',
    Require "Require",
    RetryAfter "Retry-After",
    Route "Route",
    RSeq "RSeq",
    Server "Server",
    ServiceRoute "Service-Route",
    SessionExpires "Session-Expires" 'x',
    Subject "Subject" 's',
    SubscriptionState "Subscription-State",
    Supported "Supported" 'k',
    TargetDialog "Target-Dialog",
    Timestamp "Timestamp",
    To "To" 't',
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    UserToUser "User-to-User",
    Via "Via" 'v',
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

impl HeaderName {
    /// The header of a name in its long or compact form, in any case; `None` for a header this
    /// crate does not know. Costs one table look-up and, nearly always, one comparison.
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        let mut slot = hash(name);
        loop {
            let candidate = (*TABLE.get(slot)?)?;
            if candidate.is_written(name) {
                return Some(candidate);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    fn is_written(self, name: &[u8]) -> bool {
        match name {
            [letter] => self.compact() == Some(char::from(letter.to_ascii_lowercase())),
            // Nearly always it stands as in the registry, which one memory comparison tells.
            long => {
                let ours = self.as_str().as_bytes();
                ours == long || ours.eq_ignore_ascii_case(long)
            }
        }
    }
}

impl std::fmt::Display for HeaderName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Open addressing: about a fifth is filled, so a miss ends at once.
const SLOTS: usize = 512;

static TABLE: [Option<HeaderName>; SLOTS] = table();

/// Of the length and of three letters, each without its case bit.
const fn hash(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    let middle = name.split_at(name.len() / 2).1;
    let Some(middle) = middle.first() else { return 0 };
    let letters = (*first as usize & 0x1f) * 7 + (*last as usize & 0x1f) * 31;
    (letters + (*middle as usize & 0x1f) * 113 + name.len() * 17) % SLOTS
}

#[allow(clippy::indexing_slicing)] // evaluated by the compiler
const fn table() -> [Option<HeaderName>; SLOTS] {
    let mut table = [None; SLOTS];
    let mut at = 0;
    while at < HeaderName::ALL.len() {
        let name = HeaderName::ALL[at];
        insert(&mut table, hash(name.as_str().as_bytes()), name);
        if let Some(letter) = name.compact() {
            insert(&mut table, hash(&[letter as u8]), name);
        }
        at += 1;
    }
    table
}

#[allow(clippy::indexing_slicing)] // evaluated by the compiler
const fn insert(table: &mut [Option<HeaderName>; SLOTS], hash: usize, name: HeaderName) {
    let mut slot = hash;
    while table[slot].is_some() {
        slot = (slot + 1) % SLOTS;
    }
    table[slot] = Some(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case_and_in_its_compact_form() {
        for name in HeaderName::ALL {
            let long = name.as_str();
            for written in [long.to_owned(), long.to_ascii_lowercase(), long.to_ascii_uppercase()] {
                assert_eq!(HeaderName::from_bytes(written.as_bytes()), Some(*name));
            }
            if let Some(letter) = name.compact() {
                assert_eq!(HeaderName::from_bytes(&[letter as u8]), Some(*name));
                let upper = letter.to_ascii_uppercase();
                assert_eq!(HeaderName::from_bytes(&[upper as u8]), Some(*name));
            }
        }
    }

    #[test]
    fn other_names_are_not_known() {
        for name in ["", "z", "Xy", "Fro", "Froms", "C%6Fntact", "X-Via", "MaxForwards", "\0"] {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()), None, "{name}");
        }
    }
}
