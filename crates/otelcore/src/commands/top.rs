//! `top`: the tables of the live page in a terminal, refreshed each second.
//!
//! Owns the connection to the page and the screen; [`view`] makes the lines.

mod view;

use std::rc::Rc;
use std::time::Duration;

use otelcore_reactor::{Signals, signal, terminal_size};
use serde_json::Value;

use self::view::View;
use super::args::GivenFlags;
use super::page_client::{Ended, PageTarget, RequestFailure, Wanted, pause};
use super::{Terminal, print_error};

/// The longest event: a state of some ten thousand components.
const MAX_EVENT: usize = 32 << 20;
/// An event comes each second.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often, and after which pause, a collector that has answered before is asked again.
const MAX_FAILURES: u32 = 30;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const DEFAULT_WIDTH: usize = 200;

/// Shows another screen without a cursor, and the one before again.
const ENTER_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE_SCREEN: &str = "\x1b[?25h\x1b[?1049l";

/// Runs the command.
pub(super) fn run(url: Option<&str>, flags: &GivenFlags, terminal: &mut Terminal<'_>) -> u8 {
    match top(url, flags, terminal) {
        Ok(()) => 0,
        Err(e) => print_error(terminal, &e),
    }
}

fn top(url: Option<&str>, flags: &GivenFlags, terminal: &mut Terminal<'_>) -> Result<(), String> {
    let target = PageTarget::read(url, flags)?;
    let width = flags
        .value("width")
        .map(|text| text.parse::<usize>().ok().filter(|width| *width >= 40))
        .map_or(Ok(None), |width| width.map(Some).ok_or("--width must be a number of at least 40 columns"))?;
    let once = flags.is_on("once", !terminal.is_terminal);
    let signals = Rc::new(Signals::catch(&[signal::TERM, signal::INT]).map_err(|e| e.to_string())?);
    let mut screen = Screen { target: &target, width, once, view: None, is_entered: false };
    let result = screen.follow(&signals, terminal);
    if screen.is_entered {
        let _ = terminal.out.write_all(LEAVE_SCREEN.as_bytes());
        let _ = terminal.out.flush();
    }
    result
}

struct Screen<'a> {
    target: &'a PageTarget,
    width: Option<usize>,
    /// One picture is printed, without control sequences.
    once: bool,
    view: Option<View>,
    is_entered: bool,
}

impl Screen<'_> {
    /// Shows one state after the other. A collector that is away for a moment, or reads another configuration, is asked again.
    fn follow(&mut self, signals: &Rc<Signals>, terminal: &mut Terminal<'_>) -> Result<(), String> {
        let mut failures = 0;
        loop {
            let graph = match self.read_graph(signals, terminal) {
                Ok(Some(graph)) => graph,
                Ok(None) => return Ok(()),
                Err(RequestFailure::NoResponse(e)) if self.is_entered && failures < MAX_FAILURES => {
                    failures += 1;
                    self.show_text(&format!("{}: {e}", self.target.base()), terminal);
                    if pause(signals, RETRY_PAUSE)? {
                        return Ok(());
                    }
                    continue;
                }
                Err(e) => return Err(e.to_string()),
            };
            self.view = Some(View::new(graph).map_err(|e| format!("{}: {e}", self.target.base()))?);
            match self.read_events(signals, terminal) {
                Ok(Ended::Interrupted) => return Ok(()),
                Ok(Ended::Enough) if self.once => return Ok(()),
                Ok(Ended::Enough | Ended::Complete) => failures = 0,
                Err(RequestFailure::NoResponse(_)) if self.is_entered => {}
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// The graph; `None` after a signal.
    fn read_graph(&self, signals: &Rc<Signals>, terminal: &mut Terminal<'_>) -> Result<Option<Value>, RequestFailure> {
        let mut text = Vec::new();
        let result = self.target.get("/api/v1/graph", Some(IDLE_TIMEOUT), signals, terminal, &mut |part, _| {
            text.extend_from_slice(part);
            if text.len() > MAX_EVENT { Wanted::Enough } else { Wanted::More }
        })?;
        if result == Ended::Interrupted {
            return Ok(None);
        }
        let base = self.target.base();
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| RequestFailure::Refused(format!("{base} is not the live page of otelcore: {e}")))
    }

    /// Shows events until the response ends, or the configuration is another one.
    fn read_events(&mut self, signals: &Rc<Signals>, terminal: &mut Terminal<'_>) -> Result<Ended, RequestFailure> {
        let mut line = Vec::new();
        let target = self.target;
        target.get("/events", Some(IDLE_TIMEOUT), signals, terminal, &mut |part, terminal| {
            for piece in part.split_inclusive(|byte| *byte == b'\n') {
                if line.len() + piece.len() <= MAX_EVENT {
                    line.extend_from_slice(piece);
                }
                if !piece.ends_with(b"\n") {
                    continue;
                }
                let state = line.strip_prefix(b"data: ").and_then(|json| serde_json::from_slice::<Value>(json).ok());
                line.clear();
                if let Some(state) = state
                    && self.show(state, terminal) == Wanted::Enough
                {
                    return Wanted::Enough;
                }
            }
            Wanted::More
        })
    }

    fn show(&mut self, state: Value, terminal: &mut Terminal<'_>) -> Wanted {
        let Some(view) = &mut self.view else { return Wanted::Enough };
        if !view.add_state(state) {
            // Another configuration runs, or another process.
            return Wanted::Enough;
        }
        let (width, height) = match terminal_size().filter(|_| !self.once) {
            Some((width, height)) => (self.width.unwrap_or(width), Some(height)),
            None => (self.width.unwrap_or(DEFAULT_WIDTH), None),
        };
        if self.once {
            // Rates need two states.
            if !view.has_rates() {
                return Wanted::More;
            }
            let text = view.lines(width, None).join("\n");
            let _ = writeln!(terminal.out, "{text}");
            return Wanted::Enough;
        }
        let lines = view.lines(width, height);
        self.draw(&lines, terminal)
    }

    fn show_text(&mut self, text: &str, terminal: &mut Terminal<'_>) {
        let text = super::plain_text(text);
        self.draw(&[text], terminal);
    }

    /// Writes lines over those before, so that nothing flickers.
    fn draw(&mut self, lines: &[String], terminal: &mut Terminal<'_>) -> Wanted {
        let mut frame = String::new();
        if !std::mem::replace(&mut self.is_entered, true) {
            frame.push_str(ENTER_SCREEN);
        }
        frame.push_str("\x1b[H");
        frame.push_str(&lines.join("\x1b[K\r\n"));
        frame.push_str("\x1b[K\x1b[J");
        let result = terminal.out.write_all(frame.as_bytes()).and_then(|()| terminal.out.flush());
        if result.is_err() { Wanted::Enough } else { Wanted::More }
    }
}
