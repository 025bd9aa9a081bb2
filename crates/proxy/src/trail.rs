//! Where a call has been before: its History-Info and Diversion, each made of the other where only
//! one came (RFC 5806, RFC 7044, RFC 7544), and what the gateway adds when it sends a call on.
use tandem_sip::{
    Message, Uri,
    header::{Diversion, HeaderName, HistoryEntry, Index, cause_of_reason, reason_of_cause},
    uri::encode_user,
};

use crate::{identity::ANONYMOUS, trunk::DiversionOut};

/// Values of each header that are read: a call that went further is refused (`[call] diversions`
/// allows 20 at most).
const MOST: usize = 24;

/// Bytes of one value; longer ones are passed over.
const LONGEST: usize = 512;

/// URI parameters that a target keeps when another network hears of it.
const KEPT: [&str; 3] = ["cause", "user", "target"];

/// The history of a call. Numbers are normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    /// The oldest first; the last one received is the Request-URI that we got (RFC 7044 §9.1).
    entries: Vec<HistoryEntry>,
    /// The latest first.
    diversions: Vec<Diversion>,
    /// Where the Request-URI that we got stands: what we send stands below it.
    base: Index,
    /// The branch below `base` that the next request is (§10.3).
    branch: u16,
    /// The `cause` of the next target.
    cause: Option<u16>,
    /// How the next target was found: `rc`, `mp` or nothing, with an index (§10.4).
    found: Option<(&'static str, Index)>,
    /// Whether the caller wants to see where its call went (§9.4).
    wanted: bool,
    /// More values came than are read.
    too_many: bool,
}

/// Which of the two headers of a peer are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Believed {
    /// History-Info.
    pub history: bool,
    /// Diversion.
    pub diversion: bool,
}

impl Default for Believed {
    fn default() -> Self {
        Self { history: true, diversion: true }
    }
}

/// How a network is told.
pub struct Manner<'a> {
    /// By which headers.
    pub out: DiversionOut,
    /// Whether what is private is hidden from it.
    pub hides: bool,
    /// How it writes numbers.
    pub number: &'a dyn Fn(&str) -> String,
    /// The host behind these numbers.
    pub host: &'a str,
}

/// A party that sent the call on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diverted {
    /// Its number, normalised, or [`ANONYMOUS`].
    pub number: String,
    /// Why, in the words of RFC 5806.
    pub reason: String,
}

impl Trail {
    /// Reads an INVITE's; `None` when it has none and nobody asks for one. `normalise` makes E.164
    /// of a number as the trunk writes it.
    pub fn read(
        invite: &Message,
        believed: Believed,
        normalise: impl Fn(&str) -> String,
    ) -> Option<Self> {
        let values = |name, on: bool| {
            let values =
                invite.header_values(name).filter(move |value| on && value.len() <= LONGEST);
            values.take(MOST + 1)
        };
        let mut entries: Vec<HistoryEntry> = values(HeaderName::HistoryInfo, believed.history)
            .filter_map(HistoryEntry::parse)
            .collect();
        let mut diversions: Vec<Diversion> = values(HeaderName::Diversion, believed.diversion)
            .filter_map(Diversion::parse)
            .collect();
        let wanted = !entries.is_empty() || invite.has_token(HeaderName::Supported, "histinfo");
        if entries.is_empty() && diversions.is_empty() && !wanted {
            return None;
        }
        let too_many = entries.len() > MOST || diversions.len() > MOST;
        entries.truncate(MOST);
        diversions.truncate(MOST);
        let private = |what: &str| {
            let mut lines = invite.header_lines(HeaderName::Privacy);
            lines.any(|line| line.split([';', ',']).any(|v| v.trim().eq_ignore_ascii_case(what)))
        };
        let (all, history) = (private("header"), private("history"));
        for entry in &mut entries {
            normalise_uri(&mut entry.uri, &normalise);
            entry.private |= all || history;
        }
        for Diversion(value) in &mut diversions {
            normalise_uri(&mut value.uri, &normalise);
            if all {
                value.params.set("privacy", Some("full"));
            }
        }
        let mut uri = invite.request_uri()?;
        if let Uri::Sip(sip) = &mut uri {
            sip.headers = None;
        }
        normalise_uri(&mut uri, &normalise);
        let mut trail = Self::of(entries, diversions, uri)?;
        (trail.wanted, trail.too_many) = (wanted, too_many);
        Some(trail)
    }

