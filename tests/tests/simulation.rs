//! More than a hundred thousand simulated calls; see `tests/src/simulation`. A run that fails prints
//! its seed, and the command that plays it again.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]
use std::{collections::BTreeMap, io::Write};

use tandem_tests::simulation::{Bug, Plan, Report, play};

/// Calls of one seed: short enough to be played again in seconds.
const CALLS: u64 = 2_500;

/// With `TANDEM_SEED=…` before it, it plays one seed.
const COMMAND: &str = "cargo test --workspace --release --test simulation nobody_has_tried";

/// Plays seeds; the sum of what happened.
fn run(seeds: impl Iterator<Item = u64>) -> Report {
    let mut all = Report::default();
    for seed in seeds {
        let plan = Plan { seed, calls: CALLS, bug: None };
        let played = std::panic::catch_unwind(|| play(plan));
        let again = format!("play it again: TANDEM_SEED={seed} {COMMAND}");
        let report = match played {
            Ok(Ok(report)) => report,
            Ok(Err(what)) => panic!("seed {seed}: {what}\n{again}"),
            Err(_) => panic!("seed {seed}: the gateway panicked\n{again}"),
        };
        all.calls += report.calls;
        all.answered += report.answered;
        all.steps += report.steps;
        add(&mut all.codes, report.codes);
        add(&mut all.seen, report.seen);
    }
    all
}

fn add<N: std::ops::AddAssign + Default>(
    to: &mut BTreeMap<&'static str, N>,
    from: BTreeMap<&'static str, N>,
) {
    for (what, n) in from {
        *to.entry(what).or_default() += n;
    }
}

/// Shown even of a test that passes, so that the log has every seed: the harness catches only what
/// the print macros write.
fn tell(line: &str) {
    let mut out = std::io::stderr();
    drop(out.write_all(format!("{line}\n").as_bytes()));
}

fn tell_report(what: &str, report: &Report) {
    let Report { calls, answered, steps, codes, seen } = report;
    tell(&format!(
        "simulation: {what}: {calls} calls, {answered} answered, {steps} steps: {codes:?}"
    ));
    tell(&format!("simulation: {what}: met: {seen:?}"));
}

/// Half of what is played each time; the halves run side by side.
fn half(what: &str, seeds: std::ops::Range<u64>) {
    let report = run(seeds);
    tell_report(what, &report);
    assert!(report.calls > 55_000, "only {} calls", report.calls);
    assert!(report.answered > report.calls / 3, "only {} were answered", report.answered);
    assert!(report.codes.len() >= 14, "calls end in many ways: {:?}", report.codes);
    let rare: Vec<_> = report.seen.iter().filter(|(_, n)| **n < 50).collect();
    assert!(rare.is_empty(), "hardly met: {rare:?}");
    assert!(report.seen.len() >= HABITS, "only {} kinds: {:?}", report.seen.len(), report.seen);
}

/// Habits and accidents that are told apart.
const HABITS: usize = 59;

#[test]
fn calls_end_once_and_leave_nothing_behind() {
    half("first half", 1..33);
}

#[test]
fn as_many_again_do_so_too() {
    half("second half", 101..133);
}

#[test]
#[allow(clippy::disallowed_methods)]
fn so_they_do_with_a_seed_nobody_has_tried() {
    let given = std::env::var("TANDEM_SEED").ok().and_then(|s| s.parse().ok());
    let fresh = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| d.as_nanos() as u64)
    };
    let seed = given.unwrap_or_else(fresh);
    tell(&format!("simulation: fresh TANDEM_SEED={seed}"));
    let report = run(std::iter::once(seed));
    tell_report("fresh", &report);
}

/// Each planted bug is found, and told as what it is.
#[test]
fn planted_bugs_are_found() {
    for (bug, words) in Bug::ALL {
        let found = (1..=8).find_map(|seed| {
            let plan = Plan { seed, calls: CALLS, bug: Some(bug) };
            play(plan).err().map(|what| (seed, what))
        });
        let Some((seed, what)) = found else { panic!("{bug:?} was not found") };
        let first = what.lines().next().unwrap_or_default();
        tell(&format!("simulation: planted {bug:?}: found by seed {seed}: {first}"));
        assert!(first.contains(words), "{bug:?} was told as: {what}");
    }
}
