//! The command line, as a person or a script uses it.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{program, run};

/// Runs `switchyard` against one control plane, with a home directory of its own.
#[derive(Clone)]
pub struct Cli {
    control_plane: String,
    home: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Cli {
    /// Speaks to the control plane whose API is at `admin`.
    pub fn new(admin: SocketAddr, home: PathBuf) -> Self {
        Self { control_plane: format!("http://{admin}"), home }
    }

    /// Runs a command to its end, however that is.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = program("switchyard")?;
        command.env("HOME", &self.home).env_remove("XDG_CONFIG_HOME").args(["--control-plane", &self.control_plane]);
        let output = run(command.args(arguments)).await?;
        Ok(Ended {
            code: output.status.code().context("it ends by itself")?,
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs a command that must succeed; the JSON that it prints.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let ended = self.run(&[arguments, &["--output", "json"]].concat()).await?;
        ensure!(ended.code == 0, "switchyard {}: {ended:?}", arguments.join(" "));
        serde_json::from_str(&ended.stdout).with_context(|| format!("JSON: {}", ended.stdout))
    }
}
