//! Music on hold: the recordings that the main file and trunk files name.
use std::path::Path;

use tandem_b2bua::Music;
use tandem_proxy::{Trunk, config::ConfigError};

use super::Main;
use crate::sounds::{Sounds, Trouble};

/// Decodes what is named; a recording that cannot be played is a mistake of its file.
pub(super) fn load(
    path: &Path,
    main: &Main,
    trunks: &[Trunk],
    errors: &mut Vec<ConfigError>,
) -> Music {
    let sounds = Sounds::new(main.media.sounds.clone());
    let mut clip = |file: &str, line: usize, name: &str| {
        let told = |trouble| ConfigError { file: file.to_owned(), line, what: what(name, trouble) };
        sounds.load(name).map_err(|trouble| errors.push(told(trouble))).ok()
    };
    let file = path.display().to_string();
    let usual = main.media.hold_music.as_ref();
    let usual = usual.and_then(|(name, line)| clip(&file, *line, name));
    let own = trunks.iter().filter_map(|trunk| Some((trunk, trunk.call.hold_music.as_ref()?)));
    let of_trunks = own.map(|(trunk, name)| {
        let music = (!name.is_empty()).then(|| clip(&trunk.file, line_of(&trunk.file), name));
        (trunk.name.clone(), music.flatten())
    });
    Music { of_trunks: of_trunks.collect(), usual }
}

fn what(name: &str, trouble: Trouble) -> String {
    let write = "write the path of a WAV file below `[media] sounds`";
    match trouble {
        Trouble::Name(what) => format!("{what}; {write}"),
        Trouble::Missing => format!("there is no file {name:?} below `[media] sounds`; {write}"),
        Trouble::Unusable(why) => format!("{name}: {why}; {write}"),
    }
}

/// The line of a trunk file that names its music. The file has been read a moment ago.
fn line_of(file: &str) -> usize {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let named = |line: &str| line.trim_start().starts_with("hold_music");
    text.lines().position(named).map_or(0, |line| line + 1)
}
