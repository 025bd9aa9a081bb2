//! Everything that can be done to a datagram of the network; shared with the fuzz target.
use tandem_rtp::{
    Packet, kind, rtcp,
    srtp::{Lifetime, MAX_OVERHEAD, Master, Receiver, Sender, Suite},
};

/// Reads bytes as a packet and as a report, opens them under every suite, which no noise survives,
/// and protects them, which opens again.
pub(crate) fn datagram(data: &[u8]) {
    let _ = (kind(data), Packet::parse(data));
    let mut items = 0u32;
    let _ = rtcp::read(data, true, |_| items += 1);
    for (suite, mki) in
        Suite::ALL.into_iter().flat_map(|suite| [(suite, &[][..]), (suite, &[0, 1])])
    {
        let secret = vec![7; suite.key_len() + suite.salt_len()];
        let master = Master::new(suite, &secret, mki, Lifetime::LONGEST).unwrap();
        let mut receiver = Receiver::new(std::slice::from_ref(&master));
        let mut sender = Sender::new(&master);
        let mut packet = data.to_vec();
        assert!(receiver.unprotect_rtp(&mut packet).is_err() && packet == data);
        assert!(receiver.unprotect_rtcp(&mut packet).is_err() && packet == data);
        let mut buffer = [data, &[0; MAX_OVERHEAD]].concat();
        if let Ok(len) = sender.protect_rtp(&mut buffer, data.len()) {
            let opened = receiver.unprotect_rtp(&mut buffer[..len]).unwrap();
            assert_eq!(&buffer[..opened], data);
        }
        let mut buffer = [data, &[0; MAX_OVERHEAD]].concat();
        if let Ok(len) = sender.protect_rtcp(&mut buffer, data.len()) {
            let opened = receiver.unprotect_rtcp(&mut buffer[..len]).unwrap();
            assert_eq!(&buffer[..opened], data);
        }
    }
}
