//! `tandem sim`: the simulator from the command line.
use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use tandem_sdp::Encoding;
use tandem_sip::{StatusCode, Transport};
use tokio::{sync::mpsc, time::interval};

use super::{Carrier, Incoming, MAX_CALLS, Options, Placed, Report, Speech, wav};

/// What a call must resemble when `--expect` names a speech: Opus at 24 kbit/s and two lossy laws
/// keep more than 0.9, other speech stays below 0.5.
const RESEMBLES: f32 = 0.8;

/// A carrier to test against: answers calls with speech, or places them with --call
#[derive(Debug, Clone, Args)]
pub struct SimArgs {
    /// Own SIP address, UDP and TCP (port 0: any)
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:5070")]
    pub listen: SocketAddr,
    /// Where calls are placed to
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:5060")]
    pub gateway: SocketAddr,
    /// Place calls to this number instead of waiting for calls
    #[arg(long, value_name = "NUMBER")]
    pub call: Option<String>,
    /// Calling number of placed calls
    #[arg(long, value_name = "NUMBER", default_value = "+447700900123")]
    pub from: String,
    /// How many calls to place, or to take before ending (0: until Ctrl-C)
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// Calls to place per second
    #[arg(long, value_name = "CALLS", default_value_t = 1.0)]
    pub rate: f64,
    /// Answer calls that come in (the default)
    #[arg(long, conflicts_with_all = ["busy", "reject"])]
    pub answer: bool,
    /// Refuse calls that come in with 486
    #[arg(long, conflicts_with = "reject")]
    pub busy: bool,
    /// Refuse calls that come in with this status
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(300..700))]
    pub reject: Option<u16>,
    /// Ring this long before answering or refusing
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    pub ring: f64,
    /// Speech to say, in a loop: WAV, 8 kHz, mono, 16 bits (default: built in)
    #[arg(long, value_name = "FILE")]
    pub play: Option<PathBuf>,
    /// Fail unless every call heard this: a WAV file, or the built-in `app` or `carrier`
    #[arg(long, value_name = "FILE|app|carrier")]
    pub expect: Option<PathBuf>,
    /// Write what was heard here as WAV; several calls: FILE-2.wav, FILE-3.wav …
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Transport of placed calls
    #[arg(long, value_enum, default_value_t = TransportName::Udp)]
    pub transport: TransportName,
    /// The only codec to use (default: PCMA, then PCMU)
    #[arg(long, value_enum, ignore_case = true)]
    pub codec: Option<CodecName>,
    /// Hang up this long after the answer (default: 8 for placed calls, 300 for others)
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// Digits to send one second after the answer (RFC 4733): 0-9 * # A-D
    #[arg(long, value_name = "DIGITS", default_value = "")]
    pub dtmf: String,
    /// One JSON object per call on standard output, and nothing else there
    #[arg(long)]
    pub json: bool,
}

/// A transport, as written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransportName {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

/// A codec, as written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CodecName {
    /// G.711 A-law.
    #[value(name = "PCMA")]
    Pcma,
    /// G.711 µ-law.
    #[value(name = "PCMU")]
    Pcmu,
}

/// [`run`] on a runtime of its own.
pub fn main(args: SimArgs) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => complain(&format!("cannot start: {error}"), 1),
    }
}

/// Runs it: 0 when all calls were answered (and heard what `--expect` names), 1 when not, 2 when
/// the arguments make no sense.
pub async fn run(args: SimArgs) -> ExitCode {
    let options = match options(&args) {
        Ok(options) => options,
        Err(what) => return complain(&what, 2),
    };
    let carrier = match Carrier::start(options).await {
        Ok(carrier) => carrier,
        Err(error) => return complain(&format!("cannot listen on {}: {error}", args.listen), 1),
    };
    let out = Out { args: &args, calls: 0, failed: 0 };
    match &args.call {
        Some(number) => place_all(carrier, out, number).await,
        None => take_all(carrier, out).await,
    }
}