    /// The history of a call that had none, to this number.
    pub fn begin(number: &str) -> Option<Self> {
        Self::of(Vec::new(), Vec::new(), Uri::sip(Some(number), "anonymous.invalid", None))
    }

    fn of(
        mut entries: Vec<HistoryEntry>,
        mut diversions: Vec<Diversion>,
        uri: Uri,
    ) -> Option<Self> {
        let told = diversions_of(&entries);
        // RFC 7544 §3.4: what only Diversion knows happened after what History-Info knows …
        let news = diversions.iter().filter(|d| !told.iter().any(|t| is_same(&t.0.uri, &d.0.uri)));
        let news: Vec<Diversion> = news.cloned().collect();
        // … and §3.5: what only History-Info knows, before.
        let older =
            told.into_iter().filter(|t| !diversions.iter().any(|d| is_same(&d.0.uri, &t.0.uri)));
        let older: Vec<Diversion> = older.collect();
        diversions.extend(older);
        let cause = append(&mut entries, &news);
        let gap = entries.last().is_none_or(|last| !is_same(&last.uri, &uri) || cause.is_some());
        if gap {
            let index = match (entries.last(), cause) {
                (None, _) => Index::first(),
                (Some(last), Some(_)) => last.index.below(1),
                // RFC 7044 §10.3 rule 6: whoever sent it on wrote nothing.
                (Some(last), None) => last.index.below(0),
            };
            let mut entry = HistoryEntry::new(uri, index);
            if let (Some(cause), Some(last)) = (cause, entries.last()) {
                set_cause(&mut entry.uri, cause);
                entry.params.set("mp", Some(&last.index.to_string()));
            }
            entries.push(entry);
        }
        let base = entries.last()?.index.clone();
        let found = Some(("rc", base.clone()));
        let (wanted, too_many) = (false, false);
        Some(Self { entries, diversions, base, branch: 1, cause: None, found, wanted, too_many })
    }

    /// How often the call was sent on; a call with too many entries counts as sent on without end.
    pub fn count(&self) -> u32 {
        if self.too_many {
            return u32::MAX;
        }
        self.diversions.iter().fold(0, |sum, d| sum.saturating_add(d.counter()))
    }

    /// The least limit that any who sent it on has set (RFC 5806 §6, `limit`).
    pub fn limit(&self) -> Option<u32> {
        self.diversions.iter().filter_map(Diversion::limit).min()
    }

    /// Whether the call was at this number before, or is called there now.
    pub fn has_been_at(&self, number: &str) -> bool {
        let at = |uri: &Uri| uri.user().is_some_and(|user| user == number);
        self.diversions.iter().any(|d| at(&d.0.uri)) || self.entries.iter().any(|e| at(&e.uri))
    }

    /// Whether the caller wants History-Info in responses.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// We send the call on, on our own authority: from the number that was called (RFC 7044 §10.4).
    pub fn divert(&mut self, cause: u16) {
        if let Some(last) = self.entries.iter().find(|e| e.index == self.base) {
            let private = last.private;
            let diversion = diversion_from(last, cause, private);
            self.diversions.insert(0, diversion);
        }
        self.cause = Some(cause);
        self.found = Some(("mp", self.base.clone()));
    }

    /// A request that we sent came to nothing (§9.3); `status` 408 when it was not answered.
    /// `reasons` are the Reason values of the response.
    pub fn failed(&mut self, request_uri: &str, status: u16, reasons: &[&str]) {
        let Some(mut entry) = self.next(request_uri) else { return };
        entry.add_reason(&format!("SIP;cause={status}"));
        for reason in reasons.iter().filter(|reason| reason.len() <= LONGEST).take(2) {
            entry.add_reason(reason);
        }
        if self.entries.len() < 2 * MOST {
            self.entries.push(entry);
        }
        self.branch = self.branch.saturating_add(1);
    }

