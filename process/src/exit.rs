//! How a program begins and exits: 0 after SIGTERM or SIGINT, 1 after a failure, 2 when its flags, variables or settings file are wrong.

use std::{env, error::Error, process::ExitCode};

use crate::{
    error::chain,
    settings::{self, Arguments, Given, SettingsError},
};

/// Why a program exits with a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// The exit code of the program.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The settings are wrong: starting again with the same ones does not help.
    pub fn settings(error: &(dyn Error + 'static)) -> Self {
        Self { code: 2, text: chain(error) }
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { code: 1, text: chain(&error) }
    }
}

/// Reads the settings of a program and runs it. A failure is one line on standard error, which begins with the program's name.
pub fn run<A: Arguments>(program: impl FnOnce(Given<A>) -> Result<(), Failure>) -> ExitCode {
    disable_huge_pages();
    let result = match settings::read::<A>(env::args_os()) {
        Ok(given) => program(given),
        // If nobody reads the help, it does not matter.
        Err(SettingsError::Help(text)) => {
            let _ = text.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(Failure::settings(&error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            fail(A::command().get_name(), &text);
            ExitCode::from(code)
        }
    }
}

/// Keeps the allocator from using huge pages, which are cleared as a whole for what is used here and there of them (bench/RESULTS.md). If
/// that cannot be said, it is only that.
fn disable_huge_pages() {
    let _ = nix::sys::prctl::set_thp_disable(true);
}

#[expect(clippy::print_stderr, reason = "there may be no log yet, and whoever started the program reads this")]
fn fail(name: &str, text: &str) {
    eprintln!("{name}: {text}");
    crate::log::failure(text);
}
