//! Speech for tests and benches.

/// About ten seconds of speech, 8 kHz, mono (see data/SOURCE.txt).
pub(crate) fn speech() -> Vec<i16> {
    let file = include_bytes!("../data/speech.wav");
    let data = file.windows(4).position(|w| w == b"data").unwrap() + 8;
    file[data..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
}
