//! The packet path allocates nothing once its parts are made.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tandem_rtp::{
    Frame, Next, Outgoing, Packet, Pushed, Receiver, Reorder, Source, telephone_event,
};

#[test]
fn a_packet_costs_no_allocation() {
    let start = Instant::now();
    let mut receiver = Receiver::new(1, 8000);
    let mut reorder = Reorder::new(4, Duration::from_millis(60), 1500);
    let mut sending = Outgoing::new(1, 65_000, u32::MAX - 5000, 8000);
    let mut out = Outgoing::new(2, 7, 7, 48_000);
    let mut digits = telephone_event::Sender::new(101, 8000, Duration::from_millis(20));
    let mut heard = telephone_event::Receiver::new(8000);
    let mut given = 0;
    // The first packet and the first digit make them.
    reorder.push(start, 1, &[]);
    reorder.reset();
    digits.push('5', Duration::from_millis(100));
    let mut first = telephone_event::Sender::new(101, 8000, Duration::from_millis(20));
    first.push('1', Duration::from_millis(40));
    let mut event = [0; 16];
    for n in 0..20 {
        let now = start + Duration::from_millis(20) * n;
        while first.poll(now, &mut out, &mut event).is_some() {
            let packet = Packet::parse(&event).unwrap();
            heard.receive(now, packet.header.timestamp, packet.payload);
        }
        while heard.poll().is_some() {}
    }
    heard.reset();
    let before = heard.received();
    let info = allocation_counter::measure(|| {
        for n in 0..2_000u32 {
            let now = start + Duration::from_millis(20) * n;
            let mut datagram = [0; 172];
            let frame = Frame { payload_type: 0, duration: 160, octets: 160 };
            let header = sending.next(now, frame);
            header.write(&mut datagram);
            // One in ten is lost, one in seven overtaken.
            if n % 10 == 9 {
                continue;
            }
            let packet = Packet::parse(&datagram).unwrap();
            let sequence = packet.header.sequence ^ u16::from(n % 7 == 0);
            receiver.receive(now, sequence, packet.header.timestamp);
            given += u32::from(reorder.push(now, sequence, &datagram) == Pushed::Ready);
            while let Some(next) = reorder.pop(now) {
                given += u32::from(matches!(next, Next::Packet(_)));
            }
            let source = Source { id: 1, timestamp: packet.header.timestamp, clock_rate: 8000 };
            out.follow(now, source, Frame { payload_type: 111, duration: 960, octets: 60 });
            if n % 100 == 50 {
                digits.push('5', Duration::from_millis(100));
            }
            let mut event = [0; 16];
            while digits.poll(now, &mut out, &mut event).is_some() {
                let packet = Packet::parse(&event).unwrap();
                heard.receive(now, packet.header.timestamp, packet.payload);
            }
            while heard.poll().is_some() {}
            receiver.report(now);
        }
    });
    assert!(given > 1_500 && heard.received() - before == 21, "{given} {}", heard.received());
    assert_eq!(info.count_total, 0);
}
