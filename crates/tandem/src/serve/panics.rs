//! A panic is a mistake of this program. On a thread that signalling, sound or records live on it
//! ends the process, whose supervisor starts it anew: a gateway that runs on without hearing is worse.
use std::{panic, process, thread};

/// The exit status of a mistake inside (`EX_SOFTWARE` of sysexits).
const SOFTWARE: i32 = 70;

/// Threads that live as long as the gateway; the others' panics end one request, and the runtime
/// answers for them.
const VITAL: [&str; 3] = ["signalling", "media", "records"];

/// Ends the process from now on when one of its own threads panics.
pub(super) fn end_the_process() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        usual(info);
        let name = thread::current().name().unwrap_or_default().to_owned();
        if is_vital(&name) {
            tracing::error!(thread = name, "{info}; the process ends");
            process::exit(SOFTWARE);
        }
    }));
}

fn is_vital(name: &str) -> bool {
    VITAL.iter().any(|vital| name.starts_with(vital))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_gateways_own_threads_are_vital() {
        for name in ["signalling", "media-0", "media-15", "records"] {
            assert!(is_vital(name), "{name}");
        }
        for name in ["", "main", "http", "tokio-runtime-worker"] {
            assert!(!is_vital(name), "{name}");
        }
    }

    /// Set in the child process that [`a_panic_of_a_vital_thread_ends_the_process`] starts: the
    /// name of the thread that panics.
    const CHILD: &str = "TANDEM_TEST_PANICS";

    #[test]
    fn a_panic_of_a_vital_thread_ends_the_process() {
        if let Ok(name) = std::env::var(CHILD) {
            end_the_process();
            let panics = thread::Builder::new().name(name).spawn(|| panic!("on purpose"));
            assert!(panics.unwrap().join().is_err());
            return;
        }
        for (name, code) in [("media-3", Some(SOFTWARE)), ("http", Some(0))] {
            let child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "serve::panics::tests::a_panic_of_a_vital_thread_ends_the_process",
                ])
                .env(CHILD, name)
                .output()
                .unwrap();
            assert_eq!(child.status.code(), code, "{name}");
        }
    }
}
