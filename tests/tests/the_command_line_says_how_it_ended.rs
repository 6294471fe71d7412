//! U3, F2: the `switchyard` command, as people and scripts use it.

use anyhow::{Result, ensure};
use switchyard_proto::v1::EdgeState;
use switchyard_tests::{
    api::Api,
    cli::Cli,
    eventually::eventually,
    fleet::Fleet,
    on_both_databases,
    origin::Origin,
    port,
    shop::{HOST, Shop},
};

on_both_databases! {
    async fn a_whole_setup_needs_nothing_but_commands(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let (a, b) = (Origin::start("a", "a").await?, Origin::start("b", "b").await?);
        let (a_address, b_address) = (a.address(), b.address());
        let commands: [&[&str]; 5] = [
            &["service", "create", "shop", "--first-byte-timeout", "5s"],
            &["backend", "create", "shop-1", "--service", "shop", "--address", &a_address, "--tag", "a"],
            &["backend", "create", "shop-2", "--service", "shop", "--address", &b_address, "--tag", "b"],
            &["domain", "create", HOST, "--service", "shop", "--tag", "a", "--tls", "internal", "--wait"],
            &["switch", HOST, "--to", "b", "--wait"],
        ];
        let cli = fleet.cli();
        for command in commands {
            let ended = cli.run(command).await?;
            ensure!(ended.code == 0, "{command:?}: {ended:?}");
        }
        ensure!(fleet.https().await?.get(&format!("https://{HOST}/")).await?.tag() == "b", "it serves");

        let changes: [&[&str]; 4] = [
            &["backend", "update", "shop-1", "--tag", "c", "--wait"],
            &["domain", "update", HOST, "--tag", "c", "--http-to-https", "--wait"],
            &["backend", "delete", "shop-2", "--wait"],
            &["service", "update", "shop", "--protocol", "http1"],
        ];
        for command in changes {
            let ended = cli.run(command).await?;
            ensure!(ended.code == 0, "{command:?}: {ended:?}");
        }
        ensure!(fleet.https().await?.get(&format!("https://{HOST}/")).await?.tag() == "a", "the first one answers as c");
        ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.status == 308, "plain HTTP is redirected");

        let deletions: [&[&str]; 3] =
            [&["domain", "delete", HOST, "--wait"], &["backend", "delete", "shop-1"], &["service", "delete", "shop"]];
        for command in deletions {
            let ended = cli.run(command).await?;
            ensure!(ended.code == 0, "{command:?}: {ended:?}");
        }
        Ok(())
    }

    async fn results_are_tables_json_or_yaml(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let cli = fleet.cli();
        let domain = cli.json(&["domain", "get", HOST]).await?;
        ensure!(domain["name"] == format!("domains/{HOST}") && domain["activeTag"] == "a", "{domain}");
        for (collection, list) in
            [("domains", "domain"), ("services", "service"), ("backends", "backend"), ("certificates", "certificate")]
        {
            let listed = cli.json(&[list, "list"]).await?;
            ensure!(listed[collection].as_array().is_some_and(|items| !items.is_empty()), "{listed}");
        }
        let edges = cli.json(&["edge", "list"]).await?;
        ensure!(edges["edges"][0]["state"] == "EDGE_STATE_CONNECTED", "{edges}");
        let table = cli.run(&["domain", "list"]).await?;
        ensure!(table.code == 0 && table.stdout.lines().count() == 2 && table.stdout.contains(HOST), "{table:?}");
        let yaml = cli.run(&["domain", "list", "--output", "yaml"]).await?;
        ensure!(yaml.code == 0 && yaml.stdout.contains(&format!("name: domains/{HOST}")), "{yaml:?}");
        let named = cli.run(&["domain", "list", "--filter", "service=shop", "--filter", "active_tag!=z"]).await?;
        ensure!(named.stdout.contains(HOST), "{named:?}");
        let none = cli.json(&["domain", "list", "--filter", "service=other"]).await?;
        ensure!(none["domains"] == serde_json::json!([]), "{none}");
        // With a document on the standard output, what is told beside it goes elsewhere.
        let switched = cli.json(&["switch", HOST, "--to", "b", "--wait"]).await?;
        ensure!(switched["activeTag"] == "b" && switched["previousTag"] == "a", "{switched}");
        Ok(())
    }

    async fn status_begins_with_what_is_wrong(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let cli = fleet.cli();
        let well = cli.run(&["status"]).await?;
        ensure!(well.code == 0 && well.stdout.contains(", no problems\n"), "{well:?}");
        let lonely = ["domain", "create", "lonely.example", "--service", "shop", "--tag", "z", "--tls", "internal"];
        ensure!(cli.run(&lonely).await?.code == 0, "it is created");
        let problem = "domains/lonely.example  no active backend of service shop carries the tag z";
        let status = cli.run(&["status"]).await?;
        ensure!(status.code == 0 && status.stdout.lines().nth(3) == Some(problem), "{status:?}");
        // Who may not know of rows that cannot be read sees the rest, and what is out of its scope is no problem.
        for (scope, problems) in [("*.example", 1), (HOST, 0)] {
            let make = ["token", "create", &format!("for-{problems}"), "--role", "viewer", "--domain", scope];
            let token = cli.json(&[&make[..], &["--service", "shop"]].concat()).await?;
            let status = cli.clone().with_token(token["secret"].as_str().unwrap_or_default()).json(&["status"]).await?;
            ensure!(status["problems"].as_array().map(Vec::len) == Some(problems), "{scope}: {status}");
        }
        Ok(())
    }

    async fn exit_codes_tell_failure_wrong_usage_and_not_live_apart(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let cli = fleet.cli();
        for (arguments, code, said) in [
            (&["domain", "get", HOST][..], 0, ""),
            (&["domain", "get", "nowhere.example"], 1, "NOT_FOUND"),
            (&["domain", "create", "not a host", "--tag", "a"], 1, "DOMAIN: "),
            (&["backend", "create", "new", "--address", "nonsense", "--tag", "a"], 1, "--address: "),
            (&["switch", HOST, "--to", "z"], 1, "FAILED_PRECONDITION"),
            (&["switch", HOST, "--to", "b", "--etag", "1"], 1, "ABORTED"),
            (&["switch"], 2, "Usage"),
            (&["no-such-command"], 2, "no-such-command"),
            (&["switch", HOST, "--to", "b", "--back"], 2, "--back"),
            (&["certificate", "upload", "x", "--chain", "/nowhere/chain.pem", "--key", "/nowhere/key.pem"], 1, "/nowhere/chain.pem"),
        ] {
            let ended = cli.run(arguments).await?;
            ensure!(ended.code == code && ended.stderr.contains(said), "{arguments:?}: {ended:?}");
        }
        let unreachable = Cli::new(port::free()?, fleet.dir().to_owned()).run(&["edge", "list"]).await?;
        ensure!(unreachable.code == 1 && unreachable.stderr.contains("--control-plane"), "{unreachable:?}");

        // A stopped edge is connected, and acknowledges nothing.
        fleet.edge().process()?.signal(nix::sys::signal::Signal::SIGSTOP)?;
        let ended = cli.run(&["switch", HOST, "--to", "b", "--wait", "--timeout", "1s"]).await?;
        fleet.edge().process()?.signal(nix::sys::signal::Signal::SIGCONT)?;
        ensure!(ended.code == 3 && ended.stderr.contains("edge-1"), "{ended:?}");
        let ended = cli.run(&["switch", HOST, "--to", "b", "--wait"]).await?;
        ensure!(ended.code == 0, "what is switched already is waited for all the same: {ended:?}");

        fleet.control_plane.kill().await?;
        let ended = cli.run(&["switch", HOST, "--back"]).await?;
        ensure!(ended.code == 1, "{ended:?}");
        Ok(())
    }
    async fn what_leaves_domains_without_what_serves_them_is_refused_and_forced(database: Database) -> Result<()> {
        let fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let cli = fleet.cli();
        for command in [
            &["backend", "drain", "shop-a"][..],
            &["backend", "delete", "shop-a"],
            &["backend", "update", "shop-a", "--state", "disabled"],
            &["backend", "update", "shop-a", "--tag", "c"],
        ] {
            let ended = cli.run(command).await?;
            let named = format!("domains/{HOST}: depends on backends/shop-a");
            ensure!(ended.code == 1 && ended.stderr.contains(&named), "{command:?}: {ended:?}");
            ensure!(ended.stderr.contains("--force"), "{command:?}: {ended:?}");
        }
        ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.tag() == "a", "it serves");
        let ended = cli.run(&["backend", "drain", "shop-a", "--force", "--wait"]).await?;
        ensure!(ended.code == 0, "{ended:?}");
        ensure!(fleet.http().get(&format!("http://{HOST}/")).await?.status == 503, "nobody is left");

        let nobody = ["domain", "create", "other.example", "--service", "shop", "--tag", "z", "--tls", "internal"];
        let ended = cli.run(&nobody).await?;
        let warning = "warning: no active backend of services/shop carries the tag z";
        ensure!(ended.code == 0 && ended.stderr.contains(warning), "{ended:?}");
        Ok(())
    }

    async fn waiting_ends_with_0_only_when_it_is_live_somewhere_and_everywhere_required(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let cli = fleet.cli();
        // No edge has the label.
        let nowhere = ["domain", "create", "eu.example", "--tag", "a", "--service", "shop", "--tls", "internal", "--edge-label", "region=eu", "--wait"];
        let ended = cli.run(&nowhere).await?;
        ensure!(ended.code == 3 && ended.stderr.contains("does not serve it"), "{ended:?}");
        // What no domain uses is served by nobody; what nobody had is removed from everywhere.
        let backend = ["backend", "create", "idle-1", "--address", "127.0.0.1:9", "--tag", "a", "--wait"];
        let ended = cli.run(&backend).await?;
        ensure!(ended.code == 3, "{ended:?}");
        let ended = cli.run(&["backend", "delete", "idle-1", "--wait"]).await?;
        ensure!(ended.code == 0 && ended.stdout.contains("concerns no edge"), "{ended:?}");

        // One of two stops answering while it is waited for.
        let mut other = fleet.new_edge("edge-2", vec![]).await?;
        other.process()?.signal(nix::sys::signal::Signal::SIGSTOP)?;
        let ended = cli.run(&["switch", HOST, "--to", "b", "--wait", "--timeout", "60s"]).await?;
        other.process()?.signal(nix::sys::signal::Signal::SIGCONT)?;
        ensure!(ended.code == 3 && ended.stderr.contains("edge-2: lost its connection"), "{ended:?}");
        ensure!(ended.stdout.contains("edge-1   live"), "{ended:?}");

        // It was offline before: it does not count, unless it is asked for.
        other.terminate().await?;
        let api = fleet.api()?;
        offline(&api, "edge-2").await?;
        let ended = cli.run(&["switch", HOST, "--to", "a", "--wait", "--require-all", "--timeout", "1s"]).await?;
        ensure!(ended.code == 3 && ended.stderr.contains("edge-2"), "{ended:?}");
        eventually("it does not count", async || {
            let ended = cli.run(&["switch", HOST, "--to", "a", "--wait"]).await?;
            ensure!(ended.code == 0 && ended.stdout.contains("live on 1 of 1 connected edges"), "{ended:?}");
            ensure!(ended.stdout.contains("edge-2   offline") && ended.stdout.contains("1 offline"), "{ended:?}");
            Ok(())
        })
        .await?;

        // All are offline.
        fleet.edge_mut().terminate().await?;
        let ended = cli.run(&["switch", HOST, "--to", "b", "--wait"]).await?;
        ensure!(ended.code == 3 && ended.stderr.contains("edge-1"), "{ended:?}");
        let ended = cli.run(&["switch", HOST, "--to", "a", "--wait"]).await?;
        ensure!(ended.code == 3 && ended.stderr.contains("not live anywhere"), "{ended:?}");
        let ended = cli.run(&["switch", HOST, "--to", "b", "--wait", "--allow-offline"]).await?;
        ensure!(ended.code == 0 && ended.stdout.contains("live nowhere yet"), "{ended:?}");
        Ok(())
    }
}

async fn offline(api: &Api, id: &str) -> Result<()> {
    eventually("it is offline", async || {
        ensure!(api.edge(id).await?.state() == EdgeState::Offline, "it is connected");
        Ok(())
    })
    .await
}