    /// … because its target sent the call on by a 3xx. `found` is the `rc` or `mp` of the Contact.
    pub fn redirected(
        &mut self,
        request_uri: &str,
        status: u16,
        reasons: &[&str],
        found: Option<(&'static str, Index)>,
    ) {
        if let Some(entry) = self.next(request_uri) {
            self.diversions.insert(0, diversion_from(&entry, 302, false));
        }
        self.failed(request_uri, status, reasons);
        self.cause = Some(302);
        self.found = found;
    }

    /// Who sent the call on, in the order in which they did.
    pub fn told(&self) -> impl Iterator<Item = Diverted> {
        self.diversions.iter().rev().map(|diversion| {
            let user = diversion.0.uri.user().filter(|_| !diversion.is_private());
            Diverted {
                number: user.unwrap_or_else(|| ANONYMOUS.to_owned()),
                reason: diversion.reason(),
            }
        })
    }

    /// The cause that belongs into the Request-URI of what is sent (RFC 4458).
    pub fn cause(&self) -> Option<u16> {
        self.cause
    }

    /// The headers of a request to `request_uri`, or of a response about it; `None`: nobody was
    /// asked any further.
    pub fn headers(
        &self,
        manner: &Manner<'_>,
        request_uri: Option<&str>,
    ) -> Vec<(HeaderName, String)> {
        let (history, diversion) = match manner.out {
            DiversionOut::HistoryInfo => (true, false),
            DiversionOut::Diversion => (false, true),
            DiversionOut::Both => (true, true),
            DiversionOut::Off => (false, false),
        };
        let mut out = Vec::new();
        if history {
            let next = request_uri.and_then(|uri| self.next(uri));
            let entries = self.entries.iter().cloned().chain(next);
            let values: Vec<String> = entries.map(|e| manner.entry(e).to_string()).collect();
            out.push((HeaderName::HistoryInfo, values.join(", ")));
        }
        if diversion && !self.diversions.is_empty() {
            let values = self.diversions.iter().cloned().map(|d| manner.diversion(d).to_string());
            out.push((HeaderName::Diversion, values.collect::<Vec<_>>().join(", ")));
        }
        out
    }

    /// The entry of a request that is sent now (§9.2).
    fn next(&self, request_uri: &str) -> Option<HistoryEntry> {
        let mut uri = Uri::parse(request_uri)?;
        if let Some(cause) = self.cause {
            set_cause(&mut uri, cause);
        }
        let mut entry = HistoryEntry::new(uri, self.base.below(self.branch));
        if let Some((name, index)) = &self.found {
            entry.params.set(name, Some(&index.to_string()));
        }
        Some(entry)
    }
}

impl Manner<'_> {
    fn entry(&self, mut entry: HistoryEntry) -> HistoryEntry {
        if self.hides && std::mem::take(&mut entry.private) {
            let cause = entry.cause();
            entry.name = None;
            entry.uri = hidden();
            if let Some(cause) = cause {
                set_cause(&mut entry.uri, cause);
            }
        }
        self.write(&mut entry.uri);
        entry
    }

    fn diversion(&self, mut value: Diversion) -> Diversion {
        if self.hides && value.is_private() {
            value.0.display_name = None;
            value.0.uri = hidden();
            value.0.params.remove("privacy");
        }
        self.write(&mut value.0.uri);
        value
    }

    /// A number is written as the network writes numbers, without our addresses.
    fn write(&self, uri: &mut Uri) {
        let Some(number) = uri.user().filter(|user| is_number(user)) else { return };
        let written = (self.number)(&number);
        match uri {
            Uri::Sip(sip) => {
                sip.user = Some(encode_user(&written));
                self.host.clone_into(&mut sip.host);
                sip.port = None;
                sip.secure = false;
                sip.params.0.retain(|(name, _)| KEPT.iter().any(|k| name.eq_ignore_ascii_case(k)));
            }
            Uri::Tel(tel) if written.starts_with('+') => tel.number = written,
            Uri::Tel(_) | Uri::Other(_) => {}
        }
    }
}

/// RFC 3323 §4.1.1.3.
fn hidden() -> Uri {
    Uri::sip(Some(ANONYMOUS), "anonymous.invalid", None)
}

