//! Every field that can be set, the command line sets by its path and shows, without code for it.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage, Value};
use switchyard_proto::schema::{FieldOptions, Filter, Material, dynamic_variants, input, paths, resource, word};
use switchyard_tests::{authority::Authority, cli::Cli, database::Database, fleet::Fleet, on_both_databases};

/// The kinds that people declare, and what the command line calls one of them; first what others refer to.
const KINDS: [(&str, &str); 5] = [
    ("services", "service"),
    ("issuers", "issuer"),
    ("backends", "backend"),
    ("domains", "domain"),
    ("dnsProviders", "dns-provider"),
];

const DURATION: &str = "google.protobuf.Duration";

on_both_databases! {
    async fn all_fields_of_all_kinds_are_set_and_shown(database: Database) -> Result<()> {
        let fleet = Fleet::without_edges(database).await?;
        let cli = fleet.cli();
        // The example of a domain refers to it.
        succeeds(&cli, &["issuer", "create", "letsencrypt"]).await?;
        let issued = Authority::generate()?.issue(&["edges.example"])?;
        let ca_pem = Authority::generate()?.pem();
        let material = Material { ca_pem, chain_pem: issued.chain_pem, private_key_pem: issued.key_pem };
        for (kind, noun) in KINDS {
            let message = resource(kind).with_context(|| format!("messages of {kind}"))?;
            for (number, variant) in dynamic_variants(&message, &material).iter().enumerate() {
                let is_new = number == 0;
                set_and_shown(&cli, fleet.dir(), noun, &whole_seconds(variant), is_new)
                    .await
                    .with_context(|| format!("variant {number} of {kind}"))?;
            }
        }
        Ok(())
    }
}

/// A message with durations that are whole seconds, which is the unit of some.
fn whole_seconds(message: &DynamicMessage) -> DynamicMessage {
    let mut whole = message.clone();
    for (field, value) in whole.fields_mut() {
        if let Value::Message(inner) = value {
            *inner = whole_seconds(inner);
            if field.kind().as_message().is_some_and(|message| message.full_name() == DURATION) {
                inner.clear_field_by_name("nanos");
            }
        }
    }
    whole
}

/// Has a resource created or changed so that it is as `wanted`, by paths alone.
async fn set_and_shown(cli: &Cli, dir: &Path, noun: &str, wanted: &DynamicMessage, is_new: bool) -> Result<()> {
    let descriptor = wanted.descriptor();
    let name = wanted.get_field_by_name("name").and_then(|name| name.as_str().map(str::to_owned)).context("a name")?;
    let id = name.split_once('/').context("a name")?.1;
    let mut arguments = vec![noun.to_owned(), if is_new { "create" } else { "update" }.to_owned(), id.to_owned()];
    let all = paths(&descriptor);
    let mut set = 0;
    for path in all.iter().filter(|path| *path != "name" && !all.iter().any(|it| it.starts_with(&format!("{path}.")))) {
        let (field, value, is_fixed) = at(wanted, path).with_context(|| path.clone())?;
        match value {
            _ if is_fixed && !is_new => {}
            Some(value) => {
                arguments.extend(["--set".to_owned(), format!("{path}={}", text(dir, path, &field, &value)?)]);
                set += 1;
            }
            None => arguments.extend(["--unset".to_owned(), path.clone()]),
        }
    }
    ensure!(set > 0, "something is set");
    succeeds(cli, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await?;

    let shown = cli.json(&[noun, "get", id]).await?;
    let shown = DynamicMessage::deserialize(descriptor, shown)?;
    ensure!(visible(&shown)? == visible(wanted)?, "{shown}\nis not\n{wanted}");

    let table = succeeds(cli, &[noun, "get", id]).await?;
    for path in all {
        let Some((field, Some(value), _)) = at(wanted, &path) else { continue };
        let is_row = table.lines().any(|line| line.starts_with(&format!("{path}:")));
        let is_secret = FieldOptions::of(&field).secret;
        let is_leaf = value.as_message().is_none_or(|message| message.descriptor().package_name() == "google.protobuf");
        ensure!(is_row == (is_leaf && !is_secret), "{path} in {table}");
        ensure!(!is_secret || value.as_str().is_some_and(|secret| !table.contains(secret)), "{path} in {table}");
    }
    Ok(())
}

/// The field at a path, its value where it is set, and whether it never changes.
fn at(message: &DynamicMessage, path: &str) -> Option<(FieldDescriptor, Option<Value>, bool)> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let field = message.descriptor().get_field_by_name(name)?;
    let value = message.has_field(&field).then(|| message.get_field(&field).into_owned());
    let is_fixed = FieldOptions::of(&field).is_fixed();
    let Some(rest) = rest else { return Some((field, value, is_fixed)) };
    let empty = DynamicMessage::new(field.kind().as_message()?.clone());
    let (field, value, is_fixed_below) = at(value.as_ref().and_then(Value::as_message).unwrap_or(&empty), rest)?;
    Some((field, value, is_fixed || is_fixed_below))
}

