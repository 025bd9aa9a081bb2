//! `${env:NAME}` and `${file:path}` in strings of configuration files.

use std::path::Path;

/// Fills in every `${…}` of a string. `look_up` gets what stands between the braces. A `$` that
/// opens no brace stands for itself.
pub(super) fn expand(
    text: &str,
    look_up: &dyn Fn(&str) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else {
            return Err("`${` without its `}`; write ${env:NAME} or ${file:path}".to_owned());
        };
        out.push_str(before);
        out.push_str(&look_up(name)?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Reads `env:NAME` from the environment, `file:path` from a file (relative to `folder`, its last
/// line end taken off).
pub(super) fn look_up(folder: &Path, name: &str) -> Result<String, String> {
    match name.split_once(':') {
        Some(("env", variable)) => std::env::var(variable)
            .map_err(|_| format!("the environment variable {variable} is not set")),
        Some(("file", path)) => {
            let path = folder.join(path);
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => Err(format!("cannot read {}: {error}", path.display())),
            }
        }
        Some(_) | None => Err(format!("`${{{name}}}`; write ${{env:NAME}} or ${{file:path}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn words(name: &str) -> Result<String, String> {
        if name == "env:A" { Ok("alpha".to_owned()) } else { Err(format!("no {name}")) }
    }

    #[test]
    fn parts_are_filled_in_where_they_stand() {
        assert_eq!(expand("x-${env:A}-${env:A}", &words).unwrap(), "x-alpha-alpha");
        assert_eq!(expand("plain $5", &words).unwrap(), "plain $5");
        assert_eq!(expand("${env:B}", &words).unwrap_err(), "no env:B");
        assert!(expand("${env:A", &words).unwrap_err().contains("without its"));
    }
}
