//! What a shell gets: completions, and man pages.

use std::process::Stdio;

use switchyard_proto::v1::{Backend, Domain, Edge, Service};

use crate::fake::{Fake, command, run_alone};

/// What is offered for the last of these words, as the script of bash asks for it.
async fn offered(words: &[&str]) -> Vec<String> {
    let mut asking = command(&["--", "switchyard"]);
    asking.args(words).env("SWITCHYARD_COMPLETE", "bash");
    asking.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
    let output = asking.stderr(Stdio::piped()).output().await.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn completions_know_commands_flags_and_values() {
    assert_eq!(offered(&["certificate", "upl"]).await, ["upload"]);
    assert_eq!(offered(&["domain", "create", "x", "--http"]).await, ["--http-to-https"]);
    assert_eq!(offered(&["backend", "update", "x", "--state", "d"]).await, ["draining", "disabled"]);
}

#[tokio::test]
async fn completions_know_names() {
    let fake = Fake::start().await;
    *fake.state.domains.lock().unwrap() = ["blog.example", "shop.example", "shop.test"]
        .iter()
        .map(|host| Domain { name: format!("domains/{host}"), ..Domain::default() })
        .collect();
    fake.state.services.lock().unwrap().push(Service { name: "services/shop".to_owned(), ..Service::default() });
    fake.state.edges.lock().unwrap().push(Edge { name: "edges/edge-1".to_owned(), ..Edge::default() });
    let backend = Backend { name: "backends/shop-1".to_owned(), tags: vec!["blue".to_owned()], ..Backend::default() };
    fake.state.backends.lock().unwrap().push(backend);
    let at = async |words: &[&str]| offered(&[&["--control-plane", &fake.address], words].concat()).await;
    assert_eq!(at(&["domain", "get", "shop"]).await, ["shop.example", "shop.test"]);
    assert_eq!(at(&["switch", "bl"]).await, ["blog.example"]);
    assert_eq!(at(&["switch", "shop.example", "--to", "b"]).await, ["blue"]);
    assert_eq!(at(&["domain", "update", "shop.example", "--service", "s"]).await, ["shop"]);
    assert_eq!(at(&["backend", "drain", "s"]).await, ["shop-1"]);
    assert_eq!(at(&["edge", "remove", "e"]).await, ["edge-1"]);
    assert!(at(&["domain", "create", "shop"]).await.is_empty(), "a new name is nobody's yet");
    // Where nobody answers there are no names, and no noise.
    let nowhere = ["--control-plane", "http://127.0.0.1:1", "domain", "get", "shop"];
    assert!(offered(&nowhere).await.is_empty());
}

#[tokio::test]
async fn the_scripts_ask_the_program() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run_alone(&["completions", shell]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stdout.contains("SWITCHYARD_COMPLETE") && ended.stdout.contains("switchyard"), "{ended:?}");
    }
}

#[tokio::test]
async fn the_script_of_bash_completes_in_bash() {
    let script = run_alone(&["completions", "bash"]).await.stdout;
    let directory = std::path::Path::new(env!("CARGO_BIN_EXE_switchyard")).parent().unwrap().to_owned();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let asking = "\nCOMP_WORDS=(switchyard certificate upl); COMP_CWORD=2; COMP_TYPE=9\n\
        _clap_complete_switchyard switchyard upl certificate; echo \"${COMPREPLY[@]}\"";
    let mut bash = tokio::process::Command::new("bash");
    let output = bash.args(["-c", &(script + asking)]).env("PATH", path).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "upload\n", "{output:?}");
}

#[tokio::test]
async fn man_pages_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let ended = run_alone(&["man", pages.to_str().unwrap()]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let page = std::fs::read_to_string(pages.join("switchyard-domain-create.1")).unwrap();
    assert!(page.contains(".SH SYNOPSIS") && page.contains("http\\-to\\-https") && page.contains("Example"), "{page}");
    assert!(pages.join("switchyard.1").exists() && pages.join("switchyard-switch.1").exists());
    let page = run_alone(&["man"]).await;
    assert!(page.code == 0 && page.stdout.contains(".TH switchyard 1"), "{page:?}");
}
