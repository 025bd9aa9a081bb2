//! Names of counters and gauges, and their recorder. Labels have few values: methods, status
//! codes, trunks, routes; never numbers, users or call ids.
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tandem_b2bua::Stats;

/// Live calls.
pub const CALLS_ACTIVE: &str = "tandem_calls_active";
/// Ended calls, by `direction` and reason `code`.
pub const CALLS_ENDED: &str = "tandem_calls_ended_total";
/// Seconds from answer to end of answered calls.
pub const CALL_DURATION: &str = "tandem_call_duration_seconds";
/// Seconds from INVITE to the first 18x or final response.
pub const POST_DIAL_DELAY: &str = "tandem_post_dial_delay_seconds";
/// SIP requests received and sent, by `direction` (`in`, `out`) and `method`.
pub const SIP_REQUESTS: &str = "tandem_sip_requests_total";
/// SIP responses received and sent, by `direction` and `code`.
pub const SIP_RESPONSES: &str = "tandem_sip_responses_total";
/// Datagrams and stream bytes that were no SIP, by `transport`.
pub const SIP_MALFORMED: &str = "tandem_sip_malformed_total";
/// Datagrams that found the signalling loop's queue full.
pub const SIP_DROPPED: &str = "tandem_sip_dropped_total";
/// Connections that found no room.
pub const SIP_CONNECTIONS_REFUSED: &str = "tandem_sip_connections_refused_total";
/// Connections that were closed or refused, by `why`: `refused`, `stalled`, `mute`, `deaf`,
/// `descriptors`.
pub const SIP_CONNECTIONS_CLOSED: &str = "tandem_sip_connections_closed_total";
/// HTTP connections that found no room.
pub const HTTP_CONNECTIONS_REFUSED: &str = "tandem_http_connections_refused_total";
/// TLS handshakes that failed, by `direction`.
pub const SIP_HANDSHAKES_FAILED: &str = "tandem_sip_tls_handshakes_failed_total";
/// Days until the certificate of a `listener` ends.
pub const CERTIFICATE_DAYS: &str = "tandem_certificate_days_left";
/// Whether a trunk answers, by `trunk`.
pub const TRUNK_UP: &str = "tandem_trunk_up";
/// Gauge by trunk: 1 while its registration at the carrier holds.
pub const TRUNK_REGISTERED: &str = "tandem_trunk_registered";
/// Contacts of phones that are registered, by `trunk`.
pub const TRUNK_BINDINGS: &str = "tandem_trunk_bindings";
/// Calls on a trunk, by `trunk`.
pub const TRUNK_CHANNELS: &str = "tandem_trunk_channels";
/// Whether an address of a gateway answers OPTIONS, by `trunk` and `address`.
pub const GATEWAY_UP: &str = "tandem_gateway_up";
/// Seconds until its last answer, by `trunk` and `address`.
pub const GATEWAY_PING: &str = "tandem_gateway_ping_seconds";
/// HTTP requests, by `method`, `route` and `status`.
pub const HTTP_REQUESTS: &str = "tandem_http_requests_total";
/// Seconds until a handler's answer, by `route`.
pub const HTTP_SECONDS: &str = "tandem_http_request_seconds";
/// Handlers that waited in vain for the signalling loop.
pub const HTTP_GATEWAY_TIMEOUTS: &str = "tandem_http_gateway_timeouts_total";
/// Open event streams.
pub const EVENT_STREAMS: &str = "tandem_event_streams";
/// Published events, by `type`.
pub const EVENTS: &str = "tandem_events_total";
/// Legs whose sound went one way only, by `cause`.
pub const ONE_WAY: &str = "tandem_one_way_total";
/// Milliseconds of sound cut away because it was too old.
pub const MEDIA_TRIMMED: &str = "tandem_media_trimmed_milliseconds_total";
/// Times that trunk files and routes were read again, by `result`: `changed`, `unchanged`, `refused`.
pub const CONFIG_RELOADS: &str = "tandem_config_reloads_total";
/// Quality of sound every 5 s, by `leg` (`sip`, `app`) and `direction` (`received`, `sent`): MOS 1 to
/// 4.5 (ITU-T G.107).
pub const MOS: &str = "tandem_media_mos";
/// The same of lost packets, 0 to 1.
pub const LOSS: &str = "tandem_media_loss_ratio";
/// The same of packets missing within bursts (RFC 3611 §4.7.2), 0 to 1, where there was a burst.
pub const BURST_DENSITY: &str = "tandem_media_burst_density_ratio";
/// The same of the mean length of a burst.
pub const BURST: &str = "tandem_media_burst_seconds";
/// The same of jitter (RFC 3550 §6.4.1).
pub const JITTER: &str = "tandem_media_jitter_seconds";
/// Round trip to a `leg`'s peer, every 5 s.
pub const ROUND_TRIP: &str = "tandem_media_round_trip_seconds";
/// Records on disk.
pub const CDRS_WRITTEN: &str = "tandem_cdrs_written_total";
/// Records that wait for the disk.
pub const CDRS_PENDING: &str = "tandem_cdrs_pending";
/// Failed attempts to write records.
pub const CDR_WRITE_ERRORS: &str = "tandem_cdr_write_errors_total";