/// A value as `--set` takes it: of several lines and of secrets, the file that it is in.
fn text(dir: &Path, path: &str, field: &FieldDescriptor, value: &Value) -> Result<String> {
    Ok(match value {
        Value::String(text) if text.contains('\n') || FieldOptions::of(field).secret => {
            let file = dir.join(path);
            fs::write(&file, text)?;
            format!("@{}", file.display())
        }
        Value::String(text) => text.clone(),
        Value::EnumNumber(number) => word(field.kind().as_enum().context("an enum")?, *number),
        Value::Message(span) if span.descriptor().full_name() == DURATION => {
            let seconds = span.get_field_by_name("seconds").and_then(|seconds| seconds.as_i64()).context("seconds")?;
            format!("{seconds}s")
        }
        Value::Message(_) | Value::List(_) | Value::Map(_) => {
            let mut only = DynamicMessage::new(field.parent_message().clone());
            only.set_field(field, value.clone());
            serde_json::to_value(&only)?[field.json_name()].to_string()
        }
        number => number.to_string(),
    })
}

/// What people see of what they can set. PEM may come back in other lines.
fn visible(message: &DynamicMessage) -> Result<serde_json::Value> {
    let encoded = Filter::without_secrets(&message.descriptor()).apply(&input(message).encode_to_vec())?;
    let message = DynamicMessage::decode(message.descriptor(), encoded.as_slice())?;
    let text = serde_json::to_string(&message)?.replace("\\r\\n", "\\n").replace("-----\\n\"", "-----\"");
    Ok(serde_json::from_str(&text)?)
}

