//! X5: every change is in the audit log, with its actor.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use switchyard_tests::{
    authority::Authority,
    fleet::Fleet,
    on_both_databases,
    shop::{HOST, Shop},
};

/// The fields of a change, as `name: before → after`.
fn differences(change: &Value) -> Vec<String> {
    let fields = change["fields"].as_array().cloned().unwrap_or_default();
    fields.iter().map(|it| format!("{}: {} → {}", it["field"], it["before"], it["after"])).collect()
}

on_both_databases! {
    async fn every_change_is_told_with_its_actor_and_what_it_did(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let (api, cli) = (fleet.api()?, fleet.cli());
        let revision = api.switch_domain(HOST, "b").await?.revision;
        let name = format!("domains/{HOST}");

        let listed = cli.json(&["audit", &name]).await?;
        let changes = listed["changes"].as_array().cloned().unwrap_or_default();
        ensure!(changes.len() == 2, "a creation and a switch: {listed}");
        let switched = &changes[0];
        ensure!(switched["revision"] == *revision.to_string() && switched["resource"] == name, "{switched}");
        ensure!(switched["kind"] == "CHANGE_KIND_UPDATED" && switched["method"] == "SwitchDomain", "{switched}");
        ensure!(switched["actor"] == "admin" && switched["address"] == "127.0.0.1", "{switched}");
        let expected = [r#""active_tag": "a" → "b""#, r#""previous_tag": null → "a""#];
        ensure!(differences(switched) == expected, "{switched}");
        ensure!(changes[1]["kind"] == "CHANGE_KIND_CREATED" && changes[1]["method"] == "CreateDomain", "{listed}");

        // For people it is one line.
        let table = cli.run(&["audit", &name, "--limit", "1"]).await?.stdout;
        ensure!(table.lines().count() == 2 && table.contains("active_tag: a → b, previous_tag: - → a"), "{table}");

        // What was refused, or only checked, is not a change.
        let before = cli.json(&["audit"]).await?;
        ensure!(cli.run(&["switch", HOST, "--to", "nowhere"]).await?.code == 1, "it is refused");
        ensure!(cli.run(&["switch", HOST, "--to", "a", "--dry-run"]).await?.code == 0, "it is checked");
        ensure!(cli.json(&["audit"]).await? == before, "nothing was changed");
        Ok(())
    }

    async fn the_history_comes_in_pages_and_by_time_and_outlives_its_resources(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let (api, cli) = (fleet.api()?, fleet.cli());
        for number in 0..5 {
            api.create_domain(&format!("{number}.example"), "shop", "a").await?;
        }
        api.delete_domain("3.example").await?;
        let gone = cli.json(&["audit", "domains/3.example"]).await?;
        ensure!(gone["changes"][0]["kind"] == "CHANGE_KIND_DELETED", "{gone}");
        ensure!(differences(&gone["changes"][0]).contains(&r#""active_tag": "a" → null"#.to_owned()), "{gone}");

        let all = cli.json(&["audit", "--limit", "1000"]).await?;
        let all = all["changes"].as_array().cloned().unwrap_or_default();
        // Page by page it is the same.
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let request = switchyard_proto::v1::ListChangesRequest {
                page_size: 2,
                page_token: token,
                ..Default::default()
            };
            let page = api.audit.clone().list_changes(request).await?.into_inner();
            seen.extend(page.changes);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        ensure!(json!(seen) == json!(all), "{seen:?} {all:?}");
        let is_newest_first = seen.is_sorted_by(|left, right| left.revision >= right.revision);
        ensure!(is_newest_first && seen.last().is_some_and(|first| first.actor == "system"), "{seen:?}");

        ensure!(cli.json(&["audit", "--since", "1h"]).await?["changes"].as_array().map(Vec::len) == Some(all.len()), "all");
        ensure!(cli.json(&["audit", "--until", "1h"]).await? == json!({ "changes": [] }), "none is older");
        ensure!(cli.json(&["audit", "--actor", "nobody"]).await? == json!({ "changes": [] }), "nobody did anything");
        let refused = cli.run(&["audit", HOST]).await?;
        ensure!(refused.code == 1 && refused.stderr.contains("domains/ID"), "{refused:?}");
        Ok(())
    }

    async fn no_secret_is_in_the_history(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let issued = Authority::generate()?.issue(&[HOST])?;
        fleet.api()?.create_certificate("shop", &issued.chain_pem, &issued.key_pem).await?;
        let told = fleet.cli().run(&["audit", "--output", "json", "--limit", "1000"]).await?.stdout;
        ensure!(told.contains("certificates/shop") && told.contains("CreateCertificate"), "{told}");
        let secret = issued.key_pem.lines().nth(1).unwrap_or_default();
        ensure!(!secret.is_empty() && !told.contains(secret) && !told.contains("PRIVATE KEY"), "{told}");
        Ok(())
    }
}
