//! Changes that leave domains without what serves them: refused unless they are forced, and asked for in a terminal.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::Instant,
};

use clap::Args;
use tonic::{Response, Status};

use crate::{
    failure::{Failure, requires_force},
    fields::Fields,
    headings::CHANGE,
    output::{self, Format, note},
    report::Report,
};

/// What every change takes that may leave domains without what serves them.
#[derive(Debug, Args)]
pub(crate) struct ForceArgs {
    /// Do it even if it leaves domains without what serves them
    #[arg(long, help_heading = CHANGE)]
    force: bool,
    /// Never ask: without --force, refuse what a terminal would be asked about
    #[arg(long, help_heading = CHANGE)]
    yes: bool,
}

impl ForceArgs {
    /// Sends a change; if it is refused only unless it is forced, asks in a terminal and sends it again. Returns the answer, and when the
    /// change was sent. `failure` says what to do about an error.
    pub(crate) async fn send<T>(
        &self,
        failure: impl Fn(Status) -> Failure,
        send: impl AsyncFn(bool) -> Result<Response<T>, Status>,
    ) -> Result<(T, Instant), Failure> {
        let began = Instant::now();
        let refused = match send(self.force).await {
            Ok(answer) => return Ok((answer.into_inner(), began)),
            Err(status) => (requires_force(&status), failure(status)),
        };
        match refused {
            (true, refusal) if !self.force && !self.yes && can_ask() => {
                output::failure(&Report::new(&refusal, &Fields::default()), Format::Table);
                if !confirmed(io::stdin().lock()) {
                    return Err(Failure::Declined);
                }
            }
            (_, refusal) => return Err(refusal),
        }
        let began = Instant::now();
        let answer = send(true).await.map_err(failure)?;
        Ok((answer.into_inner(), began))
    }
}

/// Whether there is a person who reads the question and can answer.
fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks, and reads the answer: anything but a yes is a no.
fn confirmed(mut answers: impl BufRead) -> bool {
    let mut stderr = io::stderr().lock();
    // If the terminal is gone, so is the answer.
    let _ = write!(stderr, "Do it all the same? [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    if answers.read_line(&mut answer).is_err() || answer.is_empty() {
        note("");
        return false;
    }
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in [("y\n", true), ("YES\n", true), ("\n", false), ("no\n", false), ("", false)] {
            assert_eq!(confirmed(answer.as_bytes()), expected, "{answer:?}");
        }
    }
}
