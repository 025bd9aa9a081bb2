//! The applications inside the gateway, as routes and requests name them after `app:`.
//!
//! | name | the caller hears |
//! |---|---|
//! | `echo` | itself |
//! | `tone` | a steady tone |
//! | `play/FILE` | a recording, after which the call ends; with `?loop=true` again and again |

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum App {
    /// The caller hears itself.
    Echo,
    /// The caller hears a steady tone.
    Tone,
    /// The caller hears a recording.
    Play {
        /// Its path below the sound folder. Whether there is such a file is not known here.
        file: String,
        /// It begins anew at its end.
        repeats: bool,
    },
}

impl App {
    /// Reads what follows `app:`.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn parse(name: &str) -> Result<Self, String> {
        let (path, query) = match name.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (name, None),
        };
        match (path, path.strip_prefix("play/"), query) {
            ("echo", _, None) => Ok(Self::Echo),
            ("tone", _, None) => Ok(Self::Tone),
            (_, Some(file), _) if !file.is_empty() => {
                let repeats = match query {
                    None | Some("loop=false") => false,
                    Some("loop=true") => true,
                    Some(_) => {
                        return Err(format!(
                            "`app:{name}`: a recording takes ?loop=true and nothing else"
                        ));
                    }
                };
                Ok(Self::Play { file: file.to_owned(), repeats })
            }
            (_, Some(_) | None, _) => Err(format!(
                "`app:{name}` is not served; write app:echo, app:tone or app:play/FILE"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_or_answered_in_plain_words() {
        let play = |file: &str, repeats| Ok(App::Play { file: file.to_owned(), repeats });
        assert_eq!(App::parse("echo"), Ok(App::Echo));
        assert_eq!(App::parse("tone"), Ok(App::Tone));
        assert_eq!(App::parse("play/hello.wav"), play("hello.wav", false));
        assert_eq!(App::parse("play/en/hello.wav?loop=true"), play("en/hello.wav", true));
        assert_eq!(App::parse("play/hello.wav?loop=false"), play("hello.wav", false));
        for (name, told) in [
            ("play", "app:play` is not served; write app:echo, app:tone or app:play/FILE"),
            ("play/", "is not served"),
            ("echo?loop=true", "is not served"),
            ("", "is not served"),
            ("play/hello.wav?loop", "takes ?loop=true and nothing else"),
            ("play/hello.wav?loop=true&gain=3", "takes ?loop=true and nothing else"),
        ] {
            let error = App::parse(name).unwrap_err();
            assert!(error.contains(told), "{name}: {error}");
        }
    }
}
