//! What the person in front of the demo sees.

use std::io::{IsTerminal, stdout};

use indicatif::{ProgressBar, ProgressStyle};

/// Colours only where a person looks at them.
pub(super) struct Screen {
    colours: bool,
}

/// One moment in the life of an update.
pub(super) struct Moment {
    /// Seconds since the order.
    pub(super) at: f64,
    pub(super) state: String,
    pub(super) mode: Option<u64>,
    pub(super) words: String,
}

impl Screen {
    pub(super) fn new() -> Self {
        let colours = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colours }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn title(&self, text: &str) {
        println!("\n{}", self.paint("1", text));
    }

    pub(super) fn part(&self, text: &str) {
        println!("\n{}", self.paint("1;36", &format!("== {text}")));
    }

    /// A command as a person would type it.
    pub(super) fn command(&self, arguments: &[&str]) {
        println!("  {}", self.paint("2", &format!("$ freshen {}", arguments.join(" "))));
    }

    pub(super) fn say(&self, text: &str) {
        println!("  {text}");
    }

    pub(super) fn verdict(&self, text: &str) {
        println!("  {}", self.paint("1;32", &format!("ok  {text}")));
    }

    /// A time line: the states one below the other, how long each lasted as a bar.
    pub(super) fn time_line(&self, moments: &[Moment]) {
        /// Widest bar, characters.
        const BAR: f64 = 24.0;
        println!();
        let heading =
            format!("  {:>8}  {:<10} {:>4}  {:<24}  what happens", "time", "state", "cm", "");
        println!("{}", self.paint("2", &heading));
        let end = moments.last().map_or(0.0, |moment| moment.at);
        for (n, moment) in moments.iter().enumerate() {
            let until = moments.get(n + 1).map_or(end, |next| next.at);
            let (from, to) = (moment.at / end.max(0.001) * BAR, until / end.max(0.001) * BAR);
            let (from, to) = (from.floor() as usize, (to.ceil() as usize).max(1));
            let bar: String = (0..BAR as usize)
                .map(|x| if (from..to).contains(&x) { '#' } else { '.' })
                .collect();
            let colour = match &*moment.state {
                "idle" => "2",
                "upgrading" => "1;35",
                _ => "1;34",
            };
            let state = self.paint(colour, &format!("{:<10}", moment.state));
            let mode = moment.mode.map_or(String::new(), |mode| mode.to_string());
            let (at, words) = (moment.at, &moment.words);
            println!("  {at:>6.1} s  {state} {mode:>4}  {bar}  {words}");
        }
        println!();
    }

    pub(super) fn bar(&self) -> ProgressBar {
        let bar = ProgressBar::new(0);
        let style = "  {msg:34} [{bar:28}] {decimal_bytes:>9}/{decimal_total_bytes} {decimal_bytes_per_sec}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("#>-"));
        }
        bar
    }
}
