use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn master_of(suite: Suite, first: u8, mki: &[u8], lifetime: Lifetime) -> Master {
    let len = suite.key_len() + suite.salt_len();
    let secret: Vec<u8> = (0..len).map(|n| n as u8 + first).collect();
    Master::new(suite, &secret, mki, lifetime).unwrap()
}

fn master(suite: Suite) -> Master {
    master_of(suite, 1, &[], Lifetime::LONGEST)
}

fn rtp(sequence: u16) -> Vec<u8> {
    let header = crate::Header {
        marker: true,
        payload_type: 8,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 0xcafe_babe,
    };
    let mut packet = vec![0xd5; 32];
    header.write(&mut packet);
    packet
}

/// An empty receiver report and a CNAME.
fn rtcp() -> Vec<u8> {
    hex("80c90001 cafebabe 81ca0003 cafebabe 01046162 63640000")
}

fn sealed(sender: &mut Sender, plain: &[u8]) -> Result<Vec<u8>, Unsendable> {
    let mut buffer = [plain, &[0; MAX_OVERHEAD]].concat();
    let len = sender.protect_rtp(&mut buffer, plain.len())?;
    buffer.truncate(len);
    Ok(buffer)
}

fn sealed_rtcp(sender: &mut Sender, plain: &[u8]) -> Vec<u8> {
    let mut buffer = [plain, &[0; MAX_OVERHEAD]].concat();
    let len = sender.protect_rtcp(&mut buffer, plain.len()).unwrap();
    buffer.truncate(len);
    buffer
}