fn is_number(user: &str) -> bool {
    user.strip_prefix('+').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn normalise_uri(uri: &mut Uri, normalise: impl Fn(&str) -> String) {
    let Some(number) = uri.user().map(|user| normalise(&user)).filter(|n| is_number(n)) else {
        return;
    };
    match uri {
        Uri::Sip(sip) => sip.user = Some(number),
        Uri::Tel(tel) => tel.number = number,
        Uri::Other(_) => {}
    }
}

/// Whether two targets are one party's: the same number, or else the same URI.
fn is_same(one: &Uri, other: &Uri) -> bool {
    match (one.user(), other.user()) {
        (Some(a), Some(b)) if is_number(&a) || is_number(&b) => a == b,
        _ => one.is_equivalent(other),
    }
}

fn set_cause(uri: &mut Uri, cause: u16) {
    if let Uri::Sip(sip) = uri {
        sip.params.set("cause", Some(&cause.to_string()));
    }
}

/// A diversion by the party of an entry (RFC 7544 §6).
fn diversion_from(entry: &HistoryEntry, cause: u16, private: bool) -> Diversion {
    let mut uri = entry.uri.clone();
    if let Uri::Sip(sip) = &mut uri {
        sip.params.remove("cause");
    }
    let mut diversion = Diversion::new(uri, reason_of_cause(cause).unwrap_or("unknown"));
    diversion.0.display_name.clone_from(&entry.name);
    let privacy = if private { "full" } else { "off" };
    diversion.0.params.set("privacy", Some(privacy));
    diversion
}

/// The diversions that hi-entries tell of, the latest first (RFC 7544 §6).
fn diversions_of(entries: &[HistoryEntry]) -> Vec<Diversion> {
    let mut out = Vec::new();
    for (at, target) in entries.iter().enumerate() {
        let Some(cause) = target.cause().filter(|cause| reason_of_cause(*cause).is_some()) else {
            continue;
        };
        let named = target.params.get("mp").and_then(Index::parse);
        let diverting = match named {
            Some(index) => entries.iter().find(|entry| entry.index == index),
            None => at.checked_sub(1).and_then(|before| entries.get(before)),
        };
        if let Some(diverting) = diverting {
            out.push(diversion_from(diverting, cause, diverting.private));
        }
    }
    out.reverse();
    out
}

/// Writes diversions (the latest first) behind hi-entries; the cause of what comes next, if there
/// was any (RFC 7544 §5).
fn append(entries: &mut Vec<HistoryEntry>, diversions: &[Diversion]) -> Option<u16> {
    let mut cause = None;
    for diversion in diversions.iter().rev() {
        let unknown = usize::try_from(diversion.counter() - 1).unwrap_or(MOST);
        let unknown = unknown.min(MOST.saturating_sub(entries.len()));
        let mut targets = vec![Uri::sip(Some("unknown"), "unknown.invalid", None); unknown];
        // Whom the last entry names already, that entry is the diverting one's.
        let named = entries.last().is_some_and(|last| is_same(&last.uri, &diversion.0.uri));
        if !named || unknown > 0 {
            targets.push(diversion.0.uri.clone());
        }
        for uri in targets {
            let last = entries.last().map(|last| last.index.clone());
            let index = last.as_ref().map_or_else(Index::first, |last| last.below(1));
            let mut entry = HistoryEntry::new(uri, index);
            if let Some(last) = &last {
                set_cause(&mut entry.uri, cause.unwrap_or(404));
                entry.params.set("mp", Some(&last.to_string()));
            }
            cause = None;
            entries.push(entry);
        }
        if let Some(last) = entries.last_mut() {
            last.private |= diversion.is_private();
            let name = || diversion.0.display_name.clone();
            last.name = last.name.take().or_else(name);
        }
        cause = Some(cause_of_reason(&diversion.reason()));
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Believed = Believed { history: true, diversion: true };

    fn read(uri: &str, headers: &str) -> Option<Trail> {
        read_as(uri, headers, BOTH)
    }

    fn read_as(uri: &str, headers: &str, believed: Believed) -> Option<Trail> {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n\
             To: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        let national = |n: &str| match n.strip_prefix('0') {
            Some(rest) => format!("+44{rest}"),
            None => n.to_owned(),
        };
        Trail::read(&Message::parse(text.into()).unwrap(), believed, national)
    }

    fn written(trail: &Trail, out: DiversionOut, hides: bool, uri: &str) -> Vec<String> {
        let number = |n: &str| n.to_owned();
        let manner = Manner { out, hides, number: &number, host: "out.example" };
        let headers = trail.headers(&manner, Some(uri)).into_iter();
        headers.flat_map(|(_, v)| v.split(", <").map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// RFC 7544 §7.1.
    #[test]
    fn diversion_becomes_history() {
        let trail = read(
            "sip:last@x",
            "Diversion: <sip:user3@x>;reason=unconditional;counter=1;privacy=off,\r\n \
             <sip:user2@x>;reason=user-busy;counter=1;privacy=full\r\n\
             Diversion: <sip:user1@x>;reason=no-answer;counter=1;privacy=off\r\n",
        );
        let trail = trail.unwrap();
        assert_eq!(
            written(&trail, DiversionOut::HistoryInfo, false, "sip:last@y"),
            [
                "<sip:user1@x>;index=1",
                "sip:user2@x;cause=408?Privacy=history>;index=1.1;mp=1",
                "sip:user3@x;cause=486>;index=1.1.1;mp=1.1",
                "sip:last@x;cause=302>;index=1.1.1.1;mp=1.1.1",
                "sip:last@y>;index=1.1.1.1.1;rc=1.1.1.1",
            ]
        );
        // … and what came by Diversion leaves so, untouched.
        assert_eq!(
            written(&trail, DiversionOut::Diversion, false, "sip:last@y"),
            [
                "<sip:user3@x>;reason=unconditional;counter=1;privacy=off",
                "sip:user2@x>;reason=user-busy;counter=1;privacy=full",
                "sip:user1@x>;reason=no-answer;counter=1;privacy=off",
            ]
        );
        assert_eq!(trail.count(), 3);
    }

    /// RFC 7544 §7.2.
    #[test]
    fn history_becomes_diversion() {
        let trail = read(
            "sip:last@x;cause=486",
            "History-Info: <sip:user1@x?Privacy=history>;index=1,\r\n \
             <sip:user2@x;cause=302?Privacy=none>;index=1.1;mp=1,\r\n \
             <sip:last@x;cause=486>;index=1.1.1;mp=1.1\r\n",
        );
        let trail = trail.unwrap();
        assert_eq!(
            written(&trail, DiversionOut::Diversion, false, "sip:last@y"),
            [
                "<sip:user2@x>;reason=user-busy;counter=1;privacy=off",
                "sip:user1@x>;reason=unconditional;counter=1;privacy=full",
            ]
        );
        let told: Vec<_> = trail.told().map(|d| (d.number, d.reason)).collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(told, [pair("anonymous", "unconditional"), pair("user2", "user-busy")]);
    }

    /// RFC 7544 §5: a counter stands for diversions nobody knows more of.
    #[test]
    fn a_counter_leaves_room() {
        let trail = read("sip:b@x", "Diversion: <sip:a@x>;reason=away;counter=3\r\n").unwrap();
        assert_eq!(
            written(&trail, DiversionOut::HistoryInfo, false, "sip:b@y"),
            [
                "<sip:unknown@unknown.invalid>;index=1",
                "sip:unknown@unknown.invalid;cause=404>;index=1.1;mp=1",
                "sip:a@x;cause=404>;index=1.1.1;mp=1.1",
                "sip:b@x;cause=404>;index=1.1.1.1;mp=1.1.1",
                "sip:b@y>;index=1.1.1.1.1;rc=1.1.1.1",
            ]
        );
        assert_eq!(trail.count(), 3);
        let many = read("sip:b@x", "Diversion: <sip:a@x>;counter=4000000000\r\n").unwrap();
        assert!(many.entries.len() <= MOST + 2 && many.count() == 4_000_000_000);
    }

    /// RFC 7544 §3.4: what both tell is one diversion.
    #[test]
    fn both_headers_are_mixed() {
        let trail = read(
            "sip:d@x",
            "History-Info: <sip:a@x>;index=1,<sip:b@x;cause=302>;index=1.1;mp=1\r\n\
             Diversion: <sip:b@x>;reason=user-busy,<sip:a@x>;reason=unconditional\r\n",
        );
        let trail = trail.unwrap();
        assert_eq!(
            written(&trail, DiversionOut::HistoryInfo, false, "sip:d@y"),
            [
                "<sip:a@x>;index=1",
                "sip:b@x;cause=302>;index=1.1;mp=1",
                "sip:d@x;cause=486>;index=1.1.1;mp=1.1",
                "sip:d@y>;index=1.1.1.1;rc=1.1.1",
            ]
        );
        assert_eq!(trail.count(), 2);
    }

    /// RFC 7044 §9.1, §10.3: an entry for who wrote none, and the tree of what we try.
    #[test]
    fn indexes_follow_the_tree() {
        let trail = read("sip:bob@x", "Supported: histinfo\r\n").unwrap();
        let out = |t: &Trail, uri: &str| written(t, DiversionOut::HistoryInfo, false, uri);
        assert_eq!(out(&trail, "sip:bob@y"), ["<sip:bob@x>;index=1", "sip:bob@y>;index=1.1;rc=1"]);
        let known = "History-Info: <sip:a@x>;index=1,<sip:bob@x>;index=1.1;rc=1\r\n";
        let mut trail = read("sip:bob@x", known).unwrap();
        assert_eq!(out(&trail, "sip:bob@y").last().unwrap(), "sip:bob@y>;index=1.1.1;rc=1.1");
        trail.failed("sip:bob@y", 486, &["Q.850;cause=17"]);
        assert_eq!(
            out(&trail, "sip:bob@z")[2..],
            [
                "sip:bob@y?Reason=SIP%3Bcause%3D486%2C%20Q.850%3Bcause%3D17>;index=1.1.1;rc=1.1",
                "sip:bob@z>;index=1.1.2;rc=1.1",
            ]
        );
        let gap = read("sip:bob@x", "History-Info: <sip:a@x>;index=1.1.2\r\n").unwrap();
        assert_eq!(
            out(&gap, "sip:bob@y"),
            [
                "<sip:a@x>;index=1.1.2",
                "sip:bob@x>;index=1.1.2.0",
                "sip:bob@y>;index=1.1.2.0.1;rc=1.1.2.0",
            ]
        );
    }

    /// RFC 7044 §10.2, §10.4 and RFC 4458: a redirection, and a diversion of our own.
    #[test]
    fn what_we_send_on_is_told() {
        let mut trail = Trail::begin("+44201").unwrap();
        trail.divert(480);
        assert_eq!(trail.cause(), Some(480));
        assert!(trail.has_been_at("+44201") && !trail.has_been_at("+44202"));
        assert_eq!(
            written(&trail, DiversionOut::Both, false, "sip:+44202@gw.example;user=phone"),
            [
                "<sip:+44201@out.example>;index=1",
                "sip:+44202@out.example;user=phone;cause=480>;index=1.1;mp=1",
                "<sip:+44201@out.example>;reason=deflection;counter=1;privacy=off",
            ]
        );
        trail.redirected(
            "sip:+44202@gw.example",
            302,
            &[],
            Some(("mp", Index::parse("1.1").unwrap())),
        );
        assert_eq!(
            written(&trail, DiversionOut::Both, false, "sip:+44203@gw.example"),
            [
                "<sip:+44201@out.example>;index=1",
                "sip:+44202@out.example;cause=480?Reason=SIP%3Bcause%3D302>;index=1.1;mp=1",
                "sip:+44203@out.example;cause=302>;index=1.2;mp=1.1",
                "<sip:+44202@out.example>;reason=unconditional;counter=1;privacy=off",
                "sip:+44201@out.example>;reason=deflection;counter=1;privacy=off",
            ]
        );
    }

    /// RFC 7044 §10.1.2, RFC 7544 §3.2: at the border what is private is nobody's.
    #[test]
    fn what_is_private_is_hidden() {
        let trail = read(
            "sip:02003@x",
            "Diversion: <sip:02002@x>;reason=user-busy;privacy=off,\r\n \
             \"A\" <sip:02001@x>;reason=unconditional;privacy=full\r\n",
        );
        let trail = trail.unwrap();
        assert_eq!(
            written(&trail, DiversionOut::Both, true, "sip:02003@gw"),
            [
                "<sip:anonymous@anonymous.invalid>;index=1",
                "sip:+442002@out.example;cause=302>;index=1.1;mp=1",
                "sip:+442003@out.example;cause=486>;index=1.1.1;mp=1.1",
                "sip:02003@gw>;index=1.1.1.1;rc=1.1.1",
                "<sip:+442002@out.example>;reason=user-busy;privacy=off",
                "sip:anonymous@anonymous.invalid>;reason=unconditional",
            ]
        );
        let all =
            read("sip:b@x", "Privacy: history\r\nHistory-Info: <sip:a@x>;index=1\r\n").unwrap();
        assert!(all.entries[0].private);
    }

    #[test]
    fn what_is_not_believed_is_not_read() {
        let headers = "History-Info: <sip:a@x>;index=1\r\nDiversion: <sip:b@x>\r\n";
        let none = Believed { history: false, diversion: false };
        assert_eq!(read_as("sip:c@x", headers, none), None);
        let one = Believed { history: false, diversion: true };
        assert_eq!(read_as("sip:c@x", headers, one).unwrap().count(), 1);
        assert_eq!(read("sip:c@x", ""), None);
        assert_eq!(read("sip:c@x", "Diversion: x y z\r\n"), None);
    }

    #[test]
    fn a_call_that_went_too_far_is_known() {
        let many = "Diversion: <sip:a@x>\r\n".repeat(MOST + 1);
        assert_eq!(read("sip:c@x", &many).unwrap().count(), u32::MAX);
        let limited = "Diversion: <sip:a@x>;limit=2,<sip:b@x>;limit=7\r\n";
        assert_eq!(read("sip:c@x", limited).unwrap().limit(), Some(2));
    }
}
