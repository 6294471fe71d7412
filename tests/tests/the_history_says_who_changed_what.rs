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

    async fn earlier_values_of_a_secret_are_purged_and_the_history_says_so(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let cli = fleet.cli();
        let key = fleet.dir().join("key");
        std::fs::write(&key, "c2VjcmV0\n")?;
        let first = key.to_string_lossy();
        let home = ["dns-provider", "create", "home", "--zone", "shop.example", "rfc2136", "--server", "192.0.2.1"];
        let signed = ["--key-name", "switchyard", "--key-secret-file", &first];
        ensure!(cli.run(&[&home[..], &signed].concat()).await?.code == 0, "it is created");
        let purge = ["secret", "purge", "dnsProviders/home", "rfc2136.key_secret"];
        let refused = cli.run(&purge).await?;
        ensure!(refused.code == 1 && refused.stderr.contains("there is no earlier value"), "it stays: {refused:?}");

        let other = fleet.dir().join("other");
        std::fs::write(&other, "b3RoZXI=\n")?;
        let secret = format!("rfc2136.key_secret=@{}", other.display());
        ensure!(cli.run(&["dns-provider", "update", "home", "--set", &secret]).await?.code == 0, "it is replaced");
        let before = cli.json(&["audit"]).await?;
        let checked = cli.run(&[&purge[..], &["--dry-run"]].concat()).await?;
        ensure!(checked.code == 0 && checked.stdout.contains("would be purged: 1"), "{checked:?}");
        ensure!(cli.json(&["audit"]).await? == before, "nothing was changed");
        let provider = cli.json(&["dns-provider", "get", "home"]).await?;
        let purged = cli.run(&purge).await?;
        ensure!(purged.code == 0 && purged.stdout.contains("purged: 1 (revision"), "{purged:?}");
        ensure!(cli.json(&["dns-provider", "get", "home"]).await? == provider, "the provider is as it was");
        ensure!(cli.run(&purge).await?.code == 1, "once");

        let listed = cli.json(&["audit"]).await?;
        let change = &listed["changes"][0];
        ensure!(change["kind"] == "CHANGE_KIND_SECRET_PURGED" && change["method"] == "PurgeSecret", "{change}");
        ensure!(change["resource"] == "dnsProviders/home" && change["actor"] == "admin", "{change}");
        ensure!(differences(change) == [r#""rfc2136.key_secret": null → null"#], "{change}");
        let table = cli.run(&["audit", "--limit", "1"]).await?.stdout;
        ensure!(table.contains("purged what rfc2136.key_secret was before"), "{table}");

        // What was deleted is purged as well.
        ensure!(cli.run(&["dns-provider", "delete", "home"]).await?.code == 0, "it is deleted");
        let purged = cli.run(&purge).await?;
        ensure!(purged.code == 0 && purged.stdout.contains("purged: 1 (revision"), "{purged:?}");
        let wrong = cli.run(&["secret", "purge", "home", "rfc2136.key_secret"]).await?;
        ensure!(wrong.code == 1 && wrong.stderr.contains("resource"), "{wrong:?}");
        Ok(())
    }
}