fn opened(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut buffer = packet.to_vec();
    let len = receiver.unprotect_rtp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn opened_rtcp(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut buffer = packet.to_vec();
    let len = receiver.unprotect_rtcp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

/// What libsrtp 2 makes of the same packets (numbers 65535 and 0; SRTCP indexes 1 and 2), under a
/// master key and salt of the octets 1, 2, 3 …
const LIBSRTP: [(Suite, [&str; 4]); 4] = [
    (
        Suite::Aes128CmSha1_80,
        [
            "8088ffff009fff60cafebabe3a75ddba4711d1f9bcaf3555f9ef9b2a57475de8ae29499ba1f3acb9507a",
            "8088000000000000cafebabe0e4148a4d4964b96494cf26f57bd78e1ae9c18a0c094b2f07074f6d89128",
            "80c90001cafebabe2991095bff830743309d7264e01578d180000001ec9e226e72b82cae89dd",
            "80c90001cafebabe359dba0a70968d052f5a7307a212181580000002ad172ac269eec1a81ba8",
        ],
    ),
    (
        Suite::Aes128CmSha1_32,
        [
            "8088ffff009fff60cafebabe3a75ddba4711d1f9bcaf3555f9ef9b2a57475de8ae29499b",
            "8088000000000000cafebabe0e4148a4d4964b96494cf26f57bd78e1ae9c18a0c094b2f0",
            "80c90001cafebabe2991095bff830743309d7264e01578d180000001ec9e226e72b82cae89dd",
            "80c90001cafebabe359dba0a70968d052f5a7307a212181580000002ad172ac269eec1a81ba8",
        ],
    ),
    (
        Suite::Aes128Gcm,
        [
            "8088ffff009fff60cafebabec6891643849c7d5bb2c17213f370ad675904a579c70832d5e1849397641a
            e85396d1dd2f",
            "8088000000000000cafebabe332d41543a535dbb4646faf1fba61311cabc469262236d91731fe7e4d376
            2aec14fcb73e",
            "80c90001cafebabef11dc81c126e354ab11cc50e22a4ee23a871fec746d10622c0aba563f219b08b8000
            0001",
            "80c90001cafebabeacec170ca0258db63739c32ae46efb85d759932840edf7722c712e8bed4baac48000
            0002",
        ],
    ),
    (
        Suite::Aes256Gcm,
        [
            "8088ffff009fff60cafebabea212a0b96415a05c931a0d9124a6b5cacc52180f264db4022045a4da3f29
            2f6299689816",
            "8088000000000000cafebabe541ad69d6825a6171678ab99b3123b11a46b001fbd6f48d2493137c3fed8
            5f5c0d4b05fe",
            "80c90001cafebabeaf994aa3d34eeb2fb2938b38f1885a973a6011e928429cf4db2549577b3ddb938000
            0001",
            "80c90001cafebabe803a3f878e8cc349b7bb67e7066e276ef03591686729dceca8c7587c44d650568000
            0002",
        ],
    ),
];

#[test]
fn packets_are_those_of_libsrtp() {
    for (suite, [first, second, report, next_report]) in LIBSRTP {
        let master = master(suite);
        let mut sender = Sender::new(&master);
        assert_eq!(sealed(&mut sender, &rtp(65_535)), Ok(hex(first)), "{suite:?}");
        assert_eq!(sealed(&mut sender, &rtp(0)), Ok(hex(second)), "{suite:?}");
        sealed_rtcp(&mut sender, &rtcp());
        assert_eq!(sealed_rtcp(&mut sender, &rtcp()), hex(report), "{suite:?}");
        let mut receiver = Receiver::new(&[master]);
        assert_eq!(opened(&mut receiver, &hex(first)), Ok(rtp(65_535)));
        assert_eq!(opened(&mut receiver, &hex(second)), Ok(rtp(0)));
        assert_eq!(opened_rtcp(&mut receiver, &hex(next_report)), Ok(rtcp()));
        assert_eq!(opened_rtcp(&mut receiver, &hex(report)), Ok(rtcp()), "in another order");
    }
}

#[test]
fn what_one_side_seals_the_other_opens_with_and_without_identifier() {
    for suite in Suite::ALL {
        for mki in [&[][..], &[7], &[0, 0, 0, 1], &[9; MAX_MKI]] {
            let master = master_of(suite, 3, mki, Lifetime::LONGEST);
            let mut sender = Sender::new(&master);
            let mut receiver = Receiver::new(std::slice::from_ref(&master));
            // With a contributing source and an extension, which stay in clear.
            let mut plain = rtp(100);
            plain.splice(12..12, hex("11111111 bede0001 10203040"));
            plain[0] |= 0x11;
            let packet = sealed(&mut sender, &plain).unwrap();
            assert_eq!(packet.len(), plain.len() + suite.tag_len() + mki.len());
            assert_eq!(
                (&packet[..24], &packet[24..28] == b"\xd5\xd5\xd5\xd5"),
                (&plain[..24], false)
            );
            assert_eq!(opened(&mut receiver, &packet), Ok(plain));
            let report = sealed_rtcp(&mut sender, &rtcp());
            assert_eq!(report.len(), rtcp().len() + 4 + suite.rtcp_tag_len() + mki.len());
            assert_eq!(opened_rtcp(&mut receiver, &report), Ok(rtcp()));
        }
    }
    assert_eq!(Master::new(Suite::Aes128Gcm, &[0; 30], &[], Lifetime::LONGEST), None);
    assert_eq!(Master::new(Suite::Aes128Gcm, &[0; 28], &[0; 17], Lifetime::LONGEST), None);
}

#[test]
fn a_packet_changed_anywhere_is_forged_and_left_as_it_was() {
    for suite in Suite::ALL {
        let master = master_of(suite, 1, &[1], Lifetime::LONGEST);
        let mut sender = Sender::new(&master);
        let packet = sealed(&mut sender, &rtp(7)).unwrap();
        let report = sealed_rtcp(&mut sender, &rtcp());
        let mut receiver = Receiver::new(&[master]);
        for place in 0..packet.len() {
            let mut changed = packet.clone();
            changed[place] ^= 0x10;
            let as_sent = changed.clone();
            let result = receiver.unprotect_rtp(&mut changed);
            // The first octet also says how long the header is.
            assert!(
                matches!(result, Err(Refused::Forged | Refused::Malformed)),
                "{suite:?} {place}: {result:?}"
            );
            assert_eq!(changed, as_sent);
        }
        for place in 0..report.len() {
            let mut changed = report.clone();
            changed[place] ^= 0x80;
            assert!(receiver.unprotect_rtcp(&mut changed).is_err(), "{suite:?} {place}");
        }
        // And none of that has kept the true ones out.
        assert_eq!(opened(&mut receiver, &packet), Ok(rtp(7)));
        assert_eq!(opened_rtcp(&mut receiver, &report), Ok(rtcp()));
    }
}

#[test]
fn whatever_is_cut_short_or_plain_is_refused() {
    for suite in Suite::ALL {
        let mut sender = Sender::new(&master(suite));
        let mut receiver = Receiver::new(&[master(suite)]);
        let packet = sealed(&mut sender, &rtp(7)).unwrap();
        let report = sealed_rtcp(&mut sender, &rtcp());
        for len in 0..packet.len() {
            assert!(opened(&mut receiver, &packet[..len]).is_err(), "{suite:?} {len}");
        }
        for len in 0..report.len() {
            assert!(opened_rtcp(&mut receiver, &report[..len]).is_err(), "{suite:?} {len}");
        }
        assert_eq!(opened(&mut receiver, &rtp(7)), Err(Refused::Forged));
        assert!(opened_rtcp(&mut receiver, &rtcp()).is_err());
        // Under another key.
        let other = Receiver::new(&[master_of(suite, 2, &[], Lifetime::LONGEST)]);
        assert_eq!(opened(&mut { other }, &packet), Err(Refused::Forged));
    }
}

#[test]
fn a_packet_is_taken_once_in_any_order() {
    let mut sender = Sender::new(&master(Suite::Aes128CmSha1_80));
    let mut receiver = Receiver::new(&[master(Suite::Aes128CmSha1_80)]);
    let packets: Vec<_> = (65_500..65_536)
        .chain(0..200)
        .map(|n| sealed(&mut sender, &rtp(n as u16)).unwrap())
        .collect();
    for pair in packets[2..].chunks(2) {
        for packet in pair.iter().rev() {
            assert!(opened(&mut receiver, packet).is_ok());
            assert_eq!(opened(&mut receiver, packet), Err(Refused::Replayed));
        }
    }
    assert_eq!(opened(&mut receiver, &packets[1]), Err(Refused::Replayed), "too old to tell");
    let report = sealed_rtcp(&mut sender, &rtcp());
    assert!(opened_rtcp(&mut receiver, &report).is_ok());
    assert_eq!(opened_rtcp(&mut receiver, &report), Err(Refused::Replayed));
}

#[test]
fn numbers_wrap_many_times() {
    let mut sender = Sender::new(&master(Suite::Aes128Gcm));
    let mut receiver = Receiver::new(&[master(Suite::Aes128Gcm)]);
    let mut last = Vec::new();
    for n in (0..300_000u32).step_by(100) {
        let packet = sealed(&mut sender, &rtp(n as u16)).unwrap();
        // One in a hundred on the way is enough for the receiver to follow.
        if n % 10_000 == 0 {
            assert!(opened(&mut receiver, &packet).is_ok(), "{n}");
        }
        last = packet;
    }
    // 4 wraps in: the same number of the first round is another packet.
    let mut anew = Sender::new(&master(Suite::Aes128Gcm));
    let first_round = sealed(&mut anew, &rtp(299_900u32 as u16)).unwrap();
    assert_eq!(opened(&mut receiver, &first_round), Err(Refused::Forged));
    assert!(opened(&mut receiver, &last).is_ok());
}

#[test]
fn no_number_is_sent_twice_under_one_key() {
    let first = master(Suite::Aes256CmSha1_80);
    let mut sender = Sender::new(&first);
    assert!(sealed(&mut sender, &rtp(5)).is_ok() && sealed(&mut sender, &rtp(4)).is_ok());
    assert_eq!(sealed(&mut sender, &rtp(5)), Err(Unsendable::Used));
    assert_eq!(sealed(&mut sender, &rtp(65_535)), Err(Unsendable::Used), "before the first");
    let second = master_of(Suite::Aes256CmSha1_80, 9, &[], Lifetime::LONGEST);
    assert!(sealed(&mut sender.rekey(&second), &rtp(5)).is_ok());
}

#[test]
fn a_key_is_used_no_longer_than_its_lifetime() {
    let short = master_of(Suite::Aes128CmSha1_80, 1, &[], Lifetime { rtp: 2, rtcp: 1 });
    let mut sender = Sender::new(&short);
    assert!(sealed(&mut sender, &rtp(1)).is_ok() && sealed(&mut sender, &rtp(2)).is_ok());
    assert_eq!(sealed(&mut sender, &rtp(3)), Err(Unsendable::Expired));
    sealed_rtcp(&mut sender, &rtcp());
    let mut buffer = [rtcp(), vec![0; MAX_OVERHEAD]].concat();
    assert_eq!(sender.protect_rtcp(&mut buffer, 24), Err(Unsendable::Expired));

    let mut unlimited = Sender::new(&master(Suite::Aes128CmSha1_80));
    let mut receiver = Receiver::new(&[short]);
    let results: Vec<bool> = (1..4)
        .map(|n| opened(&mut receiver, &sealed(&mut unlimited, &rtp(n)).unwrap()).is_ok())
        .collect();
    assert_eq!(results, [true, true, false]);
    let reports = [sealed_rtcp(&mut unlimited, &rtcp()), sealed_rtcp(&mut unlimited, &rtcp())];
    assert!(opened_rtcp(&mut receiver, &reports[0]).is_ok());
    assert_eq!(opened_rtcp(&mut receiver, &reports[1]), Err(Refused::Expired));
}

#[test]
fn wraps_go_on_under_another_key_or_begin_anew() {
    let (old, new) =
        (master(Suite::Aes128CmSha1_80), master_of(Suite::Aes256Gcm, 50, &[], Lifetime::LONGEST));
    let mut sender = Sender::new(&old);
    let mut receiver = Receiver::new(std::slice::from_ref(&old));
    for n in (0..70_000u32).step_by(1_000) {
        opened(&mut receiver, &sealed(&mut sender, &rtp(n as u16)).unwrap()).unwrap();
    }
    let next = 70_000u32 as u16;
    for mut peer in [sender.rekey(&new), Sender::new(&new)] {
        let mut receiver = receiver.rekey(std::slice::from_ref(&new));
        let packet = sealed(&mut peer, &rtp(next)).unwrap();
        assert_eq!(opened(&mut receiver, &packet), Ok(rtp(next)));
        assert_eq!(opened(&mut receiver, &packet), Err(Refused::Replayed));
        let following = sealed(&mut peer, &rtp(next + 1)).unwrap();
        assert_eq!(opened(&mut receiver, &following), Ok(rtp(next + 1)));
    }
}

#[test]
fn keys_are_told_apart_by_their_identifiers() {
    let suite = Suite::Aes128Gcm;
    let keys = [
        master_of(suite, 1, &[0, 1], Lifetime::LONGEST),
        master_of(suite, 90, &[0, 2], Lifetime::LONGEST),
    ];
    let mut receiver = Receiver::new(&keys);
    for (n, key) in (1..).zip(&keys) {
        let packet = sealed(&mut Sender::new(key), &rtp(n)).unwrap();
        assert_eq!(opened(&mut receiver, &packet), Ok(rtp(n)));
    }
    let third = master_of(suite, 1, &[0, 3], Lifetime::LONGEST);
    let packet = sealed(&mut Sender::new(&third), &rtp(3)).unwrap();
    assert_eq!(opened(&mut receiver, &packet), Err(Refused::Forged));
}

#[test]
fn keys_are_never_shown() {
    let master = master(Suite::Aes128CmSha1_80);
    let receiver = Receiver::new(std::slice::from_ref(&master));
    let shown = format!("{master:?} {:?} {receiver:?}", Sender::new(&master));
    assert!(shown.contains("Aes128CmSha1_80") && !shown.contains("1, 2, 3"), "{shown}");
}
