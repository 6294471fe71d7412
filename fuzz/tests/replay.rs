//! X3, H8: what fuzzing found interesting neither makes a parser panic nor makes it use more memory than it may.

use std::{fs, path::Path};

use switchyard_fuzz::{TARGETS, Target, run};

fn replay((name, target): Target) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let inputs: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty(), "there is nothing in {}", directory.display());
    for input in inputs {
        let bytes = fs::read(&input).unwrap();
        eprintln!("{name}: {}", input.display());
        run((name, target), &bytes);
    }
}

macro_rules! replays {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                replay((stringify!($name), switchyard_fuzz::$name));
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

replays!(api_requests, control_plane_messages, edge_messages, edge_store, join_tokens, names, pem, seed_files,);
