use std::{fs, path::PathBuf};

use clap::Args;
use clap_mangen::Man;

use super::command;
use crate::{failure::Failure, output::Output, wait::Outcome};

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where the pages of all commands are written to; made if it is not there [default: print the page of switchyard itself]
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

pub(super) fn run(output: &Output, args: ManArgs) -> Result<Outcome, Failure> {
    let Some(dir) = args.dir else {
        let mut page = Vec::new();
        Man::new(command()).render(&mut page).map_err(Failure::Output)?;
        output.text(String::from_utf8_lossy(&page).trim_end())?;
        return Ok(Outcome::Done);
    };
    fs::create_dir_all(&dir)
        .and_then(|()| clap_mangen::generate_to(command().disable_help_subcommand(true), &dir))
        .map_err(|error| Failure::File { path: dir.clone(), reason: error.to_string() })?;
    output.result(&format!("man pages written to {}: man -M or -l shows them", dir.display()))?;
    Ok(Outcome::Done)
}
