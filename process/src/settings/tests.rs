use std::{fs, net::SocketAddr};

use super::*;
use crate::log::LogArgs;

#[derive(Debug, Parser)]
#[command(name = "program", version)]
struct Args {
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long, global = true)]
    listen: Option<SocketAddr>,
    #[arg(long, default_value = "on")]
    mode: Mode,
    #[arg(long, value_delimiter = ',')]
    network: Vec<u8>,
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Option<Subcommand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    On,
    Off,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    Rekey,
}

impl Arguments for Args {
    // A prefix that nobody's environment has.
    const VARIABLES: &'static str = "SWITCHYARD_PROCESS_UNIT_TEST";

    fn unknown_key(key: &str) -> Option<&'static str> {
        (key == "seed").then_some("this is a seed")
    }
}

fn read(arguments: &[&str]) -> Result<Given<Args>, SettingsError> {
    super::read(["program"].iter().chain(arguments).map(OsString::from))
}

fn with_file(text: &str, arguments: &[&str]) -> Result<Given<Args>, SettingsError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    read(&[&["--config", file.path().to_str().unwrap()], arguments].concat())
}

#[test]
fn flags_are_stronger_than_the_file_and_the_file_than_defaults() {
    let text = "listen = '127.0.0.1:1'\nmode = 'off'\nnetwork = [1, 2]\ninsecure = true\nlog_level = 'debug'\n";
    let Given { args, origins } = with_file(text, &["--listen", "127.0.0.1:2"]).unwrap();
    assert_eq!((args.listen.unwrap().port(), args.mode, args.network, args.insecure), (2, Mode::Off, vec![1, 2], true));
    assert_eq!(args.log.log_level, "debug".parse().unwrap());
    assert_eq!(origins.of("listen"), Origin::Flag("--listen".to_owned()));
    assert!(origins.of("mode").to_string().ends_with(", line 2"), "{}", origins.of("mode"));
    assert_eq!(origins.of("log_format"), Origin::Default("--log-format".to_owned()));
    let Given { args, origins } = read(&[]).unwrap();
    assert_eq!((args.mode, args.insecure, args.listen), (Mode::On, false, None));
    assert_eq!(origins.of("mode").to_string(), "the default of --mode");
}

#[test]
fn settings_for_all_commands_may_be_anywhere() {
    let Given { args, origins } = with_file("listen = '127.0.0.1:1'\n", &["rekey"]).unwrap();
    assert!(matches!(args.command, Some(Subcommand::Rekey)));
    assert_eq!(args.listen.unwrap().port(), 1);
    assert!(origins.of("listen").to_string().ends_with(", line 1"));
    let Given { args, origins } = with_file("listen = '127.0.0.1:1'\n", &["rekey", "--listen", "127.0.0.1:2"]).unwrap();
    assert_eq!(args.listen.unwrap().port(), 2);
    assert_eq!(origins.of("listen"), Origin::Flag("--listen".to_owned()));
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_line_and_column() {
    for (text, position, what) in [
        ("mode = 'on'\nlisen = '127.0.0.1:1'\n", "line 2, column 1:", "unknown setting `lisen`; settings are listen, "),
        ("listen = 7443\n", "line 1, column 10:", "invalid socket address"),
        ("\n  listen = '0.0.0.0'\n", "line 2, column 12:", "invalid socket address"),
        ("mode = 'maybe'\n", "line 1, column 8:", "\"maybe\" is not one of on, off"),
        ("mode = ['on']\n", "line 1, column 8:", "a text or a number is required, not array"),
        ("network = [1, 300]\n", "line 1, column 11:", "300"),
        ("insecure = 'yes'\n", "line 1, column 12:", "true or false"),
        ("log_level = 'loud'\n", "line 1, column 13:", "not a log level"),
        ("mode = \n", "line 1, column 8:", "string"),
        ("mode = 'on'\nmode = 'off'\n", "line 2, column 1:", "duplicate"),
        ("config = 'x'\n", "line 1, column 1:", "unknown setting `config`"),
        ("seed = 1\n", "line 1, column 1:", "this is a seed"),
    ] {
        let error = with_file(text, &[]).unwrap_err().to_string();
        assert!(error.contains(position) && error.contains(what), "{text:?}: {error}");
        assert!(!error.contains('\n') && error.ends_with("; fix the file"), "{error}");
    }
    assert!(read(&["--config", "/nowhere"]).unwrap_err().to_string().contains("/nowhere"));
}

#[test]
fn what_is_wrong_in_a_flag_is_named_by_it() {
    let error = |arguments: &[&str]| read(arguments).unwrap_err().to_string();
    assert_eq!(error(&["--listen", "80"]), "--listen: invalid socket address syntax; see --help");
    assert_eq!(error(&["--mode=maybe"]), "--mode: \"maybe\" is not one of on, off; see --help");
    assert!(error(&["--lisen", "80"]).contains("did you mean --listen?"), "{}", error(&["--lisen", "80"]));
    assert!(matches!(read(&["--help"]), Err(SettingsError::Help(_))));
}

#[test]
fn every_flag_has_a_variable_that_is_named_like_it() {
    let variables: Vec<_> = command::<Args>().get_arguments().filter_map(Arg::get_env).map(ToOwned::to_owned).collect();
    let named = ["CONFIG", "LISTEN", "MODE", "NETWORK", "INSECURE", "LOG_FORMAT", "LOG_LEVEL", "LOG_FILE"];
    assert_eq!(variables, named.map(|name| OsString::from(format!("SWITCHYARD_PROCESS_UNIT_TEST_{name}"))));
}
