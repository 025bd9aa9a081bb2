//! The recordings that the main file, trunk files and routes name.
use std::{collections::BTreeMap, path::Path};

use tandem_b2bua::Music;
use tandem_media::Clip;
use tandem_proxy::{
    App, Routes, Trunk,
    config::ConfigError,
    routes::{InboundTo, Route},
};

use super::Main;
use crate::sounds::{Sounds, Trouble};

/// Decodes what is named; a recording that cannot be played is a mistake of its file.
pub(super) fn load(
    path: &Path,
    main: &Main,
    trunks: &[Trunk],
    (routes_file, routes): (&Path, &Routes),
    errors: &mut Vec<ConfigError>,
) -> Music {
    let sounds = Sounds::new(main.media.sounds.clone());
    let of_routes = of_routes(&sounds, routes_file, routes, errors);
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
    Music { of_trunks: of_trunks.collect(), usual, of_routes }
}

/// What routes play.
fn of_routes(
    sounds: &Sounds,
    path: &Path,
    routes: &Routes,
    errors: &mut Vec<ConfigError>,
) -> BTreeMap<String, Clip> {
    let mut clips = BTreeMap::new();
    for route in &routes.list {
        let Route::Inbound { to: InboundTo::App(App::Play { file: name, .. }), .. } = route else {
            continue;
        };
        if clips.contains_key(name) {
            continue;
        }
        match sounds.load(name) {
            Ok(clip) => drop(clips.insert(name.clone(), clip)),
            Err(trouble) => {
                let file = path.display().to_string();
                let line = line_with(&file, &format!("app:play/{name}"));
                errors.push(ConfigError { file, line, what: what(name, trouble) });
            }
        }
    }
    clips
}

fn what(name: &str, trouble: Trouble) -> String {
    let write = "write the path of a WAV file below `[media] sounds`";
    match trouble {
        Trouble::Name(what) => format!("{what}; {write}"),
        Trouble::Missing => format!("there is no file {name:?} below `[media] sounds`; {write}"),
        Trouble::Unusable(why) => format!("{name}: {why}; {write}"),
    }
}

/// The line of a trunk file that names its music.
fn line_of(file: &str) -> usize {
    first_line(file, |line| line.trim_start().starts_with("hold_music"))
}

/// The first line that has a text.
fn line_with(file: &str, text: &str) -> usize {
    first_line(file, |line| !line.trim_start().starts_with('#') && line.contains(text))
}

/// The first line that is as wanted. The file has been read a moment ago.
fn first_line(file: &str, wanted: impl Fn(&str) -> bool) -> usize {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().position(wanted).map_or(0, |line| line + 1)
}
