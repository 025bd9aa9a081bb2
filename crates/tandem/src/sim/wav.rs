//! WAV files of telephone speech: 8 kHz, one channel, 16 bits (RIFF, `WAVE_FORMAT_PCM`).

/// Longest file read: ten minutes of 8 kHz speech, more than any call of the simulator lasts.
const MAX_SAMPLES: usize = 10 * 60 * 8_000;

/// Samples per second of every sound here.
pub const SAMPLE_RATE: u32 = 8_000;

/// Reads the samples of a file.
///
/// # Errors
/// In words what is wrong, and what to do about it.
pub fn read(file: &[u8]) -> Result<Vec<i16>, String> {
    let convert = "make one with: sox IN -r 8000 -c 1 -b 16 OUT.wav";
    if file.get(..4) != Some(b"RIFF") || file.get(8..12) != Some(b"WAVE") {
        return Err(format!("not a WAV file; {convert}"));
    }
    let mut rest = file.get(12..).unwrap_or_default();
    let mut fits = false;
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, l0, l1, l2, l3] = *head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        // A writer to a pipe leaves the length open (all ones): what is there counts.
        let body = after.get(..length).unwrap_or(after);
        match &[a, b, c, d] {
            b"fmt " => fits = is_telephone(body),
            b"data" if !fits => return Err(format!("not 8 kHz, mono, 16 bits; {convert}")),
            b"data" => return samples(body),
            _ => {}
        }
        // Chunks begin at even places.
        rest = after.get(length.saturating_add(length & 1)..).unwrap_or_default();
    }
    Err(format!("a WAV file without sound; {convert}"))
}

fn is_telephone(format: &[u8]) -> bool {
    let word = |at: usize| {
        format.get(at..at + 2).and_then(|b| b.first_chunk::<2>()).map(|b| u16::from_le_bytes(*b))
    };
    let rate = format.get(4..8).and_then(|b| b.first_chunk::<4>()).map(|b| u32::from_le_bytes(*b));
    word(0) == Some(1) && word(2) == Some(1) && word(14) == Some(16) && rate == Some(SAMPLE_RATE)
}

fn samples(data: &[u8]) -> Result<Vec<i16>, String> {
    let (pairs, _) = data.as_chunks::<2>();
    match pairs.len() {
        0 => Err("a WAV file without sound".to_owned()),
        n if n > MAX_SAMPLES => Err("longer than ten minutes".to_owned()),
        _ => Ok(pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect()),
    }
}

/// The samples as a file.
pub fn write(samples: &[i16]) -> Vec<u8> {
    let bytes = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX - 36);
    let mut out = Vec::with_capacity(44 + samples.len() * 2);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(bytes + 36).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16u32.to_le_bytes());
    out.extend_from_slice(&1u16.to_le_bytes()); // PCM
    out.extend_from_slice(&1u16.to_le_bytes()); // channels
    out.extend_from_slice(&SAMPLE_RATE.to_le_bytes());
    out.extend_from_slice(&(SAMPLE_RATE * 2).to_le_bytes());
    out.extend_from_slice(&2u16.to_le_bytes()); // octets per sample
    out.extend_from_slice(&16u16.to_le_bytes());
    out.extend_from_slice(b"data");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let samples = [0, 1, -1, i16::MAX, i16::MIN];
        assert_eq!(read(&write(&samples)).unwrap(), samples);
    }

    #[test]
    fn other_chunks_are_skipped_and_other_formats_refused() {
        let mut file = write(&[7, 8]);
        file.splice(12..12, *b"LIST\x03\0\0\0abc\0");
        assert_eq!(read(&file).unwrap(), [7, 8]);
        let mut wide = write(&[7, 8]);
        wide[24..28].copy_from_slice(&16_000u32.to_le_bytes());
        assert!(read(&wide).unwrap_err().contains("not 8 kHz"));
        assert!(read(b"RIFFxxxxWAVE").unwrap_err().contains("without sound"));
        assert!(read(b"ID3").unwrap_err().contains("not a WAV file"));
        assert!(read(&write(&[])).is_err());
    }

    #[test]
    fn no_bytes_at_all_make_it_panic() {
        let file = write(&[1, 2, 3]);
        for end in 0..file.len() {
            let _ = read(&file[..end]);
        }
    }
}
