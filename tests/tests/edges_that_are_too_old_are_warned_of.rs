//! A change that a connected edge will reject, because it is older than what the change uses, is answered with a warning.

use anyhow::{Context, Result, ensure};
use switchyard_proto::{
    WARNING_METADATA, decode_warning,
    fleet::v1::{Hello, MessageSchema, Schema},
    schema::KnownSchema,
    v1::{
        Domain, DomainTls, GetDomainRequest, Service, ServiceTimeouts, TlsVersion, UpdateDomainRequest,
        UpdateServiceRequest,
    },
};
use switchyard_tests::{
    cli::Ended,
    eventually::eventually,
    fleet::Fleet,
    fleet_client::{Member, begin, nothing},
    on_both_databases,
};
use tonic::metadata::MetadataMap;

/// The schema of this version without what `change` takes away.
fn older(change: impl FnOnce(&mut Schema)) -> Hello {
    let mut schema = KnownSchema::own().to_wire();
    change(&mut schema);
    Hello { version: "0.0.9".to_owned(), schema: Some(schema), ..nothing() }
}

fn message<'a>(schema: &'a mut Schema, name: &str) -> &'a mut MessageSchema {
    schema.messages.iter_mut().find(|it| it.name == name).expect("a message that travels")
}

/// The number of a field.
fn number<M: prost::Name>(field: &str) -> u32 {
    switchyard_proto::schema::descriptor::<M>().get_field_by_name(field).expect("a field").number()
}

fn warnings(metadata: &MetadataMap) -> Vec<String> {
    metadata.get_all(WARNING_METADATA).iter().map(|value| decode_warning(value.as_encoded_bytes())).collect()
}

/// The lines of the standard error that are warnings.
fn printed(ended: &Ended) -> Vec<&str> {
    ended.stderr.lines().filter_map(|line| line.strip_prefix("warning: ")).collect()
}

on_both_databases! {
    async fn whoever_uses_what_an_edge_does_not_know_is_warned_with_its_name(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let (mut api, cli) = (fleet.api()?, fleet.cli());
        api.create_service("shop").await?;
        // Neither of its tags is without a backend, of which there would be a warning as well.
        api.create_backend("shop-1", "shop", "127.0.0.1:9", &["a", "b"]).await?;
        api.create_domain("shop.example", "shop", "a").await?;
        let control_plane = fleet.control_plane.fleet;
        let mut streams = Vec::new();
        for (name, label, hello) in [
            ("no-field", "", older(|it| {
                let minimum = number::<DomainTls>("minimum_version");
                message(it, "switchyard.v1.DomainTls").fields.retain(|field| *field != minimum);
                let timeouts = number::<Service>("timeouts");
                message(it, "switchyard.v1.Service").fields.retain(|field| *field != timeouts);
            })),
            ("no-number", "", older(|it| {
                let version = it.enums.iter_mut().find(|it| it.name == "switchyard.v1.TlsVersion").expect("an enum");
                version.numbers.retain(|number| *number != i32::from(TlsVersion::V13));
            })),
            ("no-kind", "region=us", older(|it| it.kinds.retain(|kind| kind != "domains"))),
            ("same", "", Hello { schema: Some(KnownSchema::own().to_wire()), ..nothing() }),
            ("silent", "", nothing()),
        ] {
            let label = ["--label", label];
            let invite = [&["edge", "invite"][..], if label[1].is_empty() { &[] } else { &label }].concat();
            let invited = cli.json(&invite).await?;
            let token = invited["token"].as_str().context("a token")?;
            let member = Member::join(control_plane, token, name).await?;
            streams.push(begin(member.connect(control_plane)?, hello).await?);
        }
        eventually("all edges are connected", async || {
            for name in ["no-field", "no-number", "no-kind", "same", "silent"] {
                let state = api.edge(name).await?.state();
                ensure!(state == switchyard_proto::v1::EdgeState::Connected, "{name} is not: {state:?}");
            }
            Ok(())
        })
        .await?;

        // What all know, nobody is warned of, but those that do not know the kind.
        let unknown_kind = "no-kind (version 0.0.9) does not know the kind of domains/shop.example and will reject it: upgrade it";
        let plain = cli.run(&["domain", "update", "shop.example", "--http-to-https"]).await?;
        ensure!(plain.code == 0 && printed(&plain) == [unknown_kind], "{plain:?}");
        let selected = cli.run(&["domain", "update", "shop.example", "--edge-label", "stage=none"]).await?;
        ensure!(selected.code == 0 && printed(&selected).is_empty(), "no edge is to receive it: {selected:?}");
        let selected = cli.run(&["domain", "update", "shop.example", "--all-edges", "--tls", "internal"]).await?;
        ensure!(selected.code == 0 && printed(&selected) == [unknown_kind], "{selected:?}");

        let warning = |edge: &str| {
            format!("{edge} (version 0.0.9) does not know domains/shop.example tls.minimum_version and will reject it: upgrade it")
        };
        let expected = [warning("no-field"), unknown_kind.to_owned(), warning("no-number")];
        let minimum = ["domain", "update", "shop.example", "--minimum-tls", "1.3"];
        for dry_run in [&["--dry-run"][..], &["--output", "json"]] {
            let mut updated = cli.run(&[&minimum[..], dry_run].concat()).await?;
            updated.stderr = updated.stderr.replace("\r", "");
            let mut lines = printed(&updated);
            lines.sort_unstable();
            let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            expected.sort_unstable();
            ensure!(updated.code == 0 && lines == expected, "{updated:?}");
        }
        let said = fleet.control_plane.process()?.log().line("edge_too_old").await?;
        ensure!(said.contains("WARN") && said.contains("will reject it"), "{said}");

        // Every way to write it says so, and none to read it.
        let switched = api.domains.switch_domain(switchyard_proto::v1::SwitchDomainRequest {
            name: "domains/shop.example".to_owned(), tag: "b".to_owned(), force: true, ..Default::default()
        }).await?;
        ensure!(warnings(switched.metadata()).len() == 3, "{switched:?}");
        let read = api.domains.get_domain(GetDomainRequest { name: "domains/shop.example".to_owned() }).await?;
        ensure!(warnings(read.metadata()).is_empty(), "{read:?}");
        let timeouts = ServiceTimeouts { connect: Some(std::time::Duration::from_secs(1).into()), ..Default::default() };
        let service = Service { name: "services/shop".to_owned(), timeouts: Some(timeouts), ..Default::default() };
        let updated = api.services.update_service(UpdateServiceRequest { service: Some(service), ..Default::default() }).await?;
        let service = "no-field (version 0.0.9) does not know services/shop timeouts and will reject it: upgrade it";
        ensure!(warnings(updated.metadata()) == [service], "{updated:?}");

        // Without the edges that do not know it, there is nothing to warn of.
        for name in ["no-field", "no-number", "no-kind"] {
            let removed = cli.run(&["edge", "remove", name]).await?;
            ensure!(removed.code == 0, "{removed:?}");
        }
        eventually("the edges are gone", async || {
            let domain = Domain { name: "domains/shop.example".to_owned(), http_to_https: false, ..Default::default() };
            let update_mask = Some(pbjson_types::FieldMask { paths: vec!["http_to_https".to_owned()] });
            let request = UpdateDomainRequest { domain: Some(domain), update_mask, validate_only: true };
            let updated = api.domains.clone().update_domain(request).await?;
            ensure!(warnings(updated.metadata()).is_empty(), "{updated:?}");
            Ok(())
        })
        .await?;
        drop(streams);
        Ok(())
    }
}