fn options(args: &SimArgs) -> Result<Options, String> {
    let seconds = |name: &str, value: f64| {
        Duration::try_from_secs_f64(value).map_err(|_| format!("--{name} {value}: not a time"))
    };
    let mut options = Options::new(args.listen, args.gateway);
    options.transport = match args.transport {
        TransportName::Udp => Transport::Udp,
        TransportName::Tcp => Transport::Tcp,
    };
    match args.codec {
        Some(CodecName::Pcma) => options.codecs = vec![Encoding::Pcma],
        Some(CodecName::Pcmu) => options.codecs = vec![Encoding::Pcmu],
        None => {}
    }
    let refusal = args.reject.or(args.busy.then_some(486)).and_then(StatusCode::new);
    if let Some(status) = refusal {
        options.incoming = Incoming::Refuse(status);
    }
    options.ring = seconds("ring", args.ring)?;
    let usual = if args.call.is_some() { 8.0 } else { 300.0 };
    options.duration = seconds("duration", args.duration.unwrap_or(usual))?;
    if let Some(digit) = args.dtmf.chars().find(|d| tandem_rtp::telephone_event::code(*d).is_none())
    {
        return Err(format!("--dtmf: {digit:?} is no digit; write 0-9 * # A-D"));
    }
    options.digits.clone_from(&args.dtmf);
    if !(args.rate > 0.0 && args.rate <= 1_000.0) {
        return Err(format!("--rate {}: write a number above 0, at most 1000", args.rate));
    }
    if let Some(file) = &args.play {
        options.speech = speech(file)?;
    }
    if let Some(expected) = &args.expect {
        options.known = match expected.to_str() {
            Some("app") => vec![Speech::app()],
            Some("carrier") => vec![Speech::carrier()],
            Some(_) | None => vec![speech(expected)?],
        };
    }
    if !args.json {
        options.trace = Some(Arc::new(say));
    }
    Ok(options)
}

