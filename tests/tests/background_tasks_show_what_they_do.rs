//! O3: whoever runs the control plane sees when each background task ran, what it did, and why it fails.

use anyhow::{Context, Result, ensure};
use http::Request;
use serde_json::Value;
use switchyard_tests::{
    cli::Cli,
    client::{Client, empty},
    eventually::eventually,
    fleet::{Fleet, Plan},
    on_both_databases,
};

/// All tasks of a control plane, by name.
const TASKS: [&str; 8] =
    ["acme", "acme-lease", "edges", "expiry", "internal-certificates", "own-certificate", "tickets", "tickets-lease"];

/// What is asked for what is due.
const BREAK: &str = "ALTER TABLE issuance RENAME TO elsewhere";
const REPAIR: &str = "ALTER TABLE elsewhere RENAME TO issuance";

/// One task, as `switchyard status --tasks` says.
async fn task(cli: &Cli, name: &str) -> Result<Value> {
    let status = cli.json(&["status", "--tasks"]).await?;
    let tasks = status["tasks"].as_array().context("tasks")?;
    let names: Vec<&str> = tasks.iter().filter_map(|task| task["id"].as_str()).collect();
    ensure!(names == TASKS, "{names:?}");
    tasks.iter().find(|task| task["id"] == name).cloned().context("the task is listed")
}

/// Waits until a task is as `expected` says.
async fn becomes(cli: &Cli, name: &str, expected: impl Fn(&Value) -> bool) -> Result<()> {
    eventually("the status of a task changes", async || {
        let task = task(cli, name).await?;
        ensure!(expected(&task), "{task}");
        Ok(())
    })
    .await
}

async fn metrics(fleet: &Fleet) -> Result<String> {
    let request = Request::get("http://localhost/metrics")
        .header("authorization", format!("Bearer {}", fleet.control_plane.admin_token()?))
        .body(empty())?;
    Ok(String::from_utf8(Client::http(fleet.control_plane.admin).exchange(request).await?.body.to_vec())?)
}

on_both_databases! {
    async fn the_status_says_what_each_task_did_and_why_it_fails(database: Database) -> Result<()> {
        let fleet = Fleet::start_with(database.clone(), Plan { edges: 0, ..Plan::default() }).await?;
        let cli = fleet.cli();
        for lease in ["acme-lease", "tickets-lease"] {
            becomes(&cli, lease, |task| {
                task["state"] == "TASK_STATE_WAITING" && task["lastAction"] == "acquired epoch 1"
                    && task["nextRunTime"].is_string() && task["lastSuccessTime"].is_string()
            }).await?;
        }
        // Before the first edge nobody could answer a CA, and nothing is to be rotated.
        becomes(&cli, "acme", |task| task["waitingFor"] == "the first edge").await?;
        let table = cli.run(&["status", "--tasks"]).await?.stdout;
        ensure!(table.starts_with("TASK ") && table.contains("waiting for the first edge"), "{table}");

        let _edge = fleet.new_edge("edge-1", Vec::new()).await?;
        becomes(&cli, "edges", |task| task["lastAction"] == "recorded edges: 1").await?;
        becomes(&cli, "acme", |task| task["waitingFor"].is_null() && task["state"] == "TASK_STATE_WAITING").await?;

        let data_dir = fleet.control_plane.data_dir.clone();
        database.execute(&data_dir, BREAK).await?;
        becomes(&cli, "acme", |task| {
            task["state"] == "TASK_STATE_FAILING" && task["failure"].as_str().is_some_and(|it| it.contains("issuance"))
                && task["consecutiveFailures"].as_u64() >= Some(2)
        }).await?;
        let text = metrics(&fleet).await?;
        ensure!(!text.contains("switchyard_task_failures_total{task=\"acme\"} 0\n"), "{text}");
        ensure!(text.contains("switchyard_task_failures_total{task=\"expiry\"} 0\n"), "{text}");
        ensure!(text.contains("switchyard_task_last_success_timestamp_seconds{task=\"expiry\"} 1"), "{text}");

        database.execute(&data_dir, REPAIR).await?;
        becomes(&cli, "acme", |task| task["failure"].is_null() && task["failures"] != "0").await
    }
}
