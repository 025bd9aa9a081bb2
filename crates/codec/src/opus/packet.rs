//! What a packet tells by its first octets (RFC 6716 §3), without decoding it.

/// Room that any packet of one stream fits: 1275 octets per 20 ms, 120 ms at most, and the lengths
/// between the frames (RFC 6716 §3.4). A 20 ms packet never exceeds 1275 octets.
pub const MAX_PACKET: usize = 7_662;

/// The longest packet, 120 ms, in 48 kHz units (RFC 6716 §3.4, requirement R5).
const MAX_DURATION: u32 = 5_760;

/// How long the packet sounds, in 48 kHz units, which are RTP timestamp units (RFC 7587 §4.1).
/// `None` if it is empty, its frame count is cut off or zero, or it exceeds 120 ms.
pub fn packet_duration(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frames = match toc & 0b11 {
        0 => 1,
        1 | 2 => 2,
        // Code 3: an octet with the number of frames in its low six bits.
        _ => u32::from(*packet.get(1)? & 0b11_1111),
    };
    let duration = frames * frame_duration(toc);
    (1..=MAX_DURATION).contains(&duration).then_some(duration)
}

/// Whether the packet carries two channels: the third bit of the table of contents (§3.1).
pub fn is_stereo(packet: &[u8]) -> bool {
    packet.first().is_some_and(|toc| toc & 0b100 != 0)
}

/// Whether the packet carries sound. With DTX an encoder emits packets of at most two octets in
/// silence: they hold no frame, need not be sent, and the receiver fills their time with comfort
/// noise (RFC 7587 §3.1.3, RFC 6716 §2.1.9).
pub fn has_sound(packet: &[u8]) -> bool {
    packet.len() > 2
}

/// One frame in 48 kHz units, by the configuration number (RFC 6716 §3.1, table 2).
fn frame_duration(toc: u8) -> u32 {
    let configuration = toc >> 3;
    let position = configuration & 0b11;
    match (configuration, position) {
        // SILK: 10, 20, 40, 60 ms.
        (0..=11, 3) => 2_880,
        (0..=11, _) => 480 << position,
        // Hybrid: 10, 20 ms.
        (12..=15, _) => 480 << (position & 1),
        // CELT: 2.5, 5, 10, 20 ms.
        (_, _) => 120 << position,
    }
}
