use clap::Args;
use clap_complete::{Shell, env::Shells};

use crate::{completion, failure::Failure, output::Output, wait::Outcome};

/// What the script runs, by the search path.
const PROGRAM: &str = "switchyard";

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(output: &Output, args: CompletionsArgs) -> Result<Outcome, Failure> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string());
    let shell = shell.ok_or_else(|| Failure::Usage(format!("there are no completions for {}", args.shell)))?;
    let mut script = Vec::new();
    shell.write_registration(completion::VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script).map_err(Failure::Output)?;
    output.text(String::from_utf8_lossy(&script).trim())?;
    Ok(Outcome::Done)
}
