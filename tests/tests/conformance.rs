//! `docs/conformance.md` is complete and true: every requirement stands there once, and each proof
//! it names is a test, a ladder or a scenario that exists.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Requirements of each family, numbered from 1 without a gap.
const FAMILIES: &[(&str, u32)] = &[
    ("SIP-MSG-", 29),
    ("SIP-TRN-", 24),
    ("SIP-WS-", 5),
    ("SIP-KA-", 6),
    ("SIP-TXN-", 24),
    ("SIP-DLG-", 20),
    ("SIP-CAN-", 6),
    ("SIP-BYE-", 4),
    ("SIP-UAS-", 9),
    ("SIP-REG-", 9),
    ("SIP-OB-", 5),
    ("SIP-GIN-", 4),
    ("SIP-PRX-", 30),
    ("SIP-OVL-", 4),
    ("SIP-B2B-", 7),
    ("SIP-AUTH-", 12),
    ("SIP-REL-", 9),
    ("SIP-UPD-", 8),
    ("SIP-OA-", 21),
    ("SIP-TMR-", 11),
    ("SIP-XFR-", 17),
    ("SIP-DIV-", 2),
    ("SIP-HI-", 8),
    ("SIP-RSN-", 9),
    ("SIP-EM-", 6),
    ("DTMF-", 10),
    ("CN-", 2),
    ("G711-", 2),
    ("OPUS-", 8),
    ("SIP-INF-", 1),
    ("SIP-MSGR-", 1),
    ("SIP-OPT-", 1),
    ("SIP-PUB-", 1),
    ("SIP-UUI-", 1),
    ("SIP-CI-", 1),
    ("B2B-T", 19),
    ("SEC-", 7),
    ("RTP-", 23),
    ("MED-", 21),
    ("SRTP-", 7),
    ("SDES-", 6),
];

/// Cases of the field, by name.
const CASES: &[&str] = &[
    "hold_sendonly_answered_recvonly",
    "hold_inactive_only_peer",
    "hold_longer_than_media_timeout",
    "refresh_at_900s_uas_refresher_no_supported_timer",
    "refresher_swaps_midcall",
    "our_refresh_unanswered",
    "glare_both_roles",
    "491_then_488",
    "bye_inside_reinvite",
    "reinvite_no_sdp_opus_side_untouched",
    "reinvite_from_callee_codec_change",
    "reinvite_new_ip_port",
    "reinvite_telephone_event_pt_changes",
    "183_g711_then_200_g729",
    "forked_183_two_tags_then_200_third",
    "183_announcement_486",
    "timestamps_restart_0_at_answer",
    "prack_required",
    "prack_lost",
    "prack_offer",
    "late_offer_in_out",
    "lost_ack_udp",
    "ack_to_contact_via_record_route",
    "bye_over_accepted_tls_conn_other_port_in_rr",
    "tcp_rst_then_bye",
    "cancel_races_200",
    "cancel_then_new_invite_same_callid",
    "srv_first_target_dead",
    "401_retry_same_member",
    "603_not_retried",
    "503_retry_after_next",
    "register_expires_423_401_403_restart",
    "two_registrations_one_ip",
    "unknown_invite_with_catch_all",
    "rfc4733_no_marker",
    "rfc4733_lost_ends",
    "rfc4733_48k_to_8k",
    "rfc4733_interleaved_audio",
    "rfc4733_two_lines_in_sdp",
    "rfc4733_info_and_rtp_both",
    "private_ip_in_sdp",
    "rtp_from_other_ip",
    "srtp_mki",
    "srtp_lifetime",
    "srtp_256_offered_first",
    "savp_in_avp",
    "t38_reinvite_accept",
    "refuse_then_audio",
    "privacy_id_hides_from",
    "big_webrtc_sdp_to_udp_trunk",
    "tls_cert_rotate_live",
    "port_reuse_stale_sender",
    "opus_chunk_edge_click",
    "drift_200ppm_1h",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rows of the tables: id, level, proof.
fn rows() -> Vec<(String, String, String)> {
    let text = fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let cells = |line: &str| line.split(" | ").map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(cells)
        .filter(|cells| cells[0] != "id")
        .map(|cells| (cells[0].clone(), cells[1].clone(), cells.last().unwrap().clone()))
        .collect()
}

#[test]
fn every_requirement_stands_there_once() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for (id, ..) in rows() {
        *seen.entry(id).or_default() += 1;
    }
    for (family, count) in FAMILIES {
        for number in 1..=*count {
            let id = format!("{family}{number:02}");
            assert_eq!(seen.remove(&id), Some(1), "{id}");
        }
    }
    for name in CASES {
        assert_eq!(seen.remove(*name), Some(1), "{name}");
    }
    assert!(seen.is_empty(), "not in any family: {seen:?}");
}

#[test]
fn every_proof_exists() {
    let mut wrong = Vec::new();
    for (id, _, proof) in rows() {
        if let Err(why) = check(&proof) {
            wrong.push(format!("{id}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows of docs/conformance.md:\n{}", wrong.len(), wrong.join("\n"));
}

/// The ladders of an RFC's call flows name others that show the same.
#[test]
fn ladders_that_ladders_name_exist() {
    let folder = root().join("sip-fixtures/flows");
    let mut wrong = Vec::new();
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|kind| kind != "md") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let references = text.split('`').filter(|word| word.contains(".md#"));
        wrong.extend(references.filter_map(|reference| exists(reference).err()));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A proof is a list of references in backticks, or says `**no**` or `**n/a**` and why.
fn check(proof: &str) -> Result<(), String> {
    let excused = proof.strip_prefix("**no**").or_else(|| proof.strip_prefix("**n/a**"));
    let references: Vec<_> = proof.split('`').skip(1).step_by(2).collect();
    match excused {
        Some(why) if why.trim_matches([' ', ':', ',']).len() < 8 => Err("says not why".to_owned()),
        Some(_) => Ok(()),
        None if references.is_empty() => Err(format!("{proof:?} names no test")),
        None => references.into_iter().try_for_each(exists),
    }
}

/// `file.rs::test`, `file.py::test` or `file.md#heading`.
fn exists(reference: &str) -> Result<(), String> {
    let read = |file: &str| {
        fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))
    };
    if let Some((file, name)) = reference.split_once("::") {
        let function = if file.ends_with(".py") { "def" } else { "fn" };
        let text = read(file)?;
        let found = text.contains(&format!("{function} {name}("));
        return if found { Ok(()) } else { Err(format!("{file} has no test {name}")) };
    }
    if let Some((file, heading)) = reference.split_once('#') {
        let text = read(file)?;
        let found = text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
        return if found { Ok(()) } else { Err(format!("{file} has no heading #{heading}")) };
    }
    Err(format!("{reference:?} is neither file::test nor file#heading"))
}

/// The anchor of a heading, as Git forges make it.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    plain
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn a_proof_that_is_not_there_is_found() {
    assert!(check("open").is_err());
    assert!(check("**no**").is_err());
    assert!(check("**no**: no NAPTR in this version").is_ok());
    assert!(check("`tests/tests/conformance.rs::a_proof_that_is_not_there_is_found`").is_ok());
    assert!(check("`tests/tests/conformance.rs::missing`").is_err());
    assert!(check("`docs/conformance.md#conformance`").is_ok());
    assert!(check("`docs/conformance.md#missing`").is_err());
}