#[tokio::test]
async fn paths_and_flags_are_one_change() -> Result<()> {
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let cli = fleet.cli();
    let bundle = fleet.dir().join("ca.pem");
    fs::write(&bundle, Authority::generate()?.pem())?;
    let bundle = format!("tls.client_authentication.ca_bundle_pem=@{}", bundle.display());
    let name = "*.shop.example";
    let hook = "http://127.0.0.1:9000/ask";
    succeeds(&cli, &["domain", "create", name, "--tag", "a", "--tls", "acme", "--on-demand-hook", hook]).await?;
    succeeds(&cli, &["domain", "update", name, "--tls", "internal", "--unset", "tls.acme.on_demand"]).await?;
    let update = [
        &["domain", "update", name, "--set", "tls.minimum_version=1.3", "--unset", "tls.acme.on_demand"][..],
        &["--set", &bundle, "--http-to-https"],
    ]
    .concat();
    succeeds(&cli, &update).await?;
    let domain = cli.json(&["domain", "get", name]).await?;
    let tls = &domain["tls"];
    ensure!(tls["minimumVersion"] == "TLS_VERSION_V1_3" && tls["acme"].get("onDemand").is_none(), "{domain}");
    ensure!(tls["clientAuthentication"]["mode"] == "CLIENT_CERTIFICATE_MODE_REQUIRED", "{domain}");
    ensure!(tls["certificateSource"] == "CERTIFICATE_SOURCE_INTERNAL" && domain["httpToHttps"] == true, "{domain}");
    ensure!(domain["activeTag"] == "a", "what is not named stays: {domain}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_set_is_refused_by_name_and_changes_nothing() -> Result<()> {
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let cli = fleet.cli();
    succeeds(&cli, &["domain", "create", "shop.example", "--tag", "a", "--tls", "uploaded"]).await?;
    succeeds(&cli, &["issuer", "create", "letsencrypt"]).await?;
    let before = cli.json(&["domain", "get", "shop.example"]).await?;
    for (arguments, code, said) in [
        (["domain", "update", "shop.example", "--unset", "acme.on_demand"], 2, "the nearest are tls.acme.on_demand"),
        (["domain", "update", "shop.example", "--set", "tls.acme.issuers.0=x"], 2, "leads into tls.acme.issuers"),
        (["domain", "update", "shop.example", "--set", "edge_selector.region=eu"], 2, "leads into edge_selector"),
        (["domain", "update", "shop.example", "--set", "previous_tag=b"], 2, "is for output only"),
        (["domain", "update", "shop.example", "--set", "active_tag="], 1, "active_tag"),
        (["issuer", "update", "letsencrypt", "--set", "external_account.key=c2VjcmV0"], 2, "is secret: name a file"),
        (["issuer", "update", "letsencrypt", "--set", "email=a@shop.example"], 1, "email cannot be changed"),
        (["issuer", "update", "letsencrypt", "--set", "only_where_named=true"], 1, "it excludes only_where_named"),
        (["dns-provider", "create", "home", "--set", "cloudflare.api_token=x"], 2, "is secret: name a file"),
        (["dns-provider", "create", "home", "--zone", "shop.example"], 2, "say how it is told"),
    ] {
        let ended = cli.run(&arguments).await?;
        ensure!(ended.code == code && ended.stderr.contains(said), "{arguments:?}: {ended:?}");
    }
    ensure!(cli.json(&["domain", "get", "shop.example"]).await? == before, "nothing was changed");
    Ok(())
}

#[tokio::test]
async fn an_issuer_is_ranked_or_asked_only_where_it_is_named() -> Result<()> {
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let cli = fleet.cli();
    succeeds(&cli, &["issuer", "create", "letsencrypt", "--rank", "2"]).await?;
    succeeds(&cli, &["issuer", "update", "letsencrypt", "--only-where-named"]).await?;
    let issuer = cli.json(&["issuer", "get", "letsencrypt"]).await?;
    ensure!(issuer["onlyWhereNamed"] == true && issuer.get("rank").is_none(), "{issuer}");
    succeeds(&cli, &["issuer", "update", "letsencrypt", "--rank", "3"]).await?;
    let issuer = cli.json(&["issuer", "get", "letsencrypt"]).await?;
    ensure!(issuer["rank"] == 3 && issuer.get("onlyWhereNamed").is_none(), "{issuer}");
    succeeds(&cli, &["issuer", "update", "letsencrypt", "--unset", "rank", "--set", "only_where_named=true"]).await?;
    ensure!(cli.json(&["issuer", "get", "letsencrypt"]).await?["onlyWhereNamed"] == true, "by its path as well");
    Ok(())
}

#[tokio::test]
async fn a_provider_changes_its_arm_and_loses_its_key() -> Result<()> {
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let cli = fleet.cli();
    let key = fleet.dir().join("key");
    fs::write(&key, "c2VjcmV0\n")?;
    let key = key.to_string_lossy();
    let home = |verb| ["dns-provider", verb, "home", "--zone", "shop.example"];
    let signed = ["rfc2136", "--server", "192.0.2.1", "--key-name", "switchyard", "--key-secret-file", &key];
    succeeds(&cli, &[&home("create")[..], &signed].concat()).await?;

    let moved = ["dns-provider", "update", "home", "--set", "rfc2136.server=192.0.2.2"];
    let ended = cli.run(&moved).await?;
    let again = "rfc2136.key_secret has to be given again when rfc2136.server changes";
    ensure!(ended.code == 1 && ended.stderr.contains(again), "{ended:?}");
    let secret = format!("rfc2136.key_secret=@{key}");
    succeeds(&cli, &[&moved[..], &["--set", &secret]].concat()).await?;
    let provider = cli.json(&["dns-provider", "get", "home"]).await?;
    ensure!(
        provider["rfc2136"]["server"] == "192.0.2.2" && provider["rfc2136"]["keyName"] == "switchyard",
        "{provider}"
    );

    succeeds(&cli, &[&home("replace")[..], &["rfc2136", "--server", "192.0.2.3"]].concat()).await?;
    let provider = cli.json(&["dns-provider", "get", "home"]).await?;
    ensure!(provider["rfc2136"]["server"] == "192.0.2.3", "{provider}");
    ensure!(provider["rfc2136"].get("keyName").is_none(), "the key is gone: {provider}");

    succeeds(&cli, &[&home("replace")[..], &["exec", "--program", "set-txt", "--raw"]].concat()).await?;
    let provider = cli.json(&["dns-provider", "get", "home"]).await?;
    ensure!(provider["exec"]["program"] == "set-txt" && provider.get("rfc2136").is_none(), "{provider}");
    succeeds(&cli, &["dns-provider", "update", "home", "--set", "httpreq.endpoint=https://dns.example/hook"]).await?;
    let provider = cli.json(&["dns-provider", "get", "home"]).await?;
    ensure!(provider["httpreq"]["endpoint"].is_string() && provider.get("exec").is_none(), "{provider}");
    Ok(())
}

#[tokio::test]
async fn tls_with_its_defaults_is_turned_on_by_any_of_its_flags() -> Result<()> {
    let fleet = Fleet::without_edges(Database::Sqlite).await?;
    let cli = fleet.cli();
    succeeds(&cli, &["service", "create", "shop"]).await?;
    succeeds(&cli, &["service", "update", "shop", "--tls-system-ca"]).await?;
    let service = cli.json(&["service", "get", "shop"]).await?;
    ensure!(service["tls"].is_object(), "{service}");
    succeeds(&cli, &["service", "update", "shop", "--tls-server-name", "shop.example"]).await?;
    succeeds(&cli, &["service", "update", "shop", "--tls-system-ca"]).await?;
    let service = cli.json(&["service", "get", "shop"]).await?;
    ensure!(service["tls"]["serverName"] == "shop.example", "the rest stays: {service}");
    succeeds(&cli, &["service", "update", "shop", "--unset", "tls"]).await?;
    ensure!(cli.json(&["service", "get", "shop"]).await?.get("tls").is_none(), "and off by its path");
    Ok(())
}

/// Runs a command that must succeed; what it prints.
async fn succeeds(cli: &Cli, arguments: &[&str]) -> Result<String> {
    let ended = cli.run(arguments).await?;
    ensure!(ended.code == 0, "switchyard {}: {ended:?}", arguments.join(" "));
    Ok(ended.stdout)
}
