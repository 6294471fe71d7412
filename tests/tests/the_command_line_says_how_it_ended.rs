//! U3, F2: the `switchyard` command, as people and scripts use it.

use anyhow::{Result, ensure};
use switchyard_tests::{
    cli::Cli,
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
        // With a document on the standard output, what is told beside it goes elsewhere.
        let switched = cli.json(&["switch", HOST, "--to", "b", "--wait"]).await?;
        ensure!(switched["activeTag"] == "b" && switched["previousTag"] == "a", "{switched}");
        Ok(())
    }

    async fn exit_codes_tell_failure_wrong_usage_and_not_live_apart(database: Database) -> Result<()> {
        let mut fleet = Fleet::start(database).await?;
        let _shop = Shop::open(&fleet).await?;
        let cli = fleet.cli();
        for (arguments, code, said) in [
            (&["domain", "get", HOST][..], 0, ""),
            (&["domain", "get", "nowhere.example"], 1, "NOT_FOUND"),
            (&["domain", "create", "not a host", "--tag", "a"], 1, "domain.name"),
            (&["backend", "create", "new", "--address", "nonsense", "--tag", "a"], 1, "backend.address"),
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
}