fn speech(file: &Path) -> Result<Speech, String> {
    let shown = file.display();
    let data = std::fs::read(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let samples = wav::read(&data).map_err(|what| format!("{shown}: {what}"))?;
    Ok(Speech { name: shown.to_string(), samples: samples.into() })
}

async fn place_all(carrier: Carrier, mut out: Out<'_>, number: &str) -> ExitCode {
    let total = out.args.count.unwrap_or(1).max(1);
    let mut tick = interval(Duration::from_secs_f64(1.0 / out.args.rate));
    let (sink, mut reports) = mpsc::channel::<Option<Report>>(MAX_CALLS);
    let mut placed = 0;
    while out.calls < total {
        tokio::select! {
            _ = tick.tick(), if placed < total && placed - out.calls < MAX_CALLS as u32 => {
                placed += 1;
                let call =
                    Placed { from: out.args.from.clone(), to: number.to_owned(), duration: None, gateway: None };
                let (report, sink) = (carrier.place(call).await, sink.clone());
                tokio::spawn(async move {
                    let _ = sink.send(report.await.ok()).await;
                });
            }
            Some(report) = reports.recv() => out.take(report.as_ref()),
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    carrier.stop().await;
    // Calls that Ctrl-C cut short still report.
    while out.calls < placed
        && let Ok(Some(report)) = tokio::time::timeout(Duration::from_secs(2), reports.recv()).await
    {
        out.take(report.as_ref());
    }
    out.end()
}

async fn take_all(mut carrier: Carrier, mut out: Out<'_>) -> ExitCode {
    let total = out.args.count.unwrap_or(0);
    if !out.args.json {
        say(&format!("listening on {}, UDP and TCP; Ctrl-C ends", carrier.address()));
    }
    while total == 0 || out.calls < total {
        tokio::select! {
            report = carrier.next_report() => match report {
                Some(report) => out.take(Some(&report)),
                None => break,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    carrier.stop().await;
    out.end()
}

/// What is printed, and what it comes to.
struct Out<'a> {
    args: &'a SimArgs,
    calls: u32,
    failed: u32,
}

impl Out<'_> {
    /// `None`: a call without a report, because the simulator has stopped.
    fn take(&mut self, report: Option<&Report>) {
        self.calls += 1;
        let Some(report) = report else {
            self.failed += 1;
            return;
        };
        if !self.is_good(report) {
            self.failed += 1;
        }
        if self.args.json {
            say(&serde_json::to_string(report).unwrap_or_default());
        } else {
            say(&report.to_string());
        }
        if let Some(file) = self.record_file().filter(|_| report.is_answered())
            && let Err(error) = std::fs::write(&file, wav::write(&report.samples))
        {
            complain(&format!("cannot write {}: {error}", file.display()), 1);
            self.failed += 1;
        }
    }

    /// A call that was meant to be answered was, and heard what it should.
    fn is_good(&self, report: &Report) -> bool {
        let refusing = self.args.call.is_none() && (self.args.busy || self.args.reject.is_some());
        let heard = report.heard.as_ref().map_or(0.0, |heard| heard.correlation);
        refusing || report.is_answered() && (self.args.expect.is_none() || heard >= RESEMBLES)
    }

    fn record_file(&self) -> Option<PathBuf> {
        let first = self.args.record.as_ref()?;
        if self.calls == 1 {
            return Some(first.clone());
        }
        let stem = first.file_stem().unwrap_or_default().to_string_lossy();
        Some(first.with_file_name(format!("{stem}-{}.wav", self.calls)))
    }

    fn end(&self) -> ExitCode {
        if !self.args.json {
            say(&format!("{} calls, {} failed", self.calls, self.failed));
        }
        ExitCode::from(u8::from(self.failed > 0))
    }
}

/// A line on standard output. Whoever closed the other end of a pipe wants no more.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn complain(what: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "tandem sim: {what}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sim: SimArgs,
    }

    fn parse(line: &str) -> Result<Options, String> {
        let words = std::iter::once("sim").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        options(&line.sim)
    }

    #[test]
    fn the_defaults_answer_calls_on_loopback() {
        let options = parse("").unwrap();
        assert_eq!(options.listen, "127.0.0.1:5070".parse().unwrap());
        assert_eq!(options.gateway, "127.0.0.1:5060".parse().unwrap());
        assert_eq!(options.incoming, Incoming::Answer);
        assert_eq!(options.codecs, [Encoding::Pcma, Encoding::Pcmu]);
        assert_eq!(options.duration, Duration::from_secs(300));
    }

    #[test]
    fn every_option_has_its_effect() {
        let options = parse(
            "--call +44 --codec pcmu --transport tcp --ring 0 --dtmf 12# --expect app --json",
        )
        .unwrap();
        assert_eq!(options.codecs, [Encoding::Pcmu]);
        assert_eq!(options.transport, Transport::Tcp);
        assert_eq!((options.ring, options.duration), (Duration::ZERO, Duration::from_secs(8)));
        assert_eq!(options.digits, "12#");
        assert_eq!(options.known.len(), 1);
        assert!(options.trace.is_none());
        assert_eq!(parse("--busy").unwrap().incoming, Incoming::Refuse(StatusCode::BUSY_HERE));
        let gone = StatusCode::new(410).unwrap();
        assert_eq!(parse("--reject 410").unwrap().incoming, Incoming::Refuse(gone));
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        assert!(parse("--dtmf 12x").unwrap_err().contains("'x' is no digit"));
        assert!(parse("--rate 0").unwrap_err().contains("--rate"));
        assert!(parse("--ring=-1").unwrap_err().contains("--ring"));
        assert!(parse("--play /nowhere.wav").unwrap_err().contains("/nowhere.wav"));
        assert!(parse("--busy --reject 404").is_err());
        assert!(parse("--reject 200").is_err());
    }
}