/// Bounds of the histograms of answers, seconds.
const ANSWER_BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 5.0];
/// Bounds of the histograms of people: delays and talk times, seconds.
const TALK_BUCKETS: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// Bounds of the histograms of scores: G.107 annex B calls 4.3 very satisfied, 3.6 and less not.
const SCORE_BUCKETS: [f64; 8] = [1.5, 2.0, 2.6, 3.1, 3.6, 4.0, 4.3, 4.5];
/// Bounds of the histograms of shares.
const SHARE_BUCKETS: [f64; 8] = [0.0, 0.005, 0.01, 0.03, 0.05, 0.1, 0.3, 1.0];
/// Bounds of the histograms of delays of packets, seconds.
const PACKET_BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 1.0, 5.0];

/// Installs the process's recorder. Fails if there is one already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(HTTP_SECONDS.to_owned()), &ANSWER_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(CALL_DURATION.to_owned()), &TALK_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(POST_DIAL_DELAY.to_owned()), &TALK_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(MOS.to_owned()), &SCORE_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(LOSS.to_owned()), &SHARE_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(BURST_DENSITY.to_owned()), &SHARE_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(BURST.to_owned()), &PACKET_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(JITTER.to_owned()), &PACKET_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(ROUND_TRIP.to_owned()), &PACKET_BUCKETS)
}

/// Figures of a leg, as they come every 5 s.
pub fn quality(leg: &'static str, stats: &Stats) {
    let milliseconds = |time: f32| f64::from(time) / 1e3;
    let observe = |name: &'static str, direction: &'static str, value: Option<f64>| {
        if let Some(value) = value {
            histogram!(name, "leg" => leg, "direction" => direction).record(value);
        }
    };
    for (direction, voip, mos, jitter) in [
        ("received", &stats.voip_received, stats.mos_received, Some(stats.jitter_ms)),
        ("sent", &stats.voip_sent, stats.mos_sent, stats.remote_jitter_ms),
    ] {
        let burst = voip.as_ref().filter(|voip| voip.burst_ms > 0);
        let share = |octet: u8| f64::from(octet) / 256.0;
        observe(MOS, direction, mos.map(f64::from));
        observe(JITTER, direction, jitter.map(milliseconds));
        observe(BURST_DENSITY, direction, burst.map(|voip| share(voip.burst_density)));
        observe(BURST, direction, burst.map(|voip| f64::from(voip.burst_ms) / 1e3));
    }
    let expected = stats.packets_received + stats.packets_lost;
    let lost = stats.packets_lost as f64 / expected.max(1) as f64;
    observe(LOSS, "received", (expected > 0).then_some(lost));
    observe(LOSS, "sent", stats.remote_loss.map(f64::from));
    if let Some(trip) = stats.round_trip_ms {
        histogram!(ROUND_TRIP, "leg" => leg).record(milliseconds(trip));
    }
}

fn describe() {
    for (name, text) in [
        (CALLS_ACTIVE, "Live calls"),
        (CERTIFICATE_DAYS, "Days until the listener's certificate ends"),
        (TRUNK_UP, "Whether the trunk answers"),
        (TRUNK_BINDINGS, "Contacts of phones that are registered"),
        (TRUNK_REGISTERED, "Whether the trunk's registration holds"),
        (TRUNK_CHANNELS, "Calls on the trunk"),
        (GATEWAY_UP, "Whether the address answers OPTIONS"),
        (GATEWAY_PING, "Until the last answer to OPTIONS"),
        (EVENT_STREAMS, "Open event streams"),
        (CDRS_PENDING, "Records that wait for the disk"),
    ] {
        describe_gauge!(name, text);
    }
    for (name, text) in [
        (CALLS_ENDED, "Ended calls"),
        (SIP_REQUESTS, "SIP requests"),
        (SIP_RESPONSES, "SIP responses"),
        (SIP_MALFORMED, "What was no SIP"),
        (SIP_CONNECTIONS_REFUSED, "Connections that found no room"),
        (SIP_CONNECTIONS_CLOSED, "Connections of peers that misbehave"),
        (HTTP_CONNECTIONS_REFUSED, "HTTP connections that found no room"),
        (SIP_HANDSHAKES_FAILED, "TLS handshakes that failed"),
        (SIP_DROPPED, "Datagrams lost to a full queue"),
        (HTTP_REQUESTS, "HTTP requests"),
        (HTTP_GATEWAY_TIMEOUTS, "Handlers that waited in vain for signalling"),
        (EVENTS, "Published events"),
        (ONE_WAY, "Legs whose sound went one way only"),
        (MEDIA_TRIMMED, "Milliseconds of sound cut away because it was too old"),
        (CONFIG_RELOADS, "Times that trunk files and routes were read again"),
        (CDRS_WRITTEN, "Records on disk"),
        (CDR_WRITE_ERRORS, "Failed attempts to write records"),
    ] {
        describe_counter!(name, text);
    }
    describe_histogram!(CALL_DURATION, Unit::Seconds, "From answer to end");
    describe_histogram!(POST_DIAL_DELAY, Unit::Seconds, "From INVITE to the first 18x or final");
    describe_histogram!(HTTP_SECONDS, Unit::Seconds, "Until a handler's answer");
    describe_histogram!(MOS, "Quality of a leg's sound, MOS by the E-model");
    describe_histogram!(LOSS, "Lost packets of a leg");
    describe_histogram!(BURST_DENSITY, "Packets missing within bursts");
    describe_histogram!(BURST, Unit::Seconds, "Mean length of a burst of loss");
    describe_histogram!(JITTER, Unit::Seconds, "Interarrival jitter");
    describe_histogram!(ROUND_TRIP, Unit::Seconds, "Round trip to a leg's peer");
}

