//! Where and with what it was measured.

use std::process::Command;

use anyhow::{Context, Result};
use procfs::{CpuInfo, Current, Meminfo};

/// The machine, the system and the day, as a line of text.
pub(crate) fn describe() -> Result<String> {
    let cpus = CpuInfo::current()?;
    let cpu = cpus.model_name(0).unwrap_or("unknown CPU").to_owned();
    let memory = Meminfo::current()?.mem_total / (1 << 30);
    let kernel = procfs::sys::kernel::Version::current()?;
    let today = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let (day, _) = today.split_at("2026-01-01".len());
    Ok(format!(
        "{day}, on {cores} cores of {cpu}, {memory} GiB, Linux {}.{}.{}",
        kernel.major,
        kernel.minor,
        kernel.patch,
        cores = cpus.num_cores(),
    ))
}

/// The first number with a point in what a program says of its version.
pub(crate) fn version(program: &str, argument: &str) -> Result<String> {
    let output = Command::new(program).arg(argument).output()?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let number = text
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|word| word.trim_matches('.'))
        .find(|word| word.contains('.'));
    Ok(number.unwrap_or("of unknown version").to_owned())
}

/// The version of a library that this was built with.
pub(crate) fn locked(library: &str) -> Result<String> {
    let lock: toml::Table = include_str!("../../Cargo.lock").parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array).context("packages in Cargo.lock")?;
    let found = packages.iter().find(|package| package.get("name").and_then(toml::Value::as_str) == Some(library));
    let version = found.and_then(|package| package.get("version")?.as_str());
    Ok(version.with_context(|| format!("{library} in Cargo.lock"))?.to_owned())
}
