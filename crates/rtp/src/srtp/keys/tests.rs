//! The vectors of RFC 3711 appendix B, RFC 6188 §7 and RFC 7714 §16 and §17.
use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn expanded(master: &Master, label: Label, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    expand(master, label, &mut out);
    out
}

fn master(suite: Suite, key: &str, salt: &str) -> Master {
    let secret = [hex(key), hex(salt)].concat();
    Master::new(suite, &secret, &[], Lifetime::LONGEST).unwrap()
}

#[test]
fn session_keys_are_those_of_rfc_3711_b_3() {
    let master = master(
        Suite::Aes128CmSha1_80,
        "E1F97A0D3E018BE0D64FA32C06DE4139",
        "0EC675AD498AFEEBB6960B3AABE6",
    );
    let key = expanded(&master, Label::RtpCipher, 16);
    assert_eq!(key, hex("C61E7A93744F39EE10734AFE3FF7A087"));
    let salt = expanded(&master, Label::RtpSalt, 14);
    assert_eq!(salt, hex("30CBBC08863D8C85D49DB34A9AE1"));
    let auth = expanded(&master, Label::RtpAuth, 94);
    let printed = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327A
        D175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BB
        FC2F34DB60DBDFB2";
    assert_eq!(auth, hex(printed));
}

#[test]
fn session_keys_are_those_of_rfc_6188_7_2() {
    let master = master(
        Suite::Aes256CmSha1_80,
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
        "3b04803de51ee7c96423ab5b78d2",
    );
    let key = expanded(&master, Label::RtpCipher, 32);
    assert_eq!(key, hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"));
    assert_eq!(expanded(&master, Label::RtpSalt, 14), hex("fa31791685ca444a9e07c6c64e93"));
    let auth = expanded(&master, Label::RtpAuth, 20);
    assert_eq!(auth, hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
}

/// The last of 65282 blocks and the first one.
fn key_stream(key: &str) -> (Vec<u8>, Vec<u8>) {
    let salt = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000").try_into().unwrap();
    let counter = Counter {
        aes: Aes::new(&hex(key)).unwrap(),
        salt: Zeroizing::new(salt),
        mac: Hmac::new(&[0; AUTH_BLOCK].into()),
    };
    let mut stream = vec![0; 1_044_512];
    counter.crypt(&mut stream, 0, 0);
    (stream[..16].to_vec(), stream[1_044_496..].to_vec())
}

#[test]
fn key_streams_are_those_of_rfc_3711_b_2_and_rfc_6188_7_1() {
    let small = key_stream("2B7E151628AED2A6ABF7158809CF4F3C");
    assert_eq!(small.0, hex("E03EAD0935C95E80E166B16DD92B4EB4"));
    assert_eq!(small.1, hex("6A2CC3787889374FBEB4C81B17BA6C44"));
    let large = key_stream("57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98");
    assert_eq!(large.0, hex("92bdd28a93c3f52511c677d08b5515a4"));
    assert_eq!(large.1, hex("6eb246913062a16891433e97dd01a57f"));
}

fn gcm(suite: Suite) -> SessionKeys {
    let key: Vec<u8> = (0..suite.key_len() as u8).collect();
    let transform = || {
        let gcm = match Aes::new(&key).unwrap() {
            Aes::Small(aes) => AnyGcm::Small(Box::new((*aes).into())),
            Aes::Large(aes) => AnyGcm::Large(Box::new((*aes).into())),
        };
        Transform::Gcm(Box::new(Gcm { gcm, salt: Zeroizing::new(*b"Quid pro quo") }))
    };
    SessionKeys {
        suite,
        rtp: transform(),
        rtcp: transform(),
        mki: Box::default(),
        left: Lifetime::LONGEST,
    }
}

#[test]
fn gcm_packets_are_those_of_rfc_7714_16() {
    let plain = hex("8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e697320646976
        69736120696e207061727465732074726573");
    let small = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
        42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
    let large = "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3
        b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";
    for (suite, printed) in [(Suite::Aes128Gcm, small), (Suite::Aes256Gcm, large)] {
        let keys = gcm(suite);
        let mut packet = plain.clone();
        packet.resize(plain.len() + 16, 0);
        let len = keys.seal_rtp(&mut packet, 12, plain.len(), 0x5501_a0b2, 0xf17b).unwrap();
        assert_eq!(packet[..len], hex(printed));
        let len = keys.open_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b).unwrap();
        assert_eq!(packet[..len], plain);
    }
}

#[test]
fn gcm_rtcp_packets_are_those_of_rfc_7714_17() {
    let plain = hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
        deadbeef deadbeef deadbeef deadbeef deadbeef");
    let printed = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
        730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
    let keys = gcm(Suite::Aes128Gcm);
    let mut packet = plain.clone();
    packet.resize(plain.len() + 20, 0);
    let len = keys.seal_rtcp(&mut packet, plain.len(), 0x4d61_7273, 0x5d4).unwrap();
    assert_eq!(packet[..len], hex(printed));
    assert_eq!(keys.rtcp_index(&packet), Some(0x5d4));
    let len = keys.open_rtcp(&mut packet, 0x4d61_7273, 0x5d4).unwrap();
    assert_eq!(packet[..len], plain);
}
