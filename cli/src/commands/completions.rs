use clap::Args;
use clap_complete::Shell;

use super::command;
use crate::{failure::Failure, output::Output, wait::Outcome};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(output: &Output, args: CompletionsArgs) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "switchyard", &mut script);
    output.text(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Outcome::Done)
}