/// The exporter's text as OpenMetrics 1.0: there a counter's family is named without `_total`, and
/// `# EOF` ends the page.
pub fn openmetrics(prometheus: &str) -> String {
    let counters: Vec<&str> = prometheus
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix("_total counter"))
        .collect();
    let mut page = String::with_capacity(prometheus.len() + 8);
    for line in prometheus.lines().filter(|line| !line.is_empty()) {
        page.push_str(&family(line, &counters));
        page.push('\n');
    }
    page.push_str("# EOF\n");
    page
}

/// `# TYPE x_total counter` as `# TYPE x counter`, and `# HELP` likewise; other lines as they are.
fn family(line: &str, counters: &[&str]) -> String {
    let mut words = line.splitn(4, ' ');
    if let (Some("#"), Some(what), Some(name), Some(rest)) =
        (words.next(), words.next(), words.next(), words.next())
        && let Some(family) = name.strip_suffix("_total")
        && counters.contains(&family)
    {
        return format!("# {what} {family} {rest}");
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_openmetrics() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!(SIP_REQUESTS, "method" => "INVITE").increment(2);
            metrics::gauge!(CALLS_ACTIVE).set(1.0);
            metrics::histogram!(HTTP_SECONDS, "route" => "/v1/calls").record(0.002);
        });
        let page = openmetrics(&handle.render());
        assert!(page.contains("# HELP tandem_sip_requests SIP requests\n"), "{page}");
        assert!(page.contains("# TYPE tandem_sip_requests counter\n"), "{page}");
        assert!(page.contains("tandem_sip_requests_total{method=\"INVITE\"} 2\n"), "{page}");
        assert!(page.contains("# TYPE tandem_calls_active gauge\n"), "{page}");
        assert!(
            page.contains("tandem_http_request_seconds_bucket{route=\"/v1/calls\",le=\"0.005\"} 1"),
            "{page}"
        );
        assert!(page.ends_with("# EOF\n"));
        assert!(!page.contains("\n\n"));
    }

    #[test]
    fn quality_is_on_the_page_by_leg_and_direction() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        let bursts = tandem_rtp::Spread { burst_density: 0.5, burst: 6.0, ..Default::default() };
        let stats = Stats {
            packets_received: 95,
            packets_lost: 5,
            mos_received: Some(4.2),
            jitter_ms: 15.0,
            remote_loss: Some(0.02),
            round_trip_ms: Some(90.0),
            voip_received: Some(Box::new(tandem_b2bua::VoipMetrics::of(1, &bursts, 20.0))),
            ..Stats::default()
        };
        metrics::with_local_recorder(&recorder, || quality("sip", &stats));
        let page = handle.render();
        for line in [
            "tandem_media_mos_bucket{leg=\"sip\",direction=\"received\",le=\"4.3\"} 1",
            "tandem_media_loss_ratio_bucket{leg=\"sip\",direction=\"received\",le=\"0.03\"} 0",
            "tandem_media_loss_ratio_bucket{leg=\"sip\",direction=\"received\",le=\"0.05\"} 1",
            "tandem_media_loss_ratio_bucket{leg=\"sip\",direction=\"sent\",le=\"0.03\"} 1",
            "tandem_media_burst_density_ratio_sum{leg=\"sip\",direction=\"received\"} 0.5",
            "tandem_media_burst_seconds_sum{leg=\"sip\",direction=\"received\"} 0.12",
            "tandem_media_round_trip_seconds_count{leg=\"sip\"} 1",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
        assert!(!page.contains("mos_bucket{leg=\"sip\",direction=\"sent\""), "{page}");
    }
}
