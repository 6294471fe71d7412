//! The command line, as a person or a script uses it.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{program, run};

/// Runs `switchyard` against one control plane, with a home directory of its own.
#[derive(Clone)]
pub struct Cli {
    control_plane: Option<String>,
    home: PathBuf,
    token_file: Option<PathBuf>,
    token: Option<String>,
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
        Self { control_plane: Some(format!("http://{admin}")), home, token_file: None, token: None }
    }

    /// Shows the token in a file.
    pub fn with_token_file(self, token_file: PathBuf) -> Self {
        Self { token_file: Some(token_file), ..self }
    }

    /// Shows a token of the environment.
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), token_file: None, ..self }
    }

    /// Is told neither where the control plane is nor what to show there.
    pub fn on_its_own(self) -> Self {
        Self { control_plane: None, token_file: None, token: None, ..self }
    }

    /// Runs a command to its end, however that is.
    pub async fn run(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = program("switchyard")?;
        command.env("HOME", &self.home).env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME");
        if let Some(file) = &self.token_file {
            command.env("SWITCHYARD_TOKEN_FILE", file);
        }
        if let Some(token) = &self.token {
            command.env("SWITCHYARD_TOKEN", token);
        }
        if let Some(control_plane) = &self.control_plane {
            command.args(["--control-plane", control_plane]);
        }
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
