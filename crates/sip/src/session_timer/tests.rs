#![allow(clippy::disallowed_methods, reason = "a test's clock begins somewhere")]
use super::*;
use crate::message::{Method, RequestBuilder, ResponseBuilder, StatusCode};

fn request(headers: &[(HeaderName, &str)]) -> Message {
    let via = "SIP/2.0/UDP a;branch=z9hG4bK1";
    let start = RequestBuilder::new(&Method::Invite, "sip:b@b").header(HeaderName::Via, via);
    headers.iter().fold(start, |builder, (name, value)| builder.header(*name, value)).build()
}

fn response(headers: &[(HeaderName, &str)]) -> Message {
    let start = ResponseBuilder::new(&request(&[]), StatusCode::OK);
    headers.iter().fold(start, |builder, (name, value)| builder.header(*name, value)).build()
}

const SUPPORTED: (HeaderName, &str) = (HeaderName::Supported, "100rel, timer");

fn expires(value: &'static str) -> (HeaderName, &'static str) {
    (HeaderName::SessionExpires, value)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn policy(mode: Mode) -> Policy {
    Policy { mode, ..Policy::default() }
}

/// The value of a header that was written.
fn value(written: &Written, name: HeaderName) -> Option<&str> {
    written.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
}

/// A timer whose interval of 1800 s is ours (or the peer's) to refresh, begun at the instant.
fn running(ours: bool) -> (SessionTimer, Instant) {
    let start = Instant::now();
    let mut timer = SessionTimer::default();
    let who = if ours { "1800;refresher=uac" } else { "1800;refresher=uas" };
    timer.on_success(start, &policy(Mode::Accept), &response(&[expires(who)]));
    (timer, start)
}

#[test]
fn refreshing_asks_at_half_the_interval() {
    let (mut timer, start) = running(true);
    assert_eq!(timer.poll_timeout(), Some(start + secs(900)));
    assert_eq!(timer.handle_timeout(start + secs(899)), None);
    assert_eq!(timer.handle_timeout(start + secs(900)), Some(Due::Refresh));
    // The end of the session stands until a 2xx moves it.
    assert_eq!(timer.poll_timeout(), Some(start + secs(1768)));
    assert_eq!(timer.handle_timeout(start + secs(900)), None);
    timer.on_success(
        start + secs(901),
        &policy(Mode::Accept),
        &response(&[expires("1800;refresher=uac")]),
    );
    assert_eq!(timer.poll_timeout(), Some(start + secs(1801)));
}

#[test]
fn a_session_nobody_refreshes_ends_before_its_interval() {
    for (ours, interval, end) in
        [(false, "1800;refresher=uas", 1768), (false, "90;refresher=uas", 60), (true, "90", 60)]
    {
        let (_, start) = running(ours);
        let mut timer = SessionTimer::default();
        timer.on_success(start, &policy(Mode::Accept), &response(&[expires(interval)]));
        if ours {
            assert_eq!(timer.handle_timeout(start + secs(45)), Some(Due::Refresh));
        }
        assert_eq!(timer.poll_timeout(), Some(start + secs(end)), "{interval}");
        assert_eq!(timer.handle_timeout(start + secs(end)), Some(Due::Expired));
        assert_eq!((timer.is_running(), timer.poll_timeout()), (false, None));
    }
}

#[test]
fn a_2xx_without_session_expires_ends_the_timer_unless_we_insist() {
    let (mut timer, start) = running(false);
    timer.on_success(start, &policy(Mode::Accept), &response(&[]));
    assert!(!timer.is_running());
    // §7.2: only we want it, so it is ours to refresh.
    timer.on_success(start, &policy(Mode::Always), &response(&[]));
    assert_eq!(timer.poll_timeout(), Some(start + secs(900)));
    timer.on_success(start, &policy(Mode::Off), &response(&[expires("1800")]));
    assert!(!timer.is_running());
}

#[test]
fn failures_of_a_refresh() {
    // status, what is due at once, when the next one is sent
    for (status, due, next) in [
        (408, Some(Due::Expired), None),
        (481, Some(Due::Expired), None),
        (422, None, Some(900)),
        (500, None, Some(900 + 434)),
        (488, None, Some(900 + 434)),
        (405, None, Some(900 + 434)),
    ] {
        let (mut timer, start) = running(true);
        timer.handle_timeout(start + secs(900));
        let policy = policy(Mode::Accept);
        let refusal = response(&[(HeaderName::MinSe, "2000")]);
        assert_eq!(timer.on_failure(start + secs(900), status, Some(&refusal)), due, "{status}");
        assert_eq!(timer.poll_timeout(), next.map(|n| start + secs(n)), "{status}");
        let asks = timer.ask(&policy);
        if status == 422 {
            assert_eq!(value(&asks, HeaderName::MinSe), Some("2000"));
            assert_eq!(value(&asks, HeaderName::SessionExpires), Some("2000;refresher=uac"));
        } else {
            assert_eq!(value(&asks, HeaderName::MinSe), None);
        }
    }
    // Close to the end the pauses do not shrink to nothing, and the end comes.
    let (mut timer, start) = running(true);
    timer.handle_timeout(start + secs(900));
    timer.on_failure(start + secs(1766), 500, None);
    assert_eq!(timer.poll_timeout(), Some(start + secs(1768)));
    assert_eq!(timer.handle_timeout(start + secs(1768)), Some(Due::Expired));
    // A request that was no refresh of ours fails without a consequence.
    let (mut timer, start) = running(true);
    assert_eq!(timer.on_failure(start, 481, None), None);
    assert_eq!(timer.poll_timeout(), Some(start + secs(900)));
}

#[test]
fn what_a_request_of_ours_says() {
    let timer = SessionTimer::default();
    assert_eq!(timer.ask(&policy(Mode::Off)), Vec::new());
    let quiet = timer.ask(&policy(Mode::Accept));
    assert_eq!(quiet, []);
    let always = timer.ask(&policy(Mode::Always));
    assert_eq!(value(&always, HeaderName::SessionExpires), Some("1800"));
    // §7.4: the roles stay as they are.
    let (ours, _) = running(true);
    let asks = ours.ask(&policy(Mode::Accept));
    assert_eq!(value(&asks, HeaderName::SessionExpires), Some("1800;refresher=uac"));
    let (theirs, _) = running(false);
    let asks = theirs.ask(&policy(Mode::Accept));
    assert_eq!(value(&asks, HeaderName::SessionExpires), Some("1800;refresher=uas"));
}

#[test]
fn a_422_before_the_dialog_raises_what_is_asked() {
    let mut timer = SessionTimer::default();
    let refusal = response(&[(HeaderName::MinSe, "3600")]);
    assert_eq!(timer.on_failure(Instant::now(), 422, Some(&refusal)), None);
    let asks = timer.ask(&policy(Mode::Always));
    assert_eq!(value(&asks, HeaderName::SessionExpires), Some("3600"));
    assert_eq!(value(&asks, HeaderName::MinSe), Some("3600"));
}

#[test]
fn too_short_an_interval_is_refused_to_those_who_understand() {
    let timer = SessionTimer::default();
    let check = |policy: &Policy, headers: &[(HeaderName, &'static str)]| {
        timer.check(policy, &Asked::of(&request(headers)))
    };
    let accept = policy(Mode::Accept);
    assert_eq!(check(&accept, &[SUPPORTED, expires("60")]), Err(90));
    assert_eq!(check(&accept, &[SUPPORTED, expires("90")]), Ok(()));
    assert_eq!(check(&accept, &[expires("60")]), Ok(()));
    assert_eq!(check(&policy(Mode::Off), &[SUPPORTED, expires("60")]), Ok(()));
    let long = Policy { min_se: secs(600), ..accept };
    assert_eq!(check(&long, &[SUPPORTED, expires("599")]), Err(600));
    // §9: never below 90, whatever is configured.
    let short = Policy { min_se: secs(10), ..accept };
    assert_eq!(check(&short, &[SUPPORTED, expires("50")]), Err(90));
}

/// RFC 4028 table 2, row by row.
#[test]
fn the_refresher_is_chosen_as_table_2_says() {
    for (supported, asked, preference, answer) in [
        (false, "1800", Refresher::Peer, "1800;refresher=uas"),
        (false, "1800", Refresher::Us, "1800;refresher=uas"),
        (false, "1800;refresher=uas", Refresher::Us, "1800;refresher=uas"),
        // "NA": not allowed by the protocol; who does not know the timer cannot refresh.
        (false, "1800;refresher=uac", Refresher::Peer, "1800;refresher=uas"),
        (true, "1800", Refresher::Peer, "1800;refresher=uac"),
        (true, "1800", Refresher::Us, "1800;refresher=uas"),
        (true, "1800;refresher=uac", Refresher::Us, "1800;refresher=uac"),
        (true, "1800 ; Refresher=UAS", Refresher::Peer, "1800;refresher=uas"),
    ] {
        let mut headers = vec![expires(asked)];
        headers.extend(supported.then_some(SUPPORTED));
        let policy = Policy { refresher: preference, ..policy(Mode::Accept) };
        let mut timer = SessionTimer::default();
        let start = Instant::now();
        let written = timer.grant(start, &policy, &Asked::of(&request(&headers)));
        assert_eq!(value(&written, HeaderName::SessionExpires), Some(answer), "{asked}");
        // §9: MUST with refresher=uac, SHOULD with uas where the peer understands.
        let require = value(&written, HeaderName::Require);
        assert_eq!(require, supported.then_some("timer"), "{asked}");
        let ours = answer.ends_with("uas");
        let next = if ours { secs(900) } else { secs(1768) };
        assert_eq!(timer.poll_timeout(), Some(start + next), "{asked}");
    }
}

#[test]
fn an_interval_is_lowered_where_we_insist_and_never_raised() {
    for (mode, headers, answer) in [
        (Mode::Always, vec![SUPPORTED, expires("7200")], Some("1800;refresher=uac")),
        (Mode::Always, vec![SUPPORTED, expires("600")], Some("600;refresher=uac")),
        (
            Mode::Always,
            vec![SUPPORTED, expires("7200"), (HeaderName::MinSe, "3600")],
            Some("3600;refresher=uac"),
        ),
        (Mode::Always, vec![SUPPORTED], Some("1800;refresher=uac")),
        (Mode::Always, vec![], Some("1800;refresher=uas")),
        (Mode::Accept, vec![SUPPORTED, expires("7200")], Some("7200;refresher=uac")),
        (Mode::Accept, vec![SUPPORTED], None),
        (Mode::Accept, vec![], None),
        (Mode::Accept, vec![expires("20")], None),
        (Mode::Accept, vec![expires("soon")], None),
        (Mode::Off, vec![SUPPORTED, expires("1800")], None),
    ] {
        let mut timer = SessionTimer::default();
        let asked = Asked::of(&request(&headers));
        let written = timer.grant(Instant::now(), &policy(mode), &asked);
        assert_eq!(value(&written, HeaderName::SessionExpires), answer, "{mode:?} {headers:?}");
        assert_eq!(timer.is_running(), answer.is_some());
    }
}

#[test]
fn min_se_of_a_peer_s_refresh_is_kept_for_ours() {
    let mut timer = SessionTimer::default();
    let headers = [SUPPORTED, expires("1800"), (HeaderName::MinSe, "1200")];
    timer.grant(Instant::now(), &policy(Mode::Accept), &Asked::of(&request(&headers)));
    let asks = timer.ask(&policy(Mode::Accept));
    assert_eq!(value(&asks, HeaderName::MinSe), Some("1200"));
}

#[test]
fn the_roles_may_swap_with_each_refresh() {
    let (mut timer, start) = running(true);
    let swap = [SUPPORTED, expires("1800;refresher=uac")];
    let at = start + secs(600);
    let written = timer.grant(at, &policy(Mode::Accept), &Asked::of(&request(&swap)));
    assert_eq!(value(&written, HeaderName::SessionExpires), Some("1800;refresher=uac"));
    assert_eq!(timer.poll_timeout(), Some(at + secs(1768)));
    timer.on_success(at, &policy(Mode::Accept), &response(&[expires("1800;refresher=uac")]));
    assert_eq!(timer.poll_timeout(), Some(at + secs(900)));
}
