//! Recordings that are played to calls: found below one folder, decoded once, kept while there is
//! room. Nothing here runs on a thread of signalling or sound.
use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use tandem_codec::wav;
use tandem_media::Clip;

/// Bytes of the longest file: ten minutes of 48 kHz, two channels.
const MAX_FILE: u64 = 120 * 1024 * 1024;
/// Samples kept decoded, all recordings together: an hour and a half, 96 MB.
const MAX_KEPT: usize = 48_000_000;
/// Characters of a name.
const MAX_NAME: usize = 128;

/// Why a recording cannot be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The name is none: what names are.
    Name(&'static str),
    /// There is no such file.
    Missing,
    /// The file cannot be used: why.
    Unusable(String),
}

/// The recordings of one folder.
#[derive(Debug)]
pub struct Sounds {
    folder: Option<PathBuf>,
    kept: Mutex<BTreeMap<String, Kept>>,
}

/// A decoded file, and what it was when it was read.
#[derive(Debug)]
struct Kept {
    clip: Clip,
    stamp: (Option<SystemTime>, u64),
    /// Larger is later.
    used: u64,
}

impl Sounds {
    /// Recordings below a folder; `None`: there are none.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, kept: Mutex::new(BTreeMap::new()) }
    }

    /// A recording by its name, a path below the folder. Reads and decodes the file unless it is
    /// kept and has not changed: call it where waiting for a disk does no harm.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn load(&self, name: &str) -> Result<Clip, Trouble> {
        check(name)?;
        let folder = self.folder.as_ref().ok_or(Trouble::Missing)?;
        let path = below(folder, name)?;
        let data = fs::metadata(&path).map_err(|_| Trouble::Missing)?;
        if !data.is_file() {
            return Err(Trouble::Missing);
        }
        let stamp = (data.modified().ok(), data.len());
        if let Some(clip) = self.find(name, stamp) {
            return Ok(clip);
        }
        if data.len() > MAX_FILE {
            return Err(Trouble::Unusable("the file is too large".to_owned()));
        }
        let unreadable = |error: std::io::Error| Trouble::Unusable(error.to_string());
        let mut bytes = Vec::new();
        let file = fs::File::open(&path).map_err(unreadable)?;
        // The file may be growing.
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
        let clip = Clip::new(name, wav::read(&bytes).map_err(Trouble::Unusable)?);
        self.keep(name, &clip, stamp);
        Ok(clip)
    }

    fn find(&self, name: &str, stamp: (Option<SystemTime>, u64)) -> Option<Clip> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let used = newest(&kept) + 1;
        let found = kept.get_mut(name).filter(|kept| kept.stamp == stamp)?;
        found.used = used;
        Some(found.clip.clone())
    }

    /// Keeps a recording, and lets go of those not used for longest.
    fn keep(&self, name: &str, clip: &Clip, stamp: (Option<SystemTime>, u64)) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let used = newest(&kept) + 1;
        kept.insert(name.to_owned(), Kept { clip: clip.clone(), stamp, used });
        while kept.values().map(|k| k.clip.samples()).sum::<usize>() > MAX_KEPT {
            let oldest = kept.iter().min_by_key(|(_, k)| k.used).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            kept.remove(&oldest);
        }
    }
}

fn newest(kept: &BTreeMap<String, Kept>) -> u64 {
    kept.values().map(|kept| kept.used).max().unwrap_or(0)
}

/// A name is a path of plain words: nothing leads up, out, or to a hidden file.
fn check(name: &str) -> Result<(), Trouble> {
    let word = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if name.is_empty() || name.len() > MAX_NAME || !name.split('/').all(word) {
        return Err(Trouble::Name(
            "a file is named by its path below the sound folder: 1 to 128 characters of A-Z a-z \
             0-9 . _ - and /, no part of which begins with a dot",
        ));
    }
    Ok(())
}

/// The file itself: a link that leads out of the folder is none.
fn below(folder: &Path, name: &str) -> Result<PathBuf, Trouble> {
    let root = folder.canonicalize().map_err(|_| Trouble::Missing)?;
    let path = root.join(name).canonicalize().map_err(|_| Trouble::Missing)?;
    if path.starts_with(&root) { Ok(path) } else { Err(Trouble::Missing) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sim::wav as writer, testing::Folder};

    #[test]
    fn a_recording_is_decoded_once_until_its_file_changes() {
        let folder = Folder::new();
        let path = folder.join("hello.wav");
        fs::write(&path, writer::write(&[1, 2, 3])).unwrap();
        let sounds = Sounds::new(Some(folder.to_path_buf()));
        let first = sounds.load("hello.wav").unwrap();
        assert_eq!((first.name(), first.samples()), ("hello.wav", 3));
        assert_eq!(sounds.load("hello.wav").unwrap(), first, "the same samples, not equal ones");
        fs::write(&path, writer::write(&[1, 2, 3, 4])).unwrap();
        assert_eq!(sounds.load("hello.wav").unwrap().samples(), 4);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_read() {
        let folder = Folder::new();
        let inside = folder.join("in");
        fs::create_dir_all(inside.join("deep")).unwrap();
        fs::write(folder.join("secret.wav"), writer::write(&[1])).unwrap();
        fs::write(inside.join("deep/ok.wav"), writer::write(&[1])).unwrap();
        std::os::unix::fs::symlink("../secret.wav", inside.join("link.wav")).unwrap();
        let sounds = Sounds::new(Some(inside.clone()));
        sounds.load("deep/ok.wav").unwrap();
        for name in [
            "../secret.wav",
            "/etc/passwd",
            "deep/../../secret.wav",
            "",
            ".",
            ".hidden",
            "a//b",
            "deep/",
            "a\\b",
            "a\0b",
            "a b",
        ] {
            assert!(matches!(sounds.load(name), Err(Trouble::Name(_))), "{name:?}");
        }
        for name in ["link.wav", "deep", "nothing.wav"] {
            assert_eq!(sounds.load(name), Err(Trouble::Missing), "{name}");
        }
        fs::write(inside.join("text.wav"), "hello").unwrap();
        assert!(matches!(sounds.load("text.wav"), Err(Trouble::Unusable(_))));
        assert_eq!(Sounds::new(None).load("ok.wav"), Err(Trouble::Missing));
    }
}
